"""launchers/shell/ascend.sh sets the environment of every CANN that is installed below ~/Ascend."""
import os
import subprocess

import pytest
from launching import ROOT

pytestmark = pytest.mark.skipif(os.path.isdir('/usr/local/Ascend'), reason='this machine has a CANN of its own')
NAMES = ('PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH', 'ASCEND_OPP_PATH', 'ASCEND_GLOBAL_LOG_LEVEL', 'FOUND')


def environment(home, **given):
    """-> {name: value} after set_ascend_environment, without what was there before."""
    script = 'set -euo pipefail; source "$0/launchers/shell/ascend.sh"; set_ascend_environment; env -0'
    found = subprocess.run(['bash', '-c', script, ROOT], check=True, stdout=subprocess.PIPE, universal_newlines=True,
                           env=dict({'HOME': str(home), 'PATH': os.environ['PATH']}, **given)).stdout
    return {name: value for name, _, value in (line.partition('=') for line in found.split('\0'))
            if name in NAMES and (name, value) != ('PATH', os.environ['PATH'])}


def add_script(home, package, text='export FOUND=${FOUND-}%s,\n'):
    script = home / 'Ascend' / package / 'set_env.sh'
    script.parent.mkdir(parents=True)
    script.write_text(text % package if '%' in text else text)
    return script.parent


def test_without_cann_only_the_log_level_of_the_vendors_is_set(tmp_path):
    assert environment(tmp_path) == {'ASCEND_GLOBAL_LOG_LEVEL': '3'}
    assert environment(tmp_path, ASCEND_GLOBAL_LOG_LEVEL='1') == {'ASCEND_GLOBAL_LOG_LEVEL': '1'}


def test_each_package_is_sourced_and_may_read_unset_variables_and_fail(tmp_path):
    for package in ('nnae', 'tfplugin', 'ascend-toolkit'):
        add_script(tmp_path, package)
    with (tmp_path / 'Ascend' / 'nnae' / 'set_env.sh').open('a') as script:
        script.write('export LD_LIBRARY_PATH=$NO_SUCH_VARIABLE:x\nfalse\necho noise\n')
    assert environment(tmp_path) == {'FOUND': 'ascend-toolkit,nnae,tfplugin,', 'LD_LIBRARY_PATH': ':x',
                                     'ASCEND_GLOBAL_LOG_LEVEL': '3'}


def test_cann_8_5_has_one_script_and_an_adapter_where_the_user_installed_it(tmp_path):
    for package in ('cann', 'ascend-toolkit'):
        add_script(tmp_path, package)
    found = environment(tmp_path, TFPLUGIN_INSTALL_PATH='/opt/my adapter', PYTHONPATH='/mine')
    assert found['FOUND'] == 'cann,' and found['PYTHONPATH'] == '/opt/my adapter:/mine'


@pytest.mark.parametrize('package, adapter', [
    ('nnae/latest', 'tfplugin/latest/tfplugin'), ('ascend-toolkit/latest', 'tfplugin/latest/tfplugin'),
    ('.', 'tfplugin')])
def test_cann_20_2_which_has_no_script_is_set_up_as_its_guide_says(tmp_path, package, adapter):
    root = tmp_path / 'Ascend'
    for directory in (root / package / 'fwkacllib', root / adapter / 'python' / 'site-packages'):
        directory.mkdir(parents=True)
    found = environment(tmp_path, PYTHONPATH='/mine')
    cann = os.path.normpath(str(root / package))
    paths = {name: [os.path.normpath(path) for path in found[name].split(':')]
             for name in ('PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH', 'ASCEND_OPP_PATH')}
    assert paths['ASCEND_OPP_PATH'] == [cann + '/opp']
    assert paths['LD_LIBRARY_PATH'][0] == cann + '/fwkacllib/lib64'
    assert '/usr/local/Ascend/driver/lib64/common' in paths['LD_LIBRARY_PATH']
    assert paths['PYTHONPATH'][:2] == [str(root / adapter / 'python' / 'site-packages'),
                                       cann + '/fwkacllib/python/site-packages']
    assert paths['PYTHONPATH'][-2:] == [cann + '/opp/op_impl/built-in/ai_core/tbe', '/mine']
    assert paths['PATH'][:2] == [cann + '/fwkacllib/ccec_compiler/bin', cann + '/fwkacllib/bin']


def test_an_environment_that_the_user_has_set_is_left_alone(tmp_path):
    (tmp_path / 'Ascend' / 'nnae' / 'latest' / 'fwkacllib').mkdir(parents=True)
    found = environment(tmp_path, ASCEND_OPP_PATH='/mine')
    assert found == {'ASCEND_OPP_PATH': '/mine', 'ASCEND_GLOBAL_LOG_LEVEL': '3'}
