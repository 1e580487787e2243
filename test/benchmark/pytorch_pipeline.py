"""The worker that loads images as torchvision's users do: pytorch_pipeline.py FACTS, what our pipeline says of itself.

ImageFolder, the transforms of an ImageNet training, and a DataLoader of WORKERS processes: the files, crops, mirroring,
normalisation and batch size are those of ours. Batches are not mixed, which ours of cutmix are.
"""
import json
import sys

import torch
from torch.utils.data import DataLoader, RandomSampler

from turns import Turns, end_with_parent

WORKERS = 2
MEAN, STD = (.485, .456, .406), (.229, .224, .225)     # of ImageNet
MANY = 10 ** 8                 # images
_OPERATORS = torch.library.Library('torchvision', 'FRAGMENT')    # what is defined in it goes when it goes


def transforms_of(transforms, size, random_resized_crop, mirror):
    """The transforms of a training image; size: (height, width)."""
    return transforms.Compose([
        transforms.RandomResizedCrop(size, (random_resized_crop, 1)),
        *([transforms.RandomHorizontalFlip()] if mirror else []),
        transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def torchvision():
    """The module. Its build for CUDA, which a CPU build of PyTorch cannot load, serves for what needs Pillow alone."""
    try:
        import torchvision.transforms
    except RuntimeError:       # the first operator for which it has registered a shape is missing
        for name in ('nms', 'qnms'):
            _OPERATORS.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        import torchvision.transforms
    return torchvision


def loader(facts):
    """The DataLoader of [images, labels] batches that does not end."""
    vision = torchvision()
    data = vision.datasets.ImageFolder(facts['data_path'], transforms_of(
        vision.transforms, facts['size'], facts['random_resized_crop'], facts['mirror']))
    # One epoch without end, because between two the processes would wait for each other. Nothing but the making of
    # batches takes time here, so the queue is as empty after a burst as before it: what was prefetched evens out.
    return DataLoader(data, facts['images'], sampler=RandomSampler(data, num_samples=MANY), drop_last=True,
                      num_workers=WORKERS, worker_init_fn=lambda number: end_with_parent())


def main(facts):
    turns, batches = Turns(), iter(loader(json.loads(facts)))
    turns.begin(images=len(next(batches)[0]))
    for _ in batches:
        turns.stepped()


if __name__ == '__main__':
    main(*sys.argv[1:])
