"""Entries of a fusion_switch_file that switch nothing."""
import json

from core.ascend import fusion_passes, switches


def switch_file(tmp_path, graph, buffer):
    path = tmp_path / 'fusion_switch.cfg'
    path.write_text(json.dumps({'Switch': {'GraphFusion': dict.fromkeys(graph, 'off'),
                                           'UBFusion': dict.fromkeys(buffer, 'off')}}))
    return str(path)


def test_a_pass_that_is_misspelt_or_under_the_wrong_group_is_told_with_what_is_right(tmp_path):
    path = switch_file(tmp_path, ['ALL', 'SoftplusTanhMulPass', 'MatMulBiasAddFusion', 'TbeConvBnreduceFusionPass'],
                       ['ALL', 'TbeConvBnreduceFusionPass', 'Nonsense'])
    assert fusion_passes.lines(path, {}) == [
        '%s: no fusion pass that is known here is called MatMulBiasAddFusion; did you mean MatMulBiasAddFusionPass?'
        % path,
        '%s: TbeConvBnreduceFusionPass is a pass of UBFusion; under GraphFusion it has no effect' % path,
        '%s: no fusion pass that is known here is called Nonsense' % path]


def test_a_pass_that_only_the_machines_cann_has_is_known_there(tmp_path):
    path = switch_file(tmp_path, ['NewestFusionPass', 'SwitchedFusionPass'], [])
    config = tmp_path / 'built-in' / 'fusion_pass' / 'config'
    config.mkdir(parents=True)
    (config / 'fusion_config.json').write_text(json.dumps({
        'Switch': {'GraphFusion': {'SwitchedFusionPass': 'off'}, 'UBFusion': {}},
        'Priority': {'GraphFusion': {'Top': {}, 'Main': {'NewestFusionPass': '4000'}}, 'UBFusion': {'Down': {}}}}))
    assert fusion_passes.lines(path, {'ASCEND_OPP_PATH': str(tmp_path)}) == []
    assert len(fusion_passes.lines(path, {})) == 2
    (config / 'fusion_config.json').write_text('[1')
    assert len(fusion_passes.lines(path, {'ASCEND_OPP_PATH': str(tmp_path)})) == 2


def test_the_log_has_these_lines_on_every_device(tmp_path):
    path = switch_file(tmp_path, ['Nonsense'], [])
    assert any('Nonsense' in line for line in switches.notices({'fusion_switch_file': path}))
