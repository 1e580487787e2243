"""The columns of op_summary that aic_metrics chooses, by chip, as msprof exports them (July 2026)."""
from typing import Tuple

_910 = {
    'PipeUtilization': (
        'vec_time(us)', 'vec_ratio', 'mac_time(us)', 'mac_ratio', 'scalar_time(us)', 'scalar_ratio', 'mte1_time(us)',
        'mte1_ratio', 'mte2_time(us)', 'mte2_ratio', 'mte3_time(us)', 'mte3_ratio', 'icache_miss_rate',
        'memory_bound'),
    'ArithmeticUtilization': (
        'mac_fp16_ratio', 'mac_int8_ratio', 'vec_fp32_ratio', 'vec_fp16_ratio', 'vec_int32_ratio', 'vec_misc_ratio',
        'cube_fops', 'vector_fops'),
    'Memory': tuple('%s_%s_bw(GB/s)' % (memory, way) for memory in ('ub', 'l1', 'l2', 'main_mem')
                    for way in ('read', 'write')),
    'MemoryL0': tuple('%s_%s_bw(GB/s)' % (memory, way) for memory in ('l0a', 'l0b', 'l0c')
                      for way in ('read', 'write')) + ('l0c_read_bw_cube(GB/s)', 'l0c_write_bw_cube(GB/s)'),
    'MemoryUB': tuple('ub_%s_bw_%s(GB/s)' % (way, unit) for unit in ('vector', 'scalar') for way in ('read', 'write')),
    'ResourceConflictRatio': ('vec_bankgroup_cflt_ratio', 'vec_bank_cflt_ratio', 'vec_resc_cflt_ratio'),
}
_CACHE = ('write_cache_hit', 'write_cache_miss_allocate', 'r0_read_cache_hit', 'r0_read_cache_miss_allocate',
          'r1_read_cache_hit', 'r1_read_cache_miss_allocate')
# Of the cube cores (aic_) and of the vector cores (aiv_), which these chips have apart.
_A2 = {
    'PipeUtilization': (
        ('mac_time(us)', 'mac_ratio', 'scalar_time(us)', 'scalar_ratio', 'mte1_time(us)', 'mte1_ratio',
         'mte2_time(us)', 'mte2_ratio', 'fixpipe_time(us)', 'fixpipe_ratio', 'icache_miss_rate'),
        ('vec_time(us)', 'vec_ratio', 'scalar_time(us)', 'scalar_ratio', 'mte2_time(us)', 'mte2_ratio',
         'mte3_time(us)', 'mte3_ratio', 'icache_miss_rate')),
    'ArithmeticUtilization': (
        ('mac_fp16_ratio', 'mac_int8_ratio', 'cube_fops'),
        ('vec_fp32_ratio', 'vec_fp16_ratio', 'vec_int32_ratio', 'vec_misc_ratio', 'vector_fops')),
    'Memory': tuple(tuple('%s_%s_bw(GB/s)' % (memory, way) for memory in (first, 'main_mem', 'l2')
                          for way in ('read', 'write')) for first in ('l1', 'ub')),
    'MemoryL0': (
        ('l0a_read_bw(GB/s)', 'l0a_write_bw(GB/s)', 'l0b_read_bw(GB/s)', 'l0b_write_bw(GB/s)',
         'l0c_read_bw_cube(GB/s)', 'l0c_write_bw_cube(GB/s)'),
        ('l0c_read_bw(GB/s)', 'l0c_write_bw(GB/s)')),
    'MemoryUB': (
        ('ub_read_bw_scalar(GB/s)', 'ub_write_bw_scalar(GB/s)'),
        ('ub_read_bw_vector(GB/s)', 'ub_write_bw_vector(GB/s)', 'ub_read_bw_scalar(GB/s)',
         'ub_write_bw_scalar(GB/s)')),
    'L2Cache': (_CACHE, _CACHE),
    'ResourceConflictRatio': (
        (), ('vec_bankgroup_cflt_ratio', 'vec_bank_cflt_ratio', 'vec_resc_cflt_ratio')),
}


def metric_columns(aic_metrics: str, chip: str) -> Tuple[str, ...]:
    """The columns of aic_metrics on a chip of table.CHIPS: time and cycles, then what was counted.

    A metric without a list here, such as Custom:0x.., has time and cycles alone.
    """
    if chip == '910':
        return ('aicore_time(us)', 'total_cycles') + _910.get(aic_metrics, ())
    cube, vector = _A2.get(aic_metrics, ((), ()))
    return (('aicore_time(us)', 'aic_total_cycles') + tuple('aic_' + name for name in cube) +
            ('aiv_time(us)', 'aiv_total_cycles') + tuple('aiv_' + name for name in vector) +
            (('cube_utilization(%)',) if aic_metrics == 'PipeUtilization' else ()))
