"""A profile has the Ascend profiler's directory, columns and events."""
import csv
import json
import os
import re

import pytest

from core.ascend.diagnostics import operator_profile, profile_files
from core.ascend.diagnostics.profile_columns import metric_columns
from core.ascend.diagnostics.profile_files import Described, Iteration, ProfiledOperator

OPERATORS = [
    ProfiledOperator('net/Relu', 'Relu', 'AI_VECTOR_CORE', 1500., 50., 1, outputs=[Described((2, 3), 'FLOAT16', 'ND')]),
    ProfiledOperator('net/Conv2D', 'Conv2D', 'AI_CORE', 1000., 400., 0, [
        Described((2, 4, 4, 8), 'FLOAT', 'NHWC'), Described((3, 3, 8, 8), 'FLOAT', 'HWCN')]),
    ProfiledOperator('net/Conv2D_1', 'Conv2D', 'AI_CORE', 1550., 200., 0),
    ProfiledOperator('reduce', 'HcomAllReduce', 'COMMUNICATION', 1800., 10., 0)]
STEP = Iteration(10, 900., 950., 1000., 1500., 1700., 1750.)


@pytest.fixture
def written(tmp_path):
    directory = profile_files.new_directory(str(tmp_path))
    profile_files.write(directory, OPERATORS, [STEP], 3, ['aicore_time(us)'])
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
    assert {len(row) for row in operators} == {len(header)}
    named = [dict(zip(header, row)) for row in operators]
    assert [row['Op Name'] for row in named] == ['net/Conv2D', 'net/Relu', 'net/Conv2D_1', 'reduce']
    assert named[0]['Task Start Time(us)'] == '1000.000\t' and named[0]['Task Wait Time(us)'] == '0.000'
    assert named[1]['Task Wait Time(us)'] == '100.000' and named[2]['Task Wait Time(us)'] == '0.000'
    assert named[0]['Input Shapes'] == '"2,4,4,8;3,3,8,8"' and named[0]['Input Data Types'] == 'FLOAT;FLOAT'
    assert named[0]['Input Formats'] == 'NHWC;HWCN' and named[1]['Output Data Types'] == 'FLOAT16'
    assert [row['Task Type'] for row in named] == ['AI_CORE', 'AI_VECTOR_CORE', 'AI_CORE', 'COMMUNICATION']
    assert named[3]['Task ID'] == named[3]['Stream ID'] == named[3]['OP State'] == 'N/A'
    assert named[0]['Block Num'] == 'N/A' and named[0]['Device_id'] == '3'


@pytest.mark.parametrize('metric, chip, columns', [
    ('MemoryUB', '910', 'aicore_time(us),total_cycles,ub_read_bw_vector(GB/s),ub_write_bw_vector(GB/s),'
                        'ub_read_bw_scalar(GB/s),ub_write_bw_scalar(GB/s)'),
    ('PipeUtilization', '910', 'aicore_time(us),total_cycles,vec_time(us),vec_ratio,mac_time(us),mac_ratio,'
     'scalar_time(us),scalar_ratio,mte1_time(us),mte1_ratio,mte2_time(us),mte2_ratio,mte3_time(us),mte3_ratio,'
     'icache_miss_rate,memory_bound'),
    ('PipeUtilization', '910B', 'aicore_time(us),aic_total_cycles,aic_mac_time(us),aic_mac_ratio,aic_scalar_time(us),'
     'aic_scalar_ratio,aic_mte1_time(us),aic_mte1_ratio,aic_mte2_time(us),aic_mte2_ratio,aic_fixpipe_time(us),'
     'aic_fixpipe_ratio,aic_icache_miss_rate,aiv_time(us),aiv_total_cycles,aiv_vec_time(us),aiv_vec_ratio,'
     'aiv_scalar_time(us),aiv_scalar_ratio,aiv_mte2_time(us),aiv_mte2_ratio,aiv_mte3_time(us),aiv_mte3_ratio,'
     'aiv_icache_miss_rate,cube_utilization(%)'),
    ('ArithmeticUtilization', '910B', 'aicore_time(us),aic_total_cycles,aic_mac_fp16_ratio,aic_mac_int8_ratio,'
     'aic_cube_fops,aiv_time(us),aiv_total_cycles,aiv_vec_fp32_ratio,aiv_vec_fp16_ratio,aiv_vec_int32_ratio,'
     'aiv_vec_misc_ratio,aiv_vector_fops'),
    ('Memory', '910B', 'aicore_time(us),aic_total_cycles,aic_l1_read_bw(GB/s),aic_l1_write_bw(GB/s),'
     'aic_main_mem_read_bw(GB/s),aic_main_mem_write_bw(GB/s),aic_l2_read_bw(GB/s),aic_l2_write_bw(GB/s),aiv_time(us),'
     'aiv_total_cycles,aiv_ub_read_bw(GB/s),aiv_ub_write_bw(GB/s),aiv_main_mem_read_bw(GB/s),'
     'aiv_main_mem_write_bw(GB/s),aiv_l2_read_bw(GB/s),aiv_l2_write_bw(GB/s)'),
    ('ResourceConflictRatio', '910B', 'aicore_time(us),aic_total_cycles,aiv_time(us),aiv_total_cycles,'
     'aiv_vec_bankgroup_cflt_ratio,aiv_vec_bank_cflt_ratio,aiv_vec_resc_cflt_ratio'),
    ('Custom:0x10', '910', 'aicore_time(us),total_cycles')])
def test_aic_metrics_chooses_msprofs_columns(metric, chip, columns):
    assert ','.join(metric_columns(metric, chip)) == columns


def test_op_statistic_counts_each_type_the_largest_total_first(written):
    header, first, second, third = rows(written['op_statistic.csv'])
    assert ','.join(header) == ('Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),'
                                'Max Time(us),Ratio(%)')
    assert first == ['3', 'Conv2D', 'AI_CORE', '2', '600.000', '200.000', '300.000', '400.000', '90.909']
    assert second[1:3] == ['Relu', 'AI_VECTOR_CORE'] and third[1] == 'HcomAllReduce'


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


def test_the_log_has_the_largest_operator_types_and_how_a_step_splits():
    def ran(op_type, duration):
        return ProfiledOperator('net/op', op_type, 'AI_CORE', 0., duration, 1)
    steps = [Iteration(number, 0., 500., 500., 1500., 3500., 4000.) for number in (1, 2)]
    lines = operator_profile.summary([ran('Conv2D', 3000.), ran('Conv2D', 4500.), ran('Relu', 2500.)], steps)
    assert lines == ['Profile:  75.0%      3.750 ms a step in 1 Conv2D',
                     'Profile:  25.0%      1.250 ms a step in 0 Relu',
                     'Profile: of a step input waiting 0.500 ms, forward 1.000 ms, backward 2.000 ms, update 0.500 ms']
    assert operator_profile.summary([], steps) == lines[-1:]
