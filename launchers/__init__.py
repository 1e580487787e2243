"""How a network is started: one recipe, one shell file, and the entries train, evaluate."""
import signal
import sys

if sys.argv[0] == '-m':
    # An entry of this package: Ctrl-C ends it at once, not somewhere in TensorFlow, until core/hooks.py saves first.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import tensorflow as tf

# This framework is written in TensorFlow's 1.x names; 1.15 would warn about each of them.
tf.get_logger().setLevel('ERROR')
