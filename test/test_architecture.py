"""The rules of docs/architecture.md, read out of its picture and held against every import of the product."""
import ast
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from launching import ROOT

ROOMS_OF = ('core', 'data', 'launchers', 'nets')
WITHOUT_TENSORFLOW = ('core/settings', 'core/files', 'core/errors', 'core/log')
METHODS = {'swa': 'core/training/swa.py', 'cutmix': None}   # networks that are methods too, and the method's own file
FRAMEWORK_NETS = ('layers', '__init__')                     # files of nets/ that are no network


def picture():
    """The lines of the picture in docs/architecture.md from top to bottom, each a list of rooms."""
    with open(os.path.join(ROOT, 'docs', 'architecture.md'), encoding='utf-8') as page:
        block = page.read().split('## Rooms')[1].split('```')[1]
    lines = [re.match(r'[a-z_/]+(, [a-z_/]+)*', line) for line in block.splitlines()]
    return [line.group().split(', ') for line in lines if line]


LINES = picture()
HEIGHT = {room: -number for number, rooms in enumerate(LINES) for room in rooms}


def product():
    """The product's Python files, relative to the repository."""
    return sorted(os.path.relpath(os.path.join(folder, name), ROOT)
                  for top in ROOMS_OF for folder, _, names in os.walk(os.path.join(ROOT, top))
                  for name in names if name.endswith('.py'))


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return file.read()


FILES = product()
TREES = {path: ast.parse(read(path)) for path in FILES}


def imported_names(tree):
    """The dotted name of every import, inside functions too; `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, 'relative imports hide the room'
            yield from ('%s.%s' % (node.module, alias.name) for alias in node.names)


def file_of(name):
    """The product's file that a dotted name is in, or None."""
    parts = name.split('.')
    for end in range(len(parts), 0, -1):
        path = os.path.join(*parts[:end])
        for file in (path + '.py', os.path.join(path, '__init__.py')):
            if file in TREES:
                return file
    return None


def imports(path):
    """The product's files that a file imports, itself left out."""
    found = {file_of(name) for name in imported_names(TREES[path])} - {None, path}
    return sorted(file for file in found if TREES[file].body)


def room_of(path):
    """The innermost room of the picture that a file is in, or None."""
    stem = path[:-len('.py')]
    rooms = [room for room in HEIGHT if (stem + '/').startswith(room + '/')]
    return max(rooms, key=len, default=None)


def test_the_picture_shows_every_room_and_nothing_else():
    shown = {room for room in HEIGHT if os.path.exists(os.path.join(ROOT, room + '.py'))
             or os.path.exists(os.path.join(ROOT, room, '__init__.py'))}
    assert shown == set(HEIGHT), 'docs/architecture.md draws rooms that are not there'
    homeless = [path for path in FILES if not room_of(path) and TREES[path].body]
    assert homeless == [], 'docs/architecture.md draws no room for these files'


def against_the_arrows():
    for path in FILES:
        room = room_of(path)
        for other in imports(path):
            its_room = room_of(other)
            if its_room != room and not HEIGHT[its_room] < HEIGHT[room]:
                yield '%s imports %s, but docs/architecture.md draws %s no lower than %s' % (
                    path, other, its_room, room)


@pytest.mark.slow
def test_imports_run_down_the_picture():
    assert list(against_the_arrows()) == []


@pytest.mark.slow
def test_an_import_against_the_arrows_is_found():
    TREES['nets/upward.py'] = ast.parse('from launchers.networks import registry')
    FILES.append('nets/upward.py')
    try:
        assert [line.split(', but')[0] for line in against_the_arrows()] == [
            'nets/upward.py imports launchers/networks/registry.py']
    finally:
        FILES.remove('nets/upward.py')
        del TREES['nets/upward.py']


@pytest.mark.slow
def test_no_modules_import_each_other_in_a_circle():
    done, circles = set(), []

    def visit(path, way):
        if path in way:
            circles.append(' -> '.join(way[way.index(path):] + (path,)))
        elif path not in done:
            for other in imports(path):
                visit(other, way + (path,))
            done.add(path)
    for path in FILES:
        visit(path, ())
    assert circles == []


