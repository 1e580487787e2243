"""Pictures for the report: the poses of an image, and the losses of both heads."""
import tensorflow as tf

from core.pages import pictures
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
    names = [('rotated by 0°', '旋转 0°'), ('rotated by 90°', '旋转 90°'), ('rotated by 180°', '旋转 180°'),
             ('rotated by 270°', '旋转 270°'), ('mirrored left to right', '左右镜像'), ('mirrored upside down', '上下镜像')]
    return pictures.gallery(
        ('Six poses of one image', '同一图像的六种姿态'),
        ('The self-supervised head tells them apart; the image\'s own label is not used',
         '自监督头区分这些姿态，不使用图像自身的标签'), list(images), [[('', name)] for name in names])


def both_losses(view: View) -> Panel:
    """The curves of the two heads' losses."""
    del view
    return pictures.curves(('Losses of both heads', '两个分类头的损失'), ('loss', '损失'), {
        'batch/super_clf_loss': ('supervised', '有监督'), 'batch/self_clf_loss': ('self-supervised', '自监督')})
