"""The operators of the machine's own CANN decide before the table."""
import json

import pytest

from core.ascend import operator_information
from core.ascend.emulation import precision_rules
from core.errors import InputError


def package(tmp_path, soc='ascend910', **files):
    """An operator package in which each of `files` holds these operators."""
    folder = tmp_path / 'built-in' / 'op_impl' / 'ai_core' / 'tbe' / 'config' / soc
    folder.mkdir(parents=True)
    for name, operators in files.items():
        (folder / ('aic-%s-ops-info%s.json' % (soc, name))).write_text(
            operators if isinstance(operators, str) else json.dumps(operators))
    return {'ASCEND_OPP_PATH': str(tmp_path)}


def operator(dtypes, flag=None):
    facts = {'input0': {'name': 'x', 'dtype': dtypes}, 'output0': {'name': 'y', 'dtype': dtypes}}
    return dict(facts, precision_reduce={'flag': flag}) if flag else facts


def test_lists_and_kernels_are_those_of_cann(tmp_path):
    environ = package(tmp_path, _math={'MatMulV2': operator('float16,float', 'false'), 'Relu': operator('float16'),
                                       'ReduceMeanD': operator('float16,float', 'true')},
                      _nn={'MaxPool': operator('float16, float'), 'BiasAddGrad': operator('float')})
    cann = operator_information.read(environ, '910')
    assert len(cann.paths) == 2 and operator_information.read(environ, '910B') is None
    rules = precision_rules.rules('allow_mix_precision', '910', True, cann=cann)
    table = precision_rules.rules('allow_mix_precision', '910', True)
    for op_type, now, before in (('MatMul', 'black', 'white'), ('Mean', 'white', 'black'), ('Conv2D', 'white', 'white'),
                                 ('BiasAddGrad', 'gray', 'black')):
        assert (rules.colour(op_type), table.colour(op_type)) == (now, before)
    for op_type, now, before in (('Relu', True, False), ('MaxPool', False, True), ('AvgPool', True, True)):
        assert (rules.has_only_narrow(op_type), table.has_only_narrow(op_type)) == (now, before)


def test_what_a_mix_list_removes_is_what_cann_has_in_the_list(tmp_path):
    mix = tmp_path / 'mix.json'
    mix.write_text('{"black-list": {"to-remove": ["MatMulV2", "ReduceMean"]}}')
    cann = operator_information.read(package(tmp_path / 'opp', _x={
        'MatMulV2': operator('float16', 'false'), 'ReduceMean': operator('float16', 'true')}), '910')
    rules = precision_rules.rules('allow_mix_precision', '910', True, mixlist_file=str(mix), cann=cann)
    assert (rules.colour('MatMul'), rules.colour('Mean')) == ('gray', 'white')


@pytest.mark.parametrize('text', ['[1]', '{"MatMulV2": 3}', '{', '{"A": {"input0": {"dtype": 3}}}',
                                  '{"A": {"precision_reduce": "true"}}'])
def test_a_file_of_another_form_is_refused(text, tmp_path):
    with pytest.raises(InputError, match='aic-ascend910-ops-info.json: is no operator information of CANN'):
        operator_information.read(package(tmp_path, **{'': text}), '910')
