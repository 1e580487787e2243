"""Runs a frozen graph by another framework: infer.py tensorflow|onnxruntime|opencv MODEL.pb INPUT.npy OUTPUT.npy."""
import sys

import numpy as np


def run(framework, model, x):
    if framework == 'opencv':
        import cv2
        net = cv2.dnn.readNetFromTensorflow(model)
        net.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return net.forward()
    import tensorflow as tf
    graph = tf.compat.v1.GraphDef.FromString(open(model, 'rb').read())
    used = {one.split(':')[0] for node in graph.node for one in node.input}
    names = [next(node.name for node in graph.node if node.op == 'Placeholder') + ':0',
             next(node.name for node in graph.node if node.name not in used) + ':0']
    if framework == 'tensorflow':
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.import_graph_def(graph, name='')
            return session.run(names[1], {names[0]: x})
    import onnxruntime
    import tf2onnx
    proto, _ = tf2onnx.convert.from_graph_def(graph, input_names=names[:1], output_names=names[1:])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, {names[0]: x})[0]


if __name__ == '__main__':
    framework, model, source, target = sys.argv[1:]
    np.save(target, run(framework, model, np.load(source)))
