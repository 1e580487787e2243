"""What happens to the pixels of an image before a net sees them: as numbers for applications, as AIPP for the card."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow as tf

from core.errors import InputError
from core.device import cpu_session

_CLOSE = 1e-5                  # of the largest value
_AIPP = '''\
aipp_op {
    aipp_mode : static
    input_format : RGB888_U8
    src_image_size_w : %d
    src_image_size_h : %d
    csc_switch : false
    rbuv_swap_switch : false
%s}
'''


class Scaling(NamedTuple):
    """Pixels of 0 to 255 become (pixel - mean) / std: a number for each of the channels red, green and blue."""
    mean: List[float]
    std: List[float]


NO_SCALING = Scaling([0.] * 3, [1.] * 3)   # of an export that has the normalisation in its graph


def scaling(normalize: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int]) -> Optional[Scaling]:
    """The Scaling that `normalize` is for images of the shape [height, width, 3].

    None where a value depends on more than its pixel, as after a normalisation of the contrast.
    """
    pixels = np.stack([np.zeros(shape), np.full(shape, 255.), np.random.RandomState(0).randint(0, 256, shape)])
    with tf.Graph().as_default(), cpu_session() as session:
        made = session.run(normalize(tf.constant(pixels, tf.float32))).astype(np.float64)
    difference = (made[1] - made[0]).mean((0, 1))
    if not difference.all():
        return None
    std = 255 / difference
    mean = -made[0].mean((0, 1)) * std
    if np.abs((pixels - mean) / std - made).max() > _CLOSE * np.abs(made).max():
        return None
    return Scaling(*[[float('%.7g' % number) for number in numbers] for numbers in (mean, std)])


def described(shape: Sequence[int], fit: str, found: Optional[Scaling], is_in_graph: bool,
              crop: float = 1.) -> Dict[str, Any]:
    """What an application has to know of the images [height, width, 3] that an exported graph takes.

    fit, crop: what Recipe.images gives.
    """
    facts = dict(height=shape[0], width=shape[1], layout='NHWC', colour_order='RGB', value_range=[0, 255], fit=fit,
                 crop=crop, normalisation='in the graph' if is_in_graph else '(pixel - mean) / std' if found else
                 'of the whole image: --input_dtype=uint8 has it in the graph')
    return dict(facts, **found._asdict()) if found else facts


def sentence(image: Dict[str, Any]) -> str:
    """The description of an image for people."""
    numbers = ', '.join('%s %s' % (name, ' '.join('%.6g' % number for number in image[name]))
                        for name in Scaling._fields if name in image and image['normalisation'] != 'in the graph')
    return 'input: %s images of %dx%d (height x width), %s; %s; normalisation: %s%s' % (
        image['colour_order'], image['height'], image['width'], image['layout'],
        image['fit'] or 'scaled to that size', image['normalisation'], numbers and '; ' + numbers)


def aipp(image: Dict[str, Any]) -> str:
    """The configuration by which AIPP makes what the net takes of uint8 images in NHWC; see atc --insert_op_conf.

    AIPP computes (pixel - mean_chn - min_chn) * var_reci_chn.
    Raises InputError for a normalisation that AIPP cannot compute.
    """
    if 'mean' not in image or not all(0 <= number <= 255 for number in image['mean']):
        raise InputError('--aipp: AIPP subtracts a number from 0 to 255 in each channel and multiplies; the '
                         'normalisation of this network is another one: use --input_dtype=uint8, which has it in the '
                         'graph')
    numbers = [('mean_chn', [0] * 3), ('min_chn', image['mean']), ('var_reci_chn', [1 / one for one in image['std']])]
    lines = ['    %s_%d : %.9g\n' % (name, channel, number)
             for name, values in numbers for channel, number in enumerate(values)]
    return _AIPP % (image['width'], image['height'], ''.join(lines))
