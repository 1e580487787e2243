"""The exporter: python3 -m launchers export --network=cspnet --ckpt_path=FILE_OR_DIR --data_path=DIR --format=pb.

It makes a frozen graph for the Ascend tool atc, a SavedModel or an HDF5 file, and compares it with the checkpoint.
"""
import os
import signal
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'export'] + sys.argv[1:])

from core.errors import InputError
from core.inference import export, runner
from core.settings import config as config_lib
from core.settings import flags, kinds
from core.settings.table import Switch
from launchers import command
from launchers.networks.described import completed
from launchers.networks.registry import asked


def batch_sizes() -> kinds.Kind:
    """Batch sizes joined by commas, as atc takes them, as a tuple from the smallest to the largest."""
    allowed = '2 to 100 different whole numbers from 1 to %d, joined by commas, such as 1,8,64' % kinds.MOST

    def parse(given):
        try:
            sizes = [kinds.whole(1, kinds.MOST).parse(part) for part in given.split(',')]
        except ValueError:
            sizes = []
        if not 2 <= len(set(sizes)) == len(sizes) <= 100:
            raise ValueError('must be ' + allowed)
        return tuple(sorted(sizes))
    return kinds.Kind(allowed, parse)


GROUP = 'export'
OWN_SWITCHES = (
    Switch(GROUP, 'format', kinds.choice(*runner.FORMATS), runner.PB,
           'a frozen graph with one input and one output, a SavedModel that can be served, weights as HDF5, or an ONNX '
           'file'),
    Switch(GROUP, 'input_dtype', kinds.choice(export.FLOAT32, *export.PIXELS), export.FLOAT32,
           'the others: the inputs are images of 0 to 255 in that type, and their normalisation is in the graph'),
    Switch(GROUP, 'dynamic_batch_size', batch_sizes(), (),
           'the sizes of a batch that varies, instead of --batch_size; unset: one size'),
    Switch(GROUP, 'output', kinds.path(), None, 'the file or directory to write; unset: in OUTPUT_PATH/export'),
    Switch(GROUP, 'samples', kinds.either(kinds.whole(least=1), kinds.choice(export.ALL)), None,
           'how many test inputs to write as .bin files for an inference device, in OUTPUT_samples; unset: none'),
    Switch(GROUP, 'overwrite', kinds.boolean(), False, 'replace what is there although no export has written it'),
    Switch(GROUP, 'probabilities', kinds.boolean(), False, 'the output is probabilities instead of logits'),
    Switch(GROUP, 'aipp', kinds.boolean(), False,
           'write the configuration by which AIPP of the card makes the inputs of uint8 images in NHWC'),
    Switch(GROUP, 'soc_version', kinds.text(), 'Ascend310', 'the chip in the atc line'),
    command.BY_NUMBER,
)
USAGE = command.Usage(
    'python3 -m launchers export --network=NAME --ckpt_path=FILE_OR_DIR --data_path=DIR [--format=pb] [--batch_size=N] '
    '[--samples=all] [--flag=value ...]',
    'Makes a file for another machine out of a checkpoint and compares what both compute.', OWN_SWITCHES,
    ('network', 'ckpt_path', 'data_path', 'output_path', 'batch_size', 'task', 'image_size', 'trunk',
     'test_copies', 'ten_crop'))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Exports; returns the exit status."""
    def act():
        own, arguments = flags.parse_known(argv, OWN_SWITCHES)
        recipe, given = asked(completed(arguments, environ), environ)
        if own.get('dynamic_batch_size') and 'batch_size' in given:
            raise InputError('--dynamic_batch_size: replaces --batch_size; give one of them')
        given = dict(recipe.on_export, **given)
        request = export.ExportRequest(**dict({row.name: row.default for row in OWN_SWITCHES}, **own))
        for number in (signal.SIGINT, signal.SIGTERM):  # as an exit, so that what is not finished is removed
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
        export.export(recipe, config_lib.resolve(recipe, given, environ, needs_data=False), request)
    return command.status_of(act, argv, USAGE)
