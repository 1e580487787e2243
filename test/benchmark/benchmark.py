"""The driver behind test/benchmark.sh: starts the workers of a network, lets them take turns, and tells the figures."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, ROOT)

from core.errors import InputError  # noqa: E402
from core.reporting import record  # noqa: E402
import results  # noqa: E402
from turns import Worker, WorkerFailed  # noqa: E402

NETWORKS = ('cspnet', 'alexnet', 'cutmix', 'sesemi', 'swa')
OTHERS = ('pytorch', 'eager', 'mkl')
BURST_SECONDS = 3              # of one worker, until it is another one's turn
WARMUP_STEPS, WARMUP_SECONDS = 10, 15
LEAST_SECONDS = 3              # of a repeat: more than `steps` steps where these are short
INPUT_STEPS, INPUT_SECONDS = 100, 10
LONGEST_START = 300            # seconds


class _Parser(argparse.ArgumentParser):
    """An argument that is refused is an InputError."""

    def error(self, message):
        raise InputError('%s; -h lists the flags' % message)


def parser():
    """The flags of this command."""
    flags = _Parser(prog='bash test/benchmark.sh', allow_abbrev=False, description=(
        'Measures training on this CPU: this framework beside the same nets trained in the usual way.'))
    flags.add_argument('--network', choices=NETWORKS + ('all',), default='all', help='default: all')
    flags.add_argument('--with', dest='others', metavar='pytorch,mkl', type=_others, default=(),
                       help='measure PyTorch (eager: without torch.compile, which takes minutes) and the MKL build of '
                            'TensorFlow 1.15, too; sets them up on first use')
    flags.add_argument('--steps', type=_positive, default=30, help='of a worker in a repeat; default: %(default)s')
    flags.add_argument('--seconds', type=_positive, default=60,
                       help='after which fewer steps are enough; default: %(default)s')
    flags.add_argument('--repeats', type=_positive, default=3, help='default: %(default)s')
    flags.add_argument('--output_path', metavar='DIR', default=os.path.join(ROOT, 'test', 'output', 'benchmark'),
                       help='of benchmark.json and benchmark.html; default: test/output/benchmark')
    return flags


def _others(text):
    names = text.split(',')
    if not set(names) <= set(OTHERS):
        raise argparse.ArgumentTypeError('must be of %s, separated by commas' % ', '.join(OTHERS))
    return tuple(names)


def _positive(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError('must be a whole number >= 1')
    return int(text)


def commands(network, others, output):
    """{worker: (command, environment)} of those beside the baseline, which comes first and writes network.npz."""
    def tensorflow(way, python=sys.executable, **environment):
        return [python, os.path.join(HERE, 'tensorflow_worker.py'), way, '--network=' + network,
                '--output_path=' + os.path.join(output, way)], environment

    def pytorch(way):
        return [os.environ['BENCHMARK_PYTORCH'], os.path.join(HERE, 'pytorch_worker.py'), way, network], {}
    chosen = {results.BASELINE: tensorflow('baseline'), results.OURS: tensorflow('ours')}
    if 'pytorch' in others or 'eager' in others:
        chosen[results.EAGER] = pytorch('eager')
    if 'pytorch' in others:
        chosen[results.COMPILED] = pytorch('compiled')
    if 'mkl' in others:
        chosen[results.MKL] = tensorflow('own', os.environ['BENCHMARK_MKL'], **_for_mkl())
    return chosen


def _for_mkl():
    """What the makers of that wheel tell to set: no threads that spin, and on AMD's processors the fast products."""
    with open('/proc/cpuinfo') as lines:
        is_amd = any('AuthenticAMD' in line for line in lines)
    return dict({'KMP_BLOCKTIME': '1'}, **({'MKL_DEBUG_CPU_TYPE': '5'} if is_amd else {}))


