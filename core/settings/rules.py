"""Rules between settings: what one of them needs, and what it excludes, with one form of message.

A rule names other settings by conditions: `name`: it is set; `name=A|B`: it has one of these values.
Rules bind what the user typed: a setting that was typed needs settled values, whoever settled them, and excludes
others that were typed.
"""
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence, Tuple

NEEDS, EXCLUDES, IDLE_WITHOUT = 'needs', 'not together with', 'has no effect without'


class Rule(NamedTuple):
    """One rule of a setting."""
    words: str                     # NEEDS, EXCLUDES or IDLE_WITHOUT
    others: Tuple[str, ...]        # conditions: a need is met by one of them, an exclusion broken by one
    when: str = ''                 # the rule is about these values alone: `A|B`, or `> N`; '': about all but False


def needs(*others: str, when: str = '') -> Rule:
    """The setting is refused where none of the conditions holds."""
    return Rule(NEEDS, others, when)


def excludes(*others: str, when: str = '') -> Rule:
    """The setting is refused where one of the conditions was typed as well."""
    return Rule(EXCLUDES, others, when)


def idle_without(*others: str) -> Rule:
    """The setting is taken where none of the conditions holds, with a line of the log that it has no effect."""
    return Rule(IDLE_WITHOUT, others)


def is_on(value: Any) -> bool:
    """Whether a setting with this value counts as given: 0 does, False and () do not."""
    return value is not None and value is not False and value != ()


def broken(rules: Mapping[str, Sequence[Rule]], typed: Mapping[str, Any], settled: Mapping[str, Any],
           kinds_of_rules: Sequence[str] = (NEEDS, EXCLUDES)) -> Iterator[Tuple[str, Rule]]:
    """Yields (setting, rule) for every rule that does not hold.

    rules: {setting: its rules}; typed: {setting: value} of what the user gave; settled: {setting: value} of all.
    """
    for name, value in typed.items():
        for rule in rules.get(name, ()):
            if rule.words in kinds_of_rules and _is_about(rule, value) and not _holds(rule, typed, settled):
                yield name, rule


def message(rule: Rule, spelled: Callable[[str], str]) -> str:
    """The words about a broken rule after the name of its setting: `needs --a=x|y or --b`."""
    return '%s %s' % (rule.words, ' or '.join(map(spelled, rule.others)))


def _is_about(rule: Rule, value: Any) -> bool:
    if rule.when.startswith('> '):
        return value > int(rule.when[2:])
    return str(value) in rule.when.split('|') if rule.when else is_on(value)


def _holds(rule: Rule, typed: Mapping[str, Any], settled: Mapping[str, Any]) -> bool:
    if rule.words == EXCLUDES:
        return not any(_is_met(other, typed) for other in rule.others)
    return any(_is_met(other, settled) for other in rule.others)


def _is_met(condition: str, values: Mapping[str, Any]) -> bool:
    name, equals, allowed = condition.partition('=')
    value = values.get(name)
    return str(value) in allowed.split('|') if equals else is_on(value)
