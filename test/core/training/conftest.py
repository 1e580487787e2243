"""Fixtures of the tests of training: runs of the network toy."""
import contextlib
import io
import shutil

import pytest
import toy


@pytest.fixture
def train(tmp_path, capfd):
    """train(flag...) -> (status, standard output, standard error); results in tmp_path/0."""
    def act(*given, run=toy.run):
        status = run('--output_path=%s' % tmp_path, *given)
        captured = capfd.readouterr()
        return status, captured.out, captured.err
    return act


@pytest.fixture(scope='session')
def run_of_two_epochs(tmp_path_factory):
    """(results, log) of a run of two epochs."""
    output = tmp_path_factory.mktemp('two_epochs')
    with contextlib.redirect_stdout(io.StringIO()) as log:
        assert toy.run('--output_path=%s' % output) == 0
    return output / '0', log.getvalue()


@pytest.fixture
def trained(run_of_two_epochs, tmp_path):
    """trained() -> the log of a run of two epochs whose results are in tmp_path/0 now; it is trained only once."""
    def act():
        results, log = run_of_two_epochs
        shutil.copytree(str(results), str(tmp_path / '0'))
        return log
    return act


@pytest.fixture
def undisturbed(tmp_path, capfd):
    """undisturbed(steps) -> the log of a run of so many steps that nothing happened to."""
    def act(steps):
        assert toy.run('--output_path=%s' % (tmp_path / 'undisturbed'), '--train_steps=%d' % steps) == 0
        return capfd.readouterr().out
    return act
