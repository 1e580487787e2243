"""Fine-tuning: a network's backbone from a checkpoint, its classifier from there only for the very same classes."""
from typing import Any, Dict, List, Sequence

import numpy as np
import tensorflow as tf

from core import operators
from core.errors import InputError
from core.log import say
from core.settings.config import Config
from core.training import weights

_NAMED = 8                     # a line names at most so many variables


def classifier(logits: tf.Tensor, variables: Sequence[tf.Variable]) -> List[tf.Variable]:
    """Those of `variables` that belong to the layer of `logits`: its weights and what is added to their product."""
    names, waiting, seen = [], [logits.op], set()
    while waiting:
        op = waiting.pop()
        if op not in seen:
            seen.add(op)
            if operators.row(op.type).has('variable'):
                names.append(op.name)
            inputs = op.inputs[1:] if operators.row(op.type).has('layer') else op.inputs
            waiting.extend(tensor.op for tensor in inputs)
    return [v for v in variables if v.op.name in names]


def values(path: str, reader: Any, step: Any, config: Config) -> Dict[tf.Variable, np.ndarray]:
    """{model variable of a Step: its value in the checkpoint}; the classifier's are there for the same classes only.

    Says in one line each what starts fresh, what the checkpoint lacks, and what of it is not used.
    Raises InputError when not one variable of the backbone is in the checkpoint.
    """
    operators.tell_unlisted(step.model_variables[0].graph.get_operations())
    variables, of_classifier = step.model_variables, [v.op.name for v in step.classifier]
    same_classes = weights.class_names(reader) == config.class_names
    shapes = reader.get_variable_to_shape_map()
    fits = {v.op.name: shapes.get(v.op.name) == v.shape.as_list() for v in variables}
    fresh = [] if same_classes else of_classifier
    taken = [v for v in variables if fits[v.op.name] and v.op.name not in fresh]
    if not {v.op.name for v in taken} - set(of_classifier):
        raise InputError('--ckpt_path=%s: holds no variable of this network (%s, ...); give a checkpoint of the same '
                         'network' % (path, variables[0].op.name))
    say('%d variables from checkpoint: %s' % (len(taken), path))
    rest = [v.op.name for v in variables if v.op.name not in fresh]
    _tell('the classifier starts fresh, for its classes are not those of the checkpoint', fresh)
    _tell('not in the checkpoint, start fresh', [name for name in rest if name not in shapes])
    _tell('of another shape in the checkpoint, start fresh', [n for n in rest if n in shapes and not fits[n]])
    used = {v.op.name for v in taken}
    _tell('in the checkpoint and not used', [name for name in _of_networks(shapes) if name not in used])
    return weights.values(reader, taken)


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        say('%s: %s%s' % (what, ', '.join(names[:_NAMED]), ', ... (%d)' % len(names) if len(names) > _NAMED else ''))


def _of_networks(shapes: Dict[str, List[int]]) -> List[str]:
    """The names of networks' variables: in a scope, and neither an optimizer's slot, which lies under its variable, nor
    an average, which has its variable's path under another scope, nor a note."""
    def is_of_training(name):
        return name.rpartition('/')[0] in shapes or name.partition('/')[2] in shapes or weights.is_note(name)
    return sorted(name for name in shapes if '/' in name and shapes[name] and not is_of_training(name))
