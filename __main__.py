"""The commands in the Python that launchers/shell/command.sh has chosen; users start them by python3 -m launchers."""
import os
import signal
import sys

from launchers.__main__ import main

# Ctrl-C ends a command at once, not somewhere in TensorFlow's import, until the command handles it.
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(main(sys.argv[1:], os.environ))
