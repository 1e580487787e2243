"""What runs in the environment of core/inference/onnx.py, with a later Python than this project's.

    onnx_worker.py convert GRAPH.pb FILE.onnx
    onnx_worker.py serve FILE.onnx           computes batches as python3 -m core.inference.runner does
"""
import os
import struct
import sys

import numpy as np

_COUNT = struct.Struct('<q')
_TYPES = {'tensor(float)': np.float32, 'tensor(uint8)': np.uint8, 'tensor(int32)': np.int32, 'tensor(int64)': np.int64}


def convert(graph: str, target: str) -> None:
    """Writes the ONNX file of a frozen graph; its inputs keep their names and their layout."""
    import tensorflow as tf
    import tf2onnx
    with open(graph, 'rb') as file:
        graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    used = {one.split(':')[0] for node in graph_def.node for one in node.input}
    inputs = [node.name + ':0' for node in graph_def.node if node.op == 'Placeholder']
    outputs = [node.name + ':0' for node in graph_def.node if node.name not in used]
    model, _ = tf2onnx.convert.from_graph_def(graph_def, input_names=inputs, output_names=outputs)
    for value in (*model.graph.input, *model.graph.output):
        _rename(model.graph, value, value.name.split(':')[0])
    with open(target, 'wb') as file:
        file.write(model.SerializeToString())


def _rename(graph, value, name):
    """Gives a tensor of the graph another name, wherever it stands."""
    for node in graph.node:
        for names in (node.input, node.output):
            for number, one in enumerate(names):
                if one == value.name:
                    names[number] = name
    value.name = name


def serve(path: str) -> None:
    """Computes batches until standard input ends."""
    import onnxruntime
    answers = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    inputs = sorted(session.get_inputs(), key=lambda one: one.name)
    for header in iter(lambda: sys.stdin.buffer.read(_COUNT.size), b''):
        batch = {}
        for one in inputs:
            shape, dtype = [*_COUNT.unpack(header), *one.shape[1:]], np.dtype(_TYPES[one.type])
            content = sys.stdin.buffer.read(int(np.prod(shape)) * dtype.itemsize)
            batch[one.name] = np.frombuffer(content, dtype).reshape(shape)
        answers.write(np.ascontiguousarray(session.run(None, batch)[0], np.float32).tobytes())
        answers.flush()


if __name__ == '__main__':
    {'convert': convert, 'serve': serve}[sys.argv[1]](*sys.argv[2:])
