"""launchers/shell/set_up.sh builds .venv once, and anew where it has to, on machines made of stubs."""
import os
import re

import pytest
from launching import ROOT


def test_new_requirements_rebuild_the_venv(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / 'requirements.lock').write_text('tensorflow==1.15.5\n')
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2


def test_a_venv_whose_python_is_gone_is_rebuilt(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    os.remove(machine.venv_python)
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2


def test_a_failed_set_up_shows_pips_last_words_and_is_done_again(machine):
    machine.add_python(machine.bin / 'python3.7')
    status, python, stderr = machine.find_python(STUB_PIP_STATUS='1')
    assert (status, python) == (1, '') and 'pip says: line 1\n' in stderr
    assert stderr.splitlines()[-1].startswith('setting up %s/.venv failed' % machine.repo)
    (machine.repo / '.venv.new' / 'half-built').write_text('')
    assert machine.find_python()[0] == 0 and machine.set_ups() == 2
    assert not (machine.repo / '.venv' / 'half-built').exists()


@pytest.mark.parametrize('fault', ['STUB_PIP_STATUS', 'STUB_BROKEN'])
def test_a_set_up_that_fails_leaves_the_venv_that_was_there(machine, fault):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / '.venv' / 'precious').write_text('')
    (machine.repo / 'requirements.lock').write_text('tensorflow==1.15.5\n')
    status, _, stderr = machine.find_python(**{fault: '1'})
    assert status == 1 and 'what was there is as before' in stderr
    assert (machine.repo / '.venv' / 'precious').exists()
    (machine.repo / 'requirements.lock').write_text('pip==24.0\ntensorflow==1.15.0\n')
    assert machine.find_python() == (0, machine.venv_python, '') and (machine.repo / '.venv' / 'precious').exists()


def test_a_set_up_that_was_killed_between_its_last_steps_has_lost_nothing(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.find_python()
    (machine.repo / '.venv').rename(machine.repo / '.venv.old')
    assert machine.find_python() == (0, machine.venv_python, ''.join(
        'setting up %s/.venv: once, a minute or two\n' % machine.repo)) and machine.set_ups() == 1


@pytest.mark.parametrize('kind', ['link', 'link to nothing', 'fifo'])
def test_a_set_up_does_not_lock_what_another_has_put_in_the_place_of_the_lock(machine, kind):
    machine.add_python(machine.bin / 'python3.7')
    lock, victim = machine.repo / '.venv.lock', machine.home / 'victim'
    if kind == 'link':
        victim.write_text('precious')
    if kind == 'fifo':
        os.mkfifo(str(lock))
    else:
        lock.symlink_to(victim)
    assert machine.find_python() == (1, '', '%s: is no plain file, so it cannot be locked; remove it\n' % lock)
    assert machine.set_ups() == 0 and victim.exists() == (kind == 'link')
    assert kind != 'link' or victim.read_text() == 'precious'


def test_requirements_and_lock_file_name_the_same_versions_and_every_package_has_checksums():
    for directory in (ROOT, os.path.join(ROOT, 'core', 'cpu', 'kernels')):
        with open(os.path.join(directory, 'requirements.txt')) as short, \
                open(os.path.join(directory, 'requirements.lock')) as whole:
            wanted = set(re.findall(r'^[\w.-]+==\S+', short.read().lower(), re.M))
            packages = re.findall(r'^([\w.-]+==\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$', whole.read(), re.M)
            whole.seek(0)
            assert len(packages) == len(re.findall('^[a-z]', whole.read(), re.M)) >= len(wanted) > 0
        assert wanted <= {name for name, _ in packages}


def test_an_interrupted_set_up_is_done_again(machine):
    machine.add_python(machine.bin / 'python3.7')
    machine.start_and_kill(STUB_PIP_WAITS='1')
    assert machine.find_python()[:2] == (0, machine.venv_python) and machine.set_ups() == 2


def test_launchers_at_once_build_one_venv(machine):
    machine.add_python(machine.bin / 'python3.7')
    processes = [machine.start() for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == [
        machine.venv_python] * 3
    assert machine.set_ups() == 1
