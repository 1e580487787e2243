"""What this machine has and what is wrong with it: python3 -m launchers doctor [--json] [--flag=value ...].

Each line is ok, a warning or a fault; the exit status is 1 when there is a fault, 2 for flags that no command takes.
Works where neither TensorFlow nor any other package is installed.
"""
import glob
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'doctor'] + sys.argv[1:])

from core.errors import InputError
from core.ascend import machine
from core.settings import config, flags, kinds, paths
from core.settings.table import NO_DATA, ROOT, SWITCHES, SYNTHETIC, Switch, switch
from launchers import command
from launchers.ranks import placement, rank_table

OK, WARNING, FAULT = 'ok', 'warning', 'fault'
GIGA = 1e9
# Peak bytes of a rank on CPU cores at the batch size of its recipe, measured, with the data set; a network that is not
# here is taken for the largest.
MEMORY = {'cspnet': 1.6 * GIGA, 'cutmix': 1.7 * GIGA, 'sesemi': 2.7 * GIGA, 'swa': .4 * GIGA, 'alexnet': 2.9 * GIGA}
SPARE = 1.25                           # times what the ranks take, below which other programs may end them
DISK = (1 * GIGA, 10 * GIGA)           # bytes: too few for any run's checkpoints, enough for every run's
SECONDS = 120                          # that a program may take
OWN_SWITCHES = (Switch('doctor', 'json', kinds.boolean(), False, 'print a JSON list'),)
USAGE = command.Usage(
    'python3 -m launchers doctor [--json] [--network=NAME] [--flag=value ...]',
    'Says what this machine has and what is wrong with it: Python and TensorFlow, processor, memory, GPU, the Ascend\n'
    'software, ports, paths, disk, and whether the run of the given flags could start (without --case and --data_path\n'
    'a performance run). The exit status is 1 when something is a fault. All flags of training are taken.',
    OWN_SWITCHES, ('network', 'data_path', 'output_path', 'batch_size', 'rank_size', 'rank_table'))
# The probe runs in the Python of the launchers and prints one JSON object.
_PROBE = """
import importlib.util, json, sys
names = sys.argv[1:]
found = {'python': sys.version.split()[0], 'versions': {}}
for name in names:
    try:
        import pkg_resources
        found['versions'][name] = pkg_resources.get_distribution(name).version
    except Exception:
        found['versions'][name] = None
import tensorflow as tf
found['tensorflow'] = tf.__version__
found['cuda'] = tf.test.is_built_with_cuda()
if importlib.util.find_spec('core.cpu'):
    from core.cpu import kernels
    found['kernels'] = kernels.library() is not None
print(json.dumps(found))
"""


class Check(NamedTuple):
    """A line of the page."""
    name: str
    state: str                     # OK, WARNING or FAULT
    found: str
    advice: str = ''               # what to do about it


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the page; returns the exit status."""
    def act():
        own, of_training = flags.parse_known(argv, OWN_SWITCHES)
        given = _parse(of_training)
        checks = list(examine(given, of_training, python_with_tensorflow(), environ))
        print(json.dumps([check._asdict() for check in checks], indent=1, ensure_ascii=False) if own.get('json')
              else page(checks))
        return int(any(check.state == FAULT for check in checks))
    return command.status_of(act, argv, USAGE)


def _parse(argv):
    if flags.network_in(argv).get('network', '').endswith('.py'):   # the plan checks the switches that it brings
        return flags.parse_known(argv, SWITCHES)[0]
    return flags.parse(argv)


def page(checks: Sequence[Check]) -> str:
    """The checks as text."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append('%-7s  %-*s  %s' % (check.state, width, check.name, check.found))
        if check.advice:
            lines.append('%s  -> %s' % (' ' * (9 + width), check.advice))
    counts = [sum(check.state == state for check in checks) for state in (FAULT, WARNING)]
    return '\n'.join(lines + ['', 'faults: %d, warnings: %d' % tuple(counts)])


def examine(given: Dict[str, Any], argv: Sequence[str], python: Optional[str],
            environ: Mapping[str, str]) -> Iterator[Check]:
    """The checks, in the order of the page; python: the launchers' Python, None without one."""
    probe = _ask_probe(python)
    yield from _software(python, probe)
    yield from _processor()
    if probe and not glob.glob('/dev/davinci[0-9]*'):
        yield _kernels(probe)
    yield _memory(given.get('network') or environ.get('NETWORK') or switch('network').default,
                  given.get('rank_size') or 1)
    yield _gpu(probe)
    yield from _ascend(python, environ)
    yield _refused('ASCEND_DEVICE_ID', lambda: environ.get('ASCEND_DEVICE_ID') or 'not set: 0', config.placement,
                   environ, given.get('rank_size'))
    table = given.get('rank_table') or environ.get('RANK_TABLE_FILE')
    if table:
        yield _refused('rank table', lambda: table, rank_table.load, table)
    yield _ports(given)
    yield from _places(given)
    if probe:
        of_a_short_run = [] if given.keys() & {'case', 'data_path'} else ['--case=performance']
        yield _plan(python, of_a_short_run + list(argv))


