"""Stands in for Python, the planner and the trainer: `fake_python.py REPOSITORY {plan,train} ...`.

It plans from a few flags, and trains by printing the golden log of its network. FAKE_TRAINER says
what goes wrong, in all ranks or in some (`stop,3:die`: rank 3 dies, the others run until they are
stopped); FAKE_CALLS is a file that gets the arguments of every training, as JSON.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
from core.errors import InputError, NothingLeft  # noqa: E402
from launchers.ranks import placement  # noqa: E402

BATCH_SIZES = {'cspnet': 64, 'alexnet': 100, 'swa': 16384, 'sesemi': 16, 'cutmix': 32}
VENDOR_NAMES = {'cspnet': 'CSPNet_ID0840_for_TensorFlow', 'alexnet': 'AlexNet_ID0259_for_TensorFlow',
                'swa': 'SWA_ID0252_for_TensorFlow', 'sesemi': 'SESEMI_ID1270_for_TensorFlow',
                'cutmix': 'cutmix_ID2502_for_TensorFlow2.X'}
LOSS_PREFIXES = {'sesemi': 'train_', 'cutmix': 'train_'}
CASE_NAMES = {'performance': 'perf', 'full': 'acc',
              'static_eval': 'static_eval_perf', 'dynamic_eval': 'dynamic_eval_perf'}


def plan(flags):
    """Prints the plan as the trainer does, or refuses a flag that it does not know."""
    known = ('case', 'network', 'output_path', 'data_path', 'resume', 'keep_history', 'max_restarts', 'stall_seconds',
             'rank_size', 'rank_table', 'server_id', 'base_port', 'trusted_network', 'connect_timeout', 'device')
    for name in flags:
        if name not in known:
            print('unknown flag --%s' % name, file=sys.stderr)
            return 2
    network = flags.get('network', 'cspnet')
    try:
        ours = plan_ranks(flags)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    run_dir = os.path.join(os.path.abspath(flags['output_path']), str(ours.devices[0]))
    lines = dict(network=network, vendor_name=VENDOR_NAMES[network], headline='Network: ' + network,
                 case_name=CASE_NAMES[flags['case']], loss_prefix=LOSS_PREFIXES.get(network, ''),
                 run_dir=run_dir, batch_size=BATCH_SIZES[network],
                 synthetic='data_path' not in flags, data_path=flags.get('data_path', ''),
                 kept='ckpt/summary' if 'resume' in flags else '',
                 keep_history=flags.get('keep_history', ''), max_restarts=flags.get('max_restarts', 0), finished='',
                 stall_seconds=float(flags.get('stall_seconds', 60)),
                 npu=flags.get('device') == 'npu', device='cpu: a processor', directories='',
                 ckpt_dir=os.path.join(run_dir, 'ckpt'), **ours.lines())
    for line in lines.items():
        print('%s=%s' % line)
    return 0


def plan_ranks(flags):
    """The real ranks of this server, off an NPU."""
    def number(name):
        return int(flags[name]) if name in flags else None
    asked = number('rank_size') or (0 if 'rank_table' in flags else int(os.environ['RANK_SIZE']))
    return placement.plan(SimpleNamespace(
        ranks=asked, device_id=int(os.environ.get('ASCEND_DEVICE_ID', 0)), base_port=number('base_port'),
        rank_table=flags.get('rank_table'), server_id=flags.get('server_id'),
        trusted_network=flags.get('trusted_network'), connect_timeout=1), on_npu=False,
        only=int(os.environ['ONLY_RANK']) if 'ONLY_RANK' in os.environ else None)


def fault_of(rank, flags):
    """What FAKE_TRAINER says about this rank."""
    faults = dict(word.rpartition(':')[::2] for word in os.environ.get('FAKE_TRAINER', '').split(','))
    fault = faults.get(rank, faults.get('', ''))
    if fault.endswith(' once'):  # a rank that was started again does well
        fault = '' if 'resume' in flags else fault[:-len(' once')]
    return fault


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


def until_told():
    """Prints that it is ready; returns on SIGUSR1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print('ready %d' % os.getpid())
    signal.sigwait([signal.SIGUSR1])


