"""What the framework asks of npu_bridge, seen by the recording stand-in in test/fakes/."""
import os
import sys

import pytest
import tensorflow as tf
import toy

from core.errors import InputError
from launchers.devices import CPU, detect
from core.ascend import bridge
from core.ascend.device import NPU
from core.settings.config import resolve
from core.training import identity, preflight
from launchers.networks.registry import RECIPES


@pytest.fixture
def eight_ranks(npu_calls, monkeypatch):
    monkeypatch.setenv('RANK_SIZE', '8')
    monkeypatch.setenv('JOB_ID', '10087')


def _trained_weight(optimizer_of):
    """A weight of 1 after one step of gradient 2 and learning rate 0.1."""
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable('weight', initializer=1.0)
        step = optimizer_of(tf.train.GradientDescentOptimizer(0.1)).minimize(2 * weight)
        session.run(tf.global_variables_initializer())
        session.run(step)
        return session.run(weight)


def test_a_machine_without_npu_bridge_is_a_cpu_and_says_so_when_asked_for_an_npu(monkeypatch):
    monkeypatch.setitem(sys.modules, 'npu_bridge', None)
    monkeypatch.setattr(tf.config.experimental, 'list_physical_devices', lambda kind: [])
    assert detect('auto') is detect('cpu') is CPU
    with pytest.raises(InputError, match='--device=npu: the Python package npu_bridge is not ins'):
        detect('npu')


def test_a_machine_with_npu_bridge_is_an_npu_unless_the_cpu_is_asked_for(npu_calls):
    assert detect('auto') is detect('npu') is NPU
    assert detect('cpu') is CPU


def test_an_npu_bridge_that_does_not_load_is_an_error_not_a_run_on_the_cpu(tmp_path, monkeypatch):
    (tmp_path / 'npu_bridge').mkdir()
    (tmp_path / 'npu_bridge' / '__init__.py').write_text('import libascend_of_nowhere')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match='--device=auto: npu_bridge is installed but cannot be '):
        detect('auto')


def test_one_rank_without_a_loss_scale_keeps_its_optimizer(npu_calls):
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    assert bridge.distributed_optimizer(optimizer, False, 1) is optimizer
    assert npu_calls == []


def test_many_ranks_without_a_loss_scale_reduce_each_gradient(npu_calls, eight_ranks):
    weight = _trained_weight(lambda opt: bridge.distributed_optimizer(opt, False, 8))
    assert weight == pytest.approx(0.8)
    assert npu_calls == [('NPUDistributedOptimizer', 'GradientDescentOptimizer'), ('allreduce', 'sum')]


def test_a_static_loss_scale_on_one_rank_is_not_distributed(npu_calls):
    weight = _trained_weight(lambda opt: bridge.distributed_optimizer(opt, 128.0, 1))
    assert weight == pytest.approx(0.8)
    assert npu_calls == [('FixedLossScaleManager', 128.0),
                         ('NPUOptimizer', 'GradientDescentOptimizer', False, True, False)]


def test_a_dynamic_loss_scale_on_many_ranks_also_reduces(npu_calls, eight_ranks):
    weight = _trained_weight(lambda opt: bridge.distributed_optimizer(
        opt, True, 8, is_tailing_optimization=True))
    assert weight == pytest.approx(0.8)
    assert npu_calls == [('ExponentialUpdateLossScaleManager', 2 ** 32, 1000, 2, 2, 0.5),
                         ('NPUOptimizer', 'GradientDescentOptimizer', True, True, True),
                         ('allreduce alone', 'sum'), ('allreduce', 'sum')]


@pytest.mark.parametrize('missing', ['JOB_ID', 'RANK_SIZE'])
def test_an_all_reduce_without_its_environment_is_refused_before_data_is_read(eight_ranks, monkeypatch, missing):
    config = resolve(RECIPES['swa'], {}, {'RANK_SIZE': '8'})
    monkeypatch.delenv(missing)
    with pytest.raises(InputError, match=missing + ': not set; an all-reduce between NPUs needs'):
        preflight.check(config, NPU)


def test_a_loop_on_the_device_is_told_its_iterations_before_the_first_step(npu_calls):
    with tf.Graph().as_default():
        counter = tf.get_variable('counter', initializer=0)
        train_op, load = bridge.loop_on_device(tf.assign_add(counter, 1).op)
        init = tf.global_variables_initializer()
        tf.get_default_graph().finalize()
        with tf.Session() as session:
            session.run(init)
            load(session, 10)
            session.run(train_op)
            assert session.run(counter) == 1
    assert [call[0] for call in npu_calls] == ['create_iteration_per_loop_var',
                                               'load_iteration_per_loop_var']
    assert npu_calls[1][1] == 10