def networks():
    """The names of networks: files of launchers/networks/ that have a RECIPE, and files of nets/."""
    recipes = [os.path.relpath(path, 'launchers/networks').split('/')[0].replace('.py', '') for path in FILES
               if path.startswith('launchers/networks/') and re.search('^RECIPE = ', read(path), re.M)]
    nets = [os.path.basename(path)[:-3] for path in FILES if os.path.dirname(path) == 'nets']
    return sorted((set(recipes) | set(nets)) - set(FRAMEWORK_NETS))


def words(path):
    """What a file of core/ says; of core/settings the code alone, for its strings are words that users type."""
    if not path.startswith('core/settings/'):
        return read(path)
    return ' '.join(str(value) for node in ast.walk(TREES[path]) if not isinstance(node, ast.Str)
                    for value in vars(node).values() if isinstance(value, str))


@pytest.mark.parametrize('network', networks())
def test_core_names_no_network(network):
    named = []
    for path in (path for path in FILES if path.startswith('core/')):
        if network in METHODS:
            strings = [node.s for node in ast.walk(TREES[path]) if isinstance(node, ast.Str)]
            found = network in strings and path != METHODS[network] and not path.startswith('core/settings/')
        else:
            found = re.search(r'(?<![a-z])%s(?![a-z])' % network, words(path), re.I)
        named += [path] * bool(found)
    assert named == [], 'core knows no network: move what these files say of %s to its recipe' % network


def test_all_networks_are_looked_for():
    assert set(networks()) >= {'alexnet', 'cspnet', 'cutmix', 'sesemi', 'swa', 'resnet', 'cspdarknet53'}


def test_nobody_asks_which_device_a_run_has():
    """What devices do differently is in their records: core/ascend/device.py and launchers/devices.py."""
    asked = [path for path in FILES for node in ast.walk(TREES[path]) if isinstance(node, ast.Compare)
             and any(isinstance(side, ast.Attribute) and ast.dump(side.value).endswith("'device', ctx=Load())")
                     for side in [node.left] + node.comparators)]
    assert asked == [], 'add a function to core/device.py instead'


def test_flags_end_at_the_settings():
    touch = [path for path in FILES if not path.startswith('core/settings/')
             and (any(name.split('.')[0] in ('absl', 'argparse') for name in imported_names(TREES[path]))
                  or re.search(r'\bFLAGS\b|\btf\.(app|flags)\b|\bcompat\.v1\.(app|flags)\b', read(path)))]
    assert touch == [], 'everyone but core/settings gets a Config'


def test_what_lies_under_all_rooms_imports_no_tensorflow():
    heavy = [path for path in FILES if room_of(path) in WITHOUT_TENSORFLOW
             and any(name.split('.')[0] == 'tensorflow' for name in imported_names(TREES[path]))]
    assert heavy == []


TRAVELLERS = ('run', 'step', 'clock', 'reader', 'report', 'view', 'train_input', 'test_input')   # core/run.py


def test_no_two_public_classes_have_one_name():
    classes = [node.name for path in FILES for node in TREES[path].body
               if isinstance(node, ast.ClassDef) and not node.name.startswith('_')]
    assert sorted(name for name in set(classes) if classes.count(name) > 1) == []


def test_what_travels_through_the_house_has_its_type_wherever_it_goes():
    untyped = ['%s:%d %s' % (path, node.lineno, node.arg) for path in FILES for node in ast.walk(TREES[path])
               if isinstance(node, ast.arg) and node.arg in TRAVELLERS and node.annotation is not None
               and ast.dump(node.annotation) == ast.dump(ast.parse('Any', mode='eval').body)]
    assert untyped == []


def walks():
    """-> {heading: [(file, the words in backticks after it)]} of the walks in docs/architecture.md."""
    section = read('docs/architecture.md').split('\n## Five walks')[1].split('\n## ')[0]
    found = {}
    for walk in section.split('\n### ')[1:]:
        stations = re.findall(r'^\d+\. (.*(?:\n   .*)*)', walk, re.MULTILINE)
        words = [re.findall('`([^`]*)`', station) for station in stations]
        found[walk.splitlines()[0]] = [(file, names) for file, *names in words]
    return found


def test_each_of_the_five_walks_has_at_most_nine_files():
    assert len(walks()) == 5
    assert all(len({file for file, _ in stations}) == len(stations) <= 9 for stations in walks().values())