def until_killed():
    """Like a rank that waits for a dead one: deaf to signals; so is the process that it started."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    child = subprocess.Popen(['sleep', '600'])
    print('ready %d %d' % (os.getpid(), child.pid))
    child.wait()


def started():
    """A line with the environment and the cores of this rank."""
    names = ('ASCEND_DEVICE_ID', 'RANK_ID', 'RANK_SIZE', 'JOB_ID', 'RANK_TABLE_FILE', 'RANK_ADDRESSES',
             'RANKS_DIRECTORY')
    return 'started %s' % json.dumps(dict({name: os.environ.get(name) for name in names},
                                          cores=sorted(os.sched_getaffinity(0))))


def train(flags, arguments):
    """Does what FAKE_TRAINER says; without it, a training that ends well."""
    if 'FAKE_CALLS' in os.environ:
        with open(os.environ['FAKE_CALLS'], 'w') as calls:
            json.dump(arguments, calls)
    print(started())
    fault = fault_of(os.environ['RANK_ID'], flags)
    if fault == 'stop':
        until_stopped(143)
    if fault.startswith('wait'):  # `wait die` lets the test choose the moment of the death
        until_told()
    if fault == 'hang':
        until_killed()
    if fault.endswith('die'):
        print('\n'.join('line %d' % n for n in range(100)))
        print('2026-01-01 00:00:00.000000: I tensorflow/core/platform/cpu_feature_guard.cc:142] Your CPU supports')
        print('the last words', file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == 'refuse':
        print('\n'.join('start-up line %d' % n for n in range(9)))
        sys.exit(print('--data_path=x: holds no images; give the directory of the images', flush=True) or 2)
    if fault == 'done':
        print('--resume: the run in here has already done 3 steps of 3; raise --train_steps to go on')
        sys.exit(NothingLeft.status)
    if fault.startswith('exit'):
        sys.exit(int(fault[4:]))
    if 'LIVE_FD' in os.environ:
        with contextlib.suppress(OSError):  # its terminal may be closed
            os.write(int(os.environ['LIVE_FD']), b'the live line\n')
    with open(os.path.join(ROOT, 'test', 'golden', flags.get('network', 'cspnet') + '.log')) as log:
        for line in log:
            sys.stdout.write(line)
    if fault != 'no figures':
        write_figures(flags)
    if fault == 'npu':
        print('The model has been compiled on the Ascend AI processor')


def write_figures(flags):
    """What core/reporting/report.py writes at the end of a run."""
    directory = os.path.join(flags['output_path'], os.environ.get('ASCEND_DEVICE_ID', '0'), 'report')
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, 'losses'), 'w') as file:
        file.write('1000 2.3025851\n2000 1.2345678\n')
    fps = 1250. * int(os.environ['RANK_SIZE'])
    with open(os.path.join(directory, 'figures'), 'w') as file:
        file.write('images_per_second=%.8g\nseconds_per_step=0.0512\nloss=1.2345678\naccuracy=0.6605\n'
                   'accuracy_is=of the test set, from 0 to 1\nfirst_step_seconds=41.5\ntest_accuracy=%s\n' % (
                       fps, '61.2' if flags.get('network') == 'alexnet' else ''))


def main(arguments):
    """`-c CODE` is the launcher asking for TensorFlow: yes."""
    program, *arguments = arguments
    if program == '-c':
        print('TensorFlow 1.15.0')
        return 0
    command, *arguments = arguments
    if command in ('boot_modelarts', 'locks', 'stalls'):
        os.execv(sys.executable, [sys.executable, program, command] + arguments)
    assert program == ROOT and command in ('plan', 'train'), (program, command)
    if '-h' in arguments:
        print('usage: the flags and their defaults')
        return 0
    flags = {}
    for argument in arguments:
        name, _, value = argument[2:].partition('=')
        flags[name] = value
    return plan(flags) if command == 'plan' else train(flags, arguments)


sys.exit(main(sys.argv[1:]))
