"""Communicators: how the ranks of a job exchange tensors. connect() takes the device's own, such as HCCL, or one of

    Communicator  a single rank, which has nothing to exchange
    Collectives   several ranks: TensorFlow's collective ops over its gRPC runtime (tf.train.Server)

A collective op blocks until every rank runs it, so all ranks build the same graph and run the same ops in the same
order.
"""
import contextlib
import itertools
import os
import threading
from typing import Callable, ContextManager, Iterator, List, Optional, Sequence

import tensorflow as tf
from tensorflow.python.ops import collective_ops

from core.device import OWN_GRADIENTS, Device, Options, keep_dtype
from core.errors import InputError, OrderlyEnd, RankLost
from core.ranks import peers
from core.ranks.buckets import as_vector, in_buckets, packed
from core.ranks.shared_memory import SharedMemory, offer
from core.settings.config import Config

_GROUP = 1                     # the key of the only group of collectives, which has all ranks
_FIRST, _LAST = 1, 2           # the instance keys of rendezvous() and of the last barrier; the graph's keys follow


class Communicator:
    """The communicator of a single rank: every result is this rank's own. It is also the interface of the others."""
    rank, ranks = 0, 1
    target = ''                    # for tf.Session

    def configure(self, session_config: tf.ConfigProto) -> None:
        """Adds to `session_config` what sessions on `target` need."""

    def optimizer(self, optimizer: tf.train.Optimizer) -> tf.train.Optimizer:
        """`optimizer` with gradients that are their mean over the ranks."""
        return optimizer

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The sum over the ranks of each of the tensors, whose shapes are static."""
        return list(tensors)

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The mean over the ranks of each of the floating-point tensors, whose shapes are static."""
        return list(tensors)

    def rendezvous(self, integers: Sequence[int]) -> List[int]:
        """Waits for all ranks and returns the integers of rank 0. It is the first exchange, in a graph of its own.

        On NPUs nothing is exchanged, because HCCL limits by itself how long ranks wait for each other.
        """
        return list(integers)

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """What each of the tensors, whose shapes are static, is on rank 0."""
        return list(tensors)

    def barrier(self) -> tf.Operation:
        """An op that ends when every rank runs it."""
        return tf.group(*self.sum([tf.zeros([])]))

    def together(self) -> ContextManager:
        """A context around the whole run. With several ranks, none leaves it before all have reached its end.

        Raises RankLost in place of the errors that a collective has when another rank is gone.
        """
        return contextlib.nullcontext()


class Collectives(Communicator):
    """TensorFlow's collective ops between processes, each of which has a tf.train.Server.

    After rendezvous() ranks of one server exchange float32 tensors through memory that they share.

    addresses: 'host:port' of each rank, by rank. seconds: the limit for all ranks to answer, and again for
    rendezvous(). Raises InputError when this rank's port is taken, or a rank does not answer in time.
    """

    def __init__(self, rank: int, addresses: Sequence[str], seconds: int, shared_all_reduce: Optional[Callable] = None):
        self.rank, self.ranks, self._seconds = rank, len(addresses), seconds
        self._device = '/job:worker/task:%d' % rank
        self._addresses, self._shared, self._operator = addresses, None, shared_all_reduce
        self._keys = itertools.count(_LAST + 1)
        config = tf.ConfigProto()
        self.configure(config)
        _keep_off_proxies(addresses)
        try:
            self._server = tf.train.Server({'worker': list(addresses)}, 'worker', rank, config=config)
        except tf.errors.OpError as error:
            raise InputError('RANK_ADDRESSES: rank %d cannot listen on %s (%s); choose other ports with --base_port'
                             % (rank, addresses[rank], str(error).splitlines()[0]))
        self.target = self._server.target
        peers.await_peers(addresses, rank, seconds)
        self._watch = peers.Watch(addresses, rank, peers.end_process)

    def configure(self, session_config: tf.ConfigProto) -> None:
        session_config.experimental.collective_group_leader = '/job:worker/replica:0/task:0'
        # A session sees only the devices of its own rank, because ranks share nothing but collectives.
        session_config.device_filters.append(self._device)

    def optimizer(self, optimizer: tf.train.Optimizer) -> tf.train.Optimizer:
        return _MeanGradients(optimizer, self)

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        with keep_dtype():
            return in_buckets(tensors, lambda bucket: self._exchange(bucket, 'Id'))

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        with keep_dtype():
            return in_buckets(tensors, lambda bucket: self._exchange(bucket, 'Div'))

    def rendezvous(self, integers: Sequence[int]) -> List[int]:
        timer = threading.Timer(self._seconds, peers.end_process, [
            '--connect_timeout=%d: all ranks answer, but one does not take part; give each server its own --server_id '
            'and all of them the same rank table' % self._seconds])
        timer.daemon = True
        timer.start()
        try:
            with _network_errors_as_rank_lost():
                sent = list(integers) + (offer(self._addresses, bool(self._operator)) if self.rank == 0 else [0, 0, 0])
                *got, process, number, room = self._run(
                    lambda: self._broadcast(tf.constant(sent, tf.int64), _FIRST)).tolist()
        finally:
            timer.cancel()
        if room:
            self._shared = SharedMemory((process, number, room), self.rank, self.ranks, self._operator)
        return got

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return packed(tensors, lambda vector: self._broadcast(vector, next(self._keys)))

    def _exchange(self, bucket, final_op):
        key = next(self._keys)
        totals = self._shared and self._shared.all_reduce(bucket, key, final_op == 'Div')
        return totals or as_vector(bucket, lambda vector: self._all_reduce(vector, final_op, key))

    def _all_reduce(self, vector, final_op, key):
        with tf.device(self._device):
            return collective_ops.all_reduce(tf.identity(vector), self.ranks, _GROUP, key, 'Add', final_op)

    def _broadcast(self, vector, key):
        how = (vector.shape, vector.dtype, self.ranks, _GROUP, key)
        with tf.device(self._device):
            if self.rank == 0:
                return collective_ops.broadcast_send(tf.identity(vector), *how)
            return collective_ops.broadcast_recv(*how)

    def _run(self, make_tensor):
        """The value of the tensor that make_tensor() adds to a new graph, in a new session."""
        config = tf.ConfigProto()
        self.configure(config)
        with tf.Graph().as_default(), tf.Session(self.target, config=config) as session:
            return session.run(make_tensor())

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            with _network_errors_as_rank_lost():
                yield
        except OrderlyEnd:
            self._leave()
            raise
        self._leave()

    def _leave(self):
        """The last barrier: returns when no other rank needs this process any more.

        Another rank may end its process while this one still is in the barrier. Then that rank has passed the
        barrier, so all ranks have reached it, and the loss of that rank ends the wait.
        """
        done = threading.Event()
        self._watch.lost = lambda line: done.set()

        def last_barrier():
            with contextlib.suppress(tf.errors.OpError):
                self._run(lambda: self._all_reduce(tf.zeros([1]), 'Id', _LAST))
            done.set()
        threading.Thread(target=last_barrier, daemon=True).start()
        done.wait()
        self._watch.stop()


