"""The evaluator: python3 -m launchers.evaluate --network=cspnet --data_path=DIR --ckpt_path=FILE_OR_DIR."""
import os
import sys

from core.inference.evaluate import evaluate
from launchers import command


def act(recipe, config):
    """Prints the vendor's lines for a checkpoint on the test set."""
    for line in recipe.evaluation_lines(evaluate(recipe, config)):
        print(line)


if __name__ == '__main__':
    sys.exit(command.run(act, sys.argv[1:], os.environ))
