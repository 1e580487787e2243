"""Keeps the memory that a step frees for the next one, on a CPU with the GNU C library.

TensorFlow's CPU allocator hands every large tensor back to the system, which then has to fill the next
step's with zeros, page by page: a sixth of a step on photographs on two cores.
"""
import ctypes

# Of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
GROWTH = 2 ** 28               # bytes


def keep_freed_memory():
    """Makes malloc reuse what is freed, whatever its size, instead of returning it; nothing where it cannot."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, GROWTH), (ARENA_MAX, 1)):
            mallopt(option, value)
