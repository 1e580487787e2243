"""docs/npu-options.md is what the table of options says today."""
import os

from launching import ROOT

from launchers import npu_options


def test_the_page_on_npu_options_is_current():
    with open(os.path.join(ROOT, 'docs', 'npu-options.md'), encoding='utf-8') as page:
        assert page.read() == npu_options.page(), 'run python3 -m launchers npu_options > docs/npu-options.md'


def test_the_page_has_a_row_for_each_option_with_its_rules():
    text = npu_options.page()
    assert '| `dump_path` | s |  | a directory that exists' in text
    assert 'with > 1 needs `enable_data_pre_proc=True`' in text
    assert '`mstune_mode`: CANN has no mstune_mode any more; use aoe_mode' in text
    assert '- 910: `precision_mode_v2`, mixed_bfloat16' in text
