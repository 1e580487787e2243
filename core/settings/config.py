"""Config: everything that a run is to do, in one frozen record."""
import os
from typing import Any, Dict, List, Mapping, Optional, Tuple

from core.errors import InputError, RunEnd
from core.settings import kinds, rules
from core.settings.table import AUTO, MOST_DEVICES, RECIPE, SWITCHES, SYNTHETIC, Switch, Switches, switch

_BUILT_IN = (None, SYNTHETIC)       # data_path of the synthetic data set
_RULES = {row.name: row.rules for row in SWITCHES}


class Undeclared(RunEnd, AttributeError):
    """A recipe reads a parameter that it does not declare."""
    status = InputError.status


class Config(Switches):
    """The settled values of a run, frozen: of the table's rows, of those that the recipe brings, and its ranks.

    Raises Undeclared for a hyper-parameter that the recipe does not declare.
    """
    rank: int
    ranks: int                     # that train together; 0 in a plan that leaves their number to the rank table
    addresses: Tuple[str, ...]     # 'host:port' of each rank where they are on several servers and not on NPUs
    ranks_directory: str           # where the ranks of one server meet, '' without
    class_names: Tuple[str, ...]   # of the data set: core.recipe.load()
    own: Tuple[Switch, ...]        # the rows that the recipe brings

    def __init__(self, **values: Any):
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError('a Config is frozen; _replace(%s=...) makes another' % name)

    def __getattr__(self, name: str) -> Any:
        if any(row.name == name for row in (*SWITCHES, *vars(self).get('own', ()))):
            raise Undeclared('the defaults of RECIPE lack %s, which it reads; add %s=VALUE to them' % (name, name))
        raise Undeclared('config.%s: no parameter of the command line; add a row to the switches of RECIPE' % name)

    def _replace(self, **changes: Any) -> 'Config':
        return Config(**dict(vars(self), **changes))

    def values(self) -> Dict[str, Any]:
        """{name: value} of everything that is settled."""
        return {name: value for name, value in vars(self).items() if name != 'own'}

    @property
    def classes(self) -> int:
        """The number of classes; 0 as long as the data is not loaded."""
        return len(self.class_names)

    @property
    def run_dir(self) -> str:
        """Directory of everything this run writes for its device."""
        return os.path.join(os.path.abspath(self.output_path), str(self.device_id))

    @property
    def ckpt_dir(self) -> str:
        """Directory of the checkpoints."""
        return os.path.abspath(self.modeldir or os.path.join(self.run_dir, 'ckpt'))

    @property
    def summary_dir(self) -> str:
        """Directory of the TensorBoard summaries."""
        return os.path.abspath(self.summary or os.path.join(self.run_dir, 'summary'))

    @property
    def case_name(self) -> str:
        """The last part of the vendors' CaseName: perf, acc, static_eval_perf, dynamic_eval_perf."""
        return {'performance': 'perf', 'full': 'acc'}.get(self.case, self.case + '_perf')

    @property
    def synthetic(self) -> bool:
        """Whether the built-in data set is trained on."""
        return self.data_path in _BUILT_IN


def resolve(recipe: Any, given: Mapping[str, Any], environ: Mapping[str, str], planning: bool = False,
            needs_data: bool = True) -> Config:
    """The Config of a run: `given` {switch: value} laid over the recipe's and the table's values.

    needs_data: whether a data set is read, be it the built-in one.
    planning: the ranks are not started yet, so that --rank_size or --rank_table decides how many there will be.
    Raises InputError for a case the network does not have, a hyper-parameter it does not use, switches that exclude
    or need each other, data that is missing, or an environment that makes no sense.
    """
    settled = _settled(recipe, given)
    fault = next(rules.broken(dict(_RULES, **{row.name: row.rules for row in recipe.switches}), given, settled), None)
    if fault:
        name, rule = fault
        raise InputError('%s: %s' % (typed(name, given[name]), rules.message(rule, '--{}'.format)))
    if needs_data and settled['data_path'] in _BUILT_IN and not recipe.built_in_data:
        raise InputError('--data_path: this network has no built-in data; give the directory of its data set')
    if needs_data and settled['case'] == 'full' and settled['data_path'] is None:
        raise InputError('--data_path: a full run needs the directory of the data set (or the word synthetic)')
    _settle_automatic_rates(settled)
    asked, device_id = settled.pop('rank_size'), settled.pop('device_id')
    if planning:
        given_ranks = asked or (0 if settled['rank_table'] else None)
        placed = dict(placement(environ, given_ranks), rank=0)
        settled['rank_table'] = settled['rank_table'] or _exported_table(environ, placed['ranks'])
        placed['ranks'] = asked or (0 if settled['rank_table'] else placed['ranks'])
    else:
        placed = placement(environ, None)
        if asked not in (None, placed['ranks']):
            raise InputError('--rank_size=%d: RANK_SIZE (environment) is %d; test/train_*_8p.sh start several ranks'
                             % (asked, placed['ranks']))
    if device_id is not None:
        if placed['ranks'] != 1:
            raise InputError('--device_id=%d: for a run of one rank; the launchers of several ranks choose the devices '
                             'themselves, as --rank_table says' % device_id)
        placed['device_id'] = device_id
    return Config(class_names=(), own=tuple(recipe.switches), **dict(settled, **placed))


def typed(name: str, value: Any) -> str:
    """A switch as a user types it."""
    return '--%s=%s' % (name, value)


