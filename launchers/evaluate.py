"""The evaluator: python3 -m launchers evaluate --network=cspnet --data_path=DIR --ckpt_path=FILE_OR_DIR."""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'evaluate'] + sys.argv[1:])

from core.errors import InputError
from core.inference.evaluate import evaluate
from core.recipe import Recipe
from core.settings import kinds
from core.settings.config import Config
from core.settings.table import Switch
from data.dataset import DataSet, whole
from launchers import command
from launchers.devices import detect

OWN_SWITCHES = (
    Switch('evaluate', 'all_images', kinds.boolean(), False,
           'test on all that --data_path holds, its training part among it; unset: on its test part'),
    command.BY_NUMBER)
USAGE = command.Usage(
    'python3 -m launchers evaluate --network=NAME --data_path=DIR [--ckpt_path=FILE_OR_DIR] [--flag=value ...]',
    'Tests a checkpoint and prints the lines of the network.', OWN_SWITCHES,
    ('network', 'data_path', 'ckpt_path', 'output_path', 'modeldir', 'batch_size', 'task', 'image_size',
     'trunk', 'eval_static', 'ten_crop', 'test_copies', 'seed', 'device', 'device_id'))


def act(recipe: Recipe, config: Config, all_images: bool = False, classes_by_number: bool = False) -> None:
    """Prints the vendor's lines for a checkpoint on the test set, or on all images, and how many images these are."""
    loaded = []

    def load(config):
        data = recipe.load(config)
        if all_images and not isinstance(data, DataSet):
            raise InputError('--all_images: the data of this network has no parts that can be joined; leave it out')
        loaded.append(data)
        return whole(data) if all_images else data
    lines = recipe.evaluation_lines(evaluate(
        recipe._replace(load=load), config, detect(config.device), classes_by_number))
    for line in [*_of_which(loaded[0], recipe, config, all_images), *lines]:
        print(line)


def _of_which(data, recipe, config, all_images):
    """[a line about the part of the data that was tested]; [] for data of a form without parts."""
    if not isinstance(data, DataSet):
        return []
    everything = len(data.skipped.files) if data.skipped else sum(
        part.size for part in (data.train, data.test, data.validation) if part)
    part, noun = everything if all_images else data.test.size, 'images' if recipe.images else 'examples'
    tested = part - part % config.batch_size if getattr(config, 'eval_static', False) else part
    tested -= len(data.skipped.names) if data.skipped else 0
    words = 'tested on %d of all %d %s' % (tested, everything, noun)
    return [words if all_images else words + ', the test part; --all_images tests all']


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status of the evaluation."""
    return command.run(act, argv, environ, USAGE)
