"""A TextCNN as projects of tf.estimator have it: model_fn and input_fn, which know nothing of this project."""
import numpy as np
import tensorflow as tf

WORDS, CLASSES = 32, 4


def texts(rows, vocabulary):
    """Texts of WORDS word numbers, of which each class likes some, and their classes."""
    random = np.random.RandomState(rows)
    labels = random.randint(0, CLASSES, rows).astype(np.int32)
    liked = random.randint(0, vocabulary // CLASSES, [rows, WORDS]) * CLASSES + labels[:, None]
    any_word = random.randint(0, vocabulary, [rows, WORDS])
    return np.where(random.uniform(size=liked.shape) < .3, liked, any_word).astype(np.int32), labels


def input_fn(mode, params):
    """Batches of ({'words': int32 [n, WORDS]}, classes int32 [n]); for tests the last one is smaller."""
    is_training = mode == tf.estimator.ModeKeys.TRAIN
    words, labels = texts(512 if is_training else 100, params['vocabulary'])
    dataset = tf.data.Dataset.from_tensor_slices(({'words': words}, labels))
    if is_training:
        dataset = dataset.shuffle(512).repeat()
    return dataset.batch(params['batch_size'], drop_remainder=is_training)


def model_fn(features, labels, mode, params):
    """The EstimatorSpec of a mode."""
    table = tf.get_variable('embedding', [params['vocabulary'], 32], None, tf.random_uniform_initializer(-.1, .1))
    x = tf.nn.embedding_lookup(table, features['words'])
    maps = [tf.layers.conv1d(x, 32, width, activation=tf.nn.relu) for width in (3, 4, 5)]
    x = tf.concat([tf.reduce_max(one, 1) for one in maps], 1)
    x = tf.layers.dropout(x, params['dropout'], training=mode == tf.estimator.ModeKeys.TRAIN)
    logits = tf.layers.dense(x, CLASSES)
    predictions = {'probabilities': tf.nn.softmax(logits), 'classes': tf.argmax(logits, 1)}
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions=predictions)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    if mode == tf.estimator.ModeKeys.EVAL:
        metrics = {'accuracy': tf.metrics.accuracy(labels, predictions['classes']),
                   'auc': tf.metrics.auc(tf.one_hot(labels, CLASSES), predictions['probabilities'])}
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    optimizer = tf.train.AdamOptimizer(params['learning_rate'])
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    clipped, _ = tf.clip_by_global_norm(gradients, 5.)
    train_op = optimizer.apply_gradients(zip(clipped, variables), tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)
