"""AlexNet on cats and dogs (docs/vendor-contract.md sections 1 and 3).

An epoch is ten random crops of each photograph, as many as the vendor cuts before the training: 240,000 of 24,000.

    bash test/train_full_1p.sh --network=alexnet --data_path=DIR

minutes: 3,100 on 2 cores of a CPU
published: test accuracy 0.967 after 35 epochs, in the log of the code that the vendor ported
loss of the first steps: 0.69 = ln 2
after one epoch: still 0.70, test accuracy 0.52: it leaves 0.69 in the second epoch of 2,400 steps (0.67 and 0.65)
later: 0.34 and 0.82 after ten epochs, 0.03 after 35
"""
from core.recipe import Images, Picture, Recipe
from data import cats_dogs
from data.loading import skipped_hooks
from launchers.networks import shown
from launchers.networks.alexnet import data, model, pictures
from launchers.networks.alexnet.log import AlexnetLog, percent
from nets import layers
from nets.blocks import heads, optimizers, schedules

RECIPE = Recipe(
    defaults=dict(task=data.CATS_DOGS, train_epochs=35, batch_size=100, learning_rate=1e-3, momentum=0.9,
                  weight_decay=5e-4, keep_prob=0.5, ten_crop=False, cutmix_alpha=0., display_step=1, val_epoch=1,
                  precision_mode='allow_mix_precision'),
    cases=dict(full={}, performance=dict(train_steps=600)),
    on_synthetic=dict(train_steps=30, save_interval=5),
    load=data.load,
    train_input=data.train_input,
    test_input=data.test_input,
    model=heads.model(model.net, heads.softmax._replace(score=model.score), layers.l2_loss),
    images=Images(data.test_pixels, data.read, lambda images, constants: cats_dogs.centred(images),
                  fit=lambda height, width: data.FIT, crop=lambda height, width: cats_dogs.CROP / cats_dogs.SHORTEST),
    learning_rate=model.learning_rate,
    optimizer=optimizers.momentum,
    log=AlexnetLog,
    pictures=lambda: dict(kernels=Picture(pictures.kernels_over_epochs), confusion=Picture(shown.confusion),
                          mistakes=Picture(pictures.misclassified)),
    hooks=lambda run: [schedules.FallOnPlateau(run), pictures.FirstKernels(run), *skipped_hooks(run)],
    evaluation_lines=lambda means: ['test accuracy ' + percent(means)],
    split_strategy=(60, 19, 21),
    vendor_name='AlexNet_ID0259_for_TensorFlow',
    tasks=data.TASKS)
