"""What every process of a CPU does, whatever it computes."""
import subprocess
import sys

from launching import ROOT

PROGRAM = """
import resource
from launchers import devices
import tensorflow as tf
devices.detect('cpu')
with tf.Session() as session:
    size = tf.placeholder(tf.int32, [])
    large = tf.reduce_sum(tf.fill([size], 1.))
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        session.run(large, {size: 2 ** 26})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_memory_of_a_large_tensor_is_kept_for_the_next_step():
    run = subprocess.run([sys.executable, '-c', PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    assert int(run.stdout) < 100         # 0 were seen; a tensor of new pages has 65,536 of them, or 128 large ones
