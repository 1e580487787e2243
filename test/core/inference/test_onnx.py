"""What --format=onnx needs is set up by itself, or refused in one line. test/tools has the whole way."""
import os
import stat

import pytest

from core.errors import InputError
from core.inference import onnx

NEWER = ['python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3']


def write_pythons(directory, script):
    """Programs that are found as any Python which is new enough."""
    directory.mkdir()
    for name in NEWER:
        (directory / name).write_text('#!/bin/bash\n' + script)
        (directory / name).chmod(stat.S_IRWXU)


@pytest.mark.parametrize('script, words', [
    ('exit 1', 'needs a Python of 3.10 to 3.13'),
    ('[[ $1 != -c ]] || exit 0\nmkdir -p "${!#}/bin"\nprintf "#!/bin/bash\\necho no network; exit 1\\n" '
     '>"${!#}/bin/python"\nchmod +x "${!#}/bin/python"', 'needs a Python of 3.10 to 3.13')])
def test_what_cannot_be_set_up_is_one_line_and_leaves_nothing_behind(script, words, tmp_path, monkeypatch):
    write_pythons(tmp_path / 'bin', script)
    monkeypatch.setenv('PATH', '%s:%s' % (tmp_path / 'bin', os.environ['PATH']))
    monkeypatch.setattr(onnx, 'ENVIRONMENT', str(tmp_path / '.onnx'))
    with pytest.raises(InputError, match=words) as refusal:
        onnx.set_up()
    assert '\n' not in str(refusal.value) and str(refusal.value).startswith('--format=onnx: cannot set up')
    assert [path.name for path in tmp_path.iterdir()] == ['bin']


def test_what_is_set_up_is_not_set_up_again(tmp_path, monkeypatch):
    write_pythons(tmp_path / 'bin', '[[ $1 != -c ]] || exit 0\nmkdir -p "${!#}/bin"\n'
                  'printf "#!/bin/bash\\nexit 0\\n" >"${!#}/bin/python"\nchmod +x "${!#}/bin/python"')
    with monkeypatch.context() as patch:
        patch.setenv('PATH', '%s:%s' % (tmp_path / 'bin', os.environ['PATH']))
        patch.setattr(onnx, 'ENVIRONMENT', str(tmp_path / '.onnx'))
        onnx.set_up()
        write_pythons(tmp_path / 'none', 'exit 1')
        patch.setenv('PATH', '%s:%s' % (tmp_path / 'none', os.environ['PATH']))
        onnx.set_up()
    assert (tmp_path / '.onnx' / 'bin' / 'python').exists()
