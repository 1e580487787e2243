"""The driver behind test/benchmark.sh: starts the workers of a network, lets them take turns, and tells the figures.

A repeat goes round the workers, each of which trains for a few seconds while all others are stopped, until every one
has had its steps. So what slows the machine for a while slows all of them.
"""
import argparse
import json
import os
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
from core.settings import kinds  # noqa: E402
import inference  # noqa: E402
import page  # noqa: E402
import pipeline  # noqa: E402
import results  # noqa: E402
import shares  # noqa: E402
import switches  # noqa: E402
from results import BASELINE, COMPILED, EAGER, MKL, OURS  # noqa: E402
from turns import Worker, WorkerFailed  # noqa: E402

NETWORKS = ('cspnet', 'alexnet', 'cutmix', 'sesemi', 'swa')
OTHERS = dict(pytorch=(EAGER, COMPILED), eager=(EAGER,), mkl=(MKL,))   # values of --with
ENVIRONMENT = dict(CUDA_VISIBLE_DEVICES='')
STEPS, SECONDS = 30, 60        # of --steps and --seconds
BURST_SECONDS = 3              # of one worker, until it is another one's turn
WARMUP_STEPS, WARMUP_SECONDS = 10, 15
LEAST_SECONDS = 3              # of a worker in a repeat, which makes more steps than asked where these are short
INPUT_STEPS, INPUT_SECONDS = 200, 10
LONGEST_START = 300            # seconds
MANY = 10 ** 6


class _Parser(argparse.ArgumentParser):
    """An argument that is refused is an InputError."""

    def error(self, message):
        raise InputError('%s; -h lists the flags' % message)


def parser():
    """The flags of this command."""
    flags = _Parser(prog='bash test/benchmark.sh', allow_abbrev=False, description=(
        'Measures training on this CPU: this framework beside the same networks trained in the usual way.'))
    flags.add_argument('--network', metavar='NAME', default='all',
                       help='or the file of a recipe; default: all, which are %s' % ', '.join(NETWORKS))
    flags.add_argument('--with', dest='others', metavar='pytorch,mkl', type=_others, default=[],
                       help='measure PyTorch (eager: without torch.compile, which takes minutes) and the MKL build of '
                            'TensorFlow 1.15 as well; the first use sets them up')
    flags.add_argument('--image_size', dest='sizes', metavar='N,...', type=_sizes, default=[None],
                       help='pixels of the images, which are then made of JPEG files in class folders; networks that '
                            'have this switch')
    flags.add_argument('--batch_size', metavar='N', type=_positive, help="default: the recipe's")
    alone = flags.add_mutually_exclusive_group()
    alone.add_argument('--pipeline', action='store_true',
                       help='measure nothing but the input pipeline alone beside training, and the CPU seconds of '
                            'both, which are comparable on a machine that is not quiet, too; with --with=pytorch and '
                            "--image_size beside torchvision's DataLoader on the same files")
    alone.add_argument('--switches', action='store_true',
                       help='measure nothing but a step under each switch that rehearses an NPU, beside a plain one')
    alone.add_argument('--inference', action='store_true',
                       help='measure nothing but the forward pass, evaluate, predict and score, beside onnxruntime on '
                            'the exported graph; the first use sets it up')
    alone.add_argument('--kernels', action='store_true',
                       help='measure nothing but how much of a step and of a forward pass each compiled kernel saves')
    flags.add_argument('--steps', metavar='N', type=_positive,
                       help='least steps of each in a repeat; default: %d' % STEPS)
    flags.add_argument('--seconds', metavar='N', type=_positive,
                       help='after which fewer steps are enough; default: %d' % SECONDS)
    flags.add_argument('--repeats', metavar='N', type=_positive, default=3, help='default: %(default)s')
    flags.add_argument('--output_path', metavar='DIR', default=os.path.join(ROOT, 'test', 'output', 'benchmark'),
                       help='of benchmark.json and benchmark.html; default: test/output/benchmark')
    flags.add_argument('--check', action='store_true', help=argparse.SUPPRESS)   # measure nothing: are the flags right?
    return flags


