"""report.html and the record behind it, of real runs of a small network, however they end."""
import re
import sys

import pytest
import toy

from core.recipe import Picture
from core.pages import page
from core.pages import records
from launchers.networks import shown

pytestmark = pytest.mark.slow


@pytest.fixture
def train(tmp_path):
    """train(flag...) -> (status, the run as recorded, the text of its report.html)."""
    def act(*flags):
        status = toy.run('--output_path=%s' % tmp_path, *flags)
        return status, records.read(str(tmp_path / '0'))[-1], (tmp_path / '0' / 'report.html').read_text('utf-8')
    return act


@pytest.fixture
def pictured(monkeypatch):
    """pictured({name: Picture}) gives the toy pictures."""
    def act(pictures):
        recipe = toy.RECIPE._replace(pictures=lambda: pictures)
        monkeypatch.setattr(sys.modules['launchers.networks.toy'], 'RECIPE', recipe)
    return act


def shown_numbers(text):
    """{figure: its first number} of the page's cards."""
    return {name: value for name, value in re.findall(
        r'data-figure="([\w/]+)"><span>.*?<b>([\d.,]+)', text)}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(the run as recorded, the text of its report.html) of a run that nothing happened to."""
    output = tmp_path_factory.mktemp('finished')
    assert toy.run('--output_path=%s' % output, '--train_epochs=2', '--seed=5', '--loss_scale=1024') == 0
    return records.read(str(output / '0'))[-1], (output / '0' / 'report.html').read_text('utf-8')


def test_the_page_shows_the_figures_of_the_run_and_names_no_other_place(finished):
    run, text = finished
    figures = shown_numbers(text)
    assert run.state == 'done' and figures['accuracy'] == '%.4f' % run.result
    assert figures['batch/loss'] == '%.4f' % run.loss and figures['steps'] == '20'
    assert not re.search(r'(src|href)="(?!data:)', text) and '@import' not in text and 'url(' not in text
    for figure in ('loss', 'accuracy', 'learning_rate', 'images_per_second', 'configuration'):
        assert 'data-figure="%s"' % figure in text
    assert [step for step, _ in run.points['test/accuracy']] == [10, 20]


def test_what_differs_from_the_recipe_is_bold_and_the_rest_is_not(finished):
    _, text = finished
    assert '<code>seed</code></td><td class="value"><b>5</b></td><td>1</td>' in text
    assert '<code>train_epochs</code></td><td class="value"><b>2</b></td><td>3</td>' in text
    assert '<code>batch_size</code></td><td class="value">8</td><td>8</td>' in text


def test_the_loss_scale_is_a_curve(finished):
    run, text = finished
    assert set(value for _, value in run.points['loss_scale']) == {1024}
    assert 'data-figure="loss_scale"' in text


def test_a_run_whose_loss_explodes_says_where_and_why(train):
    status, run, text = train('--train_epochs=5', '--learning_rate=1e30')
    step = re.match(r'failed at step (\d+): Loss is ', run.status).group(1)
    assert status == 4 and 'at step %s: training stopped' % step in run.status
    assert 'pill failed' in text and 'The run failed at step' in text and 'Loss is ' in text


def test_the_page_is_there_while_the_run_goes_on(train, pictured, tmp_path):
    pages = []

    def look(view):
        path = tmp_path / '0' / 'report.html'
        pages.append(path.read_text('utf-8') if path.exists() else '')
    pictured({'look': Picture(look)})
    train('--train_epochs=3')
    assert pages[0] == '' and 'pill running' in pages[1] and 'from step 10 / 30' in pages[1]
    assert 'from step 30 / 30' in pages[3]


def test_a_picture_that_fails_is_missing_and_nothing_else(train, pictured, capfd):
    def fail(view):
        raise ZeroDivisionError('no such thing')
    pictured({'fail': Picture(fail), 'confusion': Picture(shown.confusion)})
    status, run, text = train('--train_epochs=2')
    assert status == 0 and run.state == 'done' and 'data-figure="confusion"' in text
    assert capfd.readouterr().out.count('without the picture fail: ZeroDivisionError: no such thing') == 1


def test_a_report_that_cannot_be_written_ends_no_run(tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError('No space left on device')
    monkeypatch.setattr(page, 'write', full)
    assert toy.run('--output_path=%s' % tmp_path, '--train_epochs=1') == 0
    assert 'report.html: no longer written: OSError: No space left on device' in capfd.readouterr().out


def test_the_confusion_matrix_counts_each_test_image_once(train, pictured):
    found = []

    def look(view):
        found.append(view)
    pictured({'look': Picture(look), 'confusion': Picture(shown.confusion)})
    _, run, text = train('--train_epochs=1')
    predictions = found[0].predictions
    right = predictions.right.sum()
    assert right + len(predictions.rows) == toy.TEST and abs(right / toy.TEST - run.result) < 1e-6
    assert predictions.labels.tolist() == found[0].data.test.y[predictions.rows].tolist()
    assert (predictions.classes != predictions.labels).all() and (predictions.probabilities > .5).all()
    assert '%d of 21 test images are right' % right in text and 'data-figure="classes"' in text


def test_a_resumed_run_keeps_its_curves_and_pictures(train, pictured):
    pictured({'confusion': Picture(shown.confusion)})
    train('--train_epochs=1')
    pictured({'confusion': Picture(lambda view: None)})
    _, run, text = train('--train_epochs=2', '--resume')
    assert [step for step, _ in run.points['batch/loss']] == list(range(1, 21))
    assert 'data-figure="confusion"' in text


def test_a_start_that_is_refused_leaves_the_report_as_it_is(train, tmp_path):
    train('--train_epochs=1')
    path = tmp_path / '0' / 'report.html'
    before = path.read_text('utf-8')
    assert toy.run('--output_path=%s' % tmp_path) == 2
    assert path.read_text('utf-8') == before and records.read(str(tmp_path / '0'))[-1].state == 'done'


def test_a_failure_before_the_first_step_is_reported_where_the_launcher_has_made_the_directory(tmp_path):
    (tmp_path / '0').mkdir()
    assert toy.run('--output_path=%s' % tmp_path, '--batch_size=1000') == 2
    run, = records.read(str(tmp_path / '0'))
    assert 'larger than the data set' in run.status
    assert 'larger than the data set' in (tmp_path / '0' / 'report.html').read_text('utf-8')
