"""How much of a training step each kernel of core/cpu/kernels saves: python3 test/benchmark/kernels.py [NETWORK ...].

    network     left out                      ms a step    saves of the step
    cspnet      nothing                           413.2
    cspnet      MaxPoolGrad                       421.0                1.9 %

Each run trains in a process of its own on synthetic data. The rounds go over all runs, so that a machine that slows
down for a while slows all of them; of each run the median counts. The last rows are of a machine without a compiler:
TensorFlow's own kernels with and without the gradients of core/cpu/gradients.py.
"""
import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NETWORKS = ('cspnet', 'alexnet', 'sesemi', 'cutmix', 'swa')
ROUNDS = int(os.environ.get('ROUNDS', '3'))
STEPS = int(os.environ.get('STEPS', '30'))     # the first of them are no part of the figure: core/run.py
NOTHING, DECAY, KERNELS, GRADIENTS = 'nothing', 'weight decay', 'all kernels', 'all kernels, gradients'
PIPELINE = 'input pipeline'


def parts():
    """What can be left out: the operator types that have a kernel, and the operators of our own."""
    from core import operators
    return [NOTHING, *sorted(operators.types_with('compiled')), 'batch_norm', 'mish', 'perceptron', DECAY, PIPELINE,
            KERNELS, GRADIENTS]


def train(network, part, output):
    """Trains without `part`; returns the exit status. In a process of its own."""
    from core import operators
    from core.cpu import device, kernels
    from launchers import command, train as trainer
    if part == PIPELINE:
        operators.offer_on_host(lambda: None)
    if part in (KERNELS, GRADIENTS):
        kernels.library = lambda: None
    if part == GRADIENTS:
        device.fast = lambda may_differ: device.contextlib.nullcontext()
    if part == DECAY:
        kernels._join_weight_decay = lambda: None
    kernels._TYPES = kernels._TYPES - {part}
    offered = kernels.own_operators
    kernels.own_operators = lambda functions: offered({name: one for name, one in functions.items() if name != part})
    epochs = '--train_epochs=%d' % STEPS if network == 'swa' else '--train_steps=%d' % STEPS
    return command.run(trainer.act, ['--network=' + network, '--case=performance', '--device=cpu', epochs,
                                     '--output_path=' + output], {})


def seconds(network, part):
    """Seconds of a training step without `part`."""
    with tempfile.TemporaryDirectory() as output:
        subprocess.run([sys.executable, os.path.abspath(__file__), 'train', network, part, output], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL='3'))
        with open(os.path.join(output, '0', 'report', 'figures')) as file:
            return float(dict(line.rstrip('\n').split('=', 1) for line in file)['seconds_per_step'])


def main(networks):
    """Prints the table of the networks."""
    from core.cpu import kernels
    if not kernels.library():
        sys.exit('%s has no kernels for this machine: start a launcher once, which compiles them' % kernels.DIRECTORY)
    runs = [(network, part) for network in networks for part in parts()]
    found = {run: [] for run in runs}
    for _ in range(ROUNDS):
        for run in runs:
            found[run].append(seconds(*run))
    print('%-12s%-36s%12s%20s' % ('network', 'left out', 'ms a step', 'saves of the step'))
    for network, part in runs:
        took, whole = (statistics.median(found[network, one]) for one in (part, NOTHING))
        share = '' if part == NOTHING else '%.1f %%' % (100 * (took - whole) / took)
        print('%-12s%-36s%12.1f%20s' % (network, part, 1000 * took, share))


if __name__ == '__main__':
    sys.path[0] = ROOT
    if sys.argv[1:2] == ['train']:
        sys.exit(train(*sys.argv[2:]))
    main(sys.argv[1:] or NETWORKS)