def _others(text):
    """The workers beside ours and the baseline."""
    names = text.split(',')
    if not set(names) <= set(OTHERS):
        raise argparse.ArgumentTypeError('must be of %s, separated by commas' % ', '.join(OTHERS))
    chosen = [worker for name in names for worker in OTHERS[name]]
    return [worker for worker in (EAGER, COMPILED, MKL) if worker in chosen]


def _sizes(text):
    """Sizes of images as --image_size has them."""
    sizes = text.split(',')
    for size in sizes:
        try:
            kinds.size().parse(size)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error)
    return sizes


def _positive(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError('must be a whole number >= 1')
    return int(text)


def check(asked):
    """Raises InputError for a flag that would be ignored."""
    if _mode(asked) and (asked.steps or asked.seconds):
        raise InputError('--%s: measures bursts of %d s; leave out --steps and --seconds' % (
            _mode(asked), BURST_SECONDS))
    if asked.others and (asked.switches or asked.inference or asked.kernels):
        raise InputError('--switches, --inference and --kernels: are not measured beside others; leave out --with')
    if asked.others and asked.pipeline and (MKL in asked.others or asked.sizes == [None]):
        raise InputError('--pipeline: is measured beside --with=pytorch alone, on files: with --image_size')


def _mode(asked):
    """Which of ALONE is asked for; None: a measurement of training."""
    return next((mode for mode in ALONE if getattr(asked, mode)), None)


def flags_of(network, asked, size, photographs):
    """The trainer's flags for a network at a size of images, of files in the directory `photographs`; None: its own."""
    flags = ['--network=' + network]
    flags += ['--batch_size=%d' % asked.batch_size] if asked.batch_size else []
    return flags + (['--image_size=' + size, '--task=folder', '--data_path=' + photographs] if size else [])


def measure(network, flags, asked):
    """What is found out about a network; results.summary() makes figures of it."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as output:
        found = _in_turns(network, flags, asked, output)
        _say('%s: the input pipeline alone, and a start' % network)
        return dict(found, network=network, cores=os.cpu_count(), input=_seconds_of_input(network, flags, output),
                    start=_seconds_to_first_step(flags, os.path.join(output, 'start')))


def measure_pipeline(network, flags, asked):
    """pipeline.figures() of training and of the input pipeline alone."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as output:
        workers, facts = {}, {}
        try:
            for name in [OURS, pipeline.INPUT] + ([pipeline.LOADER] if asked.others else []):
                if name == pipeline.LOADER:
                    pipeline.check_loader(network, facts[pipeline.INPUT])
                _say('%s: starting %s' % (network, name))
                worker = workers[name] = _start(name, network, flags, output, facts)
                facts[name] = worker.ready()
                worker.burst(WARMUP_STEPS, WARMUP_SECONDS)
            return pipeline.figures(workers, facts[pipeline.INPUT]['images'], asked.repeats, BURST_SECONDS)
        finally:
            for worker in workers.values():
                worker.kill()


def measure_switches(network, flags, asked):
    """{'switches': switches.measure() of a network}."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as output:
        def start(name, switch):
            _say('%s: starting %s' % (network, name))
            worker = _start(OURS, network, flags + switch, os.path.join(output, name), {})
            worker.ready()
            worker.output = os.path.join(output, name, OURS)
            return worker
        return dict(switches=switches.measure(start, (WARMUP_STEPS, WARMUP_SECONDS), asked.repeats, BURST_SECONDS))


def measure_kernels(network, flags, asked):
    """{'kernels': shares.measure() of a network}."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as output:
        def start(what, part):
            _say('%s: %s without %s' % (network, what, part or 'nothing'))
            left_out = {shares.LEFT_OUT: part} if part else {}
            if what == shares.FORWARD:
                worker = inference.start(what, flags, output, dict(os.environ, **ENVIRONMENT, **left_out))
            else:
                worker = _start(OURS, network, flags, os.path.join(output, str(part)), {}, left_out)
            return worker, worker.ready()
        inference.prepare(flags, output)
        return dict(kernels=shares.measure(start, (WARMUP_STEPS, BURST_SECONDS), asked.repeats, BURST_SECONDS))


def measure_inference(network, flags, asked):
    """inference.measure() of a network, and the size of a batch."""
    with tempfile.TemporaryDirectory(prefix='benchmark-') as output:
        def start(way):
            _say('%s: starting %s' % (network, way))
            return inference.start(way, flags, output, dict(os.environ, **ENVIRONMENT))
        _say('%s: exporting' % network)
        size, ways = inference.prepare(flags, output)
        return dict(inference.measure(start, ways, (WARMUP_STEPS, WARMUP_SECONDS), asked.repeats, BURST_SECONDS),
                    batch_size=size)


def _say(line):
    print(line, file=sys.stderr, flush=True)


def _in_turns(network, flags, asked, output):
    workers, facts, failures = {}, {}, {}
    try:
        for name in [BASELINE, OURS] + asked.others:   # the baseline first: PyTorch's networks are made of what it says
            _say('%s: starting %s' % (network, name))
            worker = workers[name] = _start(name, network, flags, output, facts)
            try:
                facts[name] = worker.ready()
                worker.burst(WARMUP_STEPS, WARMUP_SECONDS)
            except WorkerFailed as failure:
                if name != COMPILED:   # which needs a C++ compiler
                    raise
                failures[name] = str(failure)
                workers.pop(name).kill()
        repeats = [_repeat(workers, asked) for _ in range(asked.repeats)]
        return dict(facts=facts, failures=failures, repeats=repeats,
                    disturbance={name: worker.disturbance for name, worker in workers.items()})
    finally:
        for worker in workers.values():
            worker.kill()


def _start(name, network, flags, output, facts, environment=()):
    """The Worker; facts: {worker: what it said of itself} of those that are ready."""
    environment = dict(os.environ, **ENVIRONMENT, **dict(environment))
    if name in (EAGER, COMPILED):
        formats = 'contiguous,channels_last' if name == EAGER else facts[EAGER]['format']
        command = [os.environ['BENCHMARK_PYTORCH'], os.path.join(HERE, 'pytorch_worker.py'), name, formats, network,
                   json.dumps(facts[BASELINE]), os.path.join(output, BASELINE, 'network.npz')]
    elif name == pipeline.LOADER:
        command = [os.environ['BENCHMARK_PYTORCH'], os.path.join(HERE, 'pytorch_pipeline.py'),
                   json.dumps(facts[pipeline.INPUT])]
    else:
        python = os.environ['BENCHMARK_MKL'] if name == MKL else sys.executable
        command = [python, os.path.join(HERE, 'tensorflow_worker.py'), name, *flags,
                   '--output_path=' + os.path.join(output, name)]
        os.makedirs(os.path.join(output, name))
    if name == MKL:
        environment.update(_for_mkl())
    return Worker(name, command, environment, os.path.join(output, name + '.log'))


def _for_mkl():
    """What the wheel's makers tell to set: no threads that spin, and on AMD's processors the fast products."""
    with open('/proc/cpuinfo') as lines:
        is_amd = any('AuthenticAMD' in line for line in lines)
    return dict({'KMP_BLOCKTIME': '1'}, **({'MKL_DEBUG_CPU_TYPE': '5'} if is_amd else {}))


def _repeat(workers, asked):
    """{figure: {worker: value}}: the median of the seconds of a step, the count of steps, memory, the peak."""
    seconds = {name: [] for name in workers}
    order = list(workers)
    while order:
        for name in order:
            seconds[name] += workers[name].burst(MANY, BURST_SECONDS)
        order = [name for name in order[1:] + order[:1] if not _is_enough(seconds[name], asked)]
    medians = {name: median(each) for name, each in seconds.items()}
    _say('    '.join('%s %.4g s' % item for item in medians.items()))
    memory = {name: worker.peak_memory() for name, worker in workers.items()}   # before the large matrices
    return dict(seconds=medians, steps={name: len(each) for name, each in seconds.items()}, memory=memory,
                peak={name: workers[name].peak() for name in (BASELINE, EAGER) if name in workers})


def _is_enough(seconds, asked):
    total = sum(seconds)
    return total >= (asked.seconds or SECONDS) or (
        len(seconds) >= (asked.steps or STEPS) and total >= LEAST_SECONDS)


def _seconds_of_input(network, flags, output):
    """Seconds that a batch takes where nothing but batches is made."""
    worker = _start(pipeline.INPUT, network, flags, output, {})
    try:
        worker.ready()
        worker.burst(WARMUP_STEPS, INPUT_SECONDS)
        seconds = worker.burst(INPUT_STEPS, INPUT_SECONDS)
        return sum(seconds) / len(seconds)
    finally:
        worker.kill()


def _seconds_to_first_step(flags, output):
    """From the start of the launcher until the record of the run has the first step; None when it fails."""
    command = ['bash', os.path.join(ROOT, 'test', 'train_performance_1p.sh'), *flags, '--device=cpu',
               '--display_step=1', '--train_steps=%d' % MANY, '--output_path=' + output]
    started, first = time.time(), None
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                env=dict(os.environ, **ENVIRONMENT))
    try:
        while not first and launcher.poll() is None and time.time() < started + LONGEST_START:
            time.sleep(.1)
            first = _first_step(output)
    finally:
        launcher.terminate()   # the launcher passes it on to the trainer, which is in a process group of its own
        launcher.wait()
    return first and first - started


