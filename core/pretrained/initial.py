"""Initial values of a network's variables from weights that are there already: --ckpt_path, --init_map, --finetune.

Without the latter two the file must have every variable of the network. --init_map renames what is in the file and
takes what fits; --finetune takes what fits, too, and the classifier only for the very same classes.
"""
import re
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from core import files, operators
from core.errors import InputError
from core.log import say
from core.pretrained import found
from core.recipe import FIRST_OUTPUT
from core.settings.config import Config
from core.training import checkpoints, weights

_NAMED = 8                     # a line names at most so many variables


def values(config: Config, variables: Sequence[tf.Variable]) -> Dict[tf.Variable, np.ndarray]:
    """{variable: its value in the file that --ckpt_path names} of the model variables of the default graph.

    A line of the log has what starts fresh, what the file lacks, and what of it is not used. Raises InputError when the
    file is not there, damaged, or of another network.
    """
    path, reader, names = _renamed(config)
    if not (config.finetune or config.init_map):
        checkpoints.check_fits(path, reader, variables, config.network)
        say('weights from checkpoint: %s' % path)
        return weights.values(reader, variables)
    operators.tell_unlisted(tf.get_default_graph().get_operations())
    shapes = {new: reader.get_variable_to_shape_map()[old] for new, old in names.items()}
    starts_anew = config.finetune and weights.class_names(reader) != config.class_names
    of_classifier = [v.op.name for v in classifier(variables)]
    fresh = of_classifier if starts_anew else []
    taken = [v for v in variables if shapes.get(v.op.name) == v.shape.as_list() and v.op.name not in fresh]
    if not {v.op.name for v in taken} - set(of_classifier):
        raise InputError(no_variable(path, variables[0].op.name, config))
    say('%d variables from checkpoint: %s' % (len(taken), path))
    used = {v.op.name for v in taken}
    rest = [v.op.name for v in variables if v.op.name not in used and v.op.name not in fresh]
    _tell('the classifier starts fresh, for its classes are not those of the checkpoint', fresh)
    _tell('not in the checkpoint, start fresh', [name for name in rest if name not in shapes])
    _tell('of another shape in the checkpoint, start fresh', [name for name in rest if name in shapes])
    _tell('in the checkpoint and not used', [names[name] for name in _of_networks(shapes) if name not in used])
    return {v: reader.get_tensor(names[v.op.name]) for v in taken}


def check(config: Config, variables: Sequence[tf.Variable]) -> None:
    """Raises InputError unless --ckpt_path has what a training of these model variables can start from."""
    path, reader, names = _renamed(config)
    if config.finetune or config.init_map:
        shapes = reader.get_variable_to_shape_map()
        if not any(shapes.get(names.get(v.op.name)) == v.shape.as_list() for v in variables):
            raise InputError(no_variable(path, variables[0].op.name, config))
    else:
        checkpoints.check_fits(path, reader, variables, config.network)


def no_variable(path: str, name: str, config: Config) -> str:
    """The message that a file has no variable of the network, as of which the variable `name` is one."""
    return '--ckpt_path=%s: holds no variable of this network (%s, ...) in its shape; %s' % (
        path, name, 'change --init_map=%s' % config.init_map if config.init_map else
        'give a checkpoint of the same network, or --init_map=FILE for one with other names')


def classifier(variables: Sequence[tf.Variable]) -> List[tf.Variable]:
    """Those of `variables` that belong to the layer of the first output of the net in the default graph: its weights and
    what is added to their product."""
    names, seen = [], set()
    waiting = [tensor.op for tensor in tf.get_collection(FIRST_OUTPUT)]
    while waiting:
        op = waiting.pop()
        if op not in seen:
            seen.add(op)
            if operators.row(op.type).has('variable'):
                names.append(op.name)
            inputs = op.inputs[1:] if operators.row(op.type).has('layer') else op.inputs
            waiting.extend(tensor.op for tensor in inputs)
    return [v for v in variables if v.op.name in names]


def _renamed(config: Config) -> Tuple[str, Any, Dict[str, str]]:
    """(path, reader, {name that --init_map gives: name in the file}) of --ckpt_path."""
    path, reader = found.find(config.ckpt_path)
    lines = _lines(config.init_map) if config.init_map else []
    names: Dict[str, str] = {}
    idle = {pattern.pattern for pattern, _ in lines}
    for old in sorted(reader.get_variable_to_shape_map()):
        match, new = next(((m, new) for m, new in ((p.fullmatch(old), new) for p, new in lines) if m), (None, None))
        new = match.expand(new) if match else old
        if match:
            idle.discard(match.re.pattern)
        if new in names:
            raise InputError('--init_map=%s: %s and %s both become %s' % (config.init_map, names[new], old, new))
        names[new] = old
    for pattern in sorted(idle):
        say('--init_map: no variable of the checkpoint is called %s' % pattern)
    return path, reader, names


def _lines(path):
    """[(pattern, new name)] of the file of --init_map: a line each, `#` starts a comment."""
    lines = []
    try:
        for number, line in enumerate(files.text(path).splitlines(), 1):
            words = line.partition('#')[0].split()
            if len(words) not in (0, 2):
                raise ValueError('line %d has %d words; write a pattern of names in the checkpoint and the new name' % (
                    number, len(words)))
            if words:
                try:
                    lines.append((re.compile(words[0]), words[1]))
                    re.sub(words[0], words[1], '')
                except (re.error, IndexError, RecursionError, OverflowError) as error:
                    raise ValueError('line %d is no regular expression with its replacement: %s' % (number, error))
    except ValueError as error:
        raise InputError('--init_map=%s: %s' % (path, error)) from None
    return lines


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        say('%s: %s%s' % (what, ', '.join(names[:_NAMED]), ', ... (%d)' % len(names) if len(names) > _NAMED else ''))


def _of_networks(shapes: Dict[str, List[int]]) -> List[str]:
    """The names of networks' variables: in a scope, and neither an optimizer's slot, which lies under its variable, nor
    an average, which has its variable's path under another scope, nor a note."""
    def is_of_training(name):
        return name.rpartition('/')[0] in shapes or name.partition('/')[2] in shapes or weights.is_note(name)
    return sorted(name for name in shapes if '/' in name and shapes[name] and not is_of_training(name))
