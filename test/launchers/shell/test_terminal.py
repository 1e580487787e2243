"""test/train_*.sh under signals and on a terminal: the live line, Ctrl-C, hang-ups."""
import os
import pty
import signal
import subprocess
import sys

import pytest
from launching import ROOT, fake, is_running, launch, start, trainer_of, until


def test_ctrl_c_while_the_trainer_loads_tensorflow_ends_it_at_once(tmp_path):
    (tmp_path / 'tensorflow.py').write_text('import signal\nprint("loading", flush=True)\nsignal.pause()\n')
    trainer = subprocess.Popen([sys.executable, ROOT, 'train', '-h'], env=dict(os.environ, PYTHONPATH=str(tmp_path)),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert trainer.stdout.readline() == 'loading\n'
    trainer.send_signal(signal.SIGINT)
    assert 'Traceback' not in trainer.communicate()[1] and trainer.returncode == -signal.SIGINT


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_trainer_save_and_leaves_no_process_behind(workdir, number):
    launcher = start(workdir, **fake('stop'))
    trainer = trainer_of(workdir)
    launcher.send_signal(number)
    stderr = launcher.communicate()[1]
    assert launcher.returncode == 143 and not is_running(trainer)
    sent = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert 'checkpoint saved after signal %d\n' % sent in stderr
    assert not list((workdir / 'output' / '0').glob('*_perf*'))


def on_a_terminal(workdir, keys=b'', **options):
    """Runs a launcher on a terminal, types `keys` to a ready trainer; -> (status, screen)."""
    controller, terminal = pty.openpty()
    launcher = start(workdir, stdin=terminal, stdout=terminal, stderr=terminal,
                     preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(1), os.O_RDWR))),
                     **options)
    os.close(terminal)
    if keys:
        trainer_of(workdir)
        os.write(controller, keys)
    screen = b''
    while True:
        try:
            screen += os.read(controller, 4096)
        except OSError:  # EIO: everyone who held the terminal has ended
            break
    os.close(controller)
    return launcher.wait(), screen.decode()


def test_the_live_line_is_on_the_terminal_only(workdir):
    status, screen = on_a_terminal(workdir)
    assert status == 0 and 'the live line\r\n' in screen and 'Final result' in screen
    assert 'the live line' not in (workdir / 'output' / '0' / 'train_0.log').read_text()


@pytest.mark.parametrize('trainer_ends', ['well', 'badly'])
def test_a_run_survives_the_end_of_its_terminal_and_leaves_its_last_words_in_a_file(workdir, trainer_ends):
    controller, terminal = pty.openpty()
    launcher = start(workdir, stdin=terminal, stdout=terminal, stderr=terminal,
                     preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(1), os.O_RDWR))), **fake('wait'))
    os.close(terminal)
    trainer = trainer_of(workdir)
    os.close(controller)  # the kernel sends SIGHUP to the session, and every write to the terminal fails from now on
    os.kill(trainer, signal.SIGUSR1 if trainer_ends == 'well' else signal.SIGKILL)
    assert launcher.wait() == (0 if trainer_ends == 'well' else 137)
    last_words = (workdir / 'output' / '0' / 'nohup.out').read_text()
    assert ('Final Train Accuracy' if trainer_ends == 'well' else 'training ended with status 137') in last_words
    assert bool(list((workdir / 'output' / '0').glob('*_perf.log'))) == (trainer_ends == 'well')


def test_a_hangup_does_not_stop_a_launcher_whose_output_is_a_file(workdir):
    launcher = start(workdir, **fake('wait'))
    trainer = trainer_of(workdir)
    for process in (launcher.pid, trainer):
        os.kill(process, signal.SIGHUP)
    os.kill(trainer, signal.SIGUSR1)
    stdout, stderr = launcher.communicate()
    assert (launcher.returncode, stderr) == (0, '') and 'Final result' in stdout
    assert not (workdir / 'output' / '0' / 'nohup.out').exists()


def test_no_live_line_in_a_pipe(workdir):
    assert 'the live line' not in launch(workdir, environment={'LIVE_FD': '1'})[1]


def test_ctrl_c_on_a_terminal_reaches_the_trainer_once(workdir):
    status, screen = on_a_terminal(workdir, keys=b'\x03', **fake('stop'))
    assert status == 143
    assert screen.count('checkpoint saved after signal %d' % signal.SIGINT) == 1


@pytest.mark.slow
def test_ctrl_c_before_the_first_step_ends_without_a_traceback(real_workdir):
    launcher = start(real_workdir, '--train_epochs=1000')
    log = real_workdir / 'output' / '0' / 'train_0.log'
    until(lambda: log.exists() and log.stat().st_size)
    launcher.send_signal(signal.SIGINT)
    stderr = launcher.communicate()[1]
    assert launcher.returncode == 130 and 'Traceback' not in stderr
