"""Config: everything a run was asked to do, in one frozen record.

`FIELDS` is the one table of the command line (contract.md sections 1 and 2): name, kind, default, meaning and
the vendors' other spellings. Values are laid over each other as
    the table < the recipe's defaults < its values for this --case < those on synthetic data < what the user gave.
A default of `RECIPE` marks a hyper-parameter: only a network whose recipe declares it accepts the flag.
"""
import collections
import os
import zlib
from typing import Any, NamedTuple, Tuple

from core.errors import InputError
from core.settings import kinds

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECIPE = object()
SYNTHETIC = 'synthetic'
_BUILT_IN = (None, SYNTHETIC)       # data_path of the synthetic data set
NO_DATA = 'none'                    # data_path of a system that makes its own
MOST = 2 ** 31 - 1                  # of steps and the like: what ranks on NPUs can tell each other (core/npu/bridge.py)
MOST_DEVICES = 8                    # of a server
CASES = ('performance', 'full', 'static_eval', 'dynamic_eval')


class Field(NamedTuple):
    """A row of the command line."""
    name: str
    kind: kinds.Kind
    default: Any
    meaning: str
    aliases: Tuple[str, ...] = ()
    repeated: bool = False
    needs: Tuple[str, ...] = ()    # a field and its values (any, if none) without which this one has no effect


_positive = kinds.whole(least=1)
_count = kinds.whole(least=0)
_rate = kinds.number(above=0)
_seed = kinds.whole(least=0, most=MOST)

