"""Export of a trained network: a frozen graph, a SavedModel, an HDF5 or ONNX file, and inputs for a device.

What is exported is loaded in a fresh process and compared with the checkpoint over the whole test set, or without
--data_path on random inputs, before it gets its name; until then it lies in a directory beside that is removed.
"""
import contextlib
import json
import os
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Union

import numpy as np
import tensorflow as tf

from core import files
from core.errors import InputError, RunEnd
from core.device import cpu_session
from core.inference import frozen, onnx, preprocessing, samples, trained
from core.inference.inputs import RandomInputs, TestSet, of_any_batch, of_pixels, shape_of
from core.inference.runner import H5, ONNX, PB, SAVED_MODEL, SIGNATURE, FreshRunner
from core.inference.score import Scorer
from core.log import say
from core.pretrained import h5
from core.recipe import Recipe
from core.settings.config import Config
from core.settings.table import DATA, HYPER_PARAMETERS, switch
from core.training import forms, weights

TOLERANCE = 1e-4               # of the largest output
FLOAT32 = 'float32'
PIXELS = {'uint8': tf.uint8, 'raw_float32': tf.float32}   # images, 0 to 255; the graph normalises them
ALL = 'all'
_DESCRIPTION = 'assets.extra', 'model.json'                   # in a SavedModel
_MEMBERS = ('saved_model.pb', 'variables', _DESCRIPTION[0])   # of a SavedModel written here
_OF_FUNCTIONS = (DATA, HYPER_PARAMETERS)   # groups of the switches that the functions of a recipe read
_ENDINGS = {PB: '.pb', SAVED_MODEL: '', H5: h5.SUFFIX, ONNX: '.onnx'}
_GRAPHS = {PB: 3, ONNX: 5}     # what atc takes, with a .json beside: its --framework


class ExportDiffers(RunEnd):
    """What was exported does not compute what the checkpoint does."""


class ExportRequest(NamedTuple):
    """What to export; the network, its checkpoint, its data and the batch are in the Config."""
    format: str                    # PB, SAVED_MODEL, H5 or ONNX
    input_dtype: str = FLOAT32     # or a key of PIXELS
    output: Optional[str] = None   # path; None: one in OUTPUT_PATH/export
    samples: Union[None, int, str] = None   # how many test inputs to write; ALL
    probabilities: bool = False    # the output is the softmax of the logits
    soc_version: str = 'Ascend310'   # of the atc line
    overwrite: bool = False        # whether a file that no export has written may be replaced
    dynamic_batch_size: Sequence[int] = ()   # the sizes, ascending, of a batch that varies; (): the Config's alone
    aipp: bool = False             # whether the card is to make the inputs of images by AIPP
    classes_by_number: bool = False   # whether classes under other names than the data's are taken by their numbers


