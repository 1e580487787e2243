"""Figures that trained networks reach in the tests, and how far from their thresholds they stay with other seeds.

A test with the mark `margin` trains with the seed SEED and gives what it reached to below() or above(). As a program
this file runs these tests with many seeds, on the kernels and cores that the process has: see test/margins.sh.
"""
import argparse
import collections
import os
import subprocess
import sys
import tempfile

SEED = int(os.environ.get('TEST_SEED', '1'))
SEED_FLAG = '--seed=%d' % SEED


def below(name: str, figure: float, threshold: float) -> None:
    """Fails unless figure < threshold."""
    _note(name, figure, threshold, '<')
    assert figure < threshold, '%s: %s is not below %s' % (name, figure, threshold)


def above(name: str, figure: float, threshold: float) -> None:
    """Fails unless figure > threshold."""
    _note(name, figure, threshold, '>')
    assert figure > threshold, '%s: %s is not above %s' % (name, figure, threshold)


def _note(name, figure, threshold, relation):
    path = os.environ.get('TEST_MARGINS')
    if path:
        with open(path, 'a') as file:
            file.write('%s\t%r\t%r\t%s\n' % (name, float(figure), float(threshold), relation))


def main() -> int:
    """Prints a row for each figure: its threshold, the worst and the best over the seeds; 1 when one is not held."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--seeds', type=int, default=10)
    asked, of_pytest = parser.parse_known_args()
    figures, failed = collections.defaultdict(list), 0
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'margins')
        for seed in range(1, asked.seeds + 1):
            failed += 0 != subprocess.call(
                [sys.executable, '-m', 'pytest', '-q', '-m', 'margin', '-p', 'no:cacheprovider', *of_pytest],
                env=dict(os.environ, TEST_SEED=str(seed), TEST_MARGINS=path), stdout=sys.stderr)
        with open(path) as file:
            for line in file:
                name, figure, threshold, relation = line.rstrip('\n').split('\t')
                figures[name, relation, float(threshold)].append(float(figure))
    print('| figure | threshold | worst | best | runs |\n|---|---|---|---|---|')
    for (name, relation, threshold), reached in figures.items():
        worst, best = (max, min) if relation == '<' else (min, max)
        print('| %s | %s %g | %.4g | %.4g | %d |' % (
            name, relation, threshold, worst(reached), best(reached), len(reached)))
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