def test_a_broadcast_brings_the_roots_weights_and_counters(npu_calls):
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.get_variable('weights', initializer=[1.0, 2.0])
        steps = tf.get_variable('steps', initializer=tf.constant(3, tf.int64), trainable=False)
        received = [bridge.broadcast(variable) for variable in (weights, steps)]
        session.run(tf.global_variables_initializer())
        assert [value.tolist() for value in session.run(received)] == [[7, 7], 7]
    assert npu_calls[0] == ('broadcast', 'weights', 0) and len(npu_calls) == 2


@pytest.mark.parametrize('network', RECIPES)
def test_the_facts_of_every_network_survive_the_broadcast(npu_calls, monkeypatch, network):
    monkeypatch.setenv('RANK_ID', '0')
    config = resolve(RECIPES[network], {'network': network, 'case': 'performance', 'seed': 2 ** 31 - 1}, {})
    with tf.Graph().as_default(), tf.Session() as session:
        identity.add_facts(**identity.facts_of(config))
        received = {name: bridge.broadcast(variable) for name, variable in identity.facts().items()}
        session.run(tf.global_variables_initializer())
        assert session.run(received) == identity.facts_of(config)


def test_dropout_on_an_npu_is_its_own(npu_calls):
    with tf.Graph().as_default(), tf.Session() as session:
        kept = session.run(bridge.dropout(tf.ones([1000]), 0.5))
    assert set(kept) == {0, 2}
    assert npu_calls == [('dropout', 0.5)]


def test_gradients_are_split_by_percent_of_their_size(npu_calls):
    bridge.split_gradients([60, 19, 21])
    assert npu_calls == [('set_split_strategy_by_size', [60, 19, 21], 'hccl_world_group')]


@pytest.mark.slow
@pytest.mark.parametrize('option', ['use_off_line=False', 'job=ps', 'job=default'])
def test_what_would_train_on_the_cpu_without_a_word_is_refused(npu, tmp_path, capfd, option):
    assert toy.run('--output_path=%s' % tmp_path, '--npu_option=' + option) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith('--npu_option=%s: the adapter would train on the CPU' % option)
    assert toy.run('--output_path=%s' % tmp_path, '--npu_option=' + option, '--device=cpu', '--train_steps=1') == 0


@pytest.mark.slow
def test_a_run_on_an_npu_that_compiles_nothing_says_so_after_its_first_step(npu, tmp_path, monkeypatch, capfd):
    flags = '--train_steps=12', '--display_step=1'
    assert toy.run('--output_path=%s' % (tmp_path / 'npu'), *flags) == 0
    assert 'not compiled' not in capfd.readouterr().out
    monkeypatch.setattr(npu, 'is_compiled', lambda optimizer: False)
    assert toy.run('--output_path=%s' % (tmp_path / 'cpu'), *flags) == 0
    log = capfd.readouterr().out
    assert log.index('The first step was not compiled on the Ascend AI processor') < log.index('step 2 ')
    assert log.count('not compiled') == 1


def test_ranks_without_a_rank_table_exchange_gradients(npu, monkeypatch):
    monkeypatch.delenv('RANK_SIZE')
    monkeypatch.setenv('CM_WORKER_SIZE', '4')
    monkeypatch.setenv('JOB_ID', '10087')
    config = resolve(toy.RECIPE, {'case': 'performance'}, {'CM_WORKER_SIZE': '4', 'RANK_ID': '3'})
    assert (config.ranks, config.rank) == (4, 3)
    with tf.Graph().as_default(), NPU.graph(config, {}):
        weight = tf.get_variable('weight', initializer=1.0)
        bridge.distributed_optimizer(tf.train.GradientDescentOptimizer(0.1), False, 4).minimize(weight)
    assert ('allreduce', 'sum') in npu.calls
    assert os.environ['CM_WORKER_SIZE'] == '4' and 'RANK_SIZE' not in os.environ


def test_both_variables_of_the_number_of_ranks_may_be_set_to_the_same(npu, eight_ranks, monkeypatch):
    monkeypatch.setenv('CM_WORKER_SIZE', '8')
    config = resolve(toy.RECIPE, {'case': 'performance'}, os.environ)
    with tf.Graph().as_default(), NPU.graph(config, {}):
        weight = tf.get_variable('weight', initializer=1.0)
        bridge.distributed_optimizer(tf.train.GradientDescentOptimizer(0.1), False, 8).minimize(weight)
    assert ('allreduce', 'sum') in npu.calls and os.environ['CM_WORKER_SIZE'] == os.environ['RANK_SIZE'] == '8'


@pytest.mark.parametrize('environ, words', [
    ({'CM_WORKER_SIZE': '4', 'RANK_SIZE': '8'}, 'CM_WORKER_SIZE=4 .environment.: the run has 8 ranks'),
    ({'CM_WORKER_SIZE': '4'}, 'RANK_ID .environment.: not set; each of the 4 ranks'),
    ({'CM_WORKER_SIZE': 'many'}, 'CM_WORKER_SIZE=many .environment.: must be')])
def test_numbers_of_ranks_that_make_no_sense_are_refused(environ, words):
    with pytest.raises(InputError, match=words):
        resolve(toy.RECIPE, {'case': 'performance'}, environ)