def export(recipe: Recipe, config: Config, request: ExportRequest) -> None:
    """Exports what `request` describes, and prints the result.

    Raises InputError for a checkpoint, data or an output that cannot be used, ExportDiffers when the export computes
    something else than the checkpoint; then nothing is left of it.
    """
    _check(recipe, request, config)
    target = os.path.abspath(request.output or _default_output(config, request))
    folder = (os.path.splitext(target)[0] if request.format != SAVED_MODEL else target) + '_samples'
    _check_replaceable(target, _MEMBERS if request.format == SAVED_MODEL else None)
    if request.samples:
        _check_replaceable(folder, samples.MEMBERS)
    if not request.overwrite:
        _check_own(request.format, target)
        if request.samples and not _is_described(os.path.join(folder, samples.MANIFEST), {'samples', 'files'}, folder):
            raise InputError('--samples: %s is there, and no export has written it; choose another --output, or add '
                             '--overwrite' % folder)
    if request.dynamic_batch_size:
        config = config._replace(batch_size=request.dynamic_batch_size[-1])
    path, reader, config = trained.find(recipe, config)
    data, pixels = None, PIXELS.get(request.input_dtype)
    if config.data_path:
        data, config = trained.load_data(recipe, config, request.classes_by_number)
        tests = TestSet(recipe, data, config, pixels)
    else:
        form, config = trained.input_form(recipe, config, reader)
        tests = RandomInputs(of_pixels(form, pixels), True) if pixels else RandomInputs(form)
    constants = trained.constants(recipe, reader, data) if pixels else None
    if request.format == ONNX:
        onnx.set_up()
    with _aside(target) as aside, tf.Graph().as_default() as graph, cpu_session() as session:
        form = of_any_batch(tests.form) if request.dynamic_batch_size else tests.form
        model = trained.build(
            recipe, config, form, (lambda images: recipe.images.normalize(images, constants)) if pixels else None,
            request.probabilities)
        output_shape = shape_of(model.output, config.batch_size)
        _check_batch(model.output, request)
        model.load(session, path, reader, config.network)
        description = _description(model, config, request)
        image = _image(recipe, tests.form, trained.constants(recipe, reader, data) if recipe.images else {}, request)
        if image:
            description['image'] = image
        made = os.path.join(aside, os.path.basename(target))
        command = _atc(target, description, request)
        _WRITERS[request.format](made, session, model, reader, config, dict(description, atc=command))
        if request.aipp:
            with open(made + '.aipp', 'w') as file:
                file.write(preprocessing.aipp(image))
        meta = os.path.join(aside, 'graph.meta') if request.format == H5 else None
        if meta:
            for placeholder in model.inputs.values():
                graph.add_to_collection('inputs', placeholder)
            graph.add_to_collection('output', model.output)
            tf.train.export_meta_graph(meta)
        writer = _samples_writer(aside, request)
        say('checkpoint: %s' % path)
        with contextlib.ExitStack() as stack:
            scorers = [stack.enter_context(Scorer(
                recipe, config, output_shape, model.output_name, model.output_key, tests.labels))
                for _ in range(2)] if config.data_path and _can_score(recipe, model) else []
            _compare(session, model, tests, writer, request, made, meta, scorers, recipe.model.head.headline)
        if writer:
            writer.finish(network=config.network, settings=_settings(recipe, config),
                          inputs=_described(model.inputs, config.batch_size),
                          output=model.output_name, output_key=model.output_key,
                          output_shape=output_shape, labels=forms.text(tests.labels),
                          class_names=list(config.class_names), penalty=float(session.run(model.penalty)))
            _replace(os.path.join(aside, 'samples'), folder, aside)
        _replace(made, target, aside)
        if request.format in _GRAPHS:
            _replace(made + '.json', _description_path(target, request.format), aside)
        if request.aipp:
            _replace(made + '.aipp', _aipp_path(target), aside)
    say('exported: %s' % target)
    if image:
        say(preprocessing.sentence(image))
    if writer:
        say('samples: %s' % os.path.join(folder, samples.MANIFEST))
    if request.format in _GRAPHS:
        say(command)


def _check(recipe: Recipe, request: ExportRequest, config: Config) -> None:
    if request.samples and not config.data_path:
        raise InputError('--samples: needs --data_path, the data set they are taken from')
    if request.input_dtype in PIXELS and request.format == H5:
        raise InputError('--input_dtype=%s: needs --format=pb|saved_model|onnx; an HDF5 file holds weights alone' %
                         request.input_dtype)
    if request.dynamic_batch_size and request.format == H5:
        raise InputError('--dynamic_batch_size: needs --format=pb|saved_model|onnx; an HDF5 file holds weights alone')
    if request.aipp and (request.format != PB or request.input_dtype in PIXELS or not recipe.images):
        raise InputError('--aipp: needs --format=pb, --input_dtype=float32 and a network whose inputs are images')
    if request.input_dtype in PIXELS and not recipe.images:
        raise InputError('--input_dtype=%s: the inputs of this network are no images' % request.input_dtype)


def _image(recipe: Recipe, form: Any, constants: Dict[str, np.ndarray], request: ExportRequest) -> Dict[str, Any]:
    """The description of the images that the export takes; {} where its inputs are no images, or several views of one.
    """
    if not recipe.images or form.shape.ndims != 4:
        return {}
    shape, is_in_graph = form.shape.as_list()[1:], request.input_dtype in PIXELS
    found = preprocessing.NO_SCALING if is_in_graph else preprocessing.scaling(
        lambda images: recipe.images.normalize(images, constants), shape)
    return preprocessing.described(shape, recipe.images.fit(*shape[:2]), found, is_in_graph,
                                   recipe.images.crop(*shape[:2]))


def _description_path(target: str, form: str) -> str:
    """A frozen graph and an ONNX file of one name have a description each, because their checkpoints may differ."""
    return (os.path.splitext(target)[0] if form == PB else target) + '.json'


def _aipp_path(target: str) -> str:
    return os.path.splitext(target)[0] + '.aipp.cfg'


def _default_output(config: Config, request: ExportRequest) -> str:
    name = config.network
    if request.format != H5:
        name += '_dynamic' if request.dynamic_batch_size else '_bs%d' % config.batch_size
        name += '_' + request.input_dtype if request.input_dtype in PIXELS else ''
    return os.path.join(config.output_path, 'export', name + _ENDINGS[request.format])


def _check_replaceable(path: str, members: Optional[Sequence[str]]) -> None:
    """Raises InputError unless a file, or a directory of `members` if these are given, may get the name `path`."""
    if os.path.isdir(path) != bool(members) and os.path.exists(path):
        raise InputError('--output: %s is %s; choose another path' % (
            path, 'no directory' if members else 'a directory'))
    others = set(os.listdir(path)) - set(members) if members and os.path.isdir(path) else ()
    if others:
        raise InputError('--output: %s has other files in it (%s), which would be lost; choose another path' % (
            path, min(others)))


