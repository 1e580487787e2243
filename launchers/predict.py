"""The classifier of files: python3 -m launchers.predict --network=cspnet --ckpt_path=FILE_OR_DIR IMAGE_OR_DIR..."""
import json
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')     # TensorFlow's start-up lines would hide the answer

from launchers import command  # noqa: E402 (first: it silences TensorFlow's warnings about names)
from core.errors import InputError  # noqa: E402
from core.inference.predict import predict  # noqa: E402
from core.settings import config as config_lib  # noqa: E402
from core.settings import flags, kinds  # noqa: E402
from core.settings.table import SWITCHES, Switch  # noqa: E402
from launchers.networks.registry import recipe_of  # noqa: E402

OWN_SWITCHES = (Switch('predict', 'json', kinds.boolean(), False, 'print one JSON list'),)
USAGE = 'python3 -m launchers.predict --network=NAME --ckpt_path=FILE_OR_DIR [--json] IMAGE_OR_DIR...'
SHARED = ('network', 'ckpt_path', 'output_path', 'task', 'trunk', 'data_path')


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints the classes of images; returns the exit status: 2 when a file could not be read."""
    if flags.asks_for_help(argv):
        return command.status_of(lambda: print(command.help_text(USAGE, OWN_SWITCHES, SHARED)))

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
    return command.status_of(act)


def _record(prediction):
    classes = [{'class': name, 'probability': round(probability, 6)} for name, probability in prediction.classes]
    return {'file': prediction.file, 'classes': classes}


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:], os.environ))
