"""How a network is started: one recipe, one shell file, and the entries train, evaluate, boot_modelarts."""
import tensorflow as tf

# This framework is written in TensorFlow's 1.x names; 1.15 would warn about each of them.
tf.get_logger().setLevel('ERROR')
