"""bash test/train_performance_1p.sh --network=docs/examples/estimator/textcnn.py"""
import textcnn_model

from launchers.networks.estimator import from_model_fn

RECIPE = from_model_fn(
    textcnn_model.model_fn, textcnn_model.input_fn, textcnn_model.input_fn,
    params=dict(batch_size=32, learning_rate=5e-3, vocabulary=400, dropout=.5), train_size=512, headline='accuracy',
    defaults=dict(train_epochs=4, display_step=16, clip_norm=5.))
