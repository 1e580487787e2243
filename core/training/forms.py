"""Forms: the types and shapes of the tensors of a nest (a tensor, a tuple or a dict of nests), without values."""
import json
from typing import Any

import tensorflow as tf
from tensorflow.python.util import nest as nests

from core import files


def of(nest: Any) -> Any:
    """The form of a batch: a nest of tf.TensorSpec, with shapes that lack the batch."""
    return tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape[1:], tensor.dtype.base_dtype), nest)


def named(form: Any, name: str, batch: Any) -> Any:
    """The form of batches of `batch` examples (None: any number); a tensor is called `name`, in a dict by its key."""
    parts = [tf.TensorSpec([batch] + spec.shape.as_list(), spec.dtype, path.replace('/', '_') if path else name)
             for path, spec in nests.flatten_with_joined_string_paths(form)]
    parts = [tf.TensorSpec(spec.shape, spec.dtype, '%s_%s' % (name, spec.name) if spec.name[0].isdigit() else spec.name)
             for spec in parts]
    return tf.nest.pack_sequence_as(form, parts)


def placeholders(form: Any) -> Any:
    """The nest of placeholders of a form of named()."""
    return tf.nest.map_structure(lambda spec: tf.placeholder(spec.dtype, spec.shape, spec.name), form)


def text(form: Any) -> str:
    """A form of of() as JSON."""
    def plain(nest):
        if isinstance(nest, dict):
            return {name: plain(part) for name, part in nest.items()}
        if isinstance(nest, tuple):
            return list(map(plain, nest))
        return ' '.join([nest.dtype.name] + list(map(str, nest.shape.as_list())))
    return json.dumps(plain(form))


def read(written: str) -> Any:
    """The form that text() has written. Raises ValueError or TypeError for other text."""
    def made(nest):
        if isinstance(nest, dict):
            return {name: made(part) for name, part in nest.items()}
        if isinstance(nest, list):
            return tuple(map(made, nest))
        if not isinstance(nest, str):
            raise ValueError('is no form of tensors')
        dtype, *shape = nest.split() or ['']
        return tf.TensorSpec(list(map(int, shape)), tf.as_dtype(dtype))
    return made(files.json_of(written))