FIELDS = (
    # What to run, on what, and where the results go.
    Field('network', kinds.text(), 'cspnet', 'the system to train'),
    Field('case', kinds.choice(*CASES), 'full',
          'full: the published recipe; performance and *_eval: a short run that measures speed'),
    Field('data_path', kinds.text(), None,
          'directory of the data set, or the word synthetic; a performance run without it uses '
          'built-in synthetic data', ('data_dir', 'dataset')),
    Field('output_path', kinds.text(), os.path.join(ROOT, 'output'),
          'results go to OUTPUT_PATH/$ASCEND_DEVICE_ID', ('result',)),
    Field('modeldir', kinds.text(), None,
          'directory of the checkpoints; unset: ckpt in the results'),
    Field('ckpt_path', kinds.text(), None,
          'checkpoint (a file, or the newest of a directory) whose weights are the starting point; '
          'for launchers.evaluate the one to evaluate'),
    Field('summary', kinds.text(), None,
          'directory of the TensorBoard summaries; unset: summary in the results', ('SUMMARY',)),
    Field('resume', kinds.boolean(), False,
          'continue the previous run from its newest whole checkpoint'),
    Field('keep_history', _count, None,
          'how many earlier runs of this device stay in OUTPUT_PATH/history; unset: all'),
    Field('seed', _seed, 1, 'fixes initial weights, shuffling and every other random draw'),
    Field('device', kinds.choice('auto', 'npu', 'cpu'), 'auto',
          'auto: an NPU where npu_bridge is installed, else what TensorFlow finds'),
    # How long, how often.
    Field('train_epochs', kinds.whole(1, 10 ** 6), RECIPE, 'epochs to train',
          ('max_epoch', 'epochs', 'epoch')),
    Field('train_steps', kinds.whole(1, MOST), None, 'steps to train, in place of --train_epochs',
          ('max_step',)),
    Field('save_interval', _positive, 1, 'epochs between checkpoints'),
    Field('display_step', _positive, RECIPE,
          'steps between log lines, the last step always has one; a shorter run has one an epoch',
          ('DISPLAY_STEP', 'log_steps')),
    Field('val_epoch', _positive, RECIPE, 'epochs between evaluations', ('VAL_EPOCH',)),
    # Hyper-parameters.
    Field('batch_size', _positive, RECIPE, 'examples a step, of each rank', ('batch',)),
    Field('learning_rate', _rate, RECIPE, 'initial learning rate', ('LEARNING_RATE', 'base_lr')),
    Field('momentum', kinds.number(least=0, below=1), RECIPE, 'momentum', ('MOMENTUM',)),
    Field('weight_decay', kinds.number(least=0), RECIPE,
          'weight of the L2 penalty on the weights', ('LAMBDA',)),
    Field('lr_decay_power', kinds.number(least=0), RECIPE,
          'learning_rate * (1 - t / T) ** lr_decay_power is the learning rate of step t of T'),
    # AlexNet (launchers/networks/alexnet.py).
    Field('keep_prob', kinds.number(above=0, most=1), RECIPE,
          'part of the fully-connected units that dropout leaves in training'),
    Field('ten_crop', kinds.boolean(), RECIPE,
          'test on the mean over ten crops of an image, not on its centre alone'),
    # Semi-supervised learning (launchers/networks/sesemi.py).
    Field('trunk', kinds.choice('convnet', 'nin', 'wrn'), RECIPE, 'the network under both heads'),
    Field('task', kinds.choice('cifar10', 'cifar100', 'svhn'), RECIPE, 'the data set that data_path holds'),
    Field('labels', _positive, RECIPE, 'images that are used with their label, as many of each class'),
    Field('unlabeled', kinds.choice('all', 'labeled'), RECIPE,
          'images of the self-supervised head: the whole training set or its labelled part'),
    # CutMix (data/cutmix.py), for the networks that classify images.
    Field('cutmix_alpha', kinds.number(least=0), RECIPE,
          'lambda ~ Beta(alpha, alpha) of an image is kept, the rest is pasted from another; 0: no CutMix'),
    Field('eval_static', kinds.boolean(), RECIPE, 'leave the last partial batch of the test set out'),
    # Stochastic weight averaging (core/training/swa.py), for any network.
    Field('swa_start_epoch', kinds.either(_positive, kinds.number(above=0, below=1)), None,
          'epoch, from 1, with which stochastic weight averaging starts; below 1 the part of the run in whose '
          'last epoch it does; unset: no averaging'),
    Field('swa_schedule', kinds.choice('manual', 'constant', 'cyclic'), 'manual',
          'learning rate from then on: the network\'s own, swa_lr, or in each cycle from swa_lr2 down to swa_lr',
          ('lr_schedule',), needs=('swa_start_epoch',)),
    Field('swa_lr', _rate, None, 'learning rate of the averaging, in a cycle the last one',
          needs=('swa_schedule', 'constant', 'cyclic')),
    Field('swa_lr2', _rate, None, 'learning rate with which a cycle starts', needs=('swa_schedule', 'cyclic')),
    Field('swa_freq', _positive, 1, 'epochs of a cycle, at whose end the weights enter the average',
          needs=('swa_start_epoch',)),
    Field('verbose', kinds.whole(0, 1), 1, '1 prints when stochastic weight averaging starts and ends, 0 does not',
          needs=('swa_start_epoch',)),
    # Precision and the NpuOptimizer switches (contract.md section 4); core/npu/switches.py checks them.
    Field('loss_scale', kinds.loss_scale(), False, 'scale of the loss against float16 underflow'),
    Field('precision_mode', kinds.text(), None,
          'precision_mode of the NpuOptimizer; unset: the adapter\'s default'),
    Field('over_dump', kinds.boolean(), False, 'detect overflow, into OUTPUT_PATH/overflow_dump'),
    Field('data_dump_flag', kinds.boolean(), False, 'dump operator data, into OUTPUT_PATH/data_dump'),
    Field('data_dump_step', kinds.text(), None, 'steps to dump, as in 0|5|10-20; unset: all'),
    Field('profiling', kinds.boolean(), False, 'profile the run, into OUTPUT_PATH/profiling'),
    Field('use_mixlist', kinds.boolean(), False, 'apply --mixlist_file'),
    Field('mixlist_file', kinds.text(), None, 'JSON file of operator types for mixed precision'),
    Field('fusion_off_flag', kinds.boolean(), False, 'apply --fusion_off_file'),
    Field('fusion_off_file', kinds.text(), None, 'file of the fusion switches'),
    Field('npu_option', kinds.text(), (),
          'KEY=VALUE, any other NpuOptimizer option; may be given several times', repeated=True),
    # Several ranks (contract section 5); the 8p launchers start them, one process each.
    Field('rank_size', kinds.whole(least=1), None,
          'number of ranks; unset: as many as --rank_table has, else what the launcher is named after'),
    Field('rank_table', kinds.file_path(), None,
          'JSON file of the servers, devices and ranks; unset: the first devices of this server'),
    Field('server_id', kinds.text(), None,
          'which server of --rank_table this is; unset: the one with an address of this machine'),
    Field('base_port', kinds.whole(least=1, most=2 ** 16 - MOST_DEVICES), None,
          'off an NPU, port of a server\'s first rank, the next ones follow; unset: free ports, if all '
          'ranks are on one server'),
    Field('connect_timeout', kinds.whole(1, 10 ** 6), 300, 'seconds to wait for the other ranks at the start'),
    # Questions instead of a run.
    Field('print_config', kinds.boolean(), False, 'print the ConfigProto and exit'),
    Field('plan', kinds.boolean(), False, 'check everything, print what the run would be, and exit'),
)

# Where this process stands among its peers: from the environment, never from a flag.
_ENVIRONMENT = ('device_id', 'rank', 'ranks', 'addresses')