def idle(config: Config) -> Dict[str, str]:
    """{switch: a line about it} of those without effect because another switch is off."""
    values = config.values()
    return {name: '%s %s' % (typed(name, values[name]), rules.message(rule, '--{}'.format))
            for name, rule in rules.broken(_RULES, values, values, [rules.IDLE_WITHOUT])}


def idle_lines(config: Config) -> List[str]:
    """Lines of the log about the switches that were given for nothing."""
    return [line for name, line in idle(config).items() if getattr(config, name) != switch(name).default]


def published(recipe: Any, asked: Mapping[str, Any]) -> Dict[str, Any]:
    """{switch: value}: the table's and the published recipe's, in the variant that `asked` belongs to."""
    settled = {row.name: row.default for row in (*SWITCHES, *recipe.switches) if row.default is not RECIPE}
    settled.update(recipe.defaults)
    for condition, changes in recipe.variants:
        if condition.items() <= dict(settled, **asked).items():
            settled.update(changes)
    return settled


def _settled(recipe, given):
    """{switch: value} of every row but the hyper-parameters that the recipe does not declare."""
    case = given.get('case', switch('case').default)
    if case not in recipe.cases:
        raise InputError('--case=%s: must be one of %s for this network' % (case, ', '.join(recipe.cases)))
    for row in SWITCHES:
        if row.default is RECIPE and row.name in given and row.name not in recipe.defaults:
            raise InputError('--%s: this network has no such parameter; -h says which have it' % row.name)
    if recipe.tasks and given.get('task', recipe.tasks[0]) not in recipe.tasks:
        raise InputError('--task=%s: must be one of %s for this network' % (given['task'], ', '.join(recipe.tasks)))
    asked = dict(recipe.cases[case])
    if given.get('data_path', published(recipe, {})['data_path']) in _BUILT_IN:
        asked.update(recipe.on_synthetic)
    if 'train_epochs' in given:        # a recipe may count its short runs in steps
        asked.pop('train_steps', None)
    asked.update(given)
    settled = published(recipe, asked)
    for name in _overruled(given):
        settled[name] = switch(name).default
    settled.update(asked)
    if settled['emulate_precision'] is None:  # a mode that is the recipe's own default is not rehearsed unasked
        settled['emulate_precision'] = bool(settled['over_dump'] or settled['enable_hf32'] or any(
            one.startswith('precision_mode') for one in [*given, *given.get('npu_option', ())]))
    return settled


def _overruled(given):
    """Recipe defaults to drop: the user set the same NPU option with --npu_option, or typed something that excludes them.
    """
    keys = {assignment.partition('=')[0] for assignment in given.get('npu_option', ())}
    named = set(given) | {row.name for row in SWITCHES if row.npu_key in keys}
    return [row.name for row in SWITCHES if row.name not in given and row.npu_key
            and (row.name in named or named & {other for rule in row.rules if rule.words == rules.EXCLUDES
                                               for other in rule.others})]


def _settle_automatic_rates(settled):
    """Puts numbers where swa_lr and swa_lr2 are AUTO, as the vendor's callback for stochastic weight averaging does."""
    if settled['swa_lr'] == AUTO:
        settled['swa_lr'] = 0.1 * settled['learning_rate']
    if settled['swa_lr2'] == AUTO:
        settled['swa_lr2'] = settled['swa_lr'] + 0.25 * (settled['learning_rate'] - settled['swa_lr'])


def _exported_table(environ: Mapping[str, str], ranks: int) -> Optional[str]:
    """The file that RANK_TABLE_FILE names; None for a single rank, which exchanges nothing."""
    path = environ.get('RANK_TABLE_FILE')
    if not path or ranks == 1:
        return None
    try:
        return kinds.file_path().parse(path)
    except ValueError as error:
        raise InputError('RANK_TABLE_FILE=%s (environment): %s' % (path, error))


def placement(environ: Mapping[str, str], ranks: Optional[int]) -> Dict[str, Any]:
    """Which rank this process is, on which device, and where the ranks meet.

    ranks: how many a plan is for; None for the number in the environment.

    Raises InputError naming the variable at fault.
    """
    def read(variable, default, kind):
        text = environ.get(variable) or str(default)
        try:
            return kind.parse(text)
        except ValueError as error:
            raise InputError('%s=%s (environment): %s' % (variable, text, error))

    workers = read('CM_WORKER_SIZE', 0, kinds.whole(0))  # the number of ranks in a start on NPUs without a rank table
    size = read('RANK_SIZE', workers or 1, kinds.whole(1))
    rank = read('RANK_ID', 0, kinds.whole(0))
    if rank >= size:
        raise InputError('RANK_ID=%d (environment): must be below RANK_SIZE=%d' % (rank, size))
    if ranks is None and size > 1 and not (environ.get('RANK_SIZE') or environ.get('RANK_ID')):
        raise InputError('RANK_ID (environment): not set; each of the %d ranks of CM_WORKER_SIZE needs its own' % size)
    planned = size if ranks is None else ranks
    if workers and planned and workers != planned:
        raise InputError('CM_WORKER_SIZE=%d (environment): the run has %d ranks; unset it, or start as many ranks' % (
            workers, planned))
    return dict(device_id=read('ASCEND_DEVICE_ID', 0, kinds.whole(0, MOST_DEVICES - 1)), rank=rank, ranks=planned,
                addresses=tuple(filter(None, environ.get('RANK_ADDRESSES', '').split(','))),
                ranks_directory=environ.get('RANKS_DIRECTORY', ''))
