"""What settings need and exclude."""
import pytest

from core.settings import rules

RULES = {'low': [rules.needs('schedule=constant|cyclic')],
         'schedule': [rules.needs('low', when='constant')],
         'path': [rules.needs('dump=True', 'debug=True')],
         'steps': [rules.excludes('epochs')],
         'loop': [rules.needs('sink=True', when='> 1')],
         'file': [rules.idle_without('use=True')]}


def messages(typed, which=(rules.NEEDS, rules.EXCLUDES), **settled):
    return ['%s %s' % (name, rules.message(rule, '--{}'.format))
            for name, rule in rules.broken(RULES, typed, dict(settled, **typed), which)]


@pytest.mark.parametrize('typed, settled, message', [
    ({'low': .1}, {}, 'low needs --schedule=constant|cyclic'),
    ({'low': .1}, {'schedule': 'manual'}, 'low needs --schedule=constant|cyclic'),
    ({'schedule': 'constant'}, {}, 'schedule needs --low'),
    ({'path': 'd'}, {'dump': False}, 'path needs --dump=True or --debug=True'),
    ({'steps': 3, 'epochs': 2}, {}, 'steps not together with --epochs'),
    ({'loop': 2}, {}, 'loop needs --sink=True'),
])
def test_a_broken_rule_says_what_is_missing_or_too_much(typed, settled, message):
    assert messages(typed, **settled) == [message]


@pytest.mark.parametrize('typed, settled', [
    ({'low': .1}, {'schedule': 'cyclic'}), ({'schedule': 'cyclic'}, {}), ({'schedule': 'constant'}, {'low': 0}),
    ({'path': 'd', 'debug': True}, {}), ({'path': False}, {}), ({'loop': 1}, {}),
    ({'steps': 3}, {'epochs': 50}), ({'file': 'f'}, {})])
def test_what_holds_or_was_not_typed_is_not_refused(typed, settled):
    assert messages(typed, **settled) == []


def test_what_has_no_effect_is_told_apart_from_what_is_refused():
    assert messages({'file': 'f'}, [rules.IDLE_WITHOUT]) == ['file has no effect without --use=True']
    assert messages({'file': 'f'}, [rules.IDLE_WITHOUT], use=True) == []
