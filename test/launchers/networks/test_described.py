"""A checkpoint tells its network: commands that take one need nothing else, and refuse what is typed and differs."""
import pytest
import tiny
from pictures import write_class_folders

from launchers import evaluate, export, predict
from launchers.networks.described import completed


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """(--ckpt_path=..., --data_path=...) of a network of two classes that was trained on class folders."""
    directory = tmp_path_factory.mktemp('described')
    write_class_folders(directory / 'data', {'ant': 12, 'owl': 12})
    assert tiny.run('--output_path=%s' % directory, '--data_path=%s' % (directory / 'data'), '--task=folder',
                    '--train_steps=2') == 0
    return '--ckpt_path=%s/0/ckpt' % directory, '--data_path=%s' % (directory / 'data')


def test_a_command_needs_the_checkpoint_alone(photographs, tmp_path, capfd):
    checkpoint, data = photographs
    assert evaluate.main([checkpoint, data, '--output_path=%s' % tmp_path], {}) == 0
    assert 'Top-1' in capfd.readouterr().out
    assert predict.main([checkpoint, data.partition('=')[2]], {}) == 0
    assert capfd.readouterr().out.count('ant 0.') == 24


@pytest.mark.parametrize('typed, words', [
    ('--network=cutmix', '--network=cutmix: the checkpoint is of tiny; leave the flag out'),
    ('--task=cifar10', '--task=cifar10: the checkpoint is of --task=folder; leave the flag out')])
@pytest.mark.parametrize('command', [evaluate, predict, export])
def test_what_is_typed_and_differs_is_refused_by_name(photographs, capfd, command, typed, words):
    assert command.main([photographs[0], typed], {}) == 2
    assert words in capfd.readouterr().err


def test_what_is_typed_alike_and_what_is_not_told_is_left_alone(photographs):
    checkpoint, _ = photographs
    assert completed([checkpoint], {}) == [checkpoint, '--network=tiny', '--task=folder']
    typed = ['--network=tiny', '--task=folder', checkpoint]
    assert completed(typed, {}) == typed
    assert completed(['--batch_size=4'], {}) == ['--batch_size=4']


def test_a_training_may_start_from_a_checkpoint_of_another_network_and_on_other_data(photographs):
    checkpoint, _ = photographs
    assert completed([checkpoint], {}, trains=True) == [checkpoint, '--network=tiny', '--task=folder']
    for given in (['--network=cutmix', checkpoint], ['--network=tiny', '--task=cifar10', checkpoint]):
        assert completed(given, {}, trains=True) == given
    assert completed([checkpoint], {'NETWORK': 'cutmix'}, trains=True) == [checkpoint]
