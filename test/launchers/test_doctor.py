"""python3 -m launchers doctor: what it says of machines that have this and lack that."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from launching import ROOT, workdir_with

from launchers.ranks import rank_table
from launchers import doctor

PROBE = dict(python='3.7.16', tensorflow='1.15.0', cuda=False, kernels=True, versions=doctor._pins())
NPU_SMI = '''
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| 0     910B3               | OK            | 90.0        40                0    / 0             |
| 1     910B3               | Alarm         | 90.0        40                0    / 0             |
'''


@pytest.fixture
def machine(monkeypatch):
    """machine(answers): on which programs answer so, {first word of the command: output}."""
    def act(answers):
        monkeypatch.setattr(doctor, '_output', lambda command: answers.get(os.path.basename(command[0])))
    monkeypatch.setattr(doctor, '_ask_probe', lambda python: python and PROBE)
    monkeypatch.setattr(doctor, '_plan', lambda python, flags: doctor.Check('the run', doctor.OK, ' '.join(flags)))
    act({})
    return act


def examine(given=(), python='python3', **environ):
    """{name: Check} of a machine."""
    return {check.name: check for check in doctor.examine(dict(given), [], python, environ)}


def test_a_machine_without_an_npu_is_fine(machine, tmp_path):
    checks = examine({'output_path': str(tmp_path)})
    assert {check.state for check in checks.values()} <= {doctor.OK, doctor.WARNING}
    assert checks['NPU'].found.startswith('no Ascend software')
    assert checks['packages'].found == 'as in requirements.txt'
    assert checks['the run'].found == '--case=performance'


def test_a_cpu_without_compiled_kernels_is_warned_of(machine, monkeypatch):
    assert examine()['CPU kernels'].state == doctor.OK
    monkeypatch.setattr(doctor, '_ask_probe', lambda python: dict(PROBE, kernels=False))
    check = examine()['CPU kernels']
    assert check.state == doctor.WARNING and 'g++' in check.advice


def test_other_versions_than_the_tested_ones_are_named(machine, monkeypatch):
    versions = dict(PROBE['versions'], numpy='1.21.0', h5py=None)
    monkeypatch.setattr(doctor, '_ask_probe', lambda python: dict(PROBE, versions=versions))
    check = examine()['packages']
    assert check.state == doctor.WARNING and 'numpy 1.21.0' in check.found and 'missing: h5py' in check.found


def test_a_chip_in_alarm_and_an_adapter_that_does_not_load_are_faults(machine):
    machine({'npu-smi': NPU_SMI, 'python3': None})
    checks = examine()
    assert checks['npu-smi'].state == doctor.FAULT and '1: 910B3 Alarm' in checks['npu-smi'].found
    assert checks['CANN'].state == doctor.FAULT and checks['npu_bridge'].state == doctor.WARNING
    assert doctor._npu_bridge('python3', '/site/npu_bridge').state == doctor.FAULT


def test_the_versions_of_cann_and_its_driver_are_those_in_their_files(machine, tmp_path):
    machine({'npu-smi': NPU_SMI.replace('Alarm', 'OK')})
    for path, text in (('Ascend/ascend-toolkit/latest/x86_64-linux/ascend_toolkit_install.info', 'version=8.0.RC1'),
                       ('Ascend/driver/version.info', 'Version=24.1.rc1\n')):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text('package_name=x\n' + text)
    checks = examine(HOME=str(tmp_path), ASCEND_OPP_PATH='/opp')
    assert (checks['CANN'].found, checks['NPU driver'].found) == ('8.0.RC1', '24.1.rc1')
    assert checks['set_env.sh'].found == 'sourced' and checks['npu-smi'].found.endswith('(family A2)')
    assert examine(HOME=str(tmp_path))['set_env.sh'].state == doctor.WARNING


def test_what_a_run_would_refuse_is_a_fault_in_the_same_words(machine, tmp_path):
    table = tmp_path / 'table.json'
    table.write_text(json.dumps({'status': 'completed', 'server_count': '1', 'server_list': []}))
    blocked = tmp_path / 'file'
    blocked.write_text('')
    checks = examine({'data_path': str(tmp_path / 'no'), 'output_path': str(blocked / 'x'), 'rank_table': str(table)},
                     ASCEND_DEVICE_ID='nine')
    assert checks['data_path'].found == '--data_path=%s: no such directory' % (tmp_path / 'no')
    assert 'cannot be written' in checks['output_path'].found and checks['output_path'].state == doctor.FAULT
    assert checks['ASCEND_DEVICE_ID'].found.startswith('ASCEND_DEVICE_ID=nine (environment): must be')
    with pytest.raises(doctor.InputError) as refusal:
        rank_table.load(str(table))
    assert checks['rank table'].found == str(refusal.value)


def test_the_memory_is_held_against_what_the_ranks_of_the_network_take(machine):
    one, eight = examine({'network': 'swa'})['memory'], examine({'network': 'alexnet', 'rank_size': 100})['memory']
    assert one.state == doctor.OK and one.found.endswith('; 1 rank of swa on a CPU takes 0.4 GB')
    assert eight.state == doctor.FAULT and eight.found.endswith('; 100 ranks of alexnet on a CPU take 290.0 GB')
    unknown = examine({'network': 'mine.py', 'rank_size': 2})['memory']
    assert unknown.found.endswith('2 ranks of mine.py on a CPU take 5.8 GB')


def test_little_memory_warns_and_too_little_is_a_fault():
    states = [doctor._enough('memory', value, (2, 4), 'words', 'advice').state for value in (1, 3, 5)]
    assert states == [doctor.FAULT, doctor.WARNING, doctor.OK]


def test_a_flag_that_no_command_takes_is_refused_in_one_line(machine, capfd):
    assert doctor.main(['--speed=1'], {}) == 2
    assert capfd.readouterr().err.startswith('--speed: ')


def doctor_before_installation(tmp_path, *arguments):
    """(status, stdout, stderr) in a copy without .venv, started by a Python without packages."""
    copy = tmp_path / 'copy'
    for name in ('core', 'launchers'):
        shutil.copytree(os.path.join(ROOT, name), str(copy / name), ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('__main__.py', 'requirements.txt'):
        shutil.copy(os.path.join(ROOT, name), str(copy))
    for name in ('python3', 'python3.7'):
        (tmp_path / 'bin').mkdir(exist_ok=True)
        workdir_with(tmp_path / 'bin', os.path.join(sys.base_prefix, 'bin', 'python3'), '-I', '-S')
        (tmp_path / 'bin' / 'python').rename(tmp_path / 'bin' / name)
    done = subprocess.run(['python3', str(copy / 'launchers' / 'doctor.py'), *arguments], cwd=str(tmp_path),
                          env={'PATH': '%s:%s' % (tmp_path / 'bin', os.environ['PATH'])},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert not (copy / '.venv').exists()
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_before_installation_it_knows_its_flags_and_installs_nothing(tmp_path):
    status, stdout, stderr = doctor_before_installation(tmp_path, '--json', '--data_path=/no/data')
    checks = {check['name']: check for check in json.loads(stdout)}
    assert status == 1 and checks['TensorFlow']['state'] == doctor.FAULT and checks['disk']['found']
    assert checks['data_path']['found'] == '--data_path=/no/data: no such directory'
    status, stdout, stderr = doctor_before_installation(tmp_path / 'again', '--netwrok=alexnet')
    assert (status, stdout) == (2, '') and stderr.splitlines()[-1].startswith('--netwrok: unknown flag')
