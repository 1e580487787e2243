"""A data set, a switch and an NPU option are added as the sections of CONTRIBUTING.md say, and by nothing else."""
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from launching import ROOT

SECTIONS = ('Add a data set', 'Add a switch', 'Add an NPU option')

# Runs commands in one process, which imports TensorFlow once; prints {name: [status, output, error]}.
RUNNER = '''
import contextlib, io, json, sys
from launchers import command, plan, train
import tensorflow as tf

def rates(recipe, config):
    """Prints the learning rates of the first three steps."""
    with tf.Graph().as_default(), tf.Session() as session:
        print(*session.run([recipe.learning_rate(config, tf.constant(step), 9) for step in range(3)]))

def batches(recipe, config):
    """Prints the images of the first batch, and the labels of the test set."""
    data = recipe.load(config)
    with tf.Graph().as_default(), tf.Session() as session:
        train, test = recipe.train_input(data, config), recipe.test_input(data, config)
        train.initialize(session)
        test.initialize(session)
        print(session.run(train.batch[0]).shape, [session.run(test.batch[1]).tolist() for _ in range(test.batches)])

acts = dict(planned=plan.act, no_data=plan.act, rates=rates, good_data=batches, bad_data=batches)
results = {}
for name, flags in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        status = command.run(acts.get(name, train.act), flags, {}, planning=acts.get(name) is plan.act)
    results[name] = status, out.getvalue(), error.getvalue()
print(json.dumps(results))
'''
COMMANDS = dict(
    help=['-h'],
    good_data=['--network=fromnpz', '--data_path=good'],
    planned=['--network=fromnpz', '--data_path=good', '--output_path=output'],
    trained=['--network=fromnpz', '--data_path=good', '--output_path=output', '--train_steps=1'],
    no_data=['--network=fromnpz', '--case=performance', '--output_path=output'],
    bad_data=['--network=fromnpz', '--data_path=bad'],
    rates=['--network=warm', '--case=performance', '--warmup_steps=2'],
    bad_steps=['--network=warm', '--case=performance', '--warmup_steps=-1'],
    other_network=['--network=cspnet', '--case=performance', '--warmup_steps=1'],
    option=['--print_config', '--case=performance', '--npu_option=new_timeout=60'],
    bad_option=['--print_config', '--case=performance', '--npu_option=new_timeout=0'])


def blocks_of(section):
    """-> [(path, table, code)] of the section's code; the table is the one whose row the code is, '' for a file."""
    with open(os.path.join(ROOT, 'CONTRIBUTING.md'), encoding='utf-8') as page:
        text = page.read().split('\n## %s\n' % section)[1].split('\n## ')[0]
    found = re.findall(r'```python\n# (\S+?)(?:: a row of (\w+))?\n(.*?)```', text, re.DOTALL)
    assert found, 'the section has no code'
    return found


def write_data(directory, first_label):
    directory.mkdir()
    random = np.random.RandomState(0)
    for name in 'train', 'test':
        np.savez(str(directory / name), x=random.randint(0, 256, [16, 32, 32, 3]).astype(np.uint8),
                 y=np.arange(16) % 10 + first_label)


@pytest.fixture(scope='module')
def results(tmp_path_factory, forking_python):
    """{name of a command: (status, output, error)} in a copy of the product that follows all sections."""
    copy = tmp_path_factory.mktemp('followed')
    for name in ('core', 'data', 'launchers', 'nets'):
        shutil.copytree(os.path.join(ROOT, name), str(copy / name))
    for section in SECTIONS:
        for path, table, code in blocks_of(section):
            file = copy / path
            if table:
                start = r'^(%s\b.*= {\n|class %s:\n.*\n\n)' % (table, table)
                before, start, after = re.split(start, file.read_text(), 1, re.MULTILINE)
                code = before + start + code + after
            file.write_text(code)
    write_data(copy / 'good', first_label=0)
    write_data(copy / 'bad', first_label=1)
    ran = subprocess.run([*forking_python, '-c', RUNNER, json.dumps(COMMANDS)], cwd=str(copy),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_data_set_is_added_by_a_loader_and_a_recipe(results):
    status, output, error = results['good_data']
    assert status == 0, error
    labels = [list(range(8)), [8, 9, 0, 1, 2, 3, 4, 5]]
    assert output == '(8, 32, 32, 3) %s\n' % (labels,)
    status, output, error = results['planned']           # as the launcher asks, before it trains
    assert status == 0 and 'network=fromnpz' in output, error
    assert results['trained'][0] == 0, results['trained'][2]
    status, _, error = results['no_data']
    assert status == 2 and error.startswith('--data_path')
    status, _, error = results['bad_data']
    assert status == 2 and error.splitlines()[-1].endswith('train.npz: label 10 is out of range 0 to 9')


def test_a_switch_is_added_by_a_row_and_the_code_that_reads_it(results):
    assert re.search(r'--warmup_steps\b.*\n?.*the learning rate rises', results['help'][1])
    assert [float(rate) for rate in results['rates'][1].split()] == pytest.approx([.05, .1, .1])
    for name, start in (('bad_steps', '--warmup_steps=-1: '), ('other_network', '--warmup_steps: ')):
        status, _, error = results[name]
        assert status == 2 and error.startswith(start)


def test_an_npu_option_is_added_by_a_row(results):
    assert re.search('new_timeout .*120.*: seconds until an operator counts as lost', results['help'][1])
    assert re.search(r'key: "new_timeout"\s+value \{\s+i: 60\s', results['option'][1])
    status, _, error = results['bad_option']
    assert status == 2 and error.startswith('--npu_option=new_timeout=0: ')