@pytest.mark.parametrize('heading', walks())
def test_what_a_walk_names_is_there(heading):
    missing = []
    for file, names in walks()[heading]:
        others = [name for name in names if '/' in name]
        missing += [name for name in [file] + others if not os.path.exists(os.path.join(ROOT, name))]
        missing += ['%s in %s' % (name, file) for name in names if re.fullmatch(r'\w+', name)
                    and not re.search(r'\b%s\b' % name, read(file))]
    assert missing == []


WHAT_TRAINS = ('core/settings/', 'core/training/', 'core/ranks/', 'core/reporting/')
HANGS_ON_IT = ('core/ascend/', 'core/cpu/', 'core/servers/', 'core/pages/', 'core/inference/', 'core/pretrained/')
MOST_LINES_THAT_TRAIN = 4500
MOST_MODULES = 55


def trains(path):
    return path.startswith(WHAT_TRAINS) or os.path.dirname(path) == 'core'


def test_what_trains_imports_nothing_that_hangs_on_it():
    imported = ['%s imports %s' % (path, other) for path in FILES if trains(path) for other in imports(path)
                if other.startswith(HANGS_ON_IT)]
    assert imported == [], 'a command chooses the Device and the listeners and hands them in'


def test_what_trains_stays_small():
    lines = sum(len(read(path).splitlines()) for path in FILES if trains(path))
    assert lines <= MOST_LINES_THAT_TRAIN, 'name the lines that a new feature makes unnecessary'


# Prints the modules of the product that a run has loaded before its first step, and when it has ended.
LOADED = '''
import json, os, sys
from launchers import command, train
from core.training import loop
def loaded():
    found = {name for name, module in sys.modules.items()
             if name.split('.')[0] in %r and os.path.getsize(module.__file__)}
    # Machines without compiled kernels need other gradients.
    return sorted(found if sys.modules['core.cpu.kernels'].library() else found - {'core.cpu.gradients'})
def before_the_first_step(*arguments, before=loop._loop):
    print(json.dumps(loaded()))
    before(*arguments)
loop._loop = before_the_first_step
status = command.run(train.act, sys.argv[1:], {})
print(json.dumps(loaded()))
sys.exit(status)
''' % (ROOMS_OF,)


@pytest.mark.slow
def test_a_plain_run_opens_few_modules_and_none_of_the_emulation_the_diagnostics_or_the_pages(
        tmp_path, forking_python):
    done = subprocess.run([*forking_python, '-c', LOADED, '--network=cutmix', '--case=performance', '--train_steps=1',
                           '--batch_size=4', '--output_path=%s' % tmp_path],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    before, after = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('["'))
    assert len(before) <= MOST_MODULES
    heavy = ('core.ascend.emulation', 'core.ascend.diagnostics', 'core.cpu.gradients', 'core.inference')
    assert [name for name in after if name.startswith(heavy)] == []
    assert [name for name in before if name.startswith('core.pages')] == []
    assert 'core.pages.page' in after


@pytest.mark.slow
def test_without_the_room_of_the_cpu_everything_but_its_own_tests_is_there_and_trains(
        tmp_path, forking_workdir):
    def copied(directory, names):
        others = '.venv', '.onnx', '.test-packages'
        return [name for name in names if name in ('.git', 'output') or name.startswith(others)
                or os.path.join(os.path.relpath(directory, ROOT), name) in ('core/cpu', 'test/core/cpu')]
    tree = tmp_path / 'copy'
    shutil.copytree(ROOT, str(tree), ignore=copied, symlinks=True)
    (tree / 'output').mkdir()

    def run(*command):
        done = subprocess.run(command, cwd=str(tree), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, env=dict(os.environ, PYTHON=str(forking_workdir / 'python')))
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout
    chosen = 'test_layers.py or test_step.py or test_loop.py or test_communicator.py or test_emulation.py'
    run(sys.executable, '-m', 'pytest', '-q', '-m', 'not slow', '-k', chosen)       # of all, which it collects
    assert 'Final Performance images/sec' in run(
        'bash', 'test/train_performance_8p.sh', '--network=cutmix', '--train_steps=2', '--rank_size=2')
