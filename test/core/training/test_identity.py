"""Whether all ranks, and a checkpoint, are the same run."""
import pytest
import tensorflow as tf
import tiny
from pictures import write_class_folders

from core.errors import InputError
from core.settings.config import resolve
from core.training import identity
from launchers.networks.registry import RECIPES


def config(**given):
    return resolve(RECIPES['cspnet'], dict(given, case='performance'), {})


def test_flags_that_ranks_must_agree_on_are_compared_and_places_are_not():
    ours, theirs = config(seed=1, output_path='/a'), config(seed=1, output_path='/b', keep_history=3)
    identity.check_flags(ours, identity.checksums(ours).values(), identity.checksums(theirs).values())
    with pytest.raises(InputError) as refusal:
        identity.check_flags(ours, identity.checksums(ours).values(), identity.checksums(config(seed=2)).values())
    assert str(refusal.value) == '--seed=1: rank 0 has another value; give all ranks the same flags'


def test_ranks_with_different_data_are_refused():
    with pytest.raises(InputError, match='train_size is 80 here and 81 on rank 0: give all ranks the same .* data'):
        identity.check_facts({'steps': 10, 'train_size': 80}, {'steps': 10, 'train_size': 81})


@pytest.mark.parametrize('change, words', [
    ({}, None), ({'seed': 2}, 'has seed=1, this one 2'), ({'batch_size': 8}, 'has batch_size=64, this one 8'),
    ({'network': 'other'}, 'has another --network')])
def test_a_checkpoint_is_of_the_run_whose_batches_it_has_seen(tmp_path, change, words):
    facts = dict(identity.facts_of(config()), train_size=100)
    with tf.Graph().as_default(), tf.Session() as session:
        identity.add_facts(**facts)
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'), 10, write_meta_graph=False)
    reader = tf.train.NewCheckpointReader(path)
    now = config(**change)
    own = dict(identity.facts_of(now), train_size=100)
    assert identity.fact(reader, 'train_size') == 100 and identity.fact(reader, 'labels') is None
    if words is None:
        identity.check_checkpoint(path, reader, now, own)
    else:
        with pytest.raises(InputError, match='--resume: the run in .*' + words + '; resume it as it was started'):
            identity.check_checkpoint(path, reader, now, own)


def test_a_checkpoint_of_before_the_facts_says_nothing_of_its_run(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable('weight', [2])
        session.run(weight.initializer)
        path = tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'), 10, write_meta_graph=False)
    reader = tf.train.NewCheckpointReader(path)
    assert identity.fact(reader, 'seed', 5) == 5
    with pytest.raises(InputError, match='--resume: the run in .*has another --'):
        identity.check_checkpoint(path, reader, config(), identity.facts_of(config()))


@pytest.mark.slow
def test_a_run_does_not_go_on_with_images_of_another_size(tmp_path, capfd):
    write_class_folders(tmp_path / 'data', {'red': 10, 'green': 10})
    flags = ['--task=folder', '--data_path=%s' % (tmp_path / 'data'), '--output_path=%s' % tmp_path, '--image_size=40']
    assert tiny.run(*flags, '--train_steps=1', network='other') == 0
    before = sorted((tmp_path / '0' / 'ckpt').iterdir())
    capfd.readouterr()
    assert tiny.run(*flags[:-1], '--image_size=48', '--train_steps=2', '--resume', network='other') == 2
    assert 'has inputs of another shape or type (--image_size); resume it as it was started' in capfd.readouterr().err
    assert sorted((tmp_path / '0' / 'ckpt').iterdir()) == before
