"""A profile has the Ascend profiler's directory, columns and events."""
import csv
import json
import os
import re

import pytest

from core.ascend.diagnostics import profile_files
from core.ascend.diagnostics.profile_files import Iteration, Operator

OPERATORS = [Operator('net/Relu', 'Relu', 1500., 50., 1, outputs=[((2, 3), 'float32')]),
             Operator('net/Conv2D', 'Conv2D', 1000., 400., 0, [((2, 8), 'float32'), ((1,), 'int32')]),
             Operator('net/Conv2D_1', 'Conv2D', 1550., 200., 0)]
STEP = Iteration(10, 900., 950., 1000., 1500., 1700., 1750.)


@pytest.fixture
def written(tmp_path):
    directory = profile_files.new_directory(str(tmp_path))
    profile_files.write(directory, OPERATORS, [STEP], 3)
    return {re.sub(r'_\d{14}\.', '.', name): os.path.join(directory, name) for name in os.listdir(directory)}


def rows(path):
    with open(path, newline='') as file:
        return list(csv.reader(file))


def test_the_directory_is_named_as_the_profiler_names_it(tmp_path):
    directory = profile_files.new_directory(str(tmp_path))
    name, output = os.path.relpath(directory, str(tmp_path)).split(os.sep)
    assert re.fullmatch(r'PROF_\d{6}_\d{17}_[A-Z]{8}', name) and output == 'mindstudio_profiler_output'


def test_op_summary_has_the_profilers_columns_and_an_operator_a_row_by_start(written):
    header, *operators = rows(written['op_summary.csv'])
    assert ','.join(header).startswith(
        'Device_id,Model ID,Task ID,Stream ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),'
        'Task Duration(us),Task Wait Time(us),Block Num,Mix Block Num,HF32 Eligible,Input Shapes,Input Data Types,'
        'Input Formats,Output Shapes,Output Data Types,Output Formats,Context ID,aicore_time(us)')
    named = [dict(zip(header, row)) for row in operators]
    assert [row['Op Name'] for row in named] == ['net/Conv2D', 'net/Relu', 'net/Conv2D_1']
    assert named[0]['Task Start Time(us)'] == '1000.000\t' and named[0]['Task Wait Time(us)'] == '0.000'
    assert named[1]['Task Wait Time(us)'] == '100.000' and named[2]['Task Wait Time(us)'] == '0.000'
    assert named[0]['Input Shapes'] == '"2,8;1"' and named[0]['Input Data Types'] == 'float32;int32'
    assert named[0]['Block Num'] == 'N/A' and named[0]['Device_id'] == '3'


def test_op_statistic_counts_each_type_the_largest_total_first(written):
    header, first, second = rows(written['op_statistic.csv'])
    assert ','.join(header) == ('Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),'
                                'Max Time(us),Ratio(%)')
    assert first == ['3', 'Conv2D', 'AI_CPU', '2', '600.000', '200.000', '300.000', '400.000', '92.308']
    assert second[1] == 'Relu'


def test_step_trace_has_the_profilers_columns(written):
    header, step = rows(written['step_trace.csv'])
    assert ','.join(header) == ('Device_id,Iteration ID,FP Start(us),BP End(us),Iteration End(us),Iteration Time(us),'
                                'FP to BP Time(us),Iteration Refresh(us),Data Aug Bound(us),Model ID')
    assert step == ['3', '10', '1000.000\t', '1700.000\t', '1750.000\t', '850.000', '700.000', '50.000', 'N/A', '1']


def test_the_timeline_has_the_profilers_events(written):
    with open(written['msprof.json']) as file:
        events = json.load(file)
    names = [event['name'] for event in events]
    assert {'net/Conv2D', 'Iteration 10', 'FP_BP Time 10', 'Iteration Refresh 10', 'GetNext'} <= set(names)
    conv = events[names.index('net/Conv2D')]
    assert conv['ph'] == 'X' and conv['ts'] == '1000.000' and conv['dur'] == 400.
    assert {'name': 'process_name', 'pid': 2, 'tid': 0, 'args': {'name': 'Step Trace'}, 'ph': 'M'} in events


def test_a_step_splits_into_input_waiting_forward_backward_and_update():
    assert STEP.split == {'input waiting': 50., 'forward': 500., 'backward': 200., 'update': 50.}