def measure(network, asked, say):
    """The record of one network: see results.py."""
    output = tempfile.mkdtemp(prefix='benchmark-')
    workers, failures = {}, {}
    try:
        facts = {}
        for name, (command, environment) in commands(network, asked.others, output).items():
            say('%s: starting %s' % (network, name))
            if name in (results.EAGER, results.COMPILED):
                command = command + [json.dumps(facts[results.BASELINE]),
                                     os.path.join(output, 'baseline', 'network.npz')]
            else:
                os.makedirs(next(word for word in command if word.startswith('--output_path=')).split('=')[1])
            worker = Worker(name, command, dict(os.environ, **environment), os.path.join(output, name + '.log'))
            workers[name] = worker
            try:
                facts[name] = worker.ready()
                worker.burst(WARMUP_STEPS, WARMUP_SECONDS)
            except WorkerFailed as failure:
                if name != results.COMPILED:   # which needs a C++ compiler; all else has to work
                    raise
                failures[name] = str(failure)
                workers.pop(name).kill()
        repeats = [_repeat(workers, asked, say) for _ in range(asked.repeats)]
        memory = {name: worker.peak_memory() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.kill()
    try:
        alone = _input_alone(network, output)
        start = _seconds_to_first_step(network, os.path.join(output, 'start'))
    finally:
        shutil.rmtree(output, ignore_errors=True)
    return dict(network=network, facts=facts, failures=failures, repeats=repeats, memory=memory, input=alone,
                start=start)


def _repeat(workers, asked, say):
    """{'seconds': {worker: the median of its steps}, 'peak': {worker: GFLOP/s}}, the workers taking turns."""
    seconds = {name: [] for name in workers}
    order = list(workers)
    while order:
        for name in order:
            seconds[name] += workers[name].burst(10 ** 6, BURST_SECONDS)
        order = [name for name in order[1:] + order[:1] if not _is_enough(seconds[name], asked)]
    peak = {name: workers[name].peak() for name in (results.BASELINE, results.EAGER) if name in workers}
    medians = {name: median(each) for name, each in seconds.items()}
    say('   '.join('%s %.4g s' % item for item in medians.items()))
    return dict(seconds=medians, steps={name: len(each) for name, each in seconds.items()}, peak=peak)


def _is_enough(seconds, asked):
    total = sum(seconds)
    return total >= asked.seconds or (len(seconds) >= asked.steps and total >= LEAST_SECONDS)


def _input_alone(network, output):
    """Seconds of a batch where nothing but batches is made."""
    command = [sys.executable, os.path.join(HERE, 'tensorflow_worker.py'), 'input', '--network=' + network,
               '--output_path=' + os.path.join(output, 'input')]
    worker = Worker('input', command, dict(os.environ), os.path.join(output, 'input.log'))
    try:
        worker.ready()
        worker.burst(5, INPUT_SECONDS)
        seconds = worker.burst(INPUT_STEPS, INPUT_SECONDS)
        return sum(seconds) / len(seconds)
    finally:
        worker.kill()


def _seconds_to_first_step(network, output):
    """From the start of the launcher until the record of the run has the first step."""
    command = ['bash', os.path.join(ROOT, 'test', 'train_performance_1p.sh'), '--network=' + network, '--device=cpu',
               '--display_step=1', '--train_steps=%d' % 10 ** 6, '--output_path=' + output]
    started = time.time()
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                env=dict(os.environ, PYTHON=sys.executable))
    try:
        while time.time() < started + LONGEST_START and launcher.poll() is None:
            first = _first_step(output)
            if first:
                return first - started
            time.sleep(.1)
        return None
    finally:
        try:
            os.killpg(launcher.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        launcher.wait()


def _first_step(output):
    """The time of day at which the first step was recorded, or None."""
    path = os.path.join(record.directory(os.path.join(output, '0')), record.FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            if line.endswith('\n') and json.loads(line)['event'] == 'point':
                return json.loads(line)['time']
    return None


def main(argv):
    """Measures and tells; the exit status is 2 for bad input."""
    try:
        asked = parser().parse_args(argv)
        os.makedirs(asked.output_path, exist_ok=True)
        measured = []
        for network in NETWORKS if asked.network == 'all' else [asked.network]:
            measured.append(results.summary(measure(network, asked, lambda line: print(line, file=sys.stderr))))
            print(results.text(measured[-1]), flush=True)
        print(results.markdown(measured))
        results.write(asked.output_path, measured)
        return 0
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except WorkerFailed as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
