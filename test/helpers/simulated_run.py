"""The log of a run without training: the real Clock, Reporter and log of a network, and steps that only take time."""
import contextlib
import math
import time
from types import SimpleNamespace

from core.reporting.report import Figures, NeutralLog
from core.reporting.report import Reporter
from core.run import Clock
from core.settings.config import resolve
from launchers.networks.registry import RECIPES

# Training examples of the published data sets, as often as an epoch shows them.
EXAMPLES = dict(cspnet=50000, cutmix=50000, alexnet=249000, sesemi=2000, swa=131072)
MOST_EPOCHS = 3                # the further ones would log the same


def metrics(step):
    """Those of any network after `step` steps: the loss falls, accuracies rise."""
    loss = math.exp(-step / 2000) + .1
    return dict(loss=loss, cross_entropy=loss - .05, self_clf_loss=loss / 3, super_clf_loss=loss / 2,
                accuracy=.9 - .5 * loss, plain_accuracy=.8 - .5 * loss)


def evaluation(session):
    """The metrics over the test set."""
    del session
    return dict(loss=.7654, accuracy=.6605, plain_accuracy=.6312)


def run(network, case, directory, monkeypatch, seconds_of, ranks=1):
    """A run at default settings, except that it has at most MOST_EPOCHS epochs; step N takes seconds_of(N).

    Its log goes to train.log in `directory`, a pathlib.Path, its figures to report/ there. -> (the Config, its steps).
    """
    recipe = RECIPES[network]
    given = dict(case=case, data_path=recipe.defaults.get('data_path', 'directory'))
    config = resolve(recipe, given, {'RANK_SIZE': str(ranks)})
    steps_per_epoch = EXAMPLES[network] // (config.batch_size * ranks)
    steps = config.train_steps or min(config.train_epochs, MOST_EPOCHS) * steps_per_epoch
    now = [1e9]
    clock = Clock(steps, steps_per_epoch)
    step = SimpleNamespace(metrics=None, epoch_metrics=None, learning_rate=None, loss_scale=None, applied_steps=None)
    log = (recipe.log or NeutralLog)()
    figures = Figures(str(directory), log, ranks)
    display_step = min(config.display_step, steps)
    reporter = Reporter(clock, step, config, display_step, lambda session: (evaluation(session), None), [log, figures])
    train_log = open(str(directory / 'train.log'), 'w')
    with monkeypatch.context() as patch, train_log, contextlib.redirect_stdout(train_log):
        patch.setattr(time, 'monotonic', lambda: now[0])
        clock.after_create_session(None, None)
        while not clock.at_end:
            clock.before_run(None)
            reporter.before_run(None)
            now[0] += seconds_of(clock.step + 1)
            clock.after_run(None, None)
            results = dict(metrics=metrics(clock.step), epoch_metrics=metrics(clock.step), learning_rate=.05)
            reporter.after_run(SimpleNamespace(session=None), SimpleNamespace(results=(clock.step, results)))
        log.average(evaluation(None))
        reporter.end(None)
    return config, steps
