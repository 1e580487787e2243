"""Every command: python3 -m launchers COMMAND [--flag=value ...], in any Python.

launchers/shell/command.sh finds the Python that has TensorFlow 1.15, sets it up where there is none, and starts
launchers/COMMAND.py in it.
"""
import os
import sys

if __name__ == '__main__':
    shell = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'shell', 'command.sh')
    os.execvp('bash', ['bash', shell, sys.executable] + sys.argv[1:])
