"""Which operators an Ascend chip computes in float16, by precision mode and operator type.

The modes are the values of `precision_mode` and `precision_mode_v2`. In mixed precision an operator's colour in
core/operators/table.tsv decides: white ones take float16, black ones keep float32, gray ones follow the operator before
them.
"""
from typing import Dict, NamedTuple, Optional

from core import operators
from core.ascend import option_files
from core.ascend.operator_information import Information
from core.operators import BLACK, GRAY, WHITE

PLAIN, CUBE_ONLY, REDUCE, MIXED, FORCE = 'plain', 'cube_only', 'reduce', 'mixed', 'force'
# mode -> (what it does, the narrow type)
MODES = {
    'must_keep_origin_dtype': (PLAIN, None), 'origin': (PLAIN, None),
    'force_fp32': (CUBE_ONLY, 'float16'), 'cube_fp16in_fp32out': (CUBE_ONLY, 'float16'),
    'allow_fp32_to_fp16': (REDUCE, 'float16'), 'allow_fp32_to_bf16': (REDUCE, 'bfloat16'),
    'allow_mix_precision': (MIXED, 'float16'), 'allow_mix_precision_fp16': (MIXED, 'float16'),
    'mixed_float16': (MIXED, 'float16'),
    'allow_mix_precision_bf16': (MIXED, 'bfloat16'), 'mixed_bfloat16': (MIXED, 'bfloat16'),
    'force_fp16': (FORCE, 'float16'), 'fp16': (FORCE, 'float16'),
}


HF32 = 'hf32'                  # float32 with 10 bits of the fraction, as the cube of later chips may take its operands
LARGEST = {'float16': 65504., 'bfloat16': 3.3895313892515355e38, HF32: 3.4011621342146535e38}     # finite values
NO_HF32, CONVOLUTIONS, ALL_CUBE = 'none', 'convolutions', 'all'     # operators that take their operands so


class Rules(NamedTuple):
    """Everything that decides the type of an operator."""
    action: str                    # PLAIN, CUBE_ONLY, REDUCE, MIXED or FORCE
    narrow: Optional[str]          # float16 or bfloat16; None in a plain mode
    chip: str                      # of CHIPS
    colours: Dict[str, str]        # of a mix list: {chip's operator type: white, black or gray}
    saturates: bool                # values beyond the range become the largest finite one, not inf
    customized: Dict[str, 'Dtypes']     # operator's name, or OpType::TYPE -> its types
    hf32: str                      # cube operators with float32 operands that are rounded to HF32
    cann: Optional[Information] = None     # from the CANN on this machine; it counts before the table

    @property
    def changes_nothing(self) -> bool:
        """Whether every operator computes in the types that the graph has."""
        return self.action == PLAIN and self.hf32 == NO_HF32

    def colour(self, op_type: str) -> str:
        """white, black or gray, for a TensorFlow operator type."""
        row = operators.row(op_type)
        own = GRAY if self.chip == '910B' and row.has('gray_910B') else row.colour
        if self.cann:
            own = self.cann.colours.get(row.chip, own)
        return self.colours.get(row.chip, own)

    def has_only_narrow(self, op_type: str) -> bool:
        """Whether the chip has narrow kernels only for a vector operator, and takes them in every mode but a plain one.
        """
        row = operators.row(op_type)
        kernels = self.cann.kernels.get(row.chip) if self.cann else None
        return row.unit != operators.CUBE and self.lacks_float32(op_type) and (not kernels or self.narrow in kernels)

    def lacks_float32(self, op_type: str) -> bool:
        """Whether the chip has no float32 kernel for an operator type: in a mode that keeps float32 it stops the run.
        """
        row = operators.row(op_type)
        if self.cann and row.chip in self.cann.kernels:
            return 'float32' not in self.cann.kernels[row.chip]
        return self.chip == '910' and (row.has('narrow_910') or row.has('narrow_cube_910'))

    def takes_hf32(self, op_type: str) -> bool:
        """Whether an operator type has its float32 operands rounded to HF32."""
        row = operators.row(op_type)
        return row.unit == operators.CUBE and (
            self.hf32 == ALL_CUBE or self.hf32 == CONVOLUTIONS and 'MatMul' not in row.chip)

    def custom(self, name: str, op_type: str) -> Optional['Dtypes']:
        """What customize_dtypes has for an operator; its name wins over its type."""
        return self.customized.get(name, self.customized.get('OpType::' + operators.row(op_type).chip))


class Dtypes(NamedTuple):
    """A line of a customize_dtypes file: the types of an operator's inputs and outputs, in order."""
    inputs: tuple
    outputs: tuple


def rules(mode: str, chip: str, saturates: bool, mixlist_file: Optional[str] = None,
          customize_dtypes: Optional[str] = None, enable_hf32: Optional[bool] = None,
          cann: Optional[Information] = None) -> Rules:
    """The Rules of a mode on a chip; the two files have been checked when the flags were read.

    cann: the operators of the CANN on this machine, which count before core/operators/table.tsv.
    enable_hf32: HF32 for all cube operators (True) or none; None: for convolutions, as CANN does. A 910 has none.
    """
    action, narrow = MODES[mode]
    colours = _colours(mixlist_file, cann) if mixlist_file and action == MIXED else {}
    custom = _customized(customize_dtypes) if customize_dtypes and action != PLAIN else {}
    return Rules(action, narrow, chip, colours, saturates, custom, NO_HF32 if chip == '910' else {
        None: CONVOLUTIONS, True: ALL_CUBE, False: NO_HF32}[enable_hf32], cann)


def _colours(path: str, cann: Optional[Information]) -> Dict[str, str]:
    """{operator type: colour} of what a modify_mixlist file changes; a removed operator becomes gray."""
    changes = option_files.mixlist(path)
    of_list = {'white-list': WHITE, 'black-list': BLACK, 'gray-list': GRAY}
    built_in = {(row.chip, row.colour) for row in operators.table().values()}
    if cann:
        built_in = set(cann.colours.items())
    named = [(which, change, operators.chip_name(name)) for which, lists in changes.items()
             for change, names in lists.items() for name in names]
    removed = {name: GRAY for which, change, name in named
               if change == 'to-remove' and (name, of_list[which]) in built_in}
    return dict(removed, **{name: of_list[which] for which, change, name in named if change == 'to-add'})


def _customized(path: str) -> Dict[str, Dtypes]:
    return {('OpType::' + operators.chip_name(line.name) if line.is_type else line.name):
            Dtypes(line.inputs, line.outputs) for line in option_files.custom_dtypes(path)}
