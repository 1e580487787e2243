"""npu_bridge.estimator.npu.npu_loss_scale_manager: those of tf.contrib under other names."""
from npu_bridge.machine import calls
from tensorflow.contrib.mixed_precision.python import loss_scale_manager


class FixedLossScaleManager(loss_scale_manager.FixedLossScaleManager):
    def __init__(self, loss_scale, enable_overflow_check=True):
        if loss_scale < 1:
            raise ValueError('loss scale must be at least 1.')
        super().__init__(loss_scale=loss_scale)
        self._enable_overflow_check = enable_overflow_check
        calls.append(('FixedLossScaleManager', loss_scale))

    def get_enable_overflow_check(self):
        return self._enable_overflow_check


class ExponentialUpdateLossScaleManager(loss_scale_manager.ExponentialUpdateLossScaleManager):
    def __init__(self, init_loss_scale, incr_every_n_steps, decr_every_n_nan_or_inf=2, incr_ratio=2, decr_ratio=0.8):
        super().__init__(init_loss_scale, incr_every_n_steps, decr_every_n_nan_or_inf, incr_ratio, decr_ratio)
        calls.append(('ExponentialUpdateLossScaleManager', init_loss_scale, incr_every_n_steps,
                      decr_every_n_nan_or_inf, incr_ratio, decr_ratio))
