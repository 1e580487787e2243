"""The scorer: python3 -m launchers score --manifest=DIR/manifest.json --outputs=DIR.

It prints the lines of evaluate for outputs that an inference device computed from exported samples, as by
    msame --model=FILE.om --input=DIR/input --output=DIR
"""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'score'] + sys.argv[1:])

from core.errors import InputError
from core.inference import samples, score
from core.settings import config as config_lib
from core.settings import flags, kinds
from core.settings.table import Switch
from launchers import command
from launchers.devices import fast
from launchers.networks.registry import RECIPES, named, recipe_of

GROUP = 'score'
OWN_SWITCHES = (
    Switch(GROUP, 'manifest', kinds.file_path(), None, 'manifest.json of the samples that export wrote'),
    Switch(GROUP, 'network', kinds.text(), None, 'the file of a recipe of your own; unset: as the manifest says'),
    Switch(GROUP, 'outputs', kinds.path(), None,
           'directory of the outputs, NAME_output_0.bin or .txt for the input NAME.bin, or one that holds it; '
           'unset with --run_pb: DIR_outputs'),
    Switch(GROUP, 'output_dtype', kinds.choice('float32', 'float16'), 'float32', 'type of the numbers in .bin outputs'),
    Switch(GROUP, 'run_pb', kinds.file_path(), None,
           'a frozen graph that is run here first and writes the outputs, instead of the inference device'),
)
USAGE = command.Usage('python3 -m launchers score --manifest=DIR/manifest.json --outputs=DIR [--run_pb=FILE.pb]',
                      'Scores what an inference device computed of the samples that export wrote.', OWN_SWITCHES)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Scores; returns the exit status."""
    def act():
        own = dict({row.name: row.default for row in OWN_SWITCHES}, **flags.parse(argv, OWN_SWITCHES))
        if not own['manifest'] or not (own['outputs'] or own['run_pb']):
            raise InputError('--%s: needed; -h tells more' % ('outputs' if own['manifest'] else 'manifest'))
        outputs = own['outputs'] or os.path.dirname(os.path.abspath(own['manifest'])) + '_outputs'
        # A manifest names no file that is executed: only the command line does.
        brought = RECIPES[own['network']].switches if (own['network'] or '').endswith('.py') else ()
        manifest = samples.read(own['manifest'], brought)[0]
        network = own['network'] or named('samples', manifest.network)
        recipe, given = recipe_of(dict(manifest.settings, network=network), {})
        config = config_lib.resolve(recipe, given, {}, needs_data=False)._replace(
            class_names=tuple(manifest.class_names))
        if own['run_pb']:
            count = score.run_pb(own['run_pb'], own['manifest'], outputs, brought, fast)
            print('%d outputs of %s: %s' % (count, own['run_pb'], outputs))
        found = score.metrics(recipe, config, own['manifest'], outputs, own['output_dtype'], fast)
        print('\n'.join(recipe.evaluation_lines(found)))
    return command.status_of(act, argv, USAGE)
