"""The worker of the benchmark in onnxruntime: onnxruntime_worker.py DIRECTORY, with network.onnx and forward.npz."""
import os
import sys

import numpy as np
import onnxruntime

from turns import Turns

TOLERANCE = 1e-4               # of the largest output

if __name__ == '__main__':
    turns, directory = Turns(), sys.argv[1]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(os.path.join(directory, 'network.onnx'), options,
                                           providers=['CPUExecutionProvider'])
    ours = np.load(os.path.join(directory, 'forward.npz'))
    feed = {session.get_inputs()[0].name: ours['x']}
    difference = abs(session.run(None, feed)[0] - ours['y']).max()
    if not difference <= TOLERANCE * abs(ours['y']).max():
        sys.exit('the outputs differ from ours by %.3g' % difference)
    turns.begin(images=len(ours['x']))
    while True:
        session.run(None, feed)
        turns.stepped()
