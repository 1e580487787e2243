"""A worker of the benchmark in PyTorch: pytorch_worker.py WAY FORMAT,FORMAT NETWORK FACTS NPZ. WAY is one of

    eager      PyTorch as it is
    compiled   torch.compile of the forward pass, the loss and their gradients

Of several memory formats (FORMATS) a few steps choose the fastest one. FACTS and NPZ are what the baseline has told and
written (tensorflow_worker.py). The worker first checks that the network is the same: as many parameters, and the same
loss of the same weights and batch, before a training step and after it.
"""
import json
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn

from torch_networks import NETWORKS
from turns import Turns

TOLERANCE = 1e-4               # of the loss before that step, relative; the network has that of the one after it
CONTIGUOUS = 'contiguous'
FORMATS = {CONTIGUOUS: torch.contiguous_format, 'channels_last': torch.channels_last}
WARMUP, TRIAL = 3, 6           # steps of each memory format before the faster one is chosen
TRIAL_SECONDS = 10
PRODUCT, TRIES = 4096, 3       # as in tensorflow_worker.py


class Trainer:
    """A network with its optimizer and batches in memory."""

    def __init__(self, network, facts, arrays, memory_format, compiled):
        self._format, self._decay = memory_format, facts['weight_decay']
        self.model = NETWORKS[network](facts)
        load(self.model, [arrays[name] for name in sorted(arrays) if name.startswith('weight_')])
        self.model.to(memory_format=memory_format).train()
        self._batches = []
        while 'batch_%d_0' % len(self._batches) in arrays:
            prefix = 'batch_%d_' % len(self._batches)
            self._batches.append([self._tensor(arrays[name]) for name in sorted(arrays) if name.startswith(prefix)])
        self._optimizer = self._make_optimizer(facts)
        self._loss, self._step = torch.compile(self.model.loss) if compiled else self.model.loss, 0
        self._loader = None

    def _make_optimizer(self, facts):
        decayed, factor = self.model.decayed()
        chosen = set(map(id, decayed))
        others = [weight for weight in self.model.parameters() if id(weight) not in chosen]
        groups = [dict(params=decayed, weight_decay=factor * self._decay), dict(params=others)]
        return self.model.optimizer(groups, **facts)

    def _tensor(self, array):
        if array.ndim == 4:
            array = array[:, ::-1, ::-1] if self.model.mirrored else array
            return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=self._format)
        return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)

    def losses(self):
        """The loss of the first batch with weight decay and without dropout, before and after a step."""
        dropouts = [layer.eval() for layer in self.model.modules() if isinstance(layer, nn.Dropout)]
        before = self._full_loss()
        self.step(self.model.loss)
        losses, self._step = [before, self._full_loss()], 0
        for layer in dropouts:
            layer.train()
        return losses

    @torch.no_grad()
    def _full_loss(self):
        decayed, factor = self.model.decayed()
        penalty = sum(weight.square().sum() for weight in decayed) / 2
        return (self.model.loss(*self._batches[0]) + factor * self._decay * penalty).item()

    def read(self, facts):
        """Trains on batches of files from now on."""
        from pytorch_pipeline import loader    # here, because it needs torchvision
        self._loader = iter(loader(facts))

    def _batch(self):
        if not self._loader:
            return self._batches[self._step % len(self._batches)]
        images, labels = next(self._loader)
        return images.contiguous(memory_format=self._format), labels

    def step(self, loss=None):
        """Trains on the next batch. The optimizer adds the gradient of the weight decay, as is usual in PyTorch."""
        loss = (loss or self._loss)(*self._batch())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._step += 1
        return loss.item()

    def trial(self):
        """The seconds of a step: the median of a few."""
        for _ in range(WARMUP):
            self.step()
        seconds = []
        while len(seconds) < TRIAL and sum(seconds) < TRIAL_SECONDS:
            start = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - start)
        return sorted(seconds)[len(seconds) // 2]


@torch.no_grad()
def load(model, weights):
    """Fills the layers in their order with TensorFlow's weights: kernels [height, width, in, out] or [in, out]."""
    weights = list(weights)[::-1]
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            parts = [(weights.pop(), weights.pop() if layer.bias is not None else None) for _ in range(layer.groups)]
            kernel = np.concatenate([kernel for kernel, _ in parts], 3).transpose(3, 2, 0, 1)
            fill(layer.weight, kernel[:, :, ::-1, ::-1] if model.mirrored else kernel)
            if layer.bias is not None:
                fill(layer.bias, np.concatenate([bias for _, bias in parts]))
        elif isinstance(layer, nn.Linear):
            kernel = weights.pop()
            if hasattr(layer, 'maps'):    # TensorFlow flattens [height, width, channels]
                kernel = kernel.reshape(*layer.maps, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
            fill(layer.weight, kernel.T)
            fill(layer.bias, weights.pop())
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            fill(layer.weight, weights.pop())
            fill(layer.bias, weights.pop())
    if weights:
        raise SystemExit('%d arrays of weights are left over' % len(weights))


def fill(parameter, array):
    if parameter.shape != array.shape:
        raise SystemExit('a weight has the shape %s here and %s there' % (tuple(parameter.shape), array.shape))
    parameter.copy_(torch.from_numpy(array.copy()))


def check(trainer, facts):
    """Ends the worker when the network is another one; returns its losses."""
    count, losses = sum(weight.numel() for weight in trainer.model.parameters()), trainer.losses()
    if count != facts['parameters']:
        raise SystemExit('%d parameters here and %d there' % (count, facts['parameters']))
    tolerances = TOLERANCE, trainer.model.tolerance
    for when, here, there, tolerance in zip(('before', 'after'), losses, facts['losses'], tolerances):
        if abs(here - there) > tolerance * abs(there):
            raise SystemExit('the loss %s the first step is %.7g here and %.7g there' % (when, here, there))
    return losses


def peak():
    """GFLOP/s of a large matrix product."""
    left, right = (torch.rand(PRODUCT, PRODUCT) - .5 for _ in range(2))
    seconds = []
    for _ in range(TRIES + 1):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT ** 3 / min(seconds) / 1e9


def main(way, formats, network, facts, path):
    turns, facts = Turns(), json.loads(facts)
    network = pathlib.Path(network).stem    # of the file of a recipe, its name
    if network not in NETWORKS:
        raise SystemExit('%s: test/benchmark/torch_networks.py has no such network' % network)
    with np.load(path) as archive:
        arrays = dict(archive)
    trials = {}
    for name in formats.split(',') if arrays['batch_0_0'].ndim == 4 else [CONTIGUOUS]:
        trainer = Trainer(network, facts, arrays, FORMATS[name], way == 'compiled')
        losses = check(trainer, facts)
        trials[name] = trainer.trial()
        if trials[name] == min(trials.values()):
            best, chosen = trainer, name
    del trainer, arrays
    if 'files' in facts:       # the steps before were of batches in memory
        best.read(facts['files'])
    forget_peak_memory()
    turns.begin(peak, version=torch.__version__, losses=losses, format=chosen, trials=trials)
    while True:
        best.step()
        turns.stepped()


def forget_peak_memory():
    """Makes Linux count the largest resident memory of this process from now on."""
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


if __name__ == '__main__':
    main(*sys.argv[1:])
