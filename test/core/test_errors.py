"""What a graph makes of bad data is one line for the user."""
import pytest
import tensorflow as tf

from core.errors import InputError, input_errors


def test_a_value_that_an_operator_cannot_take_is_told_with_the_name_of_the_operator():
    with tf.Graph().as_default(), tf.Session() as session:
        word = tf.placeholder(tf.int32, [1])
        found = tf.nn.embedding_lookup(tf.zeros([5, 2]), word, name='words')
        with pytest.raises(InputError) as refusal, input_errors():
            session.run(found, {word: [7]})
    assert str(refusal.value).startswith('indices[0] = 7 is not in [0, 5): in the operator words')


def test_what_the_user_cannot_help_keeps_its_traceback():
    with tf.Graph().as_default(), tf.Session() as session, pytest.raises(tf.errors.FailedPreconditionError):
        with input_errors():
            session.run(tf.get_variable('never_initialized', []))