def _check_own(form: str, target: str) -> None:
    """Raises InputError when what lies at `target` is not an earlier export."""
    if form in _GRAPHS:
        beside = _description_path(target, form)
        paths = (target, beside) + ((_aipp_path(target),) if form == PB else ())
        is_own = os.path.lexists(beside) and _is_described(beside, {'atc', 'input_name'}, target)
    elif form == SAVED_MODEL:
        beside = os.path.join(target, *_DESCRIPTION)
        paths, is_own = (target,), _is_described(beside, {'atc', 'input_name'}, target)
    else:
        paths, is_own = (target,), _is_own_h5(target)
    there = [path for path in paths if os.path.lexists(path)]
    if there and not is_own:
        raise InputError('--output: %s is there, and no export has written it; choose another path, or add --overwrite'
                         % there[0])


def _is_described(path: str, keys: Set[str], target: str) -> bool:
    """Whether the JSON file `path` has the `keys` of an export, or `target` is an empty directory or not there."""
    if not os.path.lexists(path) and (not os.path.lexists(target) or os.path.isdir(target) and not os.listdir(target)):
        return True
    try:
        return keys | {'network', 'class_names'} <= set(files.json_object(path))
    except ValueError:
        return False


def _is_own_h5(path: str) -> bool:
    try:
        return {'network', 'case'} <= set(h5.H5Reader(path).attributes)
    except InputError:
        return False


@contextlib.contextmanager
def _aside(target: str) -> Iterator[str]:
    """A directory beside `target` for what is not finished; it goes when the context is left."""
    parent = os.path.dirname(target)
    try:
        os.makedirs(parent, exist_ok=True)
        directory = tempfile.mkdtemp(prefix='.export-', dir=parent)
    except OSError as error:
        raise InputError('--output=%s: cannot be written: %s' % (target, error.strerror))
    try:
        yield directory
    except (OSError, tf.errors.OpError) as error:
        raise InputError('--output=%s: cannot be written: %s' % (target, str(error).splitlines()[0]))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _replace(made: str, target: str, aside: str) -> None:
    """Gives a finished file or directory its name; an earlier one goes with the directory `aside`."""
    if os.path.isdir(target):
        os.rename(target, os.path.join(aside, 'earlier-' + os.path.basename(target)))
    os.rename(made, target)


def _check_batch(output: tf.Tensor, request: ExportRequest) -> None:
    """Raises InputError unless the first dimension of the output, and no other, varies as the export has to."""
    shape = output.shape.as_list()
    if request.dynamic_batch_size and (shape[0] is not None or None in shape[1:]):
        raise InputError('--dynamic_batch_size: of a batch of any size the net makes outputs of the shape [%s]; only '
                         'the first of these may be any' % ', '.join('any' if n is None else str(n) for n in shape))


def _described(inputs: Dict[str, tf.Tensor], batch: int) -> List[List[Any]]:
    return [[name, one.dtype.name, shape_of(one, batch)] for name, one in inputs.items()]


def _description(model: trained.InferenceGraph, config: Config, request: ExportRequest) -> Dict[str, Any]:
    """What an application has to know of the export; in shapes -1 is a batch that varies, as atc has it."""
    inputs = _described(model.inputs, -1)
    found = dict(network=config.network, inputs=inputs, output=model.output_name,
                 output_shape=shape_of(model.output, -1), class_names=list(config.class_names))
    if request.dynamic_batch_size:
        found['dynamic_batch_size'] = list(request.dynamic_batch_size)
    if len(inputs) == 1:
        found.update(zip(('input_name', 'input_dtype', 'input_shape'), inputs[0]))
    return found


def _atc(target: str, description: Dict[str, Any], request: ExportRequest) -> str:
    """The command that makes an .om file for inference devices out of a frozen graph."""
    # Without --input_format atc takes inputs of other than four dimensions for NCHW images, and of an ONNX file all.
    is_of_images = request.format != ONNX and all(len(shape) == 4 for _, _, shape in description['inputs'])
    line = 'atc --model=%s --framework=%d --output=%s --soc_version=%s%s --input_shape="%s"' % (
        target, _GRAPHS.get(request.format, _GRAPHS[PB]), os.path.splitext(target)[0], request.soc_version,
        '' if is_of_images else ' --input_format=ND',
        ';'.join('%s:%s' % (name, ','.join(map(str, shape))) for name, _, shape in description['inputs']))
    if request.aipp:
        line += ' --insert_op_conf=%s' % _aipp_path(target)
    sizes = list(map(str, request.dynamic_batch_size))
    if sizes and is_of_images:
        line += ' --dynamic_batch_size="%s"' % ','.join(sizes)
    elif sizes:        # with ND atc takes a size for each -1
        line += ' --dynamic_dims="%s"' % ';'.join(','.join([size] * len(description['inputs'])) for size in sizes)
    return line


