"""Keeps the memory that a training step frees for the next step, with the GNU C library.

TensorFlow's CPU allocator gives the memory of every large tensor back to the system, which zeroes it again, page by
page, for the next step. That takes a sixth of a training step of a network with large dense layers on two cores.
"""
import ctypes

# The options of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
GROWTH = 2 ** 28               # bytes by which the heap grows


def keep_freed_memory() -> None:
    """Makes malloc keep freed memory of any size for reuse; without effect where the C library has no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, GROWTH), (ARENA_MAX, 1)):
            mallopt(option, value)


def give_back_freed_memory() -> None:
    """Gives the system what has been freed; without effect where the C library has no malloc_trim.

    For the end of a phase that needed much memory: what it leaves are pieces that the next phase fills badly.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)
