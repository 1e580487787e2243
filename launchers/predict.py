"""The classifier of files: python3 -m launchers predict --network=cspnet --ckpt_path=FILE_OR_DIR IMAGE_OR_DIR..."""
import json
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'predict'] + sys.argv[1:])

from core.errors import InputError
from core.inference.predict import predict
from core.settings import config as config_lib
from core.settings import flags, kinds
from core.settings.table import SWITCHES, Switch
from launchers import command
from launchers.networks.registry import recipe_of

OWN_SWITCHES = (Switch('predict', 'json', kinds.boolean(), False, 'print one JSON list'),)
USAGE = command.Usage(
    'python3 -m launchers predict --network=NAME --ckpt_path=FILE_OR_DIR [--json] IMAGE_OR_DIR...',
    'Prints the three most probable classes of each image. The exit status is 2 when a file cannot be read.',
    OWN_SWITCHES, ('network', 'ckpt_path', 'output_path', 'task', 'trunk', 'data_path'))


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the classes of images; returns the exit status: 2 when a file could not be read."""
    def act():
        recipe = recipe_of(flags.network_in(argv), environ)[0]
        given, paths = flags.parse_with_words(argv, OWN_SWITCHES + SWITCHES + tuple(recipe.switches))
        as_json = given.pop('json', False)
        if not paths:
            raise InputError('no files are named; give images or directories after the flags')
        recipe, given = recipe_of(given, environ)
        config = config_lib.resolve(recipe, given, environ, needs_data=False)
        refused = []

        def refuse(line):
            print(line, file=sys.stderr)
            refused.append(line)
        predictions = predict(recipe, config, paths, refuse)
        if as_json:
            print(json.dumps([_record(prediction) for prediction in predictions], indent=1, ensure_ascii=False))
        else:
            for prediction in predictions:
                print('%s: %s' % (prediction.file, ', '.join('%s %.4f' % one for one in prediction.classes)))
        return 2 if refused else 0
    return command.status_of(act, argv, USAGE)


def _record(prediction):
    classes = [{'class': name, 'probability': round(probability, 6)} for name, probability in prediction.classes]
    return {'file': prediction.file, 'classes': classes}
