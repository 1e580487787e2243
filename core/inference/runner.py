"""Runs an exported model from its file alone, in this process or, to prove that the file suffices, in a fresh one.

    python3 -m core.inference.runner FORMAT FILE [GRAPH]

is that fresh process: it reads batches from standard input, the number of examples before each, and writes their
outputs to standard output, as raw bytes.
"""
import contextlib
import os
import struct
import subprocess
import sys
import tempfile
from typing import Any, Callable, ContextManager, Dict, Optional

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.inference import onnx
from core.pretrained import h5
from core.device import call_of, cpu_session
from core.settings.table import ROOT
from core.training import weights

PB, SAVED_MODEL, H5, ONNX = 'pb', 'saved_model', 'h5', 'onnx'
FORMATS = (PB, SAVED_MODEL, H5, ONNX)
SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY

_COUNT = struct.Struct('<q')


class Runner:
    """An exported model, loaded. Called with a batch {input: array} it returns the output, [batch, ...] float32.

    graph: of the format h5, which holds weights alone: a MetaGraph file with the network's graph.
    fast(): the context in which the graph is built; it yields `configure` of core/device.py's cpu_session().
    Raises InputError when the file cannot be loaded.
    """

    def __init__(self, form: str, path: str, graph: Optional[str] = None,
                 fast: Callable[[], ContextManager] = contextlib.nullcontext) -> None:
        with tf.Graph().as_default(), fast() as configure:
            self.session = cpu_session(configure)
            try:
                inputs, self.output = _LOADERS[form](self.session, path, graph)
                self.inputs = {one.op.name: one for one in sorted(inputs, key=lambda one: one.op.name)}
            except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError('%s: cannot be loaded as %s: %s' % (path, form, str(error).splitlines()[0]))
        self._call = call_of(self.session, self.output, list(self.inputs.values()))

    def __call__(self, batch: Dict[str, np.ndarray]) -> np.ndarray:
        return self._call(*[batch[name] for name in self.inputs])

    def __enter__(self) -> 'Runner':
        return self

    def __exit__(self, *_: Any) -> None:
        self.session.close()


def _load_pb(session, path, graph):
    del session, graph
    graph_def = tf.GraphDef()
    try:
        with open(path, 'rb') as file:
            graph_def.ParseFromString(file.read())
    except Exception as error:  # protobuf's DecodeError is no ValueError in all of its versions
        raise ValueError(getattr(error, 'strerror', None) or 'no GraphDef: %s' % error)
    used = {one.split(':')[0] for node in graph_def.node for one in node.input}
    inputs = [node.name for node in graph_def.node if node.op == 'Placeholder']
    outputs = [node.name for node in graph_def.node if node.name not in used]
    if not inputs or len(outputs) != 1:
        raise ValueError('it has %d inputs and %d outputs; one output is needed' % (len(inputs), len(outputs)))
    *found, output = tf.import_graph_def(graph_def, return_elements=[n + ':0' for n in inputs + outputs], name='')
    return found, output


def _load_saved_model(session, path, graph):
    del graph
    signature = tf.saved_model.load(session, [tf.saved_model.tag_constants.SERVING], path).signature_def[SIGNATURE]
    (output,) = signature.outputs.values()
    *inputs, output = [session.graph.get_tensor_by_name(info.name) for info in [*signature.inputs.values(), output]]
    return inputs, output


def _load_h5(session, path, graph):
    tf.train.import_meta_graph(graph)
    weights.restore(session, h5.H5Reader(path), tf.global_variables())
    return tf.get_collection('inputs'), tf.get_collection('output')[0]


_LOADERS = {PB: _load_pb, SAVED_MODEL: _load_saved_model, H5: _load_h5}


class FreshRunner:
    """A Runner in a process of its own, as a context; shape: of its output, for a batch of any size.

    Raises InputError when that process fails, with the last line that it wrote.
    """

    def __init__(self, form: str, path: str, graph: Optional[str], shape: Any) -> None:
        self._form, self._path, self._graph, self._shape = form, path, graph, shape

    def __enter__(self) -> 'FreshRunner':
        self._errors = tempfile.TemporaryFile()
        of_form = onnx.serving() if self._form == ONNX else [sys.executable, '-m', 'core.inference.runner', self._form]
        paths = [os.path.abspath(path) for path in (self._path, self._graph) if path]
        self._process = subprocess.Popen(of_form + paths, cwd=ROOT,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        return self

    def __call__(self, batch: Dict[str, np.ndarray]) -> np.ndarray:
        count = len(next(iter(batch.values())))
        size = count * int(np.prod(self._shape[1:])) * np.dtype(np.float32).itemsize
        try:
            self._process.stdin.write(_COUNT.pack(count))
            for name in sorted(batch):
                self._process.stdin.write(np.ascontiguousarray(batch[name]).tobytes())
            self._process.stdin.flush()
            content = self._process.stdout.read(size)
        except BrokenPipeError:
            content = b''
        if len(content) != size:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().decode(errors='replace').split('\n')
            raise InputError('%s: a fresh process cannot run it: %s' % (
                self._path, next((line for line in reversed(lines) if line), 'no message')))
        return np.frombuffer(content, np.float32).reshape([count] + self._shape[1:])

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()


def _serve(form: str, path: str, graph: Optional[str] = None) -> None:
    """Computes batches until standard input ends; what TensorFlow prints goes to standard error."""
    answers = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
    with Runner(form, path, graph) as model:
        for header in iter(lambda: sys.stdin.buffer.read(_COUNT.size), b''):
            batch = {}
            for name, one in model.inputs.items():
                shape, dtype = [*_COUNT.unpack(header)] + one.shape.as_list()[1:], np.dtype(one.dtype.as_numpy_dtype)
                content = sys.stdin.buffer.read(int(np.prod(shape)) * dtype.itemsize)
                batch[name] = np.frombuffer(content, dtype).reshape(shape)
            answers.write(model(batch).tobytes())
            answers.flush()


if __name__ == '__main__':
    try:
        _serve(*sys.argv[1:])
    except InputError as refusal:
        sys.exit(str(refusal))
