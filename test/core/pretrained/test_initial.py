"""What a training starts from: checkpoints with other names, .npz files, Keras's HDF5 files; frozen layers."""
import types

import numpy as np
import pytest
import tensorflow as tf
from keras_applications import resnet_common

from core.errors import InputError
from core.pretrained import found, initial
from nets import layers

RANDOM = np.random.RandomState(0)
# A part of what the checkpoint of BERT (Devlin et al. 2018) holds, by its names.
BERT = {'bert/embeddings/word_embeddings': [30, 4], 'bert/embeddings/LayerNorm/gamma': [4],
        'bert/encoder/layer_0/attention/self/query/kernel': [4, 4], 'bert/pooler/dense/kernel': [4, 4],
        'cls/predictions/output_bias': [30], 'cls/seq_relationship/output_weights': [2, 4]}
SLOTS = {'bert/pooler/dense/kernel/adam_m': [4, 4], 'global_step': []}


def written(path, shapes):
    """The values of a checkpoint that tf.train.Saver writes."""
    values = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=tf.constant(value))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(path))
    return values


def start(ckpt_path, names, init_map=None, lines=None, finetune=False):
    """{name: value} of a network that has the variables `names` {name: shape}; lines: those of the file of names."""
    if lines is not None:
        init_map.write_text('\n'.join(lines))
    config = types.SimpleNamespace(ckpt_path=str(ckpt_path), init_map=str(init_map or ''), finetune=finetune,
                                   network='mine', class_names=())
    with tf.Graph().as_default():
        variables = [tf.get_variable(name, shape) for name, shape in names.items()]
        return {v.op.name: value for v, value in initial.values(config, variables).items()}


def test_the_checkpoint_of_bert_starts_a_network_of_other_names(tmp_path, capfd):
    values = written(tmp_path / 'bert_model.ckpt', dict(BERT, **SLOTS))
    mine = {'text/embeddings/word_embeddings': [30, 4], 'text/embeddings/norm/gamma': [4],
            'text/block_0/query/kernel': [4, 4], 'text/pooler/dense/kernel': [4, 3], 'text/new/kernel': [4, 2]}
    got = start(tmp_path / 'bert_model.ckpt', mine, tmp_path / 'map', [
        '# theirs                                       mine', '',
        r'bert/embeddings/LayerNorm/(gamma|beta)         text/embeddings/norm/\1',
        r'bert/encoder/layer_(\d+)/attention/self/(.*)   text/block_\1/\2', 'bert/decoder/.*  nothing',
        r'bert/(.*)                                      text/\1'])
    taken = {'text/embeddings/word_embeddings': 'bert/embeddings/word_embeddings',
             'text/embeddings/norm/gamma': 'bert/embeddings/LayerNorm/gamma',
             'text/block_0/query/kernel': 'bert/encoder/layer_0/attention/self/query/kernel'}
    assert set(got) == set(taken)
    for name, theirs in taken.items():
        np.testing.assert_array_equal(got[name], values[theirs])
    log = capfd.readouterr().out.splitlines()
    assert log[-5:] == [
        '--init_map: no variable of the checkpoint is called bert/decoder/.*',
        '3 variables from checkpoint: %s' % (tmp_path / 'bert_model.ckpt'),
        'not in the checkpoint, start fresh: text/new/kernel',
        'of another shape in the checkpoint, start fresh: text/pooler/dense/kernel',
        'in the checkpoint and not used: cls/predictions/output_bias, cls/seq_relationship/output_weights, '
        'bert/pooler/dense/kernel']


@pytest.mark.parametrize('line, words', [
    ('one', 'line 2 has 1 words'), ('a b c', 'line 2 has 3 words'), ('( x', 'line 2 is no regular expression'),
    (r'(a) \2', 'line 2 is no regular expression'), ('.*dense.* x', 'both become x'), ('bert other', 'no variable of')])
def test_a_file_of_names_that_makes_no_sense_is_refused(line, words, tmp_path):
    written(tmp_path / 'x', {'a/dense/kernel': [2], 'b/dense/kernel': [2]})
    with pytest.raises(InputError, match=words) as refused:
        start(tmp_path / 'x', {'mine/kernel': [2]}, tmp_path / 'map', ['', line])
    assert len(str(refused.value)) < 300 and '\n' not in str(refused.value)


def test_an_npz_file_has_an_array_for_each_variable(tmp_path):
    kernel = RANDOM.normal(size=[3, 2]).astype(np.float32)
    np.savez(str(tmp_path / 'w.npz'), **{'net/dense/kernel': kernel})
    got = start(tmp_path / 'w.npz', {'net/dense/kernel': [3, 2]})
    np.testing.assert_array_equal(got['net/dense/kernel'], kernel)
    with pytest.raises(InputError, match='not a checkpoint of this mine: net/dense/kernel'):
        start(tmp_path / 'w.npz', {'net/dense/kernel': [3, 4]})


def resnet50(x):
    """Keras's ResNet50, of this project's layers, with two blocks a stage and an eighth of their filters."""
    def conv(x, filters, size, strides, name, activation=tf.nn.relu):
        padding = 'SAME' if size == 3 else 'VALID'
        x = layers.conv2d(x, filters, size, strides, padding, use_bias=True, name=name + '_conv')
        return layers.batch_norm(x, False, 1.001e-5, name + '_bn', activation)
    x = conv(tf.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]]), 64, 7, 2, 'conv1')
    x = tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, 'VALID')
    for stage, filters in enumerate((8, 16, 32, 64), 2):
        for block in 1, 2:
            name, strides = 'conv%d_block%d' % (stage, block), 2 if block == 1 and stage > 2 else 1
            shortcut = x if block > 1 else conv(x, 4 * filters, 1, strides, name + '_0', None)
            x = conv(conv(x, filters, 1, strides, name + '_1'), filters, 3, 1, name + '_2')
            x = tf.nn.relu(shortcut + conv(x, 4 * filters, 1, 1, name + '_3', None))
    return layers.dense(layers.global_average_pool(x), 10, name='probs')


@pytest.mark.slow
def test_keras_weights_of_resnet50_give_keras_logits(tmp_path, monkeypatch):
    stack = resnet_common.stack1
    monkeypatch.setattr(resnet_common, 'stack1', lambda x, filters, blocks, **named: stack(x, filters // 8, 2, **named))
    x = RANDOM.normal(size=[2, 64, 64, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session():
        model = tf.keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)
        model.set_weights([value + RANDOM.uniform(.01, .05, value.shape) for value in model.get_weights()])
        model.save_weights(str(tmp_path / 'keras.h5'))
        last = model.layers[-1]
        hidden = tf.keras.Model(model.input, model.layers[-2].output).predict(x)
        expected = hidden @ last.get_weights()[0] + last.get_weights()[1]
        name = last.name
    with tf.Graph().as_default(), tf.Session() as session:
        logits = resnet50(tf.constant(x))
        _, reader = found.find(str(tmp_path / 'keras.h5'))
        for v in tf.global_variables():
            v.load(reader.get_tensor(v.op.name.replace('probs/', name + '/')), session)
        np.testing.assert_allclose(session.run(logits), expected, rtol=1e-5, atol=1e-5 * abs(expected).max())
