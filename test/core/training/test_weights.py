"""The notes of a checkpoint, written and read without a file."""
import json

import numpy as np
import pytest
import tensorflow as tf

from core.errors import InputError
from core.training import forms, weights

FORM = forms.of((tf.zeros([2, 3]), {'ids': tf.zeros([2], tf.int64)}))


class DictReader:
    """Reads variables from {name: array}."""

    def __init__(self, arrays):
        self.has_tensor, self.get_tensor = arrays.__contains__, arrays.__getitem__
        self.get_variable_to_shape_map = lambda: {name: array.shape for name, array in arrays.items()}


def noted(**changed):
    """(the variables of the notes, a reader of what they hold); changed: {part of a name: another text}."""
    with tf.Graph().as_default():
        values = weights.add_notes(['one', '二'], FORM, {'mean': np.float32([1, 2])}, {'network': 'toy'})
        found = weights.notes()
        assert set(found) == set(values) and not tf.trainable_variables()
    arrays = {variable.op.name: value for variable, value in values.items()}
    for part, text in changed.items():
        name, = [name for name in arrays if part in name]
        arrays[name] = np.array(list(map(ord, text)), np.int32)
    return found, DictReader(arrays)


def test_notes_are_variables_that_nothing_trains_and_are_read_as_they_were_written():
    variables, reader = noted()
    assert all(weights.is_note(variable.op.name) for variable in variables)
    assert weights.class_names(reader) == ('one', '二') and weights.flags(reader) == {'network': 'toy'}
    assert weights.input_form(reader) == FORM
    assert {name: value.tolist() for name, value in weights.constants(reader).items()} == {'mean': [1, 2]}


def test_a_checkpoint_without_notes_tells_nothing():
    reader = DictReader({'toy/kernel': np.zeros(3)})
    assert (weights.class_names(reader), weights.flags(reader), weights.input_form(reader), weights.constants(reader)
            ) == ((), {}, None, {})


@pytest.mark.parametrize('text', ['[]', '{"a": 1}', '{"a": "b", "c": []}', 'null', 'x'])
def test_flags_that_are_no_texts_are_refused(text):
    with pytest.raises(InputError, match='--ckpt_path: .* of the checkpoint: '):
        weights.flags(noted(flags=text)[1])


@pytest.mark.parametrize('names', [{}, 'a', ['a', 1], None])
def test_class_names_that_are_none_are_refused(names):
    with pytest.raises(InputError, match='class_names of the checkpoint: is no list of names'):
        weights.class_names(noted(class_names=json.dumps(names))[1])
