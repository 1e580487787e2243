"""npu_bridge.estimator.npu.npu_estimator: the spec of a model_fn."""
import tensorflow as tf


class NPUEstimatorSpec(tf.estimator.EstimatorSpec):
    def __new__(cls, mode, host_call=None, **fields):
        spec = super().__new__(cls, mode, **fields)
        spec._host_call = host_call
        return spec
