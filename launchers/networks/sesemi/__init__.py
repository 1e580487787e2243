"""SESEMI: self-supervised learning beside supervised learning (arXiv 1906.10343; docs/vendor-contract.md 1 and 3).

One head classifies labelled images; the other tells the six poses of an image apart without its label. These
are the labelled images themselves (--unlabeled=labeled: augmented supervised learning, of which the published errors
are) or the whole training set (--unlabeled=all: semi-supervised learning). Epochs and dropout follow the method, as in
the authors' two scripts. Differences from the vendor's:
- With --image_size other than 32 images are contrast-normalised and not whitened: the matrix of the whitening would
  have as many rows as an image has values. Both heads see random crops then. --mirror is missing on purpose: labelled
  images are mirrored anyway, and a mirror image is one of the poses that the other head tells apart.
- The six poses of an image have a shift and a noise of their own; there they share them.
- The trunk sees the images of both heads as one batch, so batch norm has one set of statistics; there each head's
  images are normalised by their own, and both move the averages in turn. One set errs less: after 100 steps with 100
  labels (test/accuracy.sh) 0.25 against 0.27 in the mean of three seeds, and 0.36 against 0.39 on other images.

    bash test/train_full_1p.sh --network=sesemi --data_path=DIR

minutes: 1,420 on 2 cores of a CPU, 33 on the vendor's NPU
published: error 0.2186 on a GPU, 0.2179 on an NPU, paper 0.2153
loss of the first steps: 6.2 = ln 10 + ln 6 + 2.06 of weight decay
after one epoch: 125 steps; the vendor's 4.6
later: not measured

    bash test/train_full_1p.sh --network=sesemi --data_path=DIR --labels=1000

minutes: 700 on 2 cores of a CPU, 16 on the vendor's NPU
published: error 0.2876 on a GPU, 0.2983 on an NPU, paper 0.2944
loss of the first steps: the same
after one epoch: 62 steps
later: not measured
"""
from core.recipe import Images, Model, Picture, Recipe
from core.settings.kinds import OWN_SIZE
from data.loading import skipped_hooks
from launchers.networks import image_sets
from launchers.networks.sesemi import data, model, pictures
from launchers.networks.sesemi.log import Announce, SesemiLog, error_lines
from nets.blocks import heads, optimizers, schedules

_DEFAULTS, _BY_SIZE = image_sets.augmentation(
    dict(trunk='convnet', task='cifar10', image_size=OWN_SIZE, labels=2000, unlabeled='labeled', train_epochs=300,
         batch_size=16, learning_rate=0.05, lr_decay_power=0.5, momentum=0.9, weight_decay=5e-4, cutmix_alpha=0.,
         test_copies=True, display_step=50, val_epoch=300),
    ('random_resized_crop', 'color_jitter'))

RECIPE = Recipe(
    defaults=_DEFAULTS,
    variants=(*_BY_SIZE,
              *(({'task': task}, dict(labels='all')) for task in image_sets.OF_FILES),
              ({'unlabeled': 'all'}, dict(train_epochs=50, val_epoch=1)),
              ({'unlabeled': 'all', 'task': 'svhn'}, dict(train_epochs=30))),
    cases=dict(full={}, performance=dict(train_epochs=3)),
    on_synthetic=dict(labels=100),
    load=data.load,
    train_input=data.train_input,
    test_input=data.test_input,
    model=Model(model.net, heads.softmax._replace(score=model.score), model.penalty),
    images=Images(data.test_pixels, image_sets.read, data.normalize, data.constants, fit=image_sets.fit,
                  crop=image_sets.crop, read_together=image_sets.read_together),
    input_name='super_data',
    on_export=dict(test_copies=False),
    vendor_name='SESEMI_ID1270_for_TensorFlow',
    tasks=tuple(image_sets.TASKS),
    learning_rate=schedules.polynomial,
    optimizer=optimizers.nesterov,
    log=SesemiLog,
    loss_prefix='train_',
    pictures=lambda: dict(losses=Picture(pictures.both_losses, once=True),
                          poses=Picture(pictures.poses_of_an_image, once=True)),
    hooks=lambda run: [Announce(run), *skipped_hooks(run)],
    evaluation_lines=error_lines)
