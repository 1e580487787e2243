"""Two ranks of a trainer as processes of this machine, in the environment that the 8p launchers give."""
import os
import tempfile

from launching import HELPERS
from prefork import Forked


def train(directory, *flags):
    """Trains on two ranks, whose results go to directory/0 and directory/1; returns the log of rank 0."""
    meeting = tempfile.mkdtemp(dir=str(directory))
    environment = dict(os.environ, RANK_SIZE='2', JOB_ID='10087', RANKS_DIRECTORY=meeting, RANK_ADDRESSES='')
    outputs = [[directory / (name + str(rank)) for name in ('log', 'error')] for rank in range(2)]
    ranks = [Forked([os.path.join(HELPERS, 'toy.py'), '--output_path=%s' % directory, *flags], *outputs[rank],
                    env=dict(environment, RANK_ID=str(rank), ASCEND_DEVICE_ID=str(rank))) for rank in range(2)]
    assert [rank.wait() for rank in ranks] == [0, 0], [error.read_text() for _, error in outputs]
    return outputs[0][0].read_text()
