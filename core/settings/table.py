"""Switches: the one table of the command line, a row for each flag.

A row has everything about its switch: what users type, what it may hold, what it needs and excludes, who must agree
on it, which NpuOptimizer key it sets and what it does off an NPU (docs/vendor-contract.md sections 1, 2, 4 and 5).
Values are laid over each other as
    the table < the recipe's defaults < its variants < its values for this --case < those on synthetic data
    < what the user gave.
"""
import os
from typing import Any, NamedTuple, Optional, Tuple, Union

from core.settings import kinds
from core.settings.kinds import MOST
from core.settings.rules import Rule, excludes, idle_without, needs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECIPE = object()                   # default of a hyper-parameter: only a recipe that declares it accepts the switch
SYNTHETIC = 'synthetic'             # --data_path of the built-in data set
NO_DATA = 'none'                    # --data_path of a system that makes its own data
DEVICES_OF_A_SERVER = 8
MOST_DEVICES = 16                   # of a server of the A3 family, whose rank tables have super pods
CASES = ('performance', 'full', 'static_eval', 'dynamic_eval')
PRECISION_MODES = ('allow_fp32_to_fp16', 'force_fp16', 'force_fp32', 'must_keep_origin_dtype', 'cube_fp16in_fp32out',
                   'allow_mix_precision', 'allow_mix_precision_fp16', 'allow_mix_precision_bf16', 'allow_fp32_to_bf16')
PRECISION_MODES_V2 = ('fp16', 'origin', 'cube_fp16in_fp32out', 'mixed_float16', 'mixed_bfloat16', 'cube_hif8',
                      'mixed_hif8')
# The precision mode in which a chip trains by itself: the Atlas training series; A2, A3 and later.
OWN_PRECISION = {'910': 'allow_fp32_to_fp16', '910B': 'must_keep_origin_dtype'}
CHIPS = tuple(OWN_PRECISION)
AUTO = 'auto'                       # --swa_lr and --swa_lr2 that follow from --learning_rate
NPU_ONLY = 'nothing'                # off_npu of a switch that only an NPU acts on
INPUT, OUTPUT = 'input', 'output'

# The headings of -h, in their order. Below HYPER_PARAMETERS there is one for each set of networks that have them.
RUN, DATA, SCHEDULE, HYPER_PARAMETERS = 'run', 'data', 'schedule', 'hyper-parameters'
NPU, RANKS = 'precision and NPU switches', 'ranks'
GROUPS = (RUN, DATA, SCHEDULE, HYPER_PARAMETERS, NPU, RANKS)


class Switch(NamedTuple):
    """A row of the command line."""
    group: str                     # the heading of -h that it stands under
    name: str                      # on the command line and on Config
    kind: kinds.Kind
    default: Any                   # None: unset; RECIPE: a hyper-parameter
    help: str
    aliases: Tuple[str, ...] = ()  # the vendors' other spellings
    repeated: bool = False         # may be given several times; its value is a tuple
    rules: Tuple[Rule, ...] = ()   # what it needs and excludes
    agree: bool = True             # whether all ranks must have the same value
    kept: bool = False             # whether it fixes the sequence of batches, so that --resume needs the same value
    path: Optional[str] = None     # INPUT: names what is read; OUTPUT: names a directory that results go to
    npu_key: Optional[str] = None  # the NpuOptimizer option that it sets
    off_npu: Optional[str] = None  # what it does off an NPU, where that is something else

    def __get__(self, config: Any, of: type) -> 'Switch':
        """The row, as an attribute of the class of its table; a Config has the value instead, or none."""
        if config is not None:
            raise AttributeError(self.name)
        return self


def _row(group: str, *columns: Any, **more: Any) -> Any:
    """A Switch without a name: the attribute has it."""
    return Switch(group, '', *columns, **more)


_positive = kinds.whole(least=1)
_count = kinds.whole(least=0)
_rate = kinds.number(above=0)
_rate_or_auto = kinds.either(kinds.choice(AUTO), _rate)
_folder = kinds.or_unset('', kinds.path())
_NOT_EMULATED = 'this run computes in float32; --emulate_precision=True rehearses the mode'


