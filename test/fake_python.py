"""Stands in for Python and the trainer: `fake_python.py -m launchers.train ...`.

It plans from a few flags, and trains by printing the golden log of its network. FAKE_TRAINER says
what goes wrong; FAKE_CALLS is a file that gets the arguments of every training, as JSON.
"""
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH_SIZES = {'cspnet': 64, 'alexnet': 100, 'swa': 16384, 'sesemi': 16, 'cutmix': 32}
CASE_NAMES = {'performance': 'perf', 'full': 'acc',
              'static_eval': 'static_eval_perf', 'dynamic_eval': 'dynamic_eval_perf'}


def plan(flags):
    """Prints the plan as the trainer does, or refuses a flag that it does not know."""
    known = ('case', 'network', 'output_path', 'data_path', 'resume', 'keep_history', 'plan')
    for name in flags:
        if name not in known:
            print('unknown flag --%s' % name, file=sys.stderr)
            return 2
    network = flags.get('network', 'cspnet')
    run_dir = os.path.join(os.path.abspath(flags['output_path']), os.environ['ASCEND_DEVICE_ID'])
    lines = dict(network=network, case=flags['case'], case_name=CASE_NAMES[flags['case']],
                 run_dir=run_dir, ckpt_dir=os.path.join(run_dir, 'ckpt'),
                 batch_size=BATCH_SIZES[network], rank_size=os.environ['RANK_SIZE'],
                 synthetic='data_path' not in flags, resume=flags.get('resume', 'False'),
                 keep_history=flags.get('keep_history', ''))
    for line in lines.items():
        print('%s=%s' % line)
    return 0


def until_stopped(status):
    """Prints that it is ready; on SIGTERM or SIGINT "saves" and ends with `status`."""
    def stop(number, _):
        print('checkpoint saved after signal %d' % number)
        sys.exit(status)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print('ready %d' % os.getpid())
    while True:
        signal.pause()


def train(flags, arguments):
    """Does what FAKE_TRAINER says; without it, a training that ends well."""
    if 'FAKE_CALLS' in os.environ:
        with open(os.environ['FAKE_CALLS'], 'w') as calls:
            json.dump(arguments, calls)
    fault = os.environ.get('FAKE_TRAINER', '')
    if fault == 'stop':
        until_stopped(143)
    if fault == 'die':
        print('\n'.join('line %d' % n for n in range(100)))
        print('the last words', file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.startswith('exit'):
        sys.exit(int(fault[4:]))
    if 'LIVE_FD' in os.environ:
        os.write(int(os.environ['LIVE_FD']), b'the live line\n')
    with open(os.path.join(HERE, 'golden', flags.get('network', 'cspnet') + '.log')) as log:
        for line in log:
            if not (fault == 'no FPS' and 'FPS' in line):
                sys.stdout.write(line)
    if fault == 'npu':
        print('The model has been compiled on the Ascend AI processor')


def main(arguments):
    """`-c CODE` is the launcher asking for TensorFlow: yes. `-m launchers.train` is the trainer."""
    if arguments[0] == '-c':
        return 0
    assert arguments[:2] == ['-m', 'launchers.train'], arguments
    if '-h' in arguments:
        print('usage: the flags and their defaults')
        return 0
    flags = {}
    for argument in arguments[2:]:
        name, _, value = argument[2:].partition('=')
        flags[name] = value
    return plan(flags) if 'plan' in flags else train(flags, arguments[2:])


sys.exit(main(sys.argv[1:]))
