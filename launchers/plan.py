"""What a run would be, for the launcher: python3 -m launchers plan --network=cspnet [--flag=value ...].

Everything that can be refused without reading data or touching a device is refused here. Prints key=value lines about
the run and the ranks of this server, or with --print_config the ConfigProto of its first rank.
"""
import contextlib
import os
import sys
import tempfile
from typing import IO, Iterator, Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'plan'] + sys.argv[1:])

from core.ascend import machine, switches
from core.inference import trained
from core.recipe import Recipe
from core.settings.config import Config, idle_lines
from core.training import checkpoints, preflight
from launchers import command, validated
from launchers.devices import detect
from launchers.networks import readers
from launchers.ranks import placement

# The keys of the lines; launchers/shell/ has them as PLAN and reads each.
KEYS = ('network', 'case_name', 'run_dir', 'batch_size', 'data_path', 'synthetic', 'kept', 'keep_history',
        'max_restarts', 'stall_seconds', 'vendor_name', 'loss_prefix', 'headline', 'data', 'finished', 'npu', 'device',
        'ckpt_dir', 'directories', *placement.RanksOfServer._fields, 'waits')
# The environment variables in which launchers/shell/ gives a trainer its rank.
VARIABLES = ('ASCEND_DEVICE_ID', 'RANK_ID', 'RANK_SIZE', 'JOB_ID', 'RANK_TABLE_FILE', 'RANK_ADDRESSES',
             'RANKS_DIRECTORY', 'LAUNCHER_PID', 'LIVE_FD')


def act(recipe: Recipe, config: Config) -> bool:
    """Prints the plan or the ConfigProto; returns whether this process waits to become the trainer."""
    device = detect(config.device)
    only = os.environ.get('ONLY_RANK')     # from launchers/modelarts/server.py
    ours = placement.plan(config, device.has_hccl, machine.family() if device.has_hccl else None, only and int(only))
    first = config._replace(ranks=ours.rank_size, rank=ours.ranks[0], device_id=ours.devices[0])
    if config.print_config:
        print(preflight.describe_session(first, device))
        for line in idle_lines(first) + switches.notices(device.options(first)):
            print(line, file=sys.stderr)
        return False
    # Of several servers only one has the checkpoints: there the trainers find out together.
    sees_all = config.resume and len(ours.ranks) == ours.rank_size
    finished = (checkpoints.finished(first, preflight.resumable) or validated.finished(first)) if sees_all else ''
    lines = preflight.lines(first, device, ours.devices)
    readers.check(recipe, config)
    if config.ckpt_path and not (config.resume and checkpoints.paths(first.ckpt_dir)):
        trained.check_start(recipe, first)
    if config.validation or config.early_stop:
        validated.with_parts(recipe).load(first)
    lines.update(network=recipe.path or config.network, vendor_name=recipe.vendor_name or config.network,
                 loss_prefix=recipe.loss_prefix, headline=headline(recipe, config),
                 data=readers.inspect(recipe, config))
    if (device.is_exclusive or config.emulate_precision) and machine.enables_hf32(config, os.environ):
        lines['case_name'] = 'hf32_%s' % lines['case_name']
    lines.update(device='%s: %s' % (device.name, device.hardware()), ckpt_dir=first.ckpt_dir,
                 directories='|'.join(device.output_directories(device.options(first))))
    # Not where the plan has built graphs or run what a user wrote, for the trainer starts from nothing.
    waits = 'LAUNCHER' in os.environ and not device.is_exclusive and ours.rank_size == 1 and not (
        recipe.path or config.ckpt_path or config.validation or config.early_stop)
    for item in dict(lines, finished=finished, npu=device.is_exclusive, **ours.lines(), waits=waits).items():
        print('%s=%s' % item)
    return waits


def headline(recipe: Recipe, config: Config) -> str:
    """The first line on the screen: which network is trained, and which others would read the same data."""
    words = 'Network: %s (%s), case: %s' % (config.network, recipe.vendor_name or 'no vendor', config.case)
    others = ['--network=' + name for name in readers.others(recipe, config)]
    if others:
        words += '; %s %s the same files' % (' and '.join(others), 'read' if len(others) > 1 else 'reads')
    return words


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status of the plan for these arguments, or of the training where this process then becomes the trainer.

    One process for both imports TensorFlow once, which is a third of the time until a small network's first step.
    """
    typed = 'bash ' + environ['LAUNCHER'] if 'LAUNCHER' in environ else 'python3 -m launchers plan'
    waits = []

    def plan(recipe, config):
        waits.append(act(recipe, config))
    with tempfile.TemporaryFile() as startup:
        with _native_lines(startup) if 'LAUNCHER' in environ else contextlib.nullcontext():
            status = command.run(plan, argv, environ, command.TRAINING._replace(typed=typed), planning=True)
            variables = sys.stdin.buffer.read() if status == 0 and waits == [True] else b''
        if not variables:          # nothing waits, or the launcher has ended
            return status
        os.environ.clear()
        os.environ.update(os.fsdecode(variable).split('=', 1) for variable in variables.split(b'\0') if variable)
        _write_to(os.environ['TRAINING_LOG'], startup)
    from launchers import train    # here, because most plans are of others
    return train.main(argv, os.environ)


@contextlib.contextmanager
def _native_lines(file: IO[bytes]) -> Iterator[None]:
    """A context in which what TensorFlow's C++ prints goes to `file`; it belongs in the log of the run."""
    screen = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        with open(screen, 'w', buffering=1, closefd=False) as errors, contextlib.redirect_stderr(errors):
            yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)


def _write_to(log: str, startup: IO[bytes]) -> None:
    """Makes the file `log` standard output and error, and begins it with the lines of `startup`; closes the input."""
    startup.seek(0)
    with open(log, 'ab', buffering=0) as file, open(os.devnull) as nothing:
        file.write(startup.read())
        for number, target in enumerate((nothing, file, file)):
            os.dup2(target.fileno(), number)
