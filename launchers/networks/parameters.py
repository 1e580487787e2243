"""Which parameters the functions of a recipe read, found in their bytecode."""
import dis
import functools
import types
from typing import Any, Dict, Iterable, Iterator

# The rooms that are searched for functions, beside that of the recipe's own module.
_ROOMS = ('core', 'data', 'launchers', 'nets')
_HOLDERS = ('config', '_config')                # names and attributes that hold a Config, by this project's habit


def parameters_read(functions: Iterable[Any]) -> Dict[str, str]:
    """{parameter: a function that reads it} of every config.PARAMETER in `functions` and in what they use.

    They use the functions and classes that their code names: as globals, as attributes of modules, in closures and in
    functools.partial. A Recipe is such an iterable; a tuple among its values is another, other values are passed over.
    """
    found, seen, waiting = {}, set(), list(functions)
    rooms = {_room(value) for value in waiting} | set(_ROOMS)
    while waiting:
        value = waiting.pop()
        if isinstance(value, functools.partial):
            waiting += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, tuple):
            waiting += value
        elif isinstance(value, (type, types.FunctionType)) and _room(value) in rooms and value not in seen:
            seen.add(value)
            if isinstance(value, type):
                waiting += [getattr(method, '__func__', method) for method in vars(value).values()]
                waiting += value.__bases__
                continue
            waiting += [cell.cell_contents for cell in value.__closure__ or ()]
            for code in _codes(value.__code__):
                found.update(dict.fromkeys(_reads(code), '%s.%s' % (value.__module__, value.__qualname__)))
                waiting += _named(code, value.__globals__)
    return found


def _room(value: Any) -> str:
    return str(getattr(value, '__module__', '')).split('.')[0]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """`code` and that of the functions, lambdas and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _reads(code: types.CodeType) -> Iterator[str]:
    steps = list(dis.get_instructions(code))
    for holder, attribute in zip(steps, steps[1:]):
        if holder.argval in _HOLDERS and attribute.opname in ('LOAD_ATTR', 'LOAD_METHOD'):
            yield attribute.argval


def _named(code: types.CodeType, scope: Dict[str, Any]) -> Iterator[Any]:
    """The globals that `code` names, and the attributes that it reads of those that are modules."""
    steps = list(dis.get_instructions(code))
    for load, attribute in zip(steps, steps[1:]):
        if load.opname == 'LOAD_GLOBAL':
            value = scope.get(load.argval)
            yield getattr(value, str(attribute.argval), None) if isinstance(value, types.ModuleType) else value
