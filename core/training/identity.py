"""Run identity: are all ranks, and this checkpoint, the same run?

Ranks that were given different flags or data would wait for each other for ever, and a run that is resumed on another
sequence of batches would learn something else. So ranks compare the checksums of their flags, and a checkpoint holds
the facts of its run: whole numbers that fix the sequence of batches, as variables `run_facts/NAME`.
"""
import zlib
from typing import Any, Dict, Iterable, List

import tensorflow as tf

from core.errors import InputError
from core.run import Reader
from core.settings.config import Config, typed
from core.settings.table import MOST, SWITCHES, Switch

FACTS = 'run_facts/'
INPUT_FORM = 'input_form'      # the fact that is a checksum of the form of the inputs, which has the size of images
FLAG_NOTE = 'notes/flags'      # the note of flags_of(), which a run that goes on writes anew


def _rows(config: Config) -> List[Switch]:
    """The rows of what this run has."""
    return [row for row in (*SWITCHES, *config.own) if hasattr(config, row.name)]


def checksums(config: Config) -> Dict[str, int]:
    """{switch: whole number} of the switches that must have the same values on all ranks."""
    return {row.name: checksum(getattr(config, row.name)) for row in _rows(config) if row.agree}


def check_flags(config: Config, own: Iterable[int], of_rank_0: Iterable[int]) -> None:
    """Raises InputError when a checksum is another than on rank 0.

    Called before the graph is built; on NPUs, where rendezvous() exchanges nothing, again with the weights.
    """
    for name, here, there in zip(checksums(config), own, of_rank_0):
        if here != there:
            raise InputError('%s: rank 0 has another value; give all ranks the same flags' % typed(
                name, getattr(config, name)))


def check_facts(own: Dict[str, int], of_rank_0: Dict[str, int]) -> None:
    """Raises InputError when a fact of this rank's run is another than on rank 0."""
    for name, here in own.items():
        if here != of_rank_0[name]:
            raise InputError('%s is %d here and %d on rank 0: give all ranks the same flags and data' % (
                name, here, of_rank_0[name]))


def facts_of(config: Config) -> Dict[str, int]:
    """The facts that follow from `config`; texts are stored as CRC-32."""
    values = {row.name: getattr(config, row.name) for row in _rows(config) if row.kept}
    facts = {name: value if isinstance(value, int) else checksum(value) for name, value in values.items()}
    return dict(facts, ranks=config.ranks)


def flags_of(config: Config) -> Dict[str, str]:
    """{flag: its value as text} of those that fix the network and its data, for the commands that take a checkpoint."""
    values = config.values()
    names = [name for name in ('network', 'task', 'trunk', *(row.name for row in config.own if row.agree))
             if name in values]
    return {name: str(values[name]) for name in names if isinstance(values[name], (str, int, float))}


def add_facts(**facts: int) -> None:
    """Adds the facts to the graph, and so to every checkpoint."""
    for name, value in sorted(facts.items()):
        tf.get_variable(FACTS + name, initializer=tf.constant(value, tf.int64), trainable=False)


def facts() -> Dict[str, tf.Variable]:
    """{name: variable} of what add_facts() has added."""
    return {variable.op.name[len(FACTS):]: variable for variable in tf.global_variables(FACTS)}


def fact(reader: Reader, name: str, default: Any = None) -> Any:
    """A fact of the run that wrote the checkpoint behind tf.train.NewCheckpointReader `reader`."""
    return int(reader.get_tensor(FACTS + name)) if reader.has_tensor(FACTS + name) else default


def check_checkpoint(path: str, reader: Reader, config: Config, own: Dict[str, int]) -> None:
    """Raises InputError when the checkpoint's run used another sequence of batches; own: the facts of this run."""
    for name, here in own.items():
        # The defaults are for checkpoints of versions before these facts.
        there = fact(reader, name, {INPUT_FORM: here, 'validation': checksum(None)}.get(name))
        if there != here:
            is_number = name != INPUT_FORM and isinstance(getattr(config, name, here), int)
            word = 'inputs of another shape or type (--image_size)' if name == INPUT_FORM else 'another %s%s' % (
                '--' if name in facts_of(config) else '', name)
            found = '%s=%s, this one %d' % (name, there, here) if is_number else word
            raise InputError('--resume: the run in %s has %s; resume it as it was started' % (path, found))


def checksum(value: Any) -> int:
    """A whole number from 0 to MOST; different values have different numbers, but for one pair in 2 ** 31."""
    return zlib.crc32(repr(value).encode()) & MOST
