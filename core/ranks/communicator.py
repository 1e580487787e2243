"""Distribution: how the ranks of a job exchange tensors; one interface, the engine chosen by what is there.

    Engine        one rank: nothing to exchange
    Hccl          NPUs: HCCL through npu_bridge, at any number of ranks
    Collectives   elsewhere: TensorFlow's collective ops over its gRPC runtime (tf.train.Server)

All ranks build the same graph and run the same ops in the same order: a collective is done when all have come to it.
"""
import contextlib
import itertools
import os
import threading
from typing import Sequence

import tensorflow as tf
from tensorflow.python.ops import collective_ops

from core.device import Device, Options
from core.errors import InputError, OrderlyEnd, RankLost
from core.host.loss_scale import scaled_optimizer
from core.npu import bridge
from core.ranks import peers
from core.ranks.buckets import packed
from core.settings.config import Config

_GROUP = 1  # the one group of collectives: all ranks
_MEET, _LEAVE = 1, 2  # the keys of the first and the last collective; the graph's own follow them


class Engine:
    """One rank. Tensors come back as they are; the other engines combine those of all ranks."""
    rank, ranks = 0, 1
    target = ''                    # for tf.Session

    def configure(self, session_config):
        """Adds to a tf.ConfigProto what sessions on `target` need."""

    def optimizer(self, optimizer, loss_scale):
        """`optimizer` with a loss scale and with gradients that are their mean over the ranks."""
        return scaled_optimizer(optimizer, loss_scale)

    def sum(self, tensors):
        """The sums over the ranks of tensors with static shapes, a list."""
        return list(tensors)

    def mean(self, tensors):
        """The means over the ranks of floating-point tensors with static shapes, a list."""
        return list(tensors)

    def meet(self, numbers):
        """The whole numbers as rank 0 has them; the first exchange, in a graph of its own.

        On NPUs nothing is exchanged: HCCL has its own limit to the time that ranks wait for each other.
        """
        return list(numbers)

    def broadcast(self, variables):
        """An op that gives the variables the values they have on rank 0."""
        del variables
        return tf.no_op()

    def average(self, variables):
        """An op that gives the floating-point variables the mean of their values."""
        if self.ranks == 1:
            return tf.no_op()
        return tf.group(*[tf.assign(v, mean) for v, mean in zip(variables, self.mean(variables))])

    def wait(self):
        """An op that is done when every rank has come to it."""
        return tf.group(*self.sum([tf.zeros([])]))

    @contextlib.contextmanager
    def together(self):
        """A context for the whole run, which the ranks leave together."""
        yield


class Hccl(Engine):
    """NPUs. NPUDistributedOptimizer reduces each gradient, in the segments of `split` (percents of all bytes)."""

    def __init__(self, rank, ranks, is_tailing_optimization=False, split=()):
        self.rank, self.ranks = rank, ranks
        self._is_tailing_optimization = is_tailing_optimization
        if ranks > 1 and split:
            bridge.split_gradients(list(split))

    def optimizer(self, optimizer, loss_scale):
        return bridge.distributed_optimizer(optimizer, loss_scale, self.ranks, self._is_tailing_optimization)

    def sum(self, tensors):
        return packed(tensors, bridge.all_reduce) if self.ranks > 1 else list(tensors)

    def mean(self, tensors):
        return [total / self.ranks for total in self.sum(tensors)] if self.ranks > 1 else list(tensors)

    def broadcast(self, variables):
        return bridge.broadcast(variables) if self.ranks > 1 else tf.no_op()


