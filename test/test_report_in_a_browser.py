"""report.html of a real run, and a page with every kind of picture, in a real browser: headless Chromium."""
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from launching import launch, workdir_with
from pictures import predictions

from core.pages import page, per_class, pictures
from core.reporting import record

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
WIDTHS = (1200, 390)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not BROWSER, reason='no Chromium here: apt-get install chromium (.ci/run installs it where it may)')]


def browse(workdir, path, *flags):
    """(standard output, messages of the page's console) of Chromium on the file `path`."""
    done = subprocess.run(
        [BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--enable-logging=stderr',
         '--user-data-dir=%s' % (workdir / 'browser'), '--virtual-time-budget=2000', *flags, 'file://%s' % path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, re.findall(r'CONSOLE.*', done.stderr)


def figures(document):
    """The names of the page's figures, in their order."""
    return re.findall(r'data-figure="([^"]*)"', document)


def picture_size(path):
    with open(str(path), 'rb') as file:
        header = file.read(24)
    return tuple(int.from_bytes(header[i:i + 4], 'big') for i in (16, 20))


@pytest.fixture(scope='module')
def run(tmp_path_factory, forking_python):
    """The results of a run that a launcher started."""
    workdir = workdir_with(tmp_path_factory.mktemp('run'), *forking_python)
    status, _, error = launch(workdir, '--network=swa', '--train_epochs=4', '--val_epoch=2', '--save_interval=2',
                              '--display_step=4', '--swa_schedule=constant')
    assert status == 0, error
    return workdir / 'output' / '0'


@pytest.mark.slow
def test_the_report_of_a_run_shows_every_figure_and_the_numbers_of_its_case_log(run, tmp_path):
    document, console = browse(tmp_path, run / 'report.html', '--dump-dom', '--window-size=390,800')
    assert console == []
    assert set(figures(document)) >= {'accuracy', 'images_per_second', 'step_time', 'epoch/loss', 'loss',
                                      'learning_rate', 'regions', 'configuration'}
    case_log = dict(line.split(' = ') for path in run.glob('SWA*.log') for line in path.read_text().splitlines())
    shown = {name: value.replace(',', '') for name, value in re.findall(
        r'data-figure="([\w/]+)"><span>.*?<b>([\d.,]+)', document)}
    assert shown['accuracy'] == case_log['TrainAccuracy']
    assert shown['epoch/loss'] == case_log['ActualLoss']
    for name, logged in (('images_per_second', 'ActualFPS'), ('step_time', 'TrainingTime')):
        assert float(shown[name]) == pytest.approx(float(case_log[logged]), rel=1e-3)


@pytest.mark.slow
def test_it_is_drawn_at_both_widths_in_either_language_and_light(run, tmp_path):
    for width, asked in zip(WIDTHS, ('en,light', 'zh,dark')):
        shot = tmp_path / ('%d.png' % width)
        _, console = browse(tmp_path, '%s#%s' % (run / 'report.html', asked), '--screenshot=%s' % shot,
                            '--window-size=%d,1000' % width)
        assert console == [] and picture_size(shot) == (width, 1000) and shot.stat().st_size > 20000


@pytest.mark.slow
def test_every_kind_of_picture_is_drawn_and_the_page_stays_small(tmp_path):
    random = np.random.RandomState(0)
    images = [random.randint(0, 255, [32, 32, 3]).astype(np.uint8) for _ in range(24)]
    labels = random.randint(0, 10, 200)
    found = predictions(labels, random.randint(0, 10, 200), random.uniform(size=200), 10)
    names = ['airplane & <b>'] + ['class %d' % number for number in range(1, 10)]
    kernels = pictures.encode([random.randint(0, 255, [72, 192, 3]).astype(np.uint8)])[0]
    panels = dict(
        mixed=pictures.gallery(('Mixed', '混合'), ('', ''), images, [[('', ('λ = 0.5', 'λ = 0.5'))]] * 24),
        classes=per_class.table(per_class.metrics(found, names)),
        confusion=pictures.confusion_matrix(found, names),
        mistakes=pictures.mistakes(found, names, lambda rows: [images[row % 24] for row in rows], str),
        kernels=pictures.slider(('Kernels', '卷积核'), ('', ''), [(kernels, ('epoch 1', '第 1 轮'))] * 20),
        regions=pictures.regions(('Regions', '区域'), ('', ''), ((-3, 5), (-1, 4)),
                                 [(('last', '最后'), images[0]), (('mean', '均值'), images[1])], [(0., 0., 1)]),
        losses=pictures.curves(('Losses', '损失'), ('loss', '损失'), {'batch/loss': ('one', '一')}))
    writer = record.RecordWriter(str(tmp_path))
    writer.write('start', network='toy', case='full', ranks=1, batch_size=8, precision='float32', resumed=False,
                 settings=[('seed', '2', '1')], environment=[(('device', '设备'), 'cpu')], results=[])
    writer.write('begin', step=0, steps=9000, steps_per_epoch=100)
    for step in range(1, 9001):
        writer.point('step', step, {'batch/loss': 1e4 / step, 'learning_rate': 1e-4})
    writer.write('end', status='failed', step=9000, why='Loss is <nan>')
    writer.close()
    for name, panel in panels.items():
        record.store_picture(str(tmp_path), name, panel)
    path = page.write(str(tmp_path), record.load_pictures(str(tmp_path)))
    document, console = browse(tmp_path, path, '--dump-dom', '--window-size=390,800')
    assert console == [] and set(figures(document)) >= set(panels) | {'why', 'loss'}
    assert os.path.getsize(path) < 3e6 and 'Loss is &lt;nan&gt;' in document
