"""Weights from a checkpoint or an HDF5 file, and the notes on what inference needs beside them.

Notes are variables too, so that they are saved, resumed and sent to other ranks with the rest:
    notes/class_names       int32: the characters of a JSON list of texts
    notes/inputs            int32: the characters of the form of the network's inputs (forms.py)
    notes/flags             int32: the characters of a JSON object of the flags that fix the network (identity.py)
    notes/constants/NAME    float32: a constant of the preprocessing that the training data fixed
"""
import json
import re
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError
from core.run import Reader, Run
from core.training import forms, identity

_NOTES = 'notes/'
_CLASS_NAMES = _NOTES + 'class_names'
_INPUTS = _NOTES + 'inputs'
_CONSTANTS = _NOTES + 'constants/'


def restore(session: tf.Session, reader: Reader, variables: Sequence[tf.Variable]) -> None:
    """Gives the variables their values in a checkpoint or HDF5 file; adds nothing to the graph."""
    assign(session, values(reader, variables))


def assign(session: tf.Session, given: Mapping[tf.Variable, np.ndarray]) -> None:
    """Gives variables these values; adds nothing to the graph."""
    session.run([v.initializer for v in given], {v.initializer.inputs[1]: value for v, value in given.items()})


def values(reader: Reader, variables: Sequence[tf.Variable]) -> Dict[tf.Variable, np.ndarray]:
    """{variable: its value in a checkpoint or HDF5 file}."""
    return {v: reader.get_tensor(v.op.name) for v in variables}


def add_notes(class_names: Sequence[str], form: Any, constants: Mapping[str, np.ndarray],
              flags: Mapping[str, str]) -> Dict[tf.Variable, np.ndarray]:
    """Adds the variables of the notes to the graph; returns their values, which no GraphDef holds.

    form: of the inputs of a test, forms.of(); flags: identity.flags_of().
    """
    texts = {_CLASS_NAMES: json.dumps(list(class_names)), _INPUTS: forms.text(form),
             identity.FLAG_NOTE: json.dumps(flags)}
    notes = dict({name: np.array(list(map(ord, text)), np.int32) for name, text in texts.items()},
                 **{_CONSTANTS + name: value for name, value in constants.items()})
    return {tf.get_variable(name, value.shape, value.dtype, tf.zeros_initializer(), trainable=False): value
            for name, value in notes.items()}


def notes() -> List[tf.Variable]:
    """The variables that add_notes() has added to the graph."""
    return tf.global_variables(re.escape(_NOTES))


def for_inference(run: Run) -> List[tf.Variable]:
    """What a checkpoint of the network alone holds: its variables, the facts of the run and the notes."""
    return run.step.model_variables + list(identity.facts().values()) + notes()


def is_note(name: str) -> bool:
    """Whether a variable is a note or a fact of the run, by its path."""
    return name.startswith((_NOTES, identity.FACTS))


def class_names(reader: Reader) -> Tuple[str, ...]:
    """The names of a checkpoint's classes; () for one that does not tell. Raises InputError when they are no names."""
    def checked(text):
        names = files.json_of(text)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError('is no list of names')
        return tuple(names)
    return _noted(reader, _CLASS_NAMES, checked) or ()


def flags(reader: Reader) -> Dict[str, str]:
    """{flag: its value as text} of the run that wrote a checkpoint, identity.flags_of(); {} where it does not tell.

    Raises InputError when they are no flags.
    """
    def checked(text):
        found = files.json_of(text)
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError('is no object of texts')
        return found
    return _noted(reader, identity.FLAG_NOTE, checked) or {}


def input_form(reader: Reader) -> Any:
    """The form of the inputs of a checkpoint's network (forms.of()); None for one that does not tell.

    Raises InputError when it is no form.
    """
    return _noted(reader, _INPUTS, forms.read)


def _noted(reader, name, read):
    """read(text of a note), None without the note. Raises InputError where read() raises ValueError or TypeError."""
    if not reader.has_tensor(name):
        return None
    try:
        return read(''.join(map(chr, reader.get_tensor(name))))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError('--ckpt_path: %s of the checkpoint: %s; give one that this program wrote' % (name, error))


def constants(reader: Reader) -> Dict[str, np.ndarray]:
    """{name: constant} of a checkpoint's preprocessing."""
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(_CONSTANTS)]
    return {name[len(_CONSTANTS):]: reader.get_tensor(name) for name in names}
