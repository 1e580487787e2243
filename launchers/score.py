"""The scorer: python3 -m launchers.score --manifest=DIR/manifest.json --outputs=DIR.

It prints the lines of launchers.evaluate for outputs that an inference device computed from exported samples, as by
    msame --model=FILE.om --input=DIR/input --output=DIR
"""
import os
import sys
from typing import Sequence

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')     # TensorFlow's start-up lines would hide the answer

from launchers import command  # noqa: E402 (first: it silences TensorFlow's warnings about names)
from core.errors import InputError  # noqa: E402
from core.inference import samples, score  # noqa: E402
from core.settings import config as config_lib  # noqa: E402
from core.settings import flags, kinds  # noqa: E402
from core.settings.table import Switch  # noqa: E402
from launchers.networks.registry import RECIPES, recipe_of  # noqa: E402

GROUP = 'score'
OWN_SWITCHES = (
    Switch(GROUP, 'manifest', kinds.file_path(), None, 'manifest.json of the samples that launchers.export wrote'),
    Switch(GROUP, 'network', kinds.text(), None, 'the file of a recipe of your own; unset: as the manifest says'),
    Switch(GROUP, 'outputs', kinds.path(), None,
           'directory of the outputs, NAME_output_0.bin or .txt for the input NAME.bin, or one that holds it; '
           'unset with --run_pb: DIR_outputs'),
    Switch(GROUP, 'output_dtype', kinds.choice('float32', 'float16'), 'float32', 'type of the numbers in .bin outputs'),
    Switch(GROUP, 'run_pb', kinds.file_path(), None,
           'a frozen graph that is run here first and writes the outputs, in place of the inference device'),
)
USAGE = 'python3 -m launchers.score --manifest=DIR/manifest.json --outputs=DIR [--run_pb=FILE.pb]'


def main(argv: Sequence[str]) -> int:
    """Scores; returns the exit status."""
    if flags.asks_for_help(argv):
        return command.status_of(lambda: print(command.help_text(USAGE, OWN_SWITCHES)))

    def act():
        given, words = flags.parse_with_words(argv, OWN_SWITCHES)
        if words:
            raise InputError('%r: not a flag; flags are written --name=value' % words[0])
        own = dict({row.name: row.default for row in OWN_SWITCHES}, **given)
        if not own['manifest'] or not (own['outputs'] or own['run_pb']):
            raise InputError('--%s: needed; -h tells more' % ('outputs' if own['manifest'] else 'manifest'))
        outputs = own['outputs'] or os.path.dirname(os.path.abspath(own['manifest'])) + '_outputs'
        # A manifest names no file that is executed: only the command line does.
        brought = RECIPES[own['network']].switches if (own['network'] or '').endswith('.py') else ()
        manifest = samples.read(own['manifest'], brought)[0]
        recipe, given = recipe_of(dict(manifest.settings, network=own['network'] or named(manifest.network)), {})
        config = config_lib.resolve(recipe, given, {}, needs_data=False)._replace(
            class_names=tuple(manifest.class_names))
        if own['run_pb']:
            count = score.run_pb(own['run_pb'], own['manifest'], outputs, brought)
            print('%d outputs of %s: %s' % (count, own['run_pb'], outputs))
        found = score.metrics(recipe, config, own['manifest'], outputs, own['output_dtype'])
        print('\n'.join(recipe.evaluation_lines(found)))
    return command.status_of(act)


def named(network: str) -> str:
    """The network of a manifest. Raises InputError for a recipe of the user's own, which the command line has to name.
    """
    if network.endswith('.py') or network not in RECIPES:
        raise InputError('--network: the samples are of %s, no network of this package: give the file of its recipe, '
                         '--network=PATH.py' % network)
    return network


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
