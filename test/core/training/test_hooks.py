"""The live line and what ends a run early, by hand-made steps."""
import io
import os
import pty
import signal
import termios
from types import SimpleNamespace

import pytest

from core.errors import Interrupted
from core.run import Clock
from core.training import hooks


@pytest.mark.parametrize('columns, shown', [(20, 19), (0, 79), (200, 99)])
def test_the_live_line_is_one_shorter_than_its_terminal_is_wide_so_that_it_never_wraps(columns, shown):
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns)) if hasattr(termios, 'tcsetwinsize') else _set_columns(
        terminal, columns)
    with os.fdopen(terminal, 'w') as stream:
        hooks.LiveLine(Clock(20, 10), None, 8, stream)._show('x' * 77)
        drawn = os.read(controller, 1000).decode()
    os.close(controller)
    line = 'epoch 1/2  step 0/20  ' + 'x' * 77
    assert drawn == '\x1b[2K%s\r' % line[:shown]


def _set_columns(terminal, columns):
    import fcntl
    import struct
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))


def test_the_live_line_has_the_speed_the_loss_and_the_time_that_is_left():
    clock = SimpleNamespace(steps=4000, step=10, epoch=0, epochs=4, seconds_per_step=2., at_end=False)
    stream = io.StringIO()
    hooks.LiveLine(clock, None, 8, stream).after_run(None, SimpleNamespace(results=.5))
    assert stream.getvalue() == '\x1b[2Kepoch 1/4  step 10/4000  4.0 images/s  loss 0.5000  2:13:00 left\r'


@pytest.mark.parametrize('received, requests, at_end, expected', [
    (signal.SIGINT, 1., False, signal.SIGINT), (None, 1., False, signal.SIGTERM), (None, 0., False, None),
    (signal.SIGINT, 1., True, None), (signal.SIGINT, 0., False, None)])
def test_a_run_saves_and_ends_when_any_rank_asks_for_it_with_its_own_signal_if_it_got_one(
        received, requests, at_end, expected):
    saved, context = [], SimpleNamespace(session='session')
    hook = hooks.StopOnSignal(SimpleNamespace(at_end=at_end, step=7), None, saved.append)
    hook._receive(received, None)
    if expected:
        with pytest.raises(Interrupted, match='%s: stopped after step 7; ' % expected.name):
            hook.after_run(context, SimpleNamespace(results=requests))
    else:
        hook.after_run(context, SimpleNamespace(results=requests))
    assert saved == ['session'] * bool(expected)
