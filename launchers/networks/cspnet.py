"""CSPNet: CSPDarknet53 on CIFAR-10 (docs/vendor-contract.md sections 1 and 3).

Inputs are normalised per channel; the vendor's are not. Otherwise the vendor's recipe.

    bash test/train_full_1p.sh --network=cspnet --data_path=DIR

minutes: 133 on 2 cores of a CPU, 33 on the vendor's NPU
published: top-1 0.6605 on a GPU, 0.6645 on an NPU
loss of the first steps: 2.8 = ln 10 + 0.51 of weight decay
after one epoch: below 2.8; the vendor's 3,200 small images: 2.1
later: those: 0.63 after five epochs
"""
from core.log import say
from core.run import Log, Report
from launchers.networks import cifar10
from nets.cspdarknet53 import cspdarknet53


class CspnetLog(Log):
    """The vendor's lines."""

    def step(self, report: Report) -> None:
        say('Epoch: %03d Step/Batch: %09d --- Loss: %s Training accuracy: %.4f' % (
            report.epoch, report.step, self.loss(report.step, '%.7f' % report.metrics['loss']),
            report.metrics['accuracy']))
        self._say_elapsed(report)

    def evaluation_start(self, epoch: int) -> None:
        say('Epoch %d, validating ....' % epoch)

    def epoch(self, report: Report) -> None:
        if report.evaluation:
            self._say_elapsed(report)
            self.accuracy = '%.4f' % report.evaluation['accuracy']
            say('Validation accuracy: ' + self.accuracy)

    def end(self, report: Report) -> None:
        self._say_elapsed(report)
        say('StepTime = %.6f' % report.seconds_per_step)
        say('FPS = %.4f' % report.images_per_second)

    @staticmethod
    def _say_elapsed(report):
        minutes, seconds = divmod(int(report.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        say('Elapsed time: %02dd %02dh %02dm %02ds' % (hours // 24, hours % 24, minutes, seconds))


RECIPE = cifar10.recipe(
    cspdarknet53,
    dict(train_epochs=50, batch_size=64, learning_rate=1e-3, momentum=0.9, weight_decay=5e-4, display_step=1000,
         val_epoch=5, precision_mode='allow_mix_precision'),
    cases=dict(full={}, performance=dict(train_epochs=5)),
    input_name='Placeholder',
    log=CspnetLog,
    vendor_name='CSPNet_ID0840_for_TensorFlow')
