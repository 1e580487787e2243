"""Pictures for the report (Recipe.pictures) of networks that classify images."""
from typing import Dict, Optional, Sequence

import numpy as np
import tensorflow as tf

from core.device import cpu_session
from core.recipe import Picture
from core.pages import pictures
from core.pages.text import both
from core.run import Panel, View
from data import pipeline
from data.cutmix import draw, mix
from data.dataset import DataSet, sample_name
from launchers.networks import image_sets

MIXED = 24                     # images in the picture of CutMix
ONE = 0.995                    # a share above it is shown as the whole image


def classifier(**more: Picture) -> Dict[str, Picture]:
    """The pictures of every classifier of small images; `more` come before them."""
    return dict(more, confusion=Picture(confusion), mistakes=Picture(mistakes))


def class_names(view: View) -> Sequence[str]:
    """The names of the classes; those that are numbers are called class 0, class 1, ..."""
    return ['class ' + name if name.isdigit() else name for name in view.config.class_names]


def confusion(view: View) -> Optional[Panel]:
    """The confusion matrix of the test set."""
    return view.predictions and pictures.confusion_matrix(view.predictions, class_names(view))


def mistakes(view: View) -> Optional[Panel]:
    """The test images that are wrong with the largest probability."""
    return view.predictions and pictures.mistakes(
        view.predictions, class_names(view), lambda rows: test_images(view.data, rows),
        lambda row: sample_name(view.data.test, row))


def test_images(data: DataSet, rows: np.ndarray) -> Sequence[np.ndarray]:
    """The images of these rows of the test set, uint8; black where one cannot be read."""
    return pipeline.samples(data.test.subset(rows), **data.loading)[0] if len(rows) else []


def mixed_images(view: View) -> Optional[Panel]:
    """The first training images as --cutmix_alpha mixes them, with their labels and each one's lambda."""
    config, train = view.config, view.data.train
    if not config.cutmix_alpha:
        return None

    def show(x, y, seed):
        cut = draw(config.batch_size, *x.shape.as_list()[1:3], seed, config.cutmix_alpha)
        # Mixed like labels, the rows of the unit matrix say which part of each image comes from where.
        images, shares = mix(x, tf.eye(config.batch_size), cut)
        return images, y, shares
    with tf.Graph().as_default(), cpu_session() as session:
        batches = pipeline.train_input(train, config.batch_size, config.seed, transform=show, rank=config.rank,
                                       ranks=config.ranks, **image_sets.for_training(view.data.loading, config))
        batches.initialize(session)
        images, labels, shares = session.run(batches.batch)
    names, lines = class_names(view), []
    for own, row in list(enumerate(shares))[:MIXED]:
        share, other = row[own], names[labels[np.argmax(np.where(np.arange(len(row)) == own, -1, row))]]
        name = names[labels[own]]
        words = '%.2f %s + %.2f %s' % (share, name, 1 - share, other) if share < ONE else name
        lines.append([('', (words, words)), ('', ('λ = %.3f' % share,) * 2)])
    return pictures.gallery(
        both('Training images, mixed'),
        both('The first batch of the run: the labels with their weights, and λ, the part of an image that is its own'),
        list(images[:MIXED]), lines)
