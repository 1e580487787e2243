"""The evaluator: python3 -m launchers.evaluate --network=cspnet --data_path=DIR --ckpt_path=FILE_OR_DIR."""
import os
import sys

if __name__ == '__main__':
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # when it is started by its path
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')     # TensorFlow's start-up lines would hide the answer

from launchers import command  # noqa: E402 (first: it silences TensorFlow's warnings about names)
from core.inference.evaluate import evaluate  # noqa: E402
from core.recipe import Recipe  # noqa: E402
from core.settings.config import Config  # noqa: E402
from launchers.devices import detect  # noqa: E402


def act(recipe: Recipe, config: Config) -> None:
    """Prints the vendor's lines for a checkpoint on the test set."""
    for line in recipe.evaluation_lines(evaluate(recipe, config, detect(config.device))):
        print(line)


if __name__ == '__main__':
    sys.exit(command.run(act, sys.argv[1:], os.environ))
