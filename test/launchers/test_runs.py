"""python3 -m launchers runs on what runs have left."""
import csv
import io
import re
import subprocess
import sys

import pytest
from launching import ROOT

from core.reporting import record
from launchers import runs


def leave(directory, network, accuracy, end=None, batch_size='8'):
    """Leaves the record of a run in `directory`."""
    writer = record.RecordWriter(str(directory))
    writer.write('start', network=network, case='full', ranks=2, batch_size=8, precision='float32', resumed=False,
                 settings=[('batch_size', batch_size, '8'), ('seed', '1', '1')], environment=[], results=[])
    writer.write('begin', step=0, steps=20, steps_per_epoch=10)
    for step in (10, 20):
        writer.point('step', step, {'batch/loss': 1 / step, 'images_per_second': 40.25, 'learning_rate': .1})
    writer.point('test', 20, {'test/accuracy': accuracy})
    if end:
        writer.write('end', step=20, **end)
    writer.close()


@pytest.fixture
def output(tmp_path):
    (tmp_path / 'history').mkdir()
    leave(tmp_path / 'history' / '0-20260101-000000', 'cspnet', .5, dict(status='done', why=''))
    leave(tmp_path / 'history' / '0-20260102-000000', 'swa', .9, dict(status='failed', why='Loss is nan'))
    leave(tmp_path / '0', 'cspnet', .75, batch_size='<64>')
    (tmp_path / '1').mkdir()
    return tmp_path


@pytest.fixture
def listed(output, capfd):
    """listed(flag...) -> (exit status, lines of the output, of standard error)."""
    def act(*flags):
        status = runs.main(['--output_path=%s' % output, *flags], {})
        out, error = capfd.readouterr()
        return status, out.splitlines(), error.splitlines()
    return act


def test_every_run_has_its_row_the_killed_one_too(listed):
    status, (head, *rows), _ = listed()
    assert status == 0 and head.split()[:4] == ['network', 'case', 'when', 'steps']
    assert [re.sub('  +', '|', row).split('|')[9:12] for row in rows] == [
        ['float32', '2', 'done'], ['float32', '2', 'failed at step 20: Loss is nan'],
        ['float32', '2', 'killed at step 20']]
    assert all('80.5' in row for row in rows)


def test_runs_are_filtered_and_sorted_by_any_column(listed):
    def accuracies(*flags):
        return [row['value'] for row in csv.DictReader(io.StringIO('\n'.join(listed('--csv', *flags)[1])))]
    assert accuracies('--filter', 'network=cspnet') == ['0.5', '0.75']
    assert accuracies('--filter=network=cspnet', '--filter=status=done') == ['0.5']
    assert accuracies('--sort=-accuracy') == ['0.9', '0.75', '0.5']


@pytest.mark.parametrize('flag', ['--sort=speed', '--filter=network', '--filter=speed=1', '--colour', '--csv=2',
                                  '--output_path=/nowhere'])
def test_what_is_wrong_is_refused_in_one_line(listed, flag):
    status, out, error = listed(flag)
    assert status == 2 and out == [] and len(error) == 1 and flag.split('=')[0] in error[0]


def test_the_page_has_the_curves_together_and_both_configurations(listed, output):
    status, (path,), _ = listed('--html')
    text = (output / 'runs.html').read_text('utf-8')
    assert status == 0 and path == str(output / 'runs.html')
    assert text.count('<polyline') == 3 + 3 + 3 + 3 and '&lt;64&gt;' not in text and '"\\u003c64>"' in text
    assert listed('--html')[0] == 0      # the earlier page is such a page


def test_a_page_takes_no_other_files_place_unless_asked_for(listed, output):
    mine = output / 'mine.txt'
    mine.write_text('precious')
    status, _, error = listed('--html=%s' % mine)
    assert status == 2 and len(error) == 1 and mine.read_text() == 'precious'
    assert listed('--html=%s' % mine, '--overwrite')[0] == 0 and mine.read_text().startswith('<!DOCTYPE')


def test_foreign_text_is_shown_with_escapes_and_is_no_formula(listed, output):
    leave(output / '2', '=HYPERLINK("x")\x1b[31m', .1)
    shown = r'=HYPERLINK("x")\x1b[31m'
    assert any(line.startswith(shown + ' ') for line in listed()[1])
    rows = list(csv.DictReader(io.StringIO('\n'.join(listed('--csv')[1]))))
    assert {"'" + shown, 'cspnet'} < {row['network'] for row in rows}


def test_a_record_of_another_version_hides_no_other_run(listed, output):
    record_file = output / '0' / 'report' / record.FILE
    record_file.write_text(record_file.read_text().replace('"network"', '"net"'))
    status, out, error = listed()
    assert status == 2 and len(out) == 3
    assert error == ['%s: left out: has an event start without a right network' % record_file]


def test_it_needs_no_tensorflow_and_no_directory_of_its_own(output, tmp_path):
    (tmp_path / 'tensorflow.py').write_text('raise ImportError("not here")')
    done = subprocess.run([sys.executable, ROOT, 'runs', '--output_path=.'], cwd=str(output),
                          env={'PYTHONPATH': str(tmp_path)}, stdout=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 4
