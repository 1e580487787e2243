"""The classifier of files: python3 -m launchers predict --network=cspnet --ckpt_path=FILE_OR_DIR IMAGE_OR_DIR...

With --pb=FILE instead of --network and --ckpt_path an exported frozen graph classifies them.
"""
import json
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'predict'] + sys.argv[1:])

from core.errors import InputError
from core.log import printable
from core.inference.predict import exported, predict, predict_exported
from core.settings import config as config_lib
from core.settings import flags, kinds
from core.settings.table import SWITCHES, Switch
from launchers import command
from launchers.devices import fast
from launchers.networks.described import completed
from launchers.networks.registry import named, recipe_of

GROUP = 'predict'
OWN_SWITCHES = (
    Switch(GROUP, 'json', kinds.boolean(), False, 'print one JSON list'),
    Switch(GROUP, 'pb', kinds.file_path(), None,
           'a frozen graph that export has written, with its .json beside it, instead of a checkpoint'),
)
USAGE = command.Usage(
    'python3 -m launchers predict --network=NAME --ckpt_path=FILE_OR_DIR|--pb=FILE.pb [--json] IMAGE_OR_DIR...',
    'Prints the three most probable classes of each image. The exit status is 2 when a file cannot be read.',
    OWN_SWITCHES, ('network', 'ckpt_path', 'output_path', 'task', 'image_size', 'trunk', 'data_path'))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the classes of images; returns the exit status: 2 when a file could not be read."""
    def act():
        own, arguments = flags.parse_known(argv, OWN_SWITCHES)
        refused = []

        def refuse(line):
            print(line, file=sys.stderr)
            refused.append(line)
        predictions = (_by_graph(own['pb'], arguments, refuse) if own.get('pb') else
                       _by_checkpoint(arguments, environ, refuse))
        if own.get('json'):
            found = json.dumps([_record(prediction) for prediction in predictions], indent=1, ensure_ascii=False)
            print(found.encode(errors='backslashreplace').decode())    # what is not UTF-8 is \udcXX, as in JSON
        else:
            for prediction in predictions:
                print(printable('%s: %s' % (prediction.file, ', '.join('%s %.4f' % one for one in prediction.classes))))
        return 2 if refused else 0
    return command.status_of(act, argv, USAGE)


def _by_checkpoint(arguments, environ, refuse):
    arguments = completed(arguments, environ)
    recipe = recipe_of(flags.network_in(arguments), environ)[0]
    given, paths = flags.parse_with_words(arguments, SWITCHES + tuple(recipe.switches))
    recipe, given = recipe_of(given, environ)
    return predict(recipe, config_lib.resolve(recipe, given, environ, needs_data=False), _checked(paths), refuse, fast)


def _by_graph(path, arguments, refuse):
    given, paths = flags.parse_with_words(arguments, SWITCHES)
    for name in set(given) - {'network'}:
        raise InputError('--%s: not together with --pb, whose graph has all that it needs' % name)
    graph = exported(path)
    recipe, _ = recipe_of({'network': given.get('network') or named('classes', graph.network)}, {})
    return predict_exported(recipe, graph, _checked(paths), refuse, fast)


def _checked(paths):
    if not paths:
        raise InputError('no files are named; give images or directories after the flags')
    return paths


def _record(prediction):
    classes = [{'class': name, 'probability': round(probability, 6)} for name, probability in prediction.classes]
    return {'file': prediction.file, 'classes': classes}
