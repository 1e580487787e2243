#!/usr/bin/env python3
"""Changes the product by one word at a time and lists the changes that no test notices.

    python3 test/mutants.py core/run.py [FILE...] [--tests=test/core/test_run.py] [--count=20]

Each change is made in a copy of the repository. The tests of a file are those under the same path, unless --tests
names some; they run as `pytest -x -m "not slow" TESTS`, each time in a process that has TensorFlow already. The status
is 1 when more than one change in ten survives.
"""
import argparse
import ast
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINKED = ('.venv', '.kernels')         # what is set up once, and directories that start with:
LINKED_PREFIX = '.test-packages'
MOST_SURVIVORS = .1
SECONDS = 300                          # a change may make a test hang, which counts as noticed
SWAPPED = {
    ast.Lt: '<=', ast.LtE: '<', ast.Gt: '>=', ast.GtE: '>', ast.Eq: '!=', ast.NotEq: '==', ast.Is: 'is not',
    ast.IsNot: 'is', ast.In: 'not in', ast.NotIn: 'in', ast.And: 'or', ast.Or: 'and', ast.Add: '-', ast.Sub: '+',
    ast.Mult: '/', ast.Div: '*', ast.FloorDiv: '*', ast.Mod: '*'}
SPELLED = {
    ast.Lt: '<', ast.LtE: '<=', ast.Gt: '>', ast.GtE: '>=', ast.Eq: '==', ast.NotEq: '!=', ast.Is: 'is',
    ast.IsNot: 'is not', ast.In: 'in', ast.NotIn: 'not in', ast.And: 'and', ast.Or: 'or', ast.Add: '+', ast.Sub: '-',
    ast.Mult: '*', ast.Div: '/', ast.FloorDiv: '//', ast.Mod: '%'}


def offset(lines, node):
    """Where a node starts in the text; columns of ast count bytes, and a product file may have Chinese words."""
    return sum(map(len, lines[:node.lineno - 1])) + len(lines[node.lineno - 1].encode()[:node.col_offset].decode())


def mutants(text):
    """Yields (line number, what is changed, the changed text) of every change that this script knows."""
    lines = text.splitlines(True)
    for node in ast.walk(ast.parse(text)):
        pairs = []                     # (operator, the operand after it)
        if isinstance(node, ast.Compare):
            pairs = list(zip(node.ops, node.comparators))
        elif isinstance(node, ast.BoolOp):
            pairs = [(node.op, value) for value in node.values[1:]]
        elif isinstance(node, ast.BinOp) and not isinstance(node.left, ast.Str):
            pairs = [(node.op, node.right)]
        for operator, operand in pairs:
            word = SPELLED.get(type(operator))
            end = offset(lines, operand)
            start = text.rfind(word, 0, end) if word else -1
            between = text[start + len(word):end] if start >= 0 else 'x'
            if not between.strip(' (\n'):  # else the operand is in brackets of another kind, or the text is not plain
                yield (operand.lineno, '%s -> %s' % (word, SWAPPED[type(operator)]),
                       text[:start] + SWAPPED[type(operator)] + text[start + len(word):])
        if isinstance(node, (ast.Num, ast.NameConstant)):
            start = offset(lines, node)
            value = node.n if isinstance(node, ast.Num) else node.value
            word = next((word for word in (str(value), repr(value)) if text.startswith(word, start)), None)
            if word and value is not None:
                other = str(not value) if isinstance(value, bool) else repr(value + 1)
                yield node.lineno, '%s -> %s' % (word, other), text[:start] + other + text[start + len(word):]


def tests_of(path):
    """The test files under the path of a product file."""
    folder, name = os.path.split(path)
    test = os.path.join('test', folder, 'test_' + name)
    return [test if os.path.exists(os.path.join(ROOT, test)) else os.path.join('test', folder)]


def copied(directory):
    """A copy of the repository's files in `directory`."""
    for name in subprocess.check_output(['git', 'ls-files'], cwd=ROOT, universal_newlines=True).splitlines():
        target = os.path.join(directory, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), target, follow_symlinks=False)
    for name in os.listdir(ROOT):
        if name in LINKED or name.startswith(LINKED_PREFIX):
            os.symlink(os.path.join(ROOT, name), os.path.join(directory, name))
    return directory


def passes(directory, tests):
    """Whether all tests pass in the copy."""
    child = os.fork()
    if not child:
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.chdir(directory)
            sys.path[0] = directory
            sys.dont_write_bytecode = True
            status = importlib.import_module('pytest').main(
                ['-x', '-q', '-m', 'not slow', '-p', 'no:cacheprovider', *tests])
            os._exit(int(status))
        finally:
            os._exit(1)
    deadline, ended, status = time.monotonic() + SECONDS, 0, 1
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(.05)
    if not ended:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return ended and status == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+')
    parser.add_argument('--tests', action='append', default=[])
    parser.add_argument('--count', type=int, default=20, help='changes of a file, drawn from all that are possible')
    parser.add_argument('--seed', type=int, default=0)
    asked = parser.parse_args()
    os.environ.update(PYTHONDONTWRITEBYTECODE='1', TF_CPP_MIN_LOG_LEVEL='3')
    importlib.import_module('tensorflow')
    chosen, draw = [], random.Random(asked.seed)
    for path in asked.files:
        with open(os.path.join(ROOT, path), encoding='utf-8') as file:
            found = [(path,) + one for one in mutants(file.read())]
        chosen += draw.sample(found, min(asked.count, len(found)))
    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        copied(directory)
        tests = {path: asked.tests or tests_of(path) for path in asked.files}
        for path in asked.files:
            if not passes(directory, tests[path]):
                sys.exit('%s: its tests fail without any change' % path)
        for path, line, change, text in chosen:
            target = os.path.join(directory, path)
            with open(target, 'w', encoding='utf-8') as file:
                file.write(text)
            survives = passes(directory, tests[path])
            shutil.copy2(os.path.join(ROOT, path), target)
            print('%s %s:%d: %s' % ('SURVIVES' if survives else 'noticed ', path, line, change), flush=True)
            survivors += [path] * survives
    print('%d of %d changes survive' % (len(survivors), len(chosen)))
    return len(survivors) > MOST_SURVIVORS * len(chosen)


if __name__ == '__main__':
    if not all(map(importlib.util.find_spec, ['tensorflow_core', 'pytest'])):
        os.execvp('bash', ['bash', '-c', 'source "$1/test/helpers/packages.sh"; set_up_tests; '
                           'exec "$PYTHON" "$1/test/mutants.py" "${@:2}"', 'bash', ROOT] + sys.argv[1:])
    sys.exit(main())