def python_with_tensorflow() -> Optional[str]:
    """This process's Python, which launchers/shell/command.sh has chosen, where it has TensorFlow, else None."""
    return sys.executable if importlib.util.find_spec('tensorflow') else None


def _output(command: Sequence[str], **popen: Any) -> Optional[str]:
    """What a program prints; None when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=SECONDS, universal_newlines=True, **popen)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _pins() -> Dict[str, str]:
    """{package: version} of requirements.txt."""
    with open(os.path.join(ROOT, 'requirements.txt'), encoding='utf-8') as file:
        return dict(re.findall(r'^([\w-]+)==(\S+)', file.read(), re.M))


def _ask_probe(python):
    answer = python and _output([python, '-c', _PROBE, *_pins()], cwd=ROOT)
    return json.loads(answer.splitlines()[-1]) if answer else None


def _software(python, probe):
    if not probe:
        yield Check('Python', WARNING, '%s, %s' % (platform.python_version(), sys.executable))
        yield Check('TensorFlow', FAULT, 'no Python here imports TensorFlow 1.15',
                    'bash test/train_performance_1p.sh -h sets one up in .venv/; or set PYTHON to one that has it')
        return
    yield Check('Python', OK, '%s, %s' % (probe['python'], python))
    yield Check('TensorFlow', OK, probe['tensorflow'])
    missing = ['%s (%s)' % item for item in _pins().items() if not probe['versions'].get(item[0])]
    other = ['%s %s (tested: %s)' % (name, probe['versions'][name], pin) for name, pin in _pins().items()
             if probe['versions'].get(name) not in (None, pin)]
    if missing or other:
        yield Check('packages', WARNING, '; '.join(
            (['missing: ' + ', '.join(missing)] if missing else []) + other),
            '%s -m pip install -r requirements.txt, unless this Python belongs to an Ascend image' % python)
    else:
        yield Check('packages', OK, 'as in requirements.txt')


def _processor():
    with open('/proc/cpuinfo') as file:
        text = file.read()
    model = re.search(r'^model name\s*: (.*)', text, re.M)
    features = set(re.findall(r'^(?:flags|Features)\s*: (.*)', text, re.M)[0].split()) if 'lags' in text else set()
    cores = len(os.sched_getaffinity(0))
    words = '%s, %d cores for this process of %d, %s' % (
        model.group(1) if model else platform.machine(), cores, os.cpu_count() or cores,
        ' '.join(name for name in ('avx', 'avx2', 'fma', 'avx512f', 'asimd') if name in features) or 'no AVX')
    if platform.machine() == 'x86_64' and 'avx' not in features:
        yield Check('processor', FAULT, words, 'the wheels of TensorFlow 1.15 end with an illegal instruction here: '
                    'use another machine, or a TensorFlow that was built without AVX')
    else:
        yield Check('processor', OK, words)


def _kernels(probe):
    if probe.get('kernels'):
        return Check('CPU kernels', OK, 'compiled for this processor')
    return Check('CPU kernels', WARNING, "none: a CPU trains on TensorFlow's, which are slower",
                 'install g++; the next run then compiles them into .kernels, and .kernels.log says what is in the way')


def _memory(network, ranks):
    with open('/proc/meminfo') as file:
        kilobytes = dict(re.findall(r'^(\w+):\s+(\d+) kB', file.read(), re.M))
    available, limits = int(kilobytes['MemAvailable']) * 1024, []
    for path in ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'):
        if os.path.exists(path):
            with open(path) as file:
                limits += [int(limit) for limit in [file.read().strip()] if limit.isdigit()]
    usable = min([available] + limits)
    taken = ranks * MEMORY.get(network, max(MEMORY.values()))
    words = '%.1f GB available of %.1f GB; %d rank%s of %s on a CPU take%s %.1f GB' % (
        usable / GIGA, int(kilobytes['MemTotal']) * 1024 / GIGA, ranks, 's' * (ranks > 1), network, 's' * (ranks == 1),
        taken / GIGA)
    return _enough('memory', usable, (taken, SPARE * taken), words,
                   'end other programs, or give --batch_size or --rank_size a smaller value')


def _enough(name, value, limits, words, advice):
    """A fault below the first limit, a warning below the second."""
    state = FAULT if value < limits[0] else WARNING if value < limits[1] else OK
    return Check(name, state, words, '' if state == OK else advice)


def _gpu(probe):
    listed = _output(['nvidia-smi', '-L'])
    if not listed:
        return Check('GPU', OK, 'none')
    if probe and not probe['cuda']:
        return Check('GPU', WARNING, listed.splitlines()[0] + '; TensorFlow here is built without CUDA',
                     'training runs on the CPU; tensorflow-gpu==1.15.0 with CUDA 10.0 uses the GPU')
    return Check('GPU', OK, listed.splitlines()[0])


def _ascend(python, environ):
    """The Ascend software, one line where there is none of it."""
    cann, driver, smi = machine.cann(environ), machine.driver(environ), _output(['npu-smi', 'info'])
    bridge = python and _output([python, '-c', 'import importlib.util as u; print(u.find_spec("npu_bridge").origin)'])
    if not any((cann, driver, smi, bridge)):
        yield Check('NPU', OK, 'no Ascend software: training runs on the CPU or a GPU')
        return
    yield Check('CANN', OK, cann) if cann else Check(
        'CANN', FAULT, 'not found', 'install the CANN toolkit and its kernels for this chip')
    yield Check('NPU driver', OK, driver) if driver else Check(
        'NPU driver', WARNING, 'no driver/version.info', 'in a container mount /usr/local/Ascend/driver')
    yield _npu_smi(smi)
    yield _npu_bridge(python, bridge)
    scripts = [path for path in _set_env_scripts(environ) if os.path.exists(path)]
    if environ.get('ASCEND_OPP_PATH'):
        yield Check('set_env.sh', OK, 'sourced')
    else:
        yield Check('set_env.sh', WARNING, 'not sourced in this shell; the commands source it themselves',
                    'source %s' % (scripts[0] if scripts else 'set_env.sh of the toolkit'))


def _set_env_scripts(environ):
    return [os.path.join(root, package, 'set_env.sh') for root in machine.install_roots(environ)
            for package in ('ascend-toolkit', 'cann', 'nnae')]


def _npu_smi(answer):
    if not answer:
        return Check('npu-smi', FAULT, 'npu-smi info does not answer',
                     'check the driver, and in a container that /dev/davinci* and npu-smi are mounted')
    chips = re.findall(r'^\|\s*(\d+)\s+(\S*9[15]0\S*)\s*\|\s*(\w+)', answer, re.M)
    words = ', '.join('%s: %s %s' % row for row in chips) or 'no chip listed'
    family = machine.family_in(answer)
    if not chips or any(health != 'OK' for _, _, health in chips):
        return Check('npu-smi', FAULT, words, 'npu-smi info -t health -i N tells what is wrong with NPU N')
    return Check('npu-smi', OK, words + (' (family %s)' % family if family else ''))


def _npu_bridge(python, origin):
    if not origin:
        return Check('npu_bridge', WARNING, 'not installed: training runs on the CPU',
                     'install the TF Adapter (npu_bridge) that belongs to this CANN, for Python 3.7')
    if _output([python, '-c', 'import npu_bridge.npu_init']) is None:
        return Check('npu_bridge', FAULT, '%s cannot be imported' % origin, 'source set_env.sh, and see what '
                     '%s -c "import npu_bridge.npu_init" says' % python)
    return Check('npu_bridge', OK, origin)


def _refused(name, found, check, *arguments, advice=''):
    """A Check that is a fault when check(*arguments), which a run calls too, raises InputError."""
    try:
        check(*arguments)
    except InputError as error:
        return Check(name, FAULT, str(error), advice)
    return Check(name, OK, found())


def _ports(given):
    base_port = given.get('base_port')
    if base_port is None:
        return Check('ports', OK, 'ranks of one server open none')
    return _refused('ports', lambda: '%d and the next ones are free; whoever connects to them can read and write all '
                    'files of this user' % base_port, placement.check_ports, base_port, given.get('rank_size') or 1)


def _places(given):
    """The directories that a run reads and writes."""
    data_path = given.get('data_path')
    if data_path in (None, SYNTHETIC, NO_DATA):
        yield Check('data_path', OK, 'built-in data' if data_path else 'not given')
    else:
        yield _refused('data_path', lambda: data_path, paths.check_readable, '--data_path', data_path)
    output_path = os.path.abspath(given.get('output_path', switch('output_path').default))
    check = _refused('output_path', lambda: output_path, paths.check_writable, '--output_path', output_path)
    yield check
    free = shutil.disk_usage(paths.existing_part(output_path)).free
    yield _enough('disk', free, DISK, '%.1f GB free for %s' % (free / GIGA, output_path),
                  'five checkpoints of alexnet or cspnet take 1 to 2 GB: free space, or choose another --output_path')


def _plan(python, argv):
    """Whether the run of these flags could start: what the launchers check before they touch anything."""
    try:
        done = subprocess.run([python, ROOT, 'plan', *argv], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS, universal_newlines=True,
                              env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL='3'))
    except subprocess.TimeoutExpired:
        return Check('the run', FAULT, 'the command plan does not end')
    if done.returncode:
        lines: List[str] = done.stderr.strip().splitlines() or ['status %d' % done.returncode]
        return Check('the run', FAULT, lines[-1])
    answer = dict(line.split('=', 1) for line in done.stdout.splitlines() if '=' in line)
    return Check('the run', OK, '%s, batch %s, rank_size %s, results to %s' % (
        answer['network'], answer['batch_size'], answer['rank_size'], answer['run_dir']))
