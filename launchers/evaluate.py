"""The evaluator: python3 -m launchers evaluate --network=cspnet --data_path=DIR --ckpt_path=FILE_OR_DIR."""
import os
import sys
from typing import Mapping, Sequence

if __name__ == '__main__':
    os.execv(sys.executable, [sys.executable, os.path.dirname(os.path.abspath(__file__)), 'evaluate'] + sys.argv[1:])

from core.inference.evaluate import evaluate
from core.recipe import Recipe
from core.settings.config import Config
from launchers import command
from launchers.devices import detect

USAGE = command.Usage(
    'python3 -m launchers evaluate --network=NAME --data_path=DIR [--ckpt_path=FILE_OR_DIR] [--flag=value ...]',
    'Tests a checkpoint and prints the lines of the network.',
    shared=('network', 'data_path', 'ckpt_path', 'output_path', 'modeldir', 'batch_size', 'task', 'trunk',
            'eval_static', 'ten_crop', 'test_copies', 'seed', 'device', 'device_id'))


def act(recipe: Recipe, config: Config) -> None:
    """Prints the vendor's lines for a checkpoint on the test set."""
    for line in recipe.evaluation_lines(evaluate(recipe, config, detect(config.device))):
        print(line)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status of the evaluation."""
    return command.run(act, argv, environ, USAGE)
