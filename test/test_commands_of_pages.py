"""The commands of README, docs/ and CONTRIBUTING.md work as they are typed, where `python3` on PATH has no package.

Each goes through bash and the launchers in a copy of the repository, the networks and built-in data of which are small.
A run that trains is as short as docs/train.md shows. A command that differs from another by values alone, or by flags
that it lacks, is not run again.
"""
import glob
import os
import re
import shutil
import subprocess

import cifar_pickles
import photographs
import pytest
from data import synthetic
from launching import ROOT, workdir_with
from pages import PAIRS, blocks, commands, in_sentences, lines_of

OF_OTHERS = ('docs/float16.md', 'docs/photographs.md')     # tests of their own run these pages
ENGLISH = [english for english, _ in PAIRS if english not in OF_OTHERS] + [
    'CONTRIBUTING.md', 'docs/scaling.md', 'docs/precision.md', 'docs/architecture.md', 'docs/npu-options.md']
# Pages whose commands need what others before them have left, longest first.
_FIRST = [['docs/train.md'], ['README.md', 'docs/evaluate.md', 'docs/export.md', 'docs/fine-tune.md'],
          ['docs/rehearse.md'], ['docs/data.md', 'docs/ranks.md']]
GROUPS = _FIRST[:-1] + [_FIRST[-1] + [name for name in ENGLISH if name not in sum(_FIRST, [])]]
# What cannot run here, by its first words, and why.
NOT_HERE = {
    'docker': 'a container on a machine with an NPU',
    'atc': 'an Ascend tool', 'msame': 'an Ascend tool on an inference device',
    'python3 launchers/boot_modelarts.py': 'a bucket; test/launchers/modelarts has buckets of its own',
    'bash test/run_tests.sh': 'this suite', 'bash test/lint.sh': 'fetches packages; every change is checked by it',
    'bash test/tools.sh': 'fetches packages, for minutes', 'bash test/soak.sh': 'minutes of both cores',
    'bash test/accuracy.sh': 'minutes of both cores',
    'bash test/train_performance_1p.sh --network=mynet': 'test/launchers/networks/test_new_network.py writes it',
    'bash test/train_full_8p.sh --rank_size=2': 'a form; the page of ranks has the whole command',
    'python3 /path/to': 'test/launchers/test_commands.py starts files from elsewhere',
    'bash test/benchmark': 'minutes of both cores; test/test_benchmark.py has a short one',
    'bash test/train_performance_8p.sh --network=alexnet': 'eight ranks of alexnet',
    'bash test/train_full_1p.sh --network=sesemi': 'half a minute to whiten images; its own tests train it',
    'bash test/train_full_8p.sh --data_path=/data/cifar10 --rank_table': 'several servers; test/core/ranks has some',
    'python3 -m launchers export --network=cspnet --data_path=/data/cifar10 --ckpt_path=output/0/ckpt --samples':
        'rehearse cspnet runs it',
    'rehearse cutmix': 'rehearse cspnet with another network', 'rehearse alexnet': 'the same',
    'rehearse sesemi': 'the same', 'rehearse swa': 'the same', 'export ASCEND_DEVICE_ID': 'all below is on 0'}
SHORT, ONE_STEP = ' --train_steps=2 --batch_size=4', ' --train_steps=1'     # the latter on built-in data
# Of the commands that name none: small ones.
NETWORK = {'docs/rehearse.md': 'swa', 'docs/train.md': 'cutmix', 'README.md': 'cutmix'}
# {file: its last line in the copy}
SMALL = {'nets/cspdarknet53.py': 'STAGES = [Stage(16, 1, 16, 8)] * 5', 'nets/resnet.py': 'BLOCKS = 1',
         'nets/alexnet.py': 'HIDDEN = (64, 32)', 'data/synthetic.py': 'cifar10.__defaults__ = 256, 128, 0'}


def signature(command):
    """What of a command is no value: its words, and the names of its flags, with the network."""
    flags = {word if word.startswith('--network') else word.partition('=')[0] for word in command.split()
             if word.startswith('--')}
    return tuple(word for word in command.split() if not word.startswith('-')), frozenset(flags)


def is_left_out(command):
    return not command or any(command.startswith(words) for words in NOT_HERE)


def to_run(name):
    """The commands of a page that are to be run, with the functions that it defines in front."""
    found = []
    for block in blocks(name):
        defined, end, rest = block.partition('\n}\n')
        found += [(defined + end if end else '') + command
                  for command in lines_of(rest if end else block) if not is_left_out(command)]
    return found + [command for command in in_sentences(name) if not is_left_out(command)]


