"""What one can start: a file for each command; a recipe for each network; the bash library of the launchers."""
import logging

# This framework is written in TensorFlow's 1.x names; 1.15 would warn about each of them. TensorFlow's logger is
# silenced by its name, because some commands work where TensorFlow is not installed.
logging.getLogger('tensorflow').setLevel(logging.ERROR)
