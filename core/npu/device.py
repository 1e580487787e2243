"""NPU: the Device of a machine with an Ascend NPU and npu_bridge."""
from typing import Tuple

import tensorflow as tf

from core.device import Device, Hooks
from core.npu import bridge
from core.npu.session import session_config
from core.settings.config import Config


class _LoadIterations(tf.train.SessionRunHook):
    """Tells the loop on the NPU how many steps it has, once its variable is initialised."""

    def __init__(self, load, steps):
        self._load, self._steps = load, steps

    def after_create_session(self, session, coord):
        self._load(session, self._steps)


def _check(config: Config) -> None:
    if config.ranks > 1:
        bridge.check_environment()


def _loop(train_op: tf.Operation, steps: int) -> Tuple[tf.Operation, Hooks]:
    if steps == 1:
        return train_op, []
    looped_train_op, load = bridge.loop_on_device(train_op)
    return looped_train_op, [_LoadIterations(load, steps)]


NPU = Device(
    name='npu',
    session_config=lambda options, config: session_config(options),
    dropout=lambda config, global_step: lambda x, rate: bridge.dropout(x, 1 - rate),
    check=_check,
    steps_per_run=lambda options: options.get('iterations_per_loop', 1),
    loop=_loop,
    has_hccl=True,
    is_exclusive=True)
