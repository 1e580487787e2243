"""Collectives: how ranks of several servers exchange tensors, by TensorFlow's collective ops over its gRPC runtime.

Its ports authenticate nobody, and a connection may run any operator, so --trusted_network has to name the servers.
"""
import contextlib
import itertools
import os
import threading
from typing import Iterator, List, Sequence

import tensorflow as tf
from tensorflow.python.ops import collective_ops

from core.device import keep_dtype
from core.errors import InputError, OrderlyEnd, RankLost
from core.ranks.buckets import packed
from core.ranks.communicator import MeanGradients, end_process
from core.run import Communicator
from core.servers import peers
from core.settings.config import Config

_GROUP = 1                     # the key of the only group of collectives, which has all ranks
_FIRST, _LAST = 1, 2           # the instance keys of rendezvous() and of the last barrier; the graph's keys follow


class Collectives(Communicator):
    """TensorFlow's collective ops between processes, each of which has a tf.train.Server.

    addresses: 'host:port' of each rank, by rank. seconds: the limit for all ranks to answer, and again for
    rendezvous(). Raises InputError when this rank's port is taken, or a rank does not answer in time.
    """

    def __init__(self, rank: int, addresses: Sequence[str], seconds: int):
        self.rank, self.ranks, self._seconds = rank, len(addresses), seconds
        self._device = '/job:worker/task:%d' % rank
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
        self._watch = peers.Watch(addresses, rank, end_process)

    def configure(self, session_config: tf.ConfigProto) -> None:
        session_config.experimental.collective_group_leader = '/job:worker/replica:0/task:0'
        # A session sees only the devices of its own rank, because ranks share nothing but collectives.
        session_config.device_filters.append(self._device)
        session_config.graph_options.place_pruned_graph = False   # a session over servers would warn of it

    def optimizer(self, optimizer: tf.train.Optimizer) -> tf.train.Optimizer:
        return MeanGradients(optimizer, self)

    def sum(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        with keep_dtype():
            return packed(tensors, lambda vector: self._all_reduce(vector, 'Id', next(self._keys)))

    def mean(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        with keep_dtype():
            return packed(tensors, lambda vector: self._all_reduce(vector, 'Div', next(self._keys)))

    def rendezvous(self, integers: Sequence[int]) -> List[int]:
        timer = threading.Timer(self._seconds, end_process, [
            '--connect_timeout=%d: all ranks answer, but one does not take part; give each server its own --server_id '
            'and all of them the same rank table' % self._seconds])
        timer.daemon = True
        timer.start()
        try:
            with _network_errors_as_rank_lost():
                return self._run(lambda: self._broadcast(tf.constant(list(integers), tf.int64), _FIRST)).tolist()
        finally:
            timer.cancel()

    def broadcast(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        return packed(tensors, lambda vector: self._broadcast(vector, next(self._keys)))

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
    """A context that raises RankLost instead of the errors that a collective has when another rank is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise RankLost('another rank is gone (%s); --resume continues from the last checkpoint' %
                       str(error).splitlines()[0])


def connect(config: Config) -> Collectives:
    """The Collectives of this process. Raises InputError when the environment lacks addresses, or a rank is silent."""
    if len(config.addresses) != config.ranks:
        raise InputError('RANK_ADDRESSES (environment): has %d addresses for RANK_SIZE=%d; test/train_*_8p.sh set it'
                         % (len(config.addresses), config.ranks))
    return Collectives(config.rank, config.addresses, config.connect_timeout)
