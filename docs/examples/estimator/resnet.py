"""bash test/train_performance_1p.sh --network=docs/examples/estimator/resnet.py"""
import resnet_model

from launchers.networks.estimator import from_model_fn

RECIPE = from_model_fn(
    resnet_model.model_fn, resnet_model.train_input_fn, resnet_model.eval_input_fn,
    params=dict(batch_size=8, weight_decay=1e-4), train_size=96, headline='top_1',
    defaults=dict(train_epochs=2, display_step=4))