def _write_pb(path, session, model, reader, config, description):
    del reader, config
    with open(path, 'wb') as file:
        file.write(frozen.freeze(session, model.output, model.output_name).SerializeToString())
    _write_json(path + '.json', description)


def _write_saved_model(path, session, model, reader, config, description):
    del reader, config
    graph_def = frozen.freeze(session, model.output, model.output_name)
    names = list(model.inputs) + [model.output_name]
    with tf.Graph().as_default(), cpu_session() as alone:
        *inputs, output = tf.import_graph_def(graph_def, return_elements=[n + ':0' for n in names], name='')
        signature = tf.saved_model.predict_signature_def(dict(zip(names, inputs)), {names[-1]: output})
        builder = tf.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(alone, [tf.saved_model.tag_constants.SERVING], {SIGNATURE: signature})
        builder.save()
    os.makedirs(os.path.join(path, _DESCRIPTION[0]))
    _write_json(os.path.join(path, *_DESCRIPTION), description)


def _write_onnx(path, session, model, reader, config, description):
    _write_pb(path + '.pb', session, model, reader, config, description)
    onnx.convert(path + '.pb', path)
    os.rename(path + '.pb.json', path + '.json')


def _write_h5(path, session, model, reader, config, description):
    del session, description
    names = [v.op.name for v in model.variables]
    names += sorted(name for name in reader.get_variable_to_shape_map() if weights.is_note(name))
    h5.write(path, {name: reader.get_tensor(name) for name in names}, config.values())


_WRITERS = {PB: _write_pb, SAVED_MODEL: _write_saved_model, H5: _write_h5, ONNX: _write_onnx}


def _write_json(path: str, content: Dict[str, Any]) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=1, ensure_ascii=False)


def _samples_writer(aside: str, request: ExportRequest) -> Optional[samples.SamplesWriter]:
    if request.samples is None:
        return None
    return samples.SamplesWriter(os.path.join(aside, 'samples'), None if request.samples == ALL else request.samples)


def _can_score(recipe: Recipe, model: trained.InferenceGraph) -> bool:
    """Whether the loss can be computed of the output: of probabilities only where they are a softmax."""
    head = recipe.model.head
    return head.of_outputs and (model.output_name != samples.PROBABILITIES
                                or head.predictions[samples.PROBABILITIES] is tf.nn.softmax)


def _settings(recipe: Recipe, config: Config) -> Dict[str, Any]:
    """{switch: value} of what the functions of the recipe may read."""
    own = [row.name for row in recipe.switches]
    names = [name for name in recipe.defaults if name not in own and switch(name).group in _OF_FUNCTIONS]
    return {name: getattr(config, name) for name in names + own}


def _compare(session, model, tests, writer, request, made, meta, scorers, headline) -> None:
    """Runs checkpoint and export over the test set, which `writer` gets, and prints what the `scorers` find of both.

    The export computes the first examples in batches of each of the sizes that vary, too.
    Raises ExportDiffers for a difference above TOLERANCE; an HDF5 file has to agree in every bit.
    """
    largest = difference = 0.
    count = 0
    feeds = list(model.inputs.items())
    with FreshRunner(request.format, made, meta, model.output.shape.as_list()) as exported:
        for batch, labels in tests:
            kept = len(labels[0]) if labels else None
            both = (session.run(model.output, {tensor: batch[name] for name, tensor in feeds}), exported(batch))
            rows = [one[:kept] for one in both]
            largest = max(largest, float(np.abs(rows[0]).max()))
            difference = np.maximum(difference, np.abs(rows[0] - rows[1]).max())  # NaN stays NaN
            for size in request.dynamic_batch_size[:-1] if not count else ():
                few = exported({name: part[:size] for name, part in batch.items()})
                difference = np.maximum(difference, np.abs(both[0][:size] - few).max())
            for scorer, one in zip(scorers, both):
                scorer.add(one, labels)
            count += len(rows[0])
            if writer:
                writer.add(batch, labels)
    allowed = 0. if request.format == H5 else TOLERANCE * largest
    if not difference <= allowed:
        raise ExportDiffers('the export differs from the checkpoint by %.3g, more than the %.3g allowed, and is not '
                            'kept' % (difference, allowed))
    say('largest difference from the checkpoint: %.3g of %.3g (allowed: %.3g)' % (difference, largest, allowed))
    if scorers:
        found = [scorer.metrics(0.)[headline] for scorer in scorers]
        say('%s of %d test samples: checkpoint %.4f, export %.4f' % (headline, count, *found))
    elif isinstance(tests, RandomInputs):
        say('checked on %d random inputs: no --data_path was given' % count)