def _keep_off_proxies(addresses):
    """Adds the ranks' hosts to no_proxy, because gRPC would reach even this machine through http_proxy."""
    hosts = sorted({address.rpartition(':')[0] for address in addresses})
    os.environ['no_proxy'] = ','.join(hosts + list(filter(None, [os.environ.get('no_proxy')])))


@contextlib.contextmanager
def _network_errors_as_rank_lost() -> Iterator[None]:
    """A context that raises RankLost in place of the errors that a collective has when another rank is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise RankLost('another rank is gone (%s); --resume continues from the last checkpoint' %
                       str(error).splitlines()[0])


class _MeanGradients(tf.train.Optimizer):
    """`optimizer` with gradients that are their mean over the ranks of `communicator`."""

    def __init__(self, optimizer, communicator):
        super().__init__(use_locking=False, name='MeanGradients')
        self._optimizer, self._communicator = optimizer, communicator

    def compute_gradients(self, *args, **kwargs):
        pairs = [(g, v) for g, v in self._optimizer.compute_gradients(*args, **kwargs) if g is not None]
        # Packed from the last layer to the first, because the backward pass has the last layer's gradients first.
        pairs.reverse()
        gradients = [_dense(gradient, variable) for gradient, variable in pairs]
        for gradient in gradients:
            tf.add_to_collection(OWN_GRADIENTS, gradient)
        means = self._communicator.mean(gradients)
        return [(mean, variable) for mean, (_, variable) in zip(means, pairs)][::-1]

    def apply_gradients(self, *args, **kwargs):
        return self._optimizer.apply_gradients(*args, **kwargs)


def _dense(gradient, variable):
    tensor = tf.convert_to_tensor(gradient)
    tensor.set_shape(variable.shape)
    return tensor


def connect(config: Config, device: Device, options: Options, split: Sequence[int]) -> Communicator:
    """The Communicator of a run on `device` with these NpuOptimizer options.

    split: Recipe.split_strategy. Raises InputError when the environment lacks what the ranks need, or a rank does not
    answer.
    """
    own = device.communicator(config, options, split)
    if own is not None:
        return own
    if config.ranks == 1:
        return Communicator()
    if len(config.addresses) != config.ranks:
        raise InputError('RANK_ADDRESSES (environment): has %d addresses for RANK_SIZE=%d; test/train_*_8p.sh set it'
                         % (len(config.addresses), config.ranks))
    return Collectives(config.rank, config.addresses, config.connect_timeout, device.shared_all_reduce())
