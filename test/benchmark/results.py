"""What the benchmark tells about a network: the summary of its record as text, as a row of a table, and as JSON."""
import json
import os
from statistics import median

OURS, BASELINE, EAGER, COMPILED, MKL = 'ours', 'baseline', 'pytorch', 'compiled', 'mkl'


def summary(record):
    """The figures of a network; `record` is what benchmark.measure() found."""
    facts, repeats = record['facts'], record['repeats']
    images, operations = facts[BASELINE]['images'], facts[BASELINE]['flops']
    workers = {name: _worker(name, record, images, operations) for name in repeats[0]['seconds']}
    peaks = {name: median(repeat['peak'][name] for repeat in repeats) for name in repeats[0]['peak']}
    ours = workers[OURS]['seconds']
    return dict(
        network=record['network'], batch_size=facts[BASELINE]['batch_size'], images=images, flops=operations,
        parameters=facts[BASELINE]['parameters'], workers=workers, failures=record['failures'],
        ratios={name: _ratios(repeats, name) for name in workers if name != OURS},
        peak=peaks, peak_share=median(operations / repeat['seconds'][OURS] / 1e9 / repeat['peak'][BASELINE]
                                      for repeat in repeats),
        input_multiple=ours / record['input'], start=record['start'], record=record)


def _worker(name, record, images, operations):
    seconds = median(repeat['seconds'][name] for repeat in record['repeats'])
    return dict(seconds=seconds, images_per_second=images / seconds, gflops=operations / seconds / 1e9,
                memory=record['memory'][name], format=record['facts'][name].get('format'))


def _ratios(repeats, name):
    """How many times as fast as a worker ours is: (least, median, most) of the repeats."""
    ratios = [repeat['seconds'][name] / repeat['seconds'][OURS] for repeat in repeats]
    return min(ratios), median(ratios), max(ratios)


def text(figures):
    """Lines about a network for a terminal."""
    lines = ['%(network)s: batch of %(batch_size)d, %(images)d images a step, %(parameters)d parameters' % figures,
             '  %-9s %10s %10s %9s %8s   %s' % ('', 'ms/step', 'images/s', 'GFLOP/s', 'MB', 'ours / it (min-max)')]
    for name, worker in figures['workers'].items():
        line = '  %-9s %10.1f %10.1f %9.1f %8.0f' % (
            name, 1000 * worker['seconds'], worker['images_per_second'], worker['gflops'], worker['memory'] / 1e6)
        if name in figures['ratios']:
            least, middle, most = figures['ratios'][name]
            line += '   %.2f (%.2f-%.2f)' % (middle, least, most)
        lines.append(line + ('  ' + worker['format'] if worker['format'] else ''))
    lines += ['  %s: %s' % item for item in figures['failures'].items()]
    lines.append('  matrix product: %s GFLOP/s; ours reaches %.0f %% of the first' % (
        ', '.join('%s %.0f' % item for item in figures['peak'].items()), 100 * figures['peak_share']))
    lines.append('  input pipeline alone: %.1f times the training speed; first step after %s' % (
        figures['input_multiple'], '%.1f s' % figures['start'] if figures['start'] else 'more than five minutes'))
    return '\n'.join(lines)


def markdown(measured):
    """The table of the README."""
    rows = ['| `--network` | batch | this framework | the usual way | PyTorch, eager | PyTorch, compiled | MKL wheel '
            '| peak |', '|---|---|---|---|---|---|---|---|']
    for figures in measured:
        cells = [_cell(figures, name) for name in (BASELINE, EAGER, COMPILED, MKL)]
        rows.append('| `%s` | %d | %s images/s | %s | %.0f %% |' % (
            figures['network'], figures['batch_size'], _speed(figures['workers'][OURS]), ' | '.join(cells),
            100 * figures['peak_share']))
    return '\n'.join(rows)


def _cell(figures, name):
    if name not in figures['workers']:
        return '-'
    return '%s (%.2f)' % (_speed(figures['workers'][name]), figures['ratios'][name][1])


def _speed(worker):
    return '{:,.0f}'.format(worker['images_per_second']) if worker['images_per_second'] >= 100 else (
        '%.1f' % worker['images_per_second'])


def write(directory, measured):
    """benchmark.json."""
    with open(os.path.join(directory, 'benchmark.json'), 'w', encoding='utf-8') as file:
        json.dump(measured, file, indent=1)
