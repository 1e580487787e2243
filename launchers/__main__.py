"""Every command: python3 -m launchers COMMAND [--flag=value ...], or python3 launchers/COMMAND.py [--flag=value ...].

launchers/shell/command.sh first finds the Python that has TensorFlow 1.15, sets it up where there is none, and starts
the command in it by the __main__.py of the repository.
"""
import gc
import importlib
import os
import sys
from typing import Mapping, Sequence

COMMANDS = {                       # the modules of this package that have a main(), and what -h prints about them
    'train': 'train as one rank; bash test/train_full_1p.sh does more: figures, history, restarts, several ranks',
    'evaluate': 'test a checkpoint',
    'predict': 'classify images',
    'export': 'make a frozen graph, a SavedModel or an HDF5 file of a checkpoint',
    'score': 'score what an inference device computed of exported samples',
    'runs': 'list and compare runs',
    'shards': 'write class folders as TFRecord shards',
    'compare': 'compare two dumps operator by operator',
    'precision': 'list the type of each operator in a precision mode on a chip, and why',
    'roofline': 'list what each type of operator needs on a chip at best, and which fusions a network misses',
    'doctor': 'list what this machine has and what is wrong with it',
    'npu_options': 'print the page of all NpuOptimizer options',
    'boot_modelarts': 'run a job on ModelArts',
    'modelarts_entry_acc': 'the same with --case=full, as the vendors\' entry file',
    'modelarts_entry_perf': 'the same with --case=performance, as the vendors\' entry file',
    'plan': 'for the launchers: print what a run would be',
    'locks': 'for the launchers: open files to be locked',
    'stalls': 'for the launchers: notice that a run does not get on',
}

HELP = ('-h', '--help')
WITHOUT_FLAGS = ('locks', 'stalls')


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the command that is the first of the arguments; returns its exit status, 2 for an unknown command."""
    name, arguments = argv[0] if argv else '-h', argv[1:]
    if name in HELP:
        print('usage: python3 -m launchers COMMAND [--flag=value ...]\n')
        for one, meaning in COMMANDS.items():
            print('%-21s %s' % (one, meaning))
        print('\npython3 -m launchers COMMAND -h lists the flags of a command')
        return 0
    if name not in COMMANDS:
        print('%r: no command; it must be one of %s' % (name, ', '.join(COMMANDS)), file=sys.stderr)
        return 2
    # The objects of TensorFlow's modules and of a graph stay. Searching them for garbage takes a tenth of the time in
    # which they are made.
    gc.set_threshold(100000)
    module = importlib.import_module('launchers.' + name)
    if name in WITHOUT_FLAGS and (not arguments or arguments[0] in HELP):
        print(module.__doc__)
        return 0 if arguments else 2
    return module.main(arguments, environ)


if __name__ == '__main__':
    shell = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'shell', 'command.sh')
    os.execvp('bash', ['bash', shell, sys.executable] + sys.argv[1:])