class Switches:
    """The rows; a Config has the settled value of each under the same name, of the type that is noted here."""

    network: str = _row(RUN, kinds.text(), 'cspnet', 'the system to train', kept=True)
    case: str = _row(RUN, kinds.choice(*CASES), 'full',
        'full: the published recipe; performance and *_eval: a short run that measures speed')
    output_path: str = _row(RUN, kinds.path(), os.path.join(ROOT, 'output'),
        'results go to OUTPUT_PATH/$ASCEND_DEVICE_ID', ('result', 'output_dir'), agree=False)
    modeldir: Optional[str] = _row(RUN, kinds.path(), None, 'directory of the checkpoints; unset: ckpt in the results',
        agree=False, path=OUTPUT)
    summary: Optional[str] = _row(RUN, kinds.path(), None,
        'directory of the TensorBoard summaries; unset: summary in the results', ('SUMMARY',), agree=False, path=OUTPUT)
    ckpt_path: Optional[str] = _row(RUN, kinds.path(), None,
        'checkpoint (a file, or the newest of a directory), .h5 or .npz file whose weights are the starting point; '
        'for evaluate the one to evaluate', ('CKPT_PATH', 'init_from', 'init_checkpoint'), agree=False)
    init_map: Optional[str] = _row(RUN, kinds.file_path(), None,
        'file of lines PATTERN NAME: what --ckpt_path calls PATTERN, a regular expression, is NAME here; what '
        'fits is taken', rules=(needs('ckpt_path'),), agree=False, path=INPUT)
    finetune: bool = _row(RUN, kinds.boolean(), False,
        'take from --ckpt_path what fits, and the last layer only if its classes are those of the data',
        rules=(needs('ckpt_path'),))
    resume: bool = _row(RUN, kinds.boolean(), False, 'continue the previous run from its newest whole checkpoint',
        agree=False)
    max_restarts: int = _row(RUN, _count, 0,
        'how often the launcher starts all ranks again, from the newest whole checkpoint, after a rank died or a '
        'device failed', agree=False)
    stall_seconds: float = _row(RUN, kinds.number(least=0), 60.,
        'seconds without progress, or ten steps if they take longer, until a line names the rank that is behind; '
        'after as many again the run ends, so that --max_restarts can help; 0: never', agree=False)
    keep_history: Optional[int] = _row(RUN, _count, None,
        'how many earlier runs of this device stay in OUTPUT_PATH/history; unset: all', agree=False)
    seed: int = _row(RUN, kinds.whole(0, MOST), 1, 'fixes initial weights, shuffling and every other random draw',
        kept=True)
    device: str = _row(RUN, kinds.choice('auto', 'npu', 'cpu'), 'auto',
        'auto: an NPU where npu_bridge is installed, else what TensorFlow finds', agree=False)
    device_id: int = _row(RUN, kinds.whole(0, MOST_DEVICES - 1), None,
        'device of a run of one rank; unset: $ASCEND_DEVICE_ID', ('mul_device_id',), agree=False)
    print_config: bool = _row(RUN, kinds.boolean(), False, 'print the ConfigProto and exit', agree=False)

    data_path: Optional[str] = _row(DATA, kinds.path(), None,
        'directory of the data set, or the word synthetic; a performance run without it uses '
        'built-in synthetic data', ('data_dir', 'dataset', 'CIFAR_PATH'), agree=False, path=INPUT)
    task: str = _row(DATA, kinds.text(), RECIPE,
        'the data set that data_path holds; folder: class folders, train/CLASS/ and test/CLASS/, or CLASS/ alone; '
        'tfrecord: shards, train-00000-of-00010 and validation-00000-of-00002', ('data',), kept=True)
    image_size: str = _row(DATA, kinds.size(), RECIPE,
        'pixels of the images that the net sees, N or HEIGHTxWIDTH; other than 32: --task=folder or tfrecord')
    validation: Optional[float] = _row(DATA, kinds.number(above=0, below=1), None,
        'part of the training set that --seed holds out, to choose ckpt/best by; unset: what lies in a folder '
        'validation/ beside train/ and test/', kept=True)
    labels: Union[int, str] = _row(DATA, kinds.either(_positive, kinds.choice('all')), RECIPE,
        'images that are used with their label, as many of each class, or all there are')
    unlabeled: str = _row(DATA, kinds.choice('all', 'labeled'), RECIPE,
        'images of the self-supervised head: the whole training set or its labelled part', kept=True)

    train_epochs: int = _row(SCHEDULE, kinds.whole(1, 10 ** 6), RECIPE, 'epochs to train',
        ('max_epoch', 'epochs', 'epoch', 'num_train_epochs'))
    train_steps: Optional[int] = _row(SCHEDULE, kinds.or_unset('0', kinds.whole(1, MOST)), None,
        'steps to train, instead of --train_epochs, which says nothing then',
        ('max_step', 'step', 'max_steps', 'steps', 'iteration', 'iterations', 'num_train_steps'))
    save_interval: int = _row(SCHEDULE, _positive, 1, 'epochs between checkpoints')
    save_steps: Optional[int] = _row(SCHEDULE, _positive, None,
        'steps between checkpoints, beside those of --save_interval; unset: none', ('save_checkpoints_steps',))
    eval_steps: Optional[int] = _row(SCHEDULE, _positive, None,
        'steps between evaluations, beside those of --val_epoch; unset: none')
    early_stop: Optional[int] = _row(SCHEDULE, _positive, None,
        'evaluations of the validation part after its best one that end the run; unset: it goes on')
    display_step: int = _row(SCHEDULE, _positive, RECIPE,
        'steps between log lines, the last step always has one; a shorter run has one an epoch',
        ('DISPLAY_STEP', 'log_steps'))
    val_epoch: int = _row(SCHEDULE, _positive, RECIPE, 'epochs between evaluations', ('VAL_EPOCH',))
    eval_static: bool = _row(SCHEDULE, kinds.boolean(), RECIPE, 'leave the last partial batch of the test set out')

    batch_size: int = _row(HYPER_PARAMETERS, _positive, RECIPE, 'examples a step, of each rank',
        ('batch', 'train_batch_size'), kept=True)
    learning_rate: float = _row(HYPER_PARAMETERS, _rate, RECIPE, 'initial learning rate',
        ('LEARNING_RATE', 'base_lr', 'lr'))
    momentum: float = _row(HYPER_PARAMETERS, kinds.number(least=0, below=1), RECIPE, 'momentum', ('MOMENTUM',))
    weight_decay: float = _row(HYPER_PARAMETERS, kinds.number(least=0), RECIPE,
        'weight of the L2 penalty on the weights', ('LAMBDA',))
    lr_decay_power: float = _row(HYPER_PARAMETERS, kinds.number(least=0), RECIPE,
        'learning_rate * (1 - t / T) ** lr_decay_power is the learning rate of step t of T')
    keep_prob: float = _row(HYPER_PARAMETERS, kinds.number(above=0, most=1), RECIPE,
        'part of the fully-connected units that dropout leaves in training')
    ten_crop: bool = _row(HYPER_PARAMETERS, kinds.boolean(), RECIPE,
        'test on the mean over ten crops of an image, not on its centre alone')
    test_copies: bool = _row(HYPER_PARAMETERS, kinds.boolean(), RECIPE,
        'test on the mean over shifted, noisy and mirrored copies of an image, not on the image alone')
    trunk: str = _row(HYPER_PARAMETERS, kinds.choice('convnet', 'nin', 'wrn'), RECIPE, 'the network under both heads')
    cutmix_alpha: float = _row(HYPER_PARAMETERS, kinds.number(least=0), RECIPE,
        'lambda ~ Beta(alpha, alpha) of an image is kept, the rest is pasted from another; 0: no CutMix')
    random_resized_crop: float = _row(HYPER_PARAMETERS, kinds.number(least=0, most=1), RECIPE,
        'train on random crops with at least this part of a picture\'s area; 0: on the crop of the tests')
    mirror: bool = _row(HYPER_PARAMETERS, kinds.boolean(), RECIPE, 'mirror half of the training images left to right')
    color_jitter: float = _row(HYPER_PARAMETERS, kinds.number(least=0, most=1), RECIPE,
        'brightness, contrast and saturation of a training image change by factors from 1 - this to 1 + this')

    # Blocks that every network has (nets/blocks/chosen.py).
    optimizer: Optional[str] = _row(SCHEDULE,
        kinds.choice('momentum', 'nesterov', 'adam', 'adamw', 'lamb', 'lars', 'ftrl'), None,
        'unset: the network\'s own; adamw, lamb and lars decay the weights by --weight_decay, without a penalty')
    learning_rate_decay: Optional[str] = _row(SCHEDULE,
        kinds.choice('constant', 'cosine', 'linear', 'polynomial', 'stepwise'), None,
        'how the learning rate falls to the end of the run: by half a cosine, linearly, by --lr_decay_power, '
        'or to a tenth after each of --learning_rate_steps; unset: the network\'s own')
    learning_rate_steps: Tuple[int, ...] = _row(SCHEDULE, kinds.ascending(), (),
        'N,N,...: the steps after which the learning rate falls to a tenth; unset: each third of the run',
        rules=(needs('learning_rate_decay=stepwise'),))
    warmup: int = _row(SCHEDULE, _count, 0, 'steps in which the learning rate rises linearly to its value')
    label_smoothing: float = _row(SCHEDULE, kinds.number(least=0, below=1), 0.,
        'part of a label that is spread over all classes in training')
    clip_norm: Optional[float] = _row(SCHEDULE, kinds.number(above=0), None,
        'the most that the norm of all gradients together may be; larger ones are scaled down; unset: any')
    accumulate_steps: int = _row(SCHEDULE, _positive, 1,
        'steps whose mean gradients make one update, as of a batch of so many times --batch_size')
    ema_decay: Optional[float] = _row(SCHEDULE, kinds.number(above=0, below=1), None,
        'decay of an exponential moving average of the weights, saved in ckpt/ema and evaluated at the end; unset: '
        'none')
    freeze: Optional[str] = _row(SCHEDULE, kinds.regular_expression(), None,
        'the variables that stay as they are, with the statistics of their batch norms: a regular expression of names, '
        'or backbone: all but the last layer; unset: none')

    # Stochastic weight averaging (core/training/swa.py), for any network.
    swa_start_epoch: Optional[float] = _row(SCHEDULE, kinds.either(_positive, kinds.number(above=0, below=1)), None,
        'epoch, from 1, with which stochastic weight averaging starts; below 1 the part of the run in whose '
        'last epoch it does; unset: no averaging')
    swa_schedule: str = _row(SCHEDULE, kinds.choice('manual', 'constant', 'cyclic'), 'manual',
        'learning rate from then on: the network\'s own, swa_lr, or in each cycle from swa_lr2 down to swa_lr',
        ('lr_schedule',),
        rules=(needs('swa_start_epoch'), needs('swa_lr', when='constant|cyclic'), needs('swa_lr2', when='cyclic')))
    swa_lr: Optional[float] = _row(SCHEDULE, _rate_or_auto, None,
        'learning rate of the averaging, in a cycle the last one; auto: a tenth of --learning_rate',
        rules=(needs('swa_schedule=constant|cyclic'),))
    swa_lr2: Optional[float] = _row(SCHEDULE, _rate_or_auto, None,
        'learning rate with which a cycle starts; auto: a quarter of the way from --swa_lr to --learning_rate',
        rules=(needs('swa_schedule=cyclic'),))
    swa_freq: int = _row(SCHEDULE, _positive, 1, 'epochs of a cycle, at whose end the weights enter the average',
        rules=(needs('swa_start_epoch'),))
    verbose: int = _row(SCHEDULE, kinds.whole(0, 1), 1,
        '1 prints when stochastic weight averaging starts and ends, 0 does not', rules=(needs('swa_start_epoch'),))

    # core/ascend/switches.py makes NpuOptimizer options of these.
    loss_scale: Union[bool, float] = _row(NPU, kinds.loss_scale(), False, 'scale of the loss against float16 underflow',
        ('npu_loss_scale',), off_npu="TensorFlow's own loss scale")
    npu_sat_mode: Optional[int] = _row(NPU, kinds.whole(0, 1), None,
        'on overflow the chip saturates (0) or computes INF and NaN (1); unset: as the chip does by itself',
        off_npu='so in the emulated precision')
    precision_mode: Optional[str] = _row(NPU,
        kinds.choice(*PRECISION_MODES, others=PRECISION_MODES_V2, flag='precision_mode_v2'), None,
        'precision of the operators; unset: what the chip takes by itself, %s on a 910, %s on later ones'
        % tuple(OWN_PRECISION.values()), rules=(excludes('precision_mode_v2'),), npu_key='precision_mode',
        off_npu=_NOT_EMULATED)
    precision_mode_v2: Optional[str] = _row(NPU,
        kinds.choice(*PRECISION_MODES_V2, others=PRECISION_MODES, flag='precision_mode'), None,
        'the same by its newer names', npu_key='precision_mode_v2', off_npu=_NOT_EMULATED)
    emulate_precision: bool = _row(NPU, kinds.boolean(), None,
        'off an NPU compute in the precision that --precision_mode has on --emulate_chip; unset: where a mode is '
        'given, and with --over_dump')
    emulate_chip: Optional[str] = _row(NPU, kinds.choice(*CHIPS), None,
        'the chip that a run off an NPU is a rehearsal for, whose lacks are refused; unset: a 910, or a 910B for '
        'what no 910 has')
    repeat_step: Optional[int] = _row(NPU, kinds.whole(0, MOST), None,
        'run this step, from 0, twice from the same state and name the first operator whose result differs')
    data_save_path: Optional[str] = _row(NPU, _folder, None,
        'directory of the folders overflow_dump, data_dump and profiling; unset: OUTPUT_PATH', agree=False, path=OUTPUT)
    over_dump: bool = _row(NPU, kinds.boolean(), False, 'detect overflow, into OUTPUT_PATH/overflow_dump',
        rules=(excludes('data_dump_flag=True'),), npu_key='enable_dump_debug',
        off_npu='a search of the operators of TensorFlow')
    over_dump_path: Optional[str] = _row(NPU, _folder, None, 'where --over_dump writes', agree=False, path=OUTPUT,
        rules=(idle_without('over_dump=True'),))
    data_dump_flag: bool = _row(NPU, kinds.boolean(), False, 'dump operator data, into OUTPUT_PATH/data_dump',
        npu_key='enable_dump', off_npu='of the operators of TensorFlow, in the form that --dump_form says')
    data_dump_step: str = _row(NPU, kinds.dump_steps(), '10', 'steps to dump',
        rules=(idle_without('data_dump_flag=True'),), npu_key='dump_step')
    data_dump_path: Optional[str] = _row(NPU, _folder, None, 'where --data_dump_flag writes', agree=False, path=OUTPUT,
        rules=(idle_without('data_dump_flag=True'),))
    dump_mode: str = _row(NPU, kinds.choice('input', 'output', 'all'), 'all', 'what of an operator to dump',
        rules=(idle_without('data_dump_flag=True'),), npu_key='dump_mode')
    dump_data: Optional[str] = _row(NPU, kinds.choice('tensor', 'stats'), None,
        'tensor: the values themselves; stats: a csv of their least, largest and mean value for each operator; '
        'unset: tensor', rules=(needs('data_dump_flag=True'),), npu_key='dump_data')
    dump_layer: Optional[str] = _row(NPU, kinds.names(), None,
        'names of the operators to dump, separated by blanks; unset: all', rules=(needs('data_dump_flag=True'),),
        npu_key='dump_layer')
    dump_form: str = _row(NPU, kinds.choice('cpu', 'npu'), 'cpu',
        'what --data_dump_flag writes off an NPU: ground truth, a .npy file for each output (cpu), or the dump '
        'files of an NPU (npu)', rules=(idle_without('data_dump_flag=True'),))
    profiling: bool = _row(NPU, kinds.boolean(), False, 'profile the run, into OUTPUT_PATH/profiling',
        npu_key='profiling_mode', off_npu='of the operators of TensorFlow, in the steps of --profiling_steps')
    profiling_dump_path: Optional[str] = _row(NPU, _folder, None, 'where --profiling writes', agree=False, path=OUTPUT,
        rules=(idle_without('profiling=True'),))
    profiling_options: Optional[str] = _row(NPU, kinds.text(), None,
        'KEY=VALUE,KEY=VALUE: what to profile beside or instead of the usual, as in task_time=l1,'
        'aic_metrics=MemoryUB', rules=(needs('profiling=True'),),
        off_npu='aic_metrics chooses the columns of op_summary; the other keys act on an NPU only')
    profiling_steps: str = _row(NPU, kinds.step_range(), '10-12', 'steps, from 0, that --profiling looks at off an NPU',
        rules=(idle_without('profiling=True'),))
    aoe_mode: Optional[str] = _row(NPU, kinds.choice('1', '2', '4'), None,
        'tune while training, into OUTPUT_PATH/aoe: 1 subgraphs (on a 910), 2 operators, 4 the split of the '
        'gradients', npu_key='aoe_mode', off_npu=NPU_ONLY)
    graph_cache: bool = _row(NPU, kinds.boolean(), False,
        'keep the compiled graphs in OUTPUT_PATH/graph_cache for the next run that has the same ones to the bit',
        off_npu=NPU_ONLY)
    enable_hf32: Optional[bool] = _row(NPU, kinds.boolean(), None,
        'take float32 operands of convolutions and matrix products in HF32, with 10 bits of the fraction; unset: as '
        'ENABLE_HF32_EXECUTION says, else on A2, A3 and 950 of convolutions alone', off_npu='so in the emulation')
    use_mixlist: bool = _row(NPU, kinds.boolean(), False, 'apply --mixlist_file')
    mixlist_file: str = _row(NPU, kinds.project_file(ROOT), os.path.join(ROOT, 'configs', 'ops_info.json'),
        'JSON file of operator types for mixed precision', rules=(idle_without('use_mixlist=True'),), agree=False,
        path=INPUT, npu_key='modify_mixlist')
    fusion_off_flag: bool = _row(NPU, kinds.boolean(), False, 'apply --fusion_off_file',
        rules=(needs('fusion_off_file'),), off_npu=NPU_ONLY)
    fusion_off_file: Optional[str] = _row(NPU, kinds.or_unset('', kinds.project_file(ROOT)), None,
        'file of the fusion switches', rules=(idle_without('fusion_off_flag=True'),), agree=False, path=INPUT,
        npu_key='fusion_switch_file', off_npu=NPU_ONLY)
    npu_option: Tuple[str, ...] = _row(NPU, kinds.text(), (),
        'KEY=VALUE, any other NpuOptimizer option, or raw:KEY=b:True, raw:KEY=i:1, raw:KEY=s:TEXT for one that this '
        'table does not know; may be given several times', repeated=True, off_npu=NPU_ONLY)

    # The 8p launchers start several ranks, one process each.
    rank_size: Optional[int] = _row(RANKS, kinds.whole(least=1), None,
        'number of ranks; unset: as many as --rank_table has, else what the launcher is named after',
        ('mul_rank_size',), agree=False)
    rank_table: Optional[str] = _row(RANKS, kinds.file_path(), None,
        'JSON file of the servers, devices and ranks; unset: RANK_TABLE_FILE of the environment, else the first '
        'devices of this server', agree=False, path=INPUT)
    server_id: Optional[str] = _row(RANKS, kinds.text(), None,
        'which server of --rank_table this is; unset: the one with an address of this machine', agree=False)
    base_port: Optional[int] = _row(RANKS, kinds.whole(least=1, most=2 ** 16 - MOST_DEVICES), None,
        'for several servers off an NPU: port of each server\'s first rank, the next ones follow', agree=False)
    trusted_network: Optional[str] = _row(RANKS, kinds.pattern(r'[^\s,]+(,[^\s,]+)*', 'addresses separated by commas'),
        None, 'for several servers off an NPU: their addresses, as the rank table has them. Their ranks open ports '
        'without a password, and a connection can read and write all files of this user', agree=False)
    connect_timeout: int = _row(RANKS, kinds.whole(1, 10 ** 6), 300, 'seconds to wait for the other ranks at the start',
        agree=False)


SWITCHES = tuple(row._replace(name=name) for name, row in vars(Switches).items() if isinstance(row, Switch))

_BY_NAME = {row.name: row for row in SWITCHES}


def switch(name: str) -> Switch:
    """The row of that name."""
    return _BY_NAME[name]
