"""The record of a run: what a reader finds after the run ended, was killed, or went on."""
import json
import math

import pytest

from core.errors import InputError
from core.pages import records
from core.reporting import record

START = dict(network='toy', case='full', ranks=2, batch_size=8, settings=[], environment=[], results=[],
             precision='float32')


@pytest.fixture
def writer(tmp_path):
    made = record.RecordWriter(str(tmp_path))
    yield made
    made.close()


def begin(writer, step=0, resumed=False):
    writer.write('start', resumed=resumed, **START)
    writer.write('begin', step=step, steps=10, steps_per_epoch=5)


def read(tmp_path):
    run, = records.read(str(tmp_path))
    return run


def test_a_run_in_progress_and_one_that_was_killed_differ_by_the_lock(writer, tmp_path):
    begin(writer)
    writer.point('step', 3, {'batch/loss': 2., 'images_per_second': 50.})
    assert read(tmp_path).status == 'running at step 3'
    writer.close()
    assert read(tmp_path).status == 'killed at step 3'
    assert read(tmp_path).images_per_second() == 100


def test_the_end_of_a_run_is_told_in_words(writer, tmp_path):
    begin(writer)
    writer.write('end', status='failed', step=4, why='Loss is nan')
    assert read(tmp_path).status == 'failed at step 4: Loss is nan'
    writer.write('end', status='done', step=10, why='')
    assert read(tmp_path).status == 'done'


def test_a_resumed_run_goes_on_where_its_checkpoint_was(writer, tmp_path):
    begin(writer)
    for step in range(1, 8):
        writer.point('step', step, {'batch/loss': step})
    begin(writer, step=5, resumed=True)
    writer.point('step', 6, {'batch/loss': -6})
    assert read(tmp_path).points['batch/loss'] == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, -6)]


def test_another_run_in_the_same_place_is_another_run(writer, tmp_path):
    begin(writer)
    writer.point('step', 1, {'batch/loss': 1})
    begin(writer)
    assert [run.step for run in records.read(str(tmp_path))] == [1, 0]


def test_a_line_that_a_killed_process_has_cut_off_costs_that_line_alone(writer, tmp_path):
    begin(writer)
    writer.point('step', 1, {'batch/loss': 1})
    writer.close()
    path = tmp_path / 'report' / record.FILE
    path.write_bytes(path.read_bytes()[:-20])
    again = record.RecordWriter(str(tmp_path))
    begin(again, step=0, resumed=True)
    again.point('step', 2, {'batch/loss': 2})
    again.close()
    assert read(tmp_path).points['batch/loss'] == [(2, 2)]


def test_values_that_are_not_finite_are_left_out_of_the_curves(writer, tmp_path):
    begin(writer)
    writer.point('step', 1, {'batch/loss': math.nan, 'learning_rate': .1})
    assert 'batch/loss' not in read(tmp_path).points
    for line in (tmp_path / 'report' / record.FILE).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_of_very_many_points_ever_fewer_are_kept_and_the_last_one_always(writer, tmp_path):
    begin(writer)
    for step in range(1, 20001):
        writer.point('step', step, {'batch/loss': step})
    writer.point('step', 20001, {'batch/loss': 20001}, keep=True)
    points = read(tmp_path).points['batch/loss']
    assert len(points) < 6000 and points[-1] == (20001, 20001) and points[:2] == [(1, 1), (2, 2)]


def test_two_processes_never_write_one_record(writer, tmp_path):
    with pytest.raises(InputError, match='another run is writing its results there'):
        record.RecordWriter(str(tmp_path))


def test_the_accuracy_is_that_of_the_average_where_there_is_one(writer, tmp_path):
    begin(writer)
    writer.point('test', 10, {'test/accuracy': .5})
    assert read(tmp_path).result == .5
    writer.point('average', 10, {'average/accuracy': .75})
    assert read(tmp_path).result == .75
