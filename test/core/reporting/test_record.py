"""What a record keeps of very many points, and what a process that goes on with it adds."""
import json

from core.reporting import record


def lines_of(run_dir):
    return (run_dir / 'report' / record.FILE).read_text().split('\n')


def test_of_very_many_points_of_a_kind_every_second_is_kept_then_every_fourth_and_all_that_are_to_stay(tmp_path):
    writer = record.RecordWriter(str(tmp_path))
    for step in range(1, 4501):
        writer.point('step', step, {'loss': 1., 'bad': float('nan')}, *[True] * (step == 4499))
        if step % 1000 == 0:
            writer.point('test', step, {'accuracy': .5})
    writer.close()
    points = [json.loads(line) for line in lines_of(tmp_path)[:-1]]
    steps = [point['step'] for point in points if point['values'] == {'loss': 1.}]
    assert steps == [*range(1, 2000), *range(2000, 4000, 2), *range(4000, 4499, 4), 4499, 4500]
    assert [point['step'] for point in points if 'accuracy' in point['values']] == [1000, 2000, 3000, 4000]


def test_a_process_that_goes_on_adds_its_lines_alone_and_ends_the_line_of_a_killed_one(tmp_path):
    for _ in range(2):
        writer = record.RecordWriter(str(tmp_path))
        writer.write('begin', step=0)
        writer.close()
    assert [line[:17] for line in lines_of(tmp_path)] == ['{"event": "begin"'] * 2 + ['']
    with (tmp_path / 'report' / record.FILE).open('a') as file:
        file.write('{"event": "po')
    writer = record.RecordWriter(str(tmp_path))
    writer.write('begin', step=0)
    writer.close()
    assert [line[:13] for line in lines_of(tmp_path)[2:]] == ['{"event": "po', '{"event": "be', '']