def _first_step(output):
    """The time of day at which the first step was recorded, or None."""
    path = os.path.join(record.directory(os.path.join(output, '0')), record.FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as lines:
        events = [json.loads(line) for line in lines if line.endswith('\n')]
    return next((event['time'] for event in events if event['event'] == 'point'), None)


def _tell(asked, runs):
    measured = []
    for network, size, flags in runs:
        figures = results.summary(measure(network, flags, asked))
        measured.append(dict(figures, network='%s at %s' % (network, size) if size else network))
        print(results.text(measured[-1]) + '\n', flush=True)
        results.write(asked.output_path, measured)
        path = page.write(os.path.join(asked.output_path, 'benchmark.html'), measured)
    print('%s\n\n%s' % (results.markdown(measured), path))
    return 0


def _tell_alone(mode, asked, runs):
    """Measures and tells one thing alone; mode: of ALONE."""
    measure_it, text = ALONE[mode]
    measured = []
    for network, size, flags in runs:
        measured.append(dict(measure_it(network, flags, asked), network=network, image_size=size))
        print(text(measured[-1]), flush=True)
        results.write(asked.output_path, measured, mode + '.json')
    return 0


# What is measured with one of these flags, and its lines for a terminal.
ALONE = dict(pipeline=(measure_pipeline, pipeline.text), switches=(measure_switches, switches.text),
             inference=(measure_inference, inference.text), kernels=(measure_kernels, shares.text))


def main(argv):
    """Measures and tells; the exit status is 2 for bad input."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        asked = parser().parse_args(argv)
        check(asked)
        if asked.check:
            return 0
        os.makedirs(asked.output_path, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='photographs-') as directory:
            if asked.sizes != [None]:
                pipeline.write_photographs(directory)
            runs = [(network, size, flags_of(network, asked, size, directory)) for network in (
                NETWORKS if asked.network == 'all' else [asked.network]) for size in asked.sizes]
            mode = _mode(asked)
            return _tell_alone(mode, asked, runs) if mode else _tell(asked, runs)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except WorkerFailed as failure:
        print(failure, file=sys.stderr)
        return 2 if failure.status == 2 else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
