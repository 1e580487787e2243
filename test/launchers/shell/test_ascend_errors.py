"""A failed run on an NPU ends with what the error codes of CANN in its logs mean."""
import os
import re
import time

import pytest
from launching import ROOT, launch
from log_reading import bash

SCREEN = """2025-02-25 14:07:19.774362: F tf_adapter/kernels/geop_npu.cc:769] GeOp5_0GEOP::::DoRunAsync Failed
Error Message is :
EI0006: [PID: 3482331] 2025-02-25-14:07:19.774.362 Getting socket times out. Reason: Remote Rank did not send the data
        Solution: 1. Check the rank service processes with other errors or no errors in the cluster.
        TraceBack (most recent call last):
        Transport init error. Reason: [Create][DestLink]Create Dest error! createLink para:rank[0]-localUserrank[0]
"""
PROCESS_LOG = """[ERROR] RUNTIME(137309,python):2025-12-24-16:19:45.416.014 [file.cc:813] [137400][Wait]The argument \
is invalid. Reason: bad device. ErrorCode=EE1001.
[ERROR] DRV(137309,python):2025-12-24-16:19:45.416.014 [devmm.c:813] E39999[PID: 52728] (E39999): TsdOpen failed.
"""
CODE_LIKE = 'loss 1E10000 0xE19999 /data/E12345.jpg E123456 model_E19999 EPOCH10000 W11001: a warning\n'


def codes(path, text):
    path.write_text(text)
    return re.findall(r'^(\S+)\t', bash('find_ascend_errors "$1"', str(path)), re.M)


@pytest.mark.parametrize('text, found', [
    (SCREEN, ['EI0006']), (PROCESS_LOG, ['EE1001', 'E39999']), (CODE_LIKE, []),
    ('[EI0004] EI0004: x\nEL0004: [PID: 28794] Failed to allocate memory.\n', ['EI0004', 'EL0004']),
    ('RuntimeError: Call aclnnNonzeroV2 failed, detail:E39999: Inner Error\n', ['E39999']),
    ('EZ9999: Inner Error!\nEZ9999  The error from device\n', ['EZ9999']),
])
def test_codes_are_found_in_the_forms_that_cann_writes(tmp_path, text, found):
    assert codes(tmp_path / 'log', text) == found


def test_every_row_of_the_table_has_a_code_a_meaning_something_to_try_and_a_source():
    with open(os.path.join(ROOT, 'launchers', 'shell', 'ascend_errors.tsv')) as table:
        rows = [line.rstrip('\n').split('\t') for line in table if not line.startswith('#')]
    assert len(rows) > 40
    for pattern, meaning, try_this, source in rows:
        re.compile(pattern)
        assert meaning and try_this and source in ('hcomm', 'runtime', 'ge', 'opbase', 'reference')


@pytest.mark.parametrize('code, words', [
    ('EI0004', 'the rank table is not valid; try: '), ('EE1018', 'in a way that is not allowed'),
    ('EZ3003', 'no kernel for an operator is installed'), ('EZ0501', 'does not know an operator'),
    ('E19999', 'inner error: of the graph engine'),
    ('EF9999', 'inner error of a component of CANN'), ('EX1234', "not in this project's table")])
def test_a_code_is_told_with_its_meaning(code, words):
    line = bash('explain_ascend_error "$1" /the/log', code)
    assert line.startswith('Ascend error %s: ' % code) and words in line and line.endswith('(in /the/log)\n')


def failed(workdir, *flags, **environment):
    """The lines on standard error of a run whose trainer prints SCREEN and ends with status 1."""
    script = workdir / 'python'
    says = '[ "$2" != train ] || { echo "$SAYS"; [ -z "$PLOG" ] || echo "$SAYS_PLOG" >"$PLOG"; }'
    script.write_text(script.read_text().replace('exec', says + '\nexec'))
    status, _, stderr = launch(workdir, *flags,
                               environment=dict(environment, FAKE_TRAINER='exit1', TMPDIR=str(workdir)))
    assert status == 1
    return stderr.splitlines()


def test_a_failed_run_on_an_npu_ends_with_the_codes_of_its_log_and_of_the_process_logs(workdir):
    plog = workdir / 'plogs' / 'run' / 'plog' / 'plog-99999999_20251224.log'
    plog.parent.mkdir(parents=True)
    old = plog.with_name('plog-1_2024.log')
    old.write_text('EZ9999: of another run')
    os.utime(str(old), (time.time() - 9999,) * 2)
    plog.with_name('plog-%d_2025.log' % os.getpid()).write_text('EZ9999: of a run that goes on')
    lines = failed(workdir, '--device=npu', SAYS=SCREEN, PLOG=str(plog), SAYS_PLOG=PROCESS_LOG,
                   ASCEND_PROCESS_LOG_PATH=str(workdir / 'plogs'))
    assert 'training ended with status 1; the lines above end its log' in lines[-4]
    assert [line.split(':')[0] for line in lines[-3:]] == [
        'Ascend error EI0006', 'Ascend error EE1001', 'Ascend error E39999']
    assert lines[-3].endswith('(in %s/output/0/train_0.log)' % workdir) and lines[-2].endswith('(in %s)' % plog)


@pytest.mark.parametrize('flags, says', [(['--device=npu'], 'no code at all'), ([], SCREEN)])
def test_nothing_is_printed_without_a_code_and_off_an_npu(workdir, flags, says):
    lines = failed(workdir, *flags, SAYS=says, HOME=str(workdir))
    assert 'training ended with status 1' in lines[-1]