@pytest.fixture(scope='module')
def fresh(tmp_path_factory, forking_python):
    """run(command, page) -> CompletedProcess where only the launchers know of a Python with TensorFlow."""
    top = tmp_path_factory.mktemp('fresh')
    copy, bare = top / 'copy', forking_python[:3]
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, stdout=subprocess.PIPE,
                            universal_newlines=True, check=True).stdout.splitlines()
    for name in listed:
        if name.startswith(('core/', 'data/', 'launchers/', 'nets/', 'configs/', 'docs/', 'test/train_', '__main__',
                            'requirements')) and os.path.isfile(os.path.join(ROOT, name)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), str(copy / name))
    for name, line in SMALL.items():
        with (copy / name).open('a') as file:
            file.write(line + '\n')
    if os.path.exists(os.path.join(ROOT, '.kernels')):
        (copy / '.kernels').symlink_to(os.path.join(ROOT, '.kernels'))
    workdir_with(_directory(copy / '.venv' / 'bin'), *forking_python)
    key = subprocess.run('sha256sum <requirements.lock', shell=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
    (copy / '.venv' / '.complete').write_bytes(key)
    for name in ('python3', 'python3.7'):
        workdir_with(_directory(top / 'bin'), *bare)
        (top / 'bin' / 'python').rename(top / 'bin' / name)
    _write_data(top, copy)
    unset = ('PYTHON', 'PYTHONPATH', 'RANK_SIZE', 'RANK_ID', 'ASCEND_DEVICE_ID', 'NETWORK')
    inherited = {name: value for name, value in os.environ.items() if name not in unset}

    def run(command, page=''):
        command = re.sub(r'(?<![\w/])/(data|models)/', lambda match: '%s/%s/' % (top, match[1]), command)
        environment = dict(inherited, PATH='%s:%s' % (top / 'bin', os.environ['PATH']))
        if page in NETWORK:
            environment['NETWORK'] = NETWORK[page]
        return subprocess.run(['bash', '-c', command], cwd=str(copy), env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    run.copy, run.models = copy, top / 'models'
    return run


def _directory(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_data(top, copy):
    some = dict(cifar_pickles.record(500), labels=[number % 10 for number in range(500)])
    few = dict(cifar_pickles.record(20), labels=[number % 10 for number in range(20)])
    cifar_pickles.write(top / 'data' / 'cifar10', test_batch=cifar_pickles.python3(few), **{
        'data_batch_%d' % number: cifar_pickles.python3(some) for number in range(1, 6)})
    photographs = str(_directory(top / 'data' / 'dogs-vs-cats'))
    synthetic.write_cats_dogs(photographs, 16)
    files = sorted(glob.glob(os.path.join(photographs, '*.jpg')))
    for number, file in enumerate(files[:8]):
        folder = _directory(top / 'data' / 'birds' / ('wren', 'rook')[number % 2])
        shutil.copy(file, str(folder))
    for directory in (top / 'data' / 'more-photos', copy / 'more-photos'):
        shutil.copytree(str(top / 'data' / 'birds' / 'wren'), str(directory))
    shutil.copy(files[0], str(copy / 'photo.jpg'))
    (copy / 'ops.json').write_text('{"black-list": {"to-add": ["Softmax"]}}')
    (copy / 'fusion_switch.cfg').write_text('{"Switch": {"GraphFusion": {"ALL": "off"}}}')


def _keep_models(run):
    """The checkpoints of the newest run, where the pages have models."""
    shutil.rmtree(str(run.models), ignore_errors=True)
    (run.models / 'cifar10').mkdir(parents=True)
    shutil.copytree(str(run.copy / 'output' / '0' / 'ckpt'), str(run.models / 'cifar10' / 'ckpt'))
    for file in (run.models / 'cifar10' / 'ckpt').glob('model.ckpt-1.*'):
        shutil.copy(str(file), str(run.models / ('model.ckpt-39100' + file.suffix)))


def _as_here(command, run):
    """A command with names of this machine for what a page leaves to its reader; two ranks train a small network."""
    if ' compare NPU_DUMP' in command:
        directory = glob.glob(str(run.copy / 'output' / 'data_dump' / '*' / '2'))[0]
        graph, = glob.glob(os.path.join(os.path.dirname(os.path.dirname(directory)), 'ge_proto_*_Build.json'))
        command = command.replace('output/data_dump/TIME/2', directory).replace('NPU_DUMP', directory)
        command = command.replace('graph.json', graph)
    command = command.replace(' photographs/', ' more-photos')
    command = command.replace('=cspnet --data_path=/data/cifar10 --rank', '=cutmix --data_path=/data/cifar10 --rank')
    command = command.replace('=DIR', '=/data/birds').replace('SHARDS', 'shards')
    command = command.replace("--dump_layer='NAME NAME'", "--dump_layer='AddN'")
    return command.replace('--outputs=om_outputs', '--outputs=output/export/cspnet_bs64_samples_outputs')


def test_what_is_left_out_is_in_a_page():
    everything = [command for name in ENGLISH for command in commands(name) + in_sentences(name)]
    assert [words for words in NOT_HERE if not any(command.startswith(words) for command in everything)] == []


def chosen():
    """{page: [command]} of all that is to be run, each once."""
    done, found = set(), {}
    for name in [name for group in GROUPS for name in group]:
        listed = to_run(name)
        listed.sort(key=lambda command: 'rehearse cspnet' not in command)      # leaves what others of its page read
        every = [signature(command) for command in listed]
        found[name] = []
        for command in listed:
            words, flags = signature(command)
            if (words, flags) not in done and not (
                    flags and any(words == others and flags < more for others, more in every)):
                done.add((words, flags))
                found[name].append(command)
    return found


def short_of(command, name):
    """The flags that make a command of the page a short one."""
    if '/train_' not in command or '--print_config' in command:
        return ''
    if 'swa' in command or NETWORK.get(name) == 'swa':
        return ' --train_steps=21 --batch_size=1024'
    return SHORT if re.search('/data/|SHARDS', command) else ONE_STEP


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('group', GROUPS, ids=lambda group: group[0])
def test_the_commands_of_the_pages_work_as_typed(fresh, group):
    failed, commands_of = [], chosen()
    for name, command in [(name, command) for name in group for command in commands_of[name]]:
        if '--resume' in command:
            fresh(command.replace('--resume', SHORT.replace('=2', '=1')), name)
        if '--resume' in command or '/models/cifar10' in command:
            _keep_models(fresh)
        result = fresh(_as_here(command, fresh) + short_of(command, name), name)
        print(name, command, result.returncode, flush=True)
        faults = {0, 1} if ' doctor' in command else {0}
        if result.returncode not in faults or 'Traceback' in result.stdout + result.stderr:
            failed.append('%s: %s: status %d\n%s\n%s' % (
                name, command, result.returncode, result.stdout[-1500:], result.stderr[-1500:]))
        elif command.startswith('python3 -m launchers'):
            assert ' uses the Python %s' % (fresh.copy / '.venv' / 'bin' / 'python') in result.stderr
    assert not failed, '\n\n'.join(failed)
    assert not (fresh.copy / '.venv.log').exists()         # which set up another Python than the forking one


@pytest.mark.slow
def test_the_way_from_photographs_to_a_card_ends_with_the_accuracy_of_the_checkpoint(fresh):
    photographs.write_kinds(fresh.copy.parent / 'data', 10, 2)
    printed = {}
    for command in commands('docs/photographs.md'):
        if is_left_out(command):
            continue
        short = command.replace('--image_size=64', '--image_size=32').replace('--train_epochs=30', '--train_epochs=1')
        result = fresh(short.replace('=om_outputs', '=output/export/cutmix_bs1_samples_outputs'))
        assert result.returncode == 0, '%s\n%s\n%s' % (command, result.stdout[-1500:], result.stderr[-1500:])
        printed[command] = result.stdout
    mistakes, (evaluated,), predicted, scored = (
        [text for command, text in printed.items() if word in command]
        for word in ('mistakes.csv', ' evaluate ', ' predict ', ' score '))
    assert mistakes[0].startswith('sample,class,predicted,probability\n')
    by_checkpoint, by_graph = (re.findall(r'(IMG_\d+\.jpg): (\w+)', text) for text in predicted)
    assert by_checkpoint == by_graph and len(by_graph) == len(photographs.KINDS)
    assert len(scored) == 2
    for text in scored:
        assert accuracy(text) == accuracy(evaluated)


def accuracy(text):
    """The accuracy that `evaluate` and `score` print."""
    return re.search(r'accuracy\D+([\d.]+)', text).group(1)
