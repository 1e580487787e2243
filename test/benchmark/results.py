"""What the benchmark tells about a network: its figures, as text, as a row of the README's table, and as JSON."""
import json
import os
import time
from statistics import median

OURS, BASELINE, EAGER, COMPILED, MKL = WORKERS = 'ours', 'baseline', 'pytorch', 'compiled', 'mkl'
QUIET = .05                    # of the cores: what other processes may use without a word


def summary(found):
    """The figures of a network; `found` is what benchmark.measure() returns."""
    facts, repeats = found['facts'], found['repeats']
    of_network = facts[BASELINE]
    images, operations = of_network['images'], of_network['flops']
    workers = {name: _worker(name, found, images, operations) for name in WORKERS if name in repeats[0]['seconds']}
    versions = {name: fact['version'] for name, fact in facts.items() if 'version' in fact}
    return dict(
        network=found['network'], batch_size=of_network['batch_size'], images=images, flops=operations,
        parameters=of_network['parameters'], hardware=of_network['hardware'], cores=found['cores'], versions=versions,
        time=time.time(), workers=workers, failures=found['failures'],
        peak={name: median(repeat['peak'][name] for repeat in repeats) for name in repeats[0]['peak']},
        peak_share=spread(repeats, lambda repeat: (
            operations / repeat['seconds'][OURS] / 1e9 / repeat['peak'][BASELINE])),
        input_multiple=workers[OURS]['seconds'] / found['input'], start=found['start'],
        disturbance=max(found['disturbance'].values()), found=found)


def _worker(name, found, images, operations):
    """The figures of a worker; `ratio`: how many times as fast ours is."""
    repeats = found['repeats']
    seconds = median(repeat['seconds'][name] for repeat in repeats)
    return dict(seconds=seconds, images_per_second=spread(repeats, lambda repeat: images / repeat['seconds'][name]),
                gflops=operations / seconds / 1e9, memory=repeats[0]['memory'][name],
                ratio=spread(repeats, lambda repeat: repeat['seconds'][name] / repeat['seconds'][OURS]),
                format=found['facts'][name].get('format', ''))


def spread(repeats, figure):
    """[least, median, most] of a figure over the repeats."""
    values = [figure(repeat) for repeat in repeats]
    return [min(values), median(values), max(values)]


def machine(figures):
    """A line about what was measured on."""
    return '%s, %d cores; TensorFlow %s%s' % (
        figures['hardware'], figures['cores'], figures['versions'][BASELINE],
        '; PyTorch ' + figures['versions'][EAGER] if EAGER in figures['versions'] else '')


def text(figures):
    """Lines about a network for a terminal."""
    lines = ['%(network)s: batch of %(batch_size)d, %(images)d images a step, %(parameters)d parameters' % figures,
             '  %-9s %10s %12s %9s %8s   %s' % ('', 'ms/step', 'images/s', 'GFLOP/s', 'MB', 'ours is so many times '
                                                'as fast: median (least-most)')]
    for name, worker in figures['workers'].items():
        least, middle, most = worker['ratio']
        ratio = '' if name == OURS else '%.2f (%.2f-%.2f)  %s' % (middle, least, most, worker['format'])
        lines.append('  %-9s %10.1f %12s %9.1f %8.0f   %s' % (
            name, 1000 * worker['seconds'], speed(worker), worker['gflops'], worker['memory'] / 1e6, ratio))
    lines += ['  %s' % failure for failure in figures['failures'].values()]
    lines.append('  matrix product: %s; ours reaches %.0f %% (%.0f-%.0f %%) of the first' % (
        ', '.join('%s %.0f GFLOP/s' % item for item in figures['peak'].items()),
        *(100 * figures['peak_share'][index] for index in (1, 0, 2))))
    lines.append('  input pipeline alone: %.1f times the training speed; launch to first step: %s' % (
        figures['input_multiple'], '%.1f s' % figures['start'] if figures['start'] else 'failed'))
    return '\n'.join(lines + disturbed(figures['disturbance']))


def disturbed(part):
    """A line, or none, about the part of the cores that other processes used."""
    line = '  NOT A QUIET MACHINE: other processes used %.0f %% of the cores meanwhile' % (100 * part)
    return [line] if part > QUIET else []


def markdown(measured):
    """The table of the README; in brackets how many times as fast ours is."""
    rows = ['| `--network` | batch | this framework | the usual way | PyTorch, eager | PyTorch, compiled | MKL wheel '
            '| of the matrix product |', '|---|---|---|---|---|---|---|---|']
    for figures in measured:
        workers = figures['workers']
        cells = ['%s (%.2f)' % (speed(workers[name]), workers[name]['ratio'][1]) if name in workers else '-'
                 for name in (BASELINE, EAGER, COMPILED, MKL)]
        rows.append('| `%s` | %d | %s images/s | %s | %.0f %% |' % (
            figures['network'], figures['batch_size'], speed(workers[OURS]), ' | '.join(cells),
            100 * figures['peak_share'][1]))
    return '\n'.join(rows + ['', machine(measured[-1])])


def speed(worker):
    """Images a second, three digits at least."""
    value = worker['images_per_second'][1]
    return '{:,.0f}'.format(value) if value >= 100 else '%.3g' % value


def write(directory, measured, name='benchmark.json'):
    """Writes the figures as a file. Raises OSError."""
    with open(os.path.join(directory, name), 'w', encoding='utf-8') as file:
        json.dump(measured, file, indent=1)
