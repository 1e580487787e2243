"""Fixtures of the tests of training: runs of the network toy."""
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


@pytest.fixture
def undisturbed(tmp_path, capfd):
    """undisturbed(steps) -> the log of a run of so many steps that nothing happened to."""
    def act(steps):
        assert toy.run('--output_path=%s' % (tmp_path / 'undisturbed'), '--train_steps=%d' % steps) == 0
        return capfd.readouterr().out
    return act
