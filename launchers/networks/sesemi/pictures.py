"""Pictures for the report: the poses of an image, and the losses of both heads."""
import tensorflow as tf

from core.pages import pictures
from core.pages.text import both
from core.run import Panel, View
from core.device import cpu_session
from data import pipeline
from data.transforms import six_poses


def poses_of_an_image(view: View) -> Panel:
    """The first training image in its six poses, before the shift and the noise."""
    with tf.Graph().as_default(), cpu_session() as session:
        first, _ = pipeline.samples(view.data.train.subset([0]), **view.data.loading)
        posed, _ = six_poses(tf.constant(first))
        images = session.run(posed)
    poses = [*(both('rotated by %d°', angle) for angle in (0, 90, 180, 270)),
             both('mirrored left to right'), both('mirrored upside down')]
    return pictures.gallery(
        both('Six poses of one image'),
        both('The self-supervised head tells them apart; the image\'s own label is not used'),
        list(images), [[('', pose)] for pose in poses])


def both_losses(view: View) -> Panel:
    """The curves of the two heads' losses."""
    del view
    return pictures.curves(both('Losses of both heads'), both('loss'), {
        'batch/super_clf_loss': both('supervised'), 'batch/self_clf_loss': both('self-supervised')})
