"""How much of a step a kernel of core/cpu/kernels saves: a step without it beside one with all of them."""
from statistics import median

import results

LEFT_OUT = 'LEFT_OUT'          # environment of a worker: what it leaves out
ALL, HOST = 'all of them', 'input pipeline'
# What adds an operator of our own to a graph: a function that the networks ask for, or one of core/cpu/kernels.
_FUNCTIONS = {'BatchNormActivation': 'batch_norm', 'Perceptron': 'perceptron', 'Mish': 'mish'}
_JOINED = {'AddWeightDecay': '_join_weight_decay', 'ConvolutionActivation': '_join_convolutions',
           'Perceptron': '_join_perceptrons', 'Mish': '_join_mish'}
STEP, FORWARD = 'step', 'forward'       # the latter as inference.py names it


def used(graph):
    """The operator types of a graph that can be left out of it, and ALL and HOST."""
    types = {op.type for op in graph.get_operations() if op.node_def.attr['_kernel'].s or op.type in {
        **_FUNCTIONS, **_JOINED}}
    return sorted(types) + [HOST, ALL]


def leave_out(part):
    """Makes this process build its graphs without `part`, which is of used(); None: with all."""
    from core import operators       # here, because the driver needs no kernels
    from core.cpu import kernels
    if part == HOST:
        operators.offer_on_host(lambda: None)
    elif part == ALL:
        kernels.library = lambda: None
    elif part:
        kernels._TYPES -= {part}
        offered = kernels.own_operators
        kernels.own_operators = lambda functions: offered({
            name: function for name, function in functions.items() if name != _FUNCTIONS.get(part)})
        if part in _JOINED:
            setattr(kernels, _JOINED[part], lambda: None)


def measure(start, warm_up, repeats, seconds):
    """{STEP or FORWARD: {part: its figures, which text() shows}}, of bursts that take turns with bursts of whole ones.

    start(what, part) -> a Worker with all kernels, for part None, else without the part; and its facts, of which
    `kernels` are used() of its graph. warm_up: (steps, seconds) of a first burst; seconds: of each other one.
    """
    found = {}
    for what in (STEP, FORWARD):
        whole, facts = start(what, None)
        try:
            whole.burst(*warm_up)
            found[what] = {part: _beside(whole, start(what, part)[0], warm_up, repeats, seconds)
                           for part in facts['kernels'] if part != HOST or what == STEP}
        finally:
            whole.kill()
    return found


def _beside(whole, worker, warm_up, repeats, seconds):
    many = 10 ** 6
    try:
        worker.burst(*warm_up)
        rounds = [(median(whole.burst(many, seconds)), median(worker.burst(many, seconds))) for _ in range(repeats)]
        return dict(seconds=median(without for _, without in rounds),
                    saved=results.spread(rounds, lambda pair: 1 - pair[0] / pair[1]),
                    disturbance=max(whole.disturbance, worker.disturbance))
    finally:
        worker.kill()


def text(measured):
    """Lines about a network for a terminal."""
    lines, disturbance = [], 0.
    for what, parts in measured['kernels'].items():
        lines.append('%s, %s: ms without a kernel, and the part of them that it saves' % (measured['network'], what))
        for part, each in parts.items():
            least, middle, most = (100 * share for share in each['saved'])
            lines.append('  %-32s %9.1f ms   %.1f %% (%.1f-%.1f %%)' % (
                part, 1000 * each['seconds'], middle, least, most))
            disturbance = max(disturbance, each['disturbance'])
    return '\n'.join(lines + results.disturbed(disturbance))
