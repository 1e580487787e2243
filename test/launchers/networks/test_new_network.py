"""A network is added by the four steps that README.md lists, and by nothing else."""
import os
import shutil
import subprocess
import sys

from launching import ROOT

NET = '''
import tensorflow as tf

from nets import layers


def tiny(images, is_training):
    with tf.variable_scope('tiny', reuse=tf.AUTO_REUSE):
        x = tf.nn.relu(layers.batch_norm(layers.conv2d(images, 8, 3, 4), is_training))
        return layers.dense(layers.global_average_pool(x), 10)
'''

RECIPE = '''
from core.recipe import Recipe, constant_learning_rate
from launchers.networks import cifar10
from launchers.networks import cspnet
from launchers.networks import classification
from nets.tiny import tiny

RECIPE = Recipe(
    defaults=dict(train_epochs=9, batch_size=32, learning_rate=.05, momentum=.9, weight_decay=1e-4,
                  display_step=10, val_epoch=1, cutmix_alpha=0., eval_static=False),
    cases=dict(full={}, performance=dict(train_epochs=2)),
    load=cifar10.load,
    train_input=cifar10.train_input,
    test_input=cifar10.test_input,
    model=classification.classifier(classification.without_dropout(tiny)),
    learning_rate=constant_learning_rate,
    optimizer=classification.momentum,
    log=cspnet.RECIPE.log)
'''


def test_a_network_is_added_by_a_net_a_recipe_a_row_and_a_shell_file(tmp_path):
    tree = tmp_path / 'copy'
    for name in ('core', 'data', 'launchers', 'nets', 'test'):
        shutil.copytree(os.path.join(ROOT, name), str(tree / name))
    (tree / 'nets' / 'tiny.py').write_text(NET)
    (tree / 'launchers' / 'networks' / 'tiny.py').write_text(RECIPE)
    recipes = tree / 'launchers' / 'networks' / 'registry.py'
    recipes.write_text(recipes.read_text()
                       .replace('import alexnet', 'import tiny, alexnet')
                       .replace('RECIPES = {', "RECIPES = {\n    'tiny': tiny.RECIPE,"))
    shell = (tree / 'launchers' / 'networks' / 'cspnet.sh').read_text()
    (tree / 'launchers' / 'networks' / 'tiny.sh').write_text(shell.replace('CSPNet_ID0840_for_TensorFlow', 'Tiny'))

    run = subprocess.run(
        ['bash', str(tree / 'test' / 'train_performance_1p.sh'), '--network=tiny'], cwd=str(tmp_path),
        env=dict(os.environ, PYTHON=sys.executable, ASCEND_DEVICE_ID='0'), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, universal_newlines=True)
    assert run.returncode == 0, run.stderr
    assert 'Final Performance images/sec : ' in run.stdout
    case = (tree / 'output' / '0' / 'Tiny_bs32_1p_perf.log').read_text()
    assert 'CaseName = Tiny_bs32_1p_perf\n' in case
    accuracy = float(case.split('TrainAccuracy = ')[1].split()[0])
    assert accuracy > .3, 'chance is 0.1'