class Collectives(Engine):
    """Processes on any machines, at `addresses` ('host:port' by rank), each with a tf.train.Server.

    Raises InputError when the own port is taken, or a rank has not come within `seconds`; they are the limit of
    the first exchange, too.
    """

    def __init__(self, rank, addresses, seconds):
        self.rank, self.ranks, self._seconds = rank, len(addresses), seconds
        self._device = '/job:worker/task:%d' % rank
        self._keys = itertools.count(_LEAVE + 1)
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

    def configure(self, session_config):
        session_config.experimental.collective_group_leader = '/job:worker/replica:0/task:0'
        # Sessions see the devices of their own rank only: there is nothing else between the ranks.
        session_config.device_filters.append(self._device)

    def optimizer(self, optimizer, loss_scale):
        # The scale is around the mean: all ranks see, and skip, the same gradients.
        return scaled_optimizer(_MeanGradients(optimizer, self), loss_scale)

    def sum(self, tensors):
        return packed(tensors, lambda vector: self._all_reduce(vector, 'Id', next(self._keys)))

    def mean(self, tensors):
        return packed(tensors, lambda vector: self._all_reduce(vector, 'Div', next(self._keys)))

    def meet(self, numbers):
        timer = threading.Timer(self._seconds, peers.end_process, [
            '--connect_timeout=%d: all ranks answer, but one does not take part; give each server its own --server_id '
            'and all of them the same rank table' % self._seconds])
        timer.daemon = True
        timer.start()
        try:
            with _losses_named():
                return self._run(lambda: self._broadcast(tf.constant(list(numbers), tf.int64), _MEET)).tolist()
        finally:
            timer.cancel()

    def broadcast(self, variables):
        values = packed(variables, lambda vector: self._broadcast(vector, next(self._keys)))
        return tf.group(*[tf.assign(variable, value) for variable, value in zip(variables, values)])

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
        """The value of a tensor in a graph and a session of its own."""
        config = tf.ConfigProto()
        self.configure(config)
        with tf.Graph().as_default(), tf.Session(self.target, config=config) as session:
            return session.run(make_tensor())

    @contextlib.contextmanager
    def together(self):
        try:
            with _losses_named():
                yield
        except OrderlyEnd:
            self._leave()
            raise
        self._leave()

    def _leave(self):
        """Returns when no rank needs an answer from this one any more.

        A rank that is through this last collective may be gone before another is; but then all others have come
        to it, and nothing else is left to wait for.
        """
        done = threading.Event()
        self._watch.lost = lambda line: done.set()

        def part():
            with contextlib.suppress(tf.errors.OpError):
                self._run(lambda: self._all_reduce(tf.zeros([1]), 'Id', _LEAVE))
            done.set()
        threading.Thread(target=part, daemon=True).start()
        done.wait()
        self._watch.stop()


def _keep_off_proxies(addresses):
    """gRPC would ask http_proxy for the way to a rank, even on this machine."""
    hosts = sorted({address.rpartition(':')[0] for address in addresses})
    os.environ['no_proxy'] = ','.join(hosts + list(filter(None, [os.environ.get('no_proxy')])))


@contextlib.contextmanager
def _losses_named():
    """A context that raises RankLost for the errors which a collective has when a rank is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise RankLost('another rank is gone (%s); --resume continues from the last checkpoint' %
                       str(error).splitlines()[0])


class _MeanGradients(tf.train.Optimizer):
    """An optimizer whose gradients are their mean over the ranks of `engine`."""

    def __init__(self, optimizer, engine):
        super().__init__(use_locking=False, name='MeanGradients')
        self._optimizer, self._engine = optimizer, engine

    def compute_gradients(self, *args, **kwargs):
        pairs = [(g, v) for g, v in self._optimizer.compute_gradients(*args, **kwargs) if g is not None]
        # Packed from the last layer on: its gradients are the first to be there.
        pairs.reverse()
        means = self._engine.mean([_dense(gradient, variable) for gradient, variable in pairs])
        return [(mean, variable) for mean, (_, variable) in zip(means, pairs)][::-1]

    def apply_gradients(self, *args, **kwargs):
        return self._optimizer.apply_gradients(*args, **kwargs)


def _dense(gradient, variable):
    tensor = tf.convert_to_tensor(gradient)
    tensor.set_shape(variable.shape)
    return tensor


def connect(config: Config, device: Device, options: Options, split: Sequence[int]) -> Engine:
    """The Engine of a run on `device` with these NpuOptimizer options.

    split: see Hccl. Raises InputError when the environment lacks what the ranks need, or one does not come.
    """
    if device.has_hccl:
        return Hccl(config.rank, config.ranks, options.get('is_tailing_optimization', False), split)
    if config.ranks == 1:
        return Engine()
    if len(config.addresses) != config.ranks:
        raise InputError('RANK_ADDRESSES (environment): has %d addresses for RANK_SIZE=%d; test/train_*_8p.sh set it'
                         % (len(config.addresses), config.ranks))
    return Collectives(config.rank, config.addresses, config.connect_timeout)
