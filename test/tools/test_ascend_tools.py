"""CANN's comparison tool and the profiler's advisor on what a rehearsal writes; bash test/tools.sh sets them up."""
import csv
import glob
import os
import subprocess

import pytest
import tiny

from core.ascend.diagnostics import comparison

PYTHON = os.environ.get('TOOLS_ASCEND')
MSACCUCMP = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'msaccucmp.py')

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason='bash test/tools.sh sets the tools up')]


def tool(*command):
    """The output of a command of the tools' Python, which has to end well."""
    environ = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run([PYTHON, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
                          universal_newlines=True)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def rows(directory):
    path, = glob.glob(os.path.join(str(directory), 'result_*.csv'))
    with open(path, newline='') as file:
        return list(csv.reader(file))


@pytest.fixture(scope='module')
def dumps(tmp_path_factory):
    """(directory of a step in the NPU's form, that of the ground truth, GE's graph): of a step in float16."""
    found = []
    for form, *inner in (('npu', '0', 'ge_default_1', '1', '0'), ('cpu', '0')):
        output = tmp_path_factory.mktemp(form)
        assert tiny.run('--output_path=%s' % output, '--train_steps=1', '--data_path=synthetic', '--dump_form=' + form,
                        '--data_dump_flag=True', '--data_dump_step=0', '--precision_mode=allow_mix_precision') == 0
        found += glob.glob(os.path.join(str(output), 'data_dump', '*', *inner))
    return found + [os.path.join(str(output), 'data_dump', 'ge_proto_00000_rehearsal_Build.json')]


def test_msaccucmp_compares_a_rehearsal_through_its_graph_and_looks_for_overflow(dumps, tmp_path):
    npu, truth, graph = dumps
    tool(MSACCUCMP, 'compare', '-m', npu, '-g', truth, '-f', graph, '-out', str(tmp_path), '-overflow_detection')
    header, *compared = rows(tmp_path)
    named = [dict(zip(header, row)) for row in compared]
    assert {row['OpType'] for row in named} >= {'Conv2D', 'MatMulV2', 'ApplyMomentum', 'IteratorGetNext'}
    assert not [row for row in named if row['NPUDump'] == '*' or row['GroundTruth'] == '*']
    narrow = [row for row in compared if row[3] == 'float16']
    assert narrow and {row[header.index('OverFlow')] for row in narrow} == {'NO'}
    assert [row for row in named if ':input:' in row['TensorIndex']]


def test_msaccucmp_converts_every_dump_file(dumps, tmp_path):
    tool(MSACCUCMP, 'convert', '-d', dumps[0], '-out', str(tmp_path))
    converted = {name.partition('.output.')[0].partition('.input.')[0] for name in os.listdir(str(tmp_path))}
    assert converted == set(os.listdir(dumps[0]))


def test_between_dumps_of_npus_our_csv_has_the_tools_columns_and_rows(dumps, tmp_path):
    npu, *_ = dumps
    tool(MSACCUCMP, 'compare', '-m', npu, '-g', npu, '-out', str(tmp_path))
    header, *theirs = rows(tmp_path)
    compared = comparison.compare(npu, npu)
    assert header == comparison.columns(compared.are_npu)
    at = header.index('TensorIndex')
    ours = [list(map(str, row.cells(compared.are_npu))) for row in compared.rows]
    assert sorted(row[at:at + 2] for row in ours) == sorted(row[at:at + 2] for row in theirs)
    operators = [len({row[0] for row in side}) for side in (ours, theirs)]
    assert operators[0] == operators[1]


def test_the_advisor_speaks_of_the_network(tmp_path):
    assert tiny.run('--output_path=%s' % tmp_path, '--train_steps=4', '--data_path=synthetic', '--profiling=True',
                    '--profiling_steps=2-3') == 0
    profile, = glob.glob(str(tmp_path / 'profiling' / 'PROF_*'))
    out = tool(os.path.join(os.path.dirname(PYTHON), 'msprof-analyze'), 'advisor', 'all', '-d', profile,
               '-o', str(tmp_path / 'advice'))
    assert 'Start analysis AicpuAnalyzer with ProfilingDataset' in out       # it has read the profile
    assert glob.glob(str(tmp_path / 'advice' / 'mstt_advisor_*.html'))
    assert not [word for word in ('VariableV2', '_Retval', 'device:CPU', 'Identity', 'Conv2D', 'MatMul')
                if word in out]    # it blames operators that run on the AI CPU: none of these does
