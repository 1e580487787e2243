"""OneServer: how ranks that are processes of one server exchange tensors, through shared memory and without a port.

gRPC copies each byte about eight times on the cores that compute. Here each rank copies its tensors into memory of all
ranks, sums its part of all ranks' and copies the result: core/cpu/kernels/shared_memory.cc does so, and where no
compiler has made an operator of it, NumPy, with all sums in rank 0.
"""
import contextlib
import mmap
import os
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from core.device import keep_dtype
from core.errors import InputError, OrderlyEnd
from core.progress import progress
from core.ranks.buckets import in_buckets
from core.ranks.communicator import MeanGradients, end_process
from core.ranks.meeting import Meeting
from core.run import Communicator

_LINE = 64                     # bytes of a rank at the start of the memory, and of its progress in a region
_PAGE = 2 ** 16                # of any machine, at most


class OneServer(Communicator):
    """The communicator of ranks that share the memory of one server.

    directory, seconds: see Meeting. operator: the compiled SharedExchange, None without it.
    """

    def __init__(self, rank: int, ranks: int, directory: str, seconds: int, operator: Optional[Callable] = None):
        self.rank, self.ranks, self._operator = rank, ranks, operator
        self._meeting = Meeting(directory, rank, ranks, seconds)
        self._end = 0                                  # of the memory that is taken
        self._exchanges = 0                            # in all graphs
        self._reached = _mapped(self._meeting.memory, self._take(_LINE * (1 + ranks)), _LINE * (1 + ranks), np.int64)

    def configure(self, session_config: tf.ConfigProto) -> None:
        if self._operator is None:     # each exchange of NumPy keeps a thread while it waits for the other ranks
            session_config.use_per_session_threads = True
            session_config.inter_op_parallelism_threads = self._exchanges + len(os.sched_getaffinity(0))

    def optimizer(self, optimizer: tf.train.Optimizer) -> tf.train.Optimizer:
        return MeanGradients(optimizer, self)

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return in_buckets(tensors, lambda bucket: self._exchange(bucket, 'sum'))

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return in_buckets(tensors, lambda bucket: self._exchange(bucket, 'mean'))

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return in_buckets(tensors, lambda bucket: self._exchange(bucket, 'broadcast'))

    def rendezvous(self, integers: Sequence[int]) -> List[int]:
        of_rank_0 = self._meeting.share(integers)
        self._meeting.watch(end_process, lambda: progress.reached(self.reached))
        return of_rank_0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except OrderlyEnd:
            self._meeting.leave()
            raise
        self._meeting.leave()

    @property
    def reached(self) -> int:
        """How many exchanges this rank has come to: the other ranks wait for the rank with the fewest."""
        return int(self._reached[_LINE // 8 * (1 + self.rank)])

    def _exchange(self, bucket, what):
        dtype = bucket[0].dtype.base_dtype
        size = sum(tensor.shape.num_elements() for tensor in bucket)
        offset = self._take(self.ranks * (_LINE + size * dtype.size))
        self._exchanges += 1
        with tf.device('/cpu:0'), keep_dtype():
            if self._operator:
                return list(self._operator(bucket, what=what, descriptor=self._meeting.memory, offset=offset,
                                           rank=self.rank, ranks=self.ranks))
            slots = _mapped(self._meeting.memory, offset, self.ranks * size * dtype.size, dtype.as_numpy_dtype)
            exchange = _Exchange(self, self._exchanges, what, slots.reshape(self.ranks, size))
            results = tf.py_func(exchange, bucket, [dtype] * len(bucket))
        for result, tensor in zip(results, bucket):
            result.set_shape(tensor.shape)
        return results

    def _take(self, size):
        """The offset of so many bytes of memory, which all ranks take in the same order."""
        offset = self._end
        self._end += -(-size // _PAGE) * _PAGE
        try:
            os.posix_fallocate(self._meeting.memory, offset, size)
        except OSError as error:
            raise InputError('%d ranks need more than %d MB of shared memory: %s; use fewer ranks, or give the '
                             'container (--memory, --shm-size) or the machine more' % (
                                 self.ranks, offset >> 20, error.strerror))
        return offset


class _Exchange:
    """An exchange without the compiled operator: what tf.py_func calls with the tensors of a bucket.

    slots: [ranks, size], memory of all ranks. Rank 0 puts the result into the first.
    """

    def __init__(self, ours: OneServer, key: int, what: str, slots: np.ndarray):
        self._ours, self._key, self._what, self._slots, self._times = ours, key, what, slots, 0

    def __call__(self, *tensors: Any) -> List[Any]:
        ours, meeting, slots = self._ours, self._ours._meeting, self._slots
        ours._reached[_LINE // 8 * (1 + ours.rank)] += 1
        self._times += 1
        if ours.rank:
            np.concatenate([tensor.ravel() for tensor in tensors], out=slots[ours.rank])
            meeting.send(self._key)
            meeting.wait(self._key, self._times)
        else:
            meeting.wait(self._key, self._times)       # so nobody reads the last result any more
            np.concatenate([tensor.ravel() for tensor in tensors], out=slots[0])
            if self._what != 'broadcast':
                for slot in slots[1:]:
                    slots[0] += slot
            if self._what == 'mean':
                slots[0] /= ours.ranks
            meeting.send(self._key)
        ends = np.cumsum([tensor.size for tensor in tensors])[:-1]
        return [part.reshape(tensor.shape) for part, tensor in zip(np.split(slots[0].copy(), ends), tensors)]


def _mapped(descriptor, offset, size, dtype):
    return np.frombuffer(mmap.mmap(descriptor, max(size, 1), offset=offset), dtype)
