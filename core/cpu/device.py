"""What makes a Device fast on a CPU: compiled kernels, and gradients where nothing is compiled."""
import contextlib
from typing import Callable, Iterator, Optional

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from core import operators
from core.cpu import kernels
from core.device import Device, Hooks, keep_memory
from core.operators import own_operators
from core.run import Options, Run
from core.settings.config import Config


def with_shared_exchange(device: Device) -> Device:
    """`device` with the compiled exchange of ranks of one server."""
    return device._replace(shared_exchange=kernels.shared_exchange)


def accelerated(device: Device, is_rehearsed: Callable[[Config, Options], bool],
                is_watched: Callable[[Config, Options], bool]) -> Device:
    """The CPU `device` with the kernels of this folder.

    is_rehearsed(config, options): whether a switch of the run treats operators; then the graph has the NPU's.
    is_watched(config, options): whether a switch looks at what operators compute; then it has no others.
    """
    def session_config(options: Options, config: Config) -> tf.ConfigProto:
        proto = device.session_config(options, config)
        if kernels.library():
            _for_kernels(proto)
        # The optimizer's second pass over a graph finds nothing that the first has left.
        proto.graph_options.rewrite_options.meta_optimizer_iterations = RewriterConfig.ONE
        return proto

    @contextlib.contextmanager
    def graph(config: Config, options: Options) -> Iterator[None]:
        with _fast(not is_rehearsed(config, options), is_watched(config, options)), device.graph(config, options):
            yield
        _skip_clustering()

    def hooks(run: Run) -> Hooks:
        with own_operators({'is_within': kernels.library().is_within} if kernels.library() else {}):
            found = device.hooks(run)
        # A dump, a repeated step and a profile are of the operators as they are.
        keeps = run.config.repeat_step is not None or any(map(run.options.get, ('enable_dump', 'profiling_mode')))
        may_replace = is_rehearsed if kernels.library() else is_watched
        return found + ([_Replace(run)] if may_replace(run.config, run.options) and not keeps else [])
    return with_shared_exchange(device)._replace(session_config=session_config, graph=graph, hooks=hooks)


class _Replace(tf.train.SessionRunHook):
    """Replaces operators of a rehearsed step by faster ones, after the hooks before it have looked at them: elementwise
    ones by chains where there are kernels, else gradients."""

    def __init__(self, run: Run):
        self._train_op = run.step.train_op

    def begin(self) -> None:         # it imports what only rehearsals need
        if kernels.library():
            from core.cpu.kernels import chains
            chains.join(self._train_op, kernels.library().chain)
        else:
            from core.cpu.gradients import replace_gradients
            replace_gradients(self._train_op.graph.get_operations())


@contextlib.contextmanager
def fast() -> Iterator[Optional[Callable[[tf.ConfigProto], None]]]:
    """The context in which a graph is built that this CPU alone computes; it yields cpu_session()'s `configure`."""
    keep_memory()
    with _fast(True, False):
        yield _for_kernels if kernels.library() else None
    _skip_clustering()


def _for_kernels(proto: tf.ConfigProto) -> None:
    """Changes the ConfigProto of a session for the library's kernels."""
    # Each kernel uses all cores of the process, so two operators at a time would only wait for each other.
    proto.inter_op_parallelism_threads = 1
    # TensorFlow then leaves out its optimizer of graphs, too, which would join convolutions and what follows them to
    # operators of its own, twice as slow. After kernels.used() it makes no step faster, and it takes most of a second
    # of a deep network's start, and two of a rehearsed one's.
    proto.graph_options.place_pruned_graph = True


def _skip_clustering():
    """Marks a finished graph as one in which TensorFlow has already looked for what XLA could compile.

    It looks even where nobody asks for XLA, and searches all kernels for each operator that XLA does not know: half a
    second to a second of the start of a deep network. Each graph that a session runs has to have a marked operator.
    """
    for op in tf.get_default_graph().get_operations():
        if operators.row(op.type).has('variable'):
            op._set_attr('_XlaAlreadyClustered', AttrValue(b=True))


def _fast(may_differ, is_watched):
    """may_differ: whether the graph may have operators that the NPU's graph lacks; is_watched: see accelerated()."""
    if kernels.library():
        return kernels.used(may_differ)
    if is_watched:
        return contextlib.nullcontext()
    from core.cpu.gradients import fast_cpu_gradients    # of machines without compiled kernels
    return fast_cpu_gradients()