# What may differ between the servers of a job: places, what rank 0 alone acts on, and what changes no step.
_OF_A_SERVER = ('data_path', 'output_path', 'modeldir', 'ckpt_path', 'summary', 'resume', 'keep_history', 'device',
                'mixlist_file', 'fusion_off_file', 'rank_size', 'rank_table', 'server_id', 'base_port',
                'connect_timeout', 'print_config', 'plan')


class Config(collections.namedtuple('Config', [f.name for f in FIELDS] + list(_ENVIRONMENT))):
    """The settled values; hyper-parameters that the network does not have are None."""
    __slots__ = ()

    @property
    def run_dir(self):
        """Directory of everything this run writes for its device."""
        return os.path.join(os.path.abspath(self.output_path), str(self.device_id))

    @property
    def ckpt_dir(self):
        """Directory of the checkpoints."""
        return os.path.abspath(self.modeldir or os.path.join(self.run_dir, 'ckpt'))

    @property
    def summary_dir(self):
        """Directory of the TensorBoard summaries."""
        return os.path.abspath(self.summary or os.path.join(self.run_dir, 'summary'))

    @property
    def case_name(self):
        """The last part of the vendors' CaseName: perf, acc, static_eval_perf, dynamic_eval_perf."""
        return {'performance': 'perf', 'full': 'acc'}.get(self.case, self.case + '_perf')

    @property
    def synthetic(self):
        """Whether the built-in data set is trained on."""
        return self.data_path in _BUILT_IN


def resolve(recipe, given, environ):
    """The Config of a run: `given` (field -> value) laid over the recipe's and the table's values.

    Raises InputError for a case the network does not have, a hyper-parameter it does not use, flags that exclude or
    need each other, data that is missing, or an environment that makes no sense.
    """
    settled = {f.name: None if f.default is RECIPE else f.default for f in FIELDS}
    case = given.get('case', settled['case'])
    if case not in recipe.cases:
        raise InputError('--case=%s: must be one of %s for this network'
                         % (case, ', '.join(recipe.cases)))
    for field in FIELDS:
        if field.default is RECIPE and field.name in given and field.name not in recipe.defaults:
            raise InputError('--%s: this network has no such parameter; -h says which have it' % field.name)
    if 'train_steps' in given and 'train_epochs' in given:
        raise InputError('--train_steps and --train_epochs: give one of them')
    settled.update(recipe.defaults)
    settled.update(recipe.cases[case])
    if given.get('data_path', settled['data_path']) in _BUILT_IN:
        settled.update(recipe.on_synthetic)
    settled.update(given)
    config = Config(**settled, **_placement(environ))
    _check_needs(config, given)
    if case == 'full' and config.data_path is None:
        raise InputError('--data_path: a full run needs the directory of the data set (or the word synthetic)')
    if config.rank_size not in (None, config.ranks) and not (config.plan or config.print_config):
        raise InputError('--rank_size=%d: RANK_SIZE (environment) is %d; test/train_*_8p.sh start several ranks'
                         % (config.rank_size, config.ranks))
    return config


def field(name):
    """The Field of that name."""
    return next(row for row in FIELDS if row.name == name)


def checksum(value):
    """A whole number from 0 to MOST."""
    return zlib.crc32(repr(value).encode()) & MOST


def checksums(config):
    """{name: checksum} of the fields that must have the same values on all ranks."""
    return {field.name: checksum(getattr(config, field.name)) for field in FIELDS if field.name not in _OF_A_SERVER}


def _check_needs(config, given):
    for field in FIELDS:
        if field.needs and field.name in given:
            name, *allowed = field.needs
            value = getattr(config, name)
            if value not in allowed if allowed else value is None:
                raise InputError('--%s: has no effect without %s' % (
                    field.name, '--%s=%s' % (name, '|'.join(allowed)) if allowed else '--' + name))


def _placement(environ):
    names = (('device_id', 'ASCEND_DEVICE_ID', '0', kinds.whole(0, MOST_DEVICES - 1)),
             ('ranks', 'RANK_SIZE', '1', kinds.whole(1)),
             ('rank', 'RANK_ID', '0', kinds.whole(0)))
    placement = {'addresses': tuple(filter(None, environ.get('RANK_ADDRESSES', '').split(',')))}
    for name, variable, default, kind in names:
        text = environ.get(variable) or default
        try:
            placement[name] = kind.parse(text)
        except ValueError as error:
            raise InputError('%s=%s (environment): %s' % (variable, text, error))
    if placement['rank'] >= placement['ranks']:
        raise InputError('RANK_ID=%(rank)d (environment): must be below RANK_SIZE=%(ranks)d' % placement)
    return placement
