"""test/train_*.sh where a device is in use: locks, their records, and what others have planted there."""
import fcntl
import os
import re
import signal

import pytest
from launching import fake, is_running, launch, start, trainer_of, tree, until


@pytest.mark.slow
def test_a_second_run_on_the_same_device_is_refused_even_if_the_launcher_was_killed(workdir):
    first = start(workdir, **fake('stop'))
    trainer = trainer_of(workdir)
    before = tree(workdir / 'output')
    refused = launch(workdir)
    assert re.search(r' \(process %d of user \S+ on \S+, started 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\); wait ' % first.pid,
                     refused[2])
    assert launch(workdir, device='1')[0] == 0
    first.kill()
    first.wait()
    refused_again = launch(workdir)
    assert 'it was killed, and its trainers have not ended yet' in refused_again[2]
    os.kill(trainer, signal.SIGTERM)
    for status, stdout, stderr in (refused, refused_again):
        assert (status, stdout) == (1, '')
        assert stderr.startswith('ASCEND_DEVICE_ID=0 is in use') and stderr.count('\n') == 1
    assert (workdir / 'output' / '0' / 'train_0.log').read_text().startswith(before['0/train_0.log'])
    until(lambda: not is_running(trainer))
    until(lambda: launch(workdir)[0] == 0)     # the watch over the trainer, which has the lock too, ends after it


@pytest.mark.parametrize('plant', ['link', 'FIFO'])
def test_a_lock_that_another_user_has_planted_is_refused_and_what_it_leads_to_stays(workdir, tmp_path, plant):
    lock, precious = tmp_path / 'ascend-device-0.lock', tmp_path / 'precious'
    precious.write_text('mine')
    if plant == 'link':
        lock.symlink_to(precious)
    else:
        os.mkfifo(str(lock))
    status, stdout, stderr = launch(workdir, '--device=npu', environment=dict(TMPDIR=str(tmp_path)))
    assert (status, stdout) == (2, '') and stderr.startswith('%s: ' % lock) and stderr.count('\n') == 1
    assert precious.read_text() == 'mine' and not (workdir / 'output' / '0').exists()


def test_the_record_of_a_lock_follows_no_link(workdir, tmp_path):
    precious = tmp_path / 'precious'
    precious.write_text('mine')
    (workdir / 'output').mkdir()
    (workdir / 'output' / ('.lock-0.%d' % os.getuid())).symlink_to(precious)
    assert launch(workdir)[0] == 0 and precious.read_text() == 'mine'


def test_the_bytes_of_another_users_record_are_shown_with_escapes(workdir):
    (workdir / 'output').mkdir()
    with open(str(workdir / 'output' / '.lock-0'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (workdir / 'output' / '.lock-0.4711').write_bytes(b'7 \x1b]0;x\x07\x1b[31mEVIL host 2026-01-01\n')
        status, _, stderr = launch(workdir)
    assert status == 1 and '\x1b' not in stderr and 'of user ^[]0;x^G^[[31mEVIL on host' in stderr


@pytest.mark.slow
def test_an_npu_in_use_is_refused_whatever_the_output_path(workdir, tmp_path):
    environment = dict(TMPDIR=str(tmp_path))
    first = start(workdir, '--device=npu', environment=dict(environment, FAKE_TRAINER='stop'))
    trainer = trainer_of(workdir)
    elsewhere = '--output_path=%s' % (workdir / 'elsewhere')
    status, stdout, stderr = launch(workdir, '--device=npu', elsewhere, environment=environment)
    assert (status, stdout) == (1, '') and stderr.startswith(
        'ASCEND_DEVICE_ID=0 is in use: another run trains on this NPU (process %d of user' % first.pid)
    assert launch(workdir, elsewhere, environment=environment)[0] == 0
    os.kill(trainer, signal.SIGTERM)
    assert first.wait() == 143
