"""Buckets: many tensors exchanged as few vectors, so that a training step makes few collectives."""
from typing import Callable, List, Sequence

import tensorflow as tf

BUCKET_BYTES = 2 ** 22  # measured on loopback: smaller ones cost more, larger ones overlap less with the backward pass


def packed(tensors: Sequence[tf.Tensor], exchange: Callable[[tf.Tensor], tf.Tensor]) -> List[tf.Tensor]:
    """[exchange(tensor) for each tensor], computed by one exchange(vector) a bucket. The shapes are static.

    The first bucket has the first tensors, so that its exchange may start before the last tensors exist.
    """
    results = [None] * len(tensors)
    for indices in buckets(tensors):
        bucket = [tf.convert_to_tensor(tensors[index]) for index in indices]
        vector = exchange(tf.concat([tf.reshape(tensor, [-1]) for tensor in bucket], 0))
        parts = tf.split(vector, [tensor.shape.num_elements() for tensor in bucket])
        for index, tensor, part in zip(indices, bucket, parts):
            results[index] = tf.reshape(part, tensor.shape)
    return results


def buckets(tensors: Sequence[tf.Tensor]) -> List[List[int]]:
    """The indices of the tensors of each bucket: tensors of one type with at most BUCKET_BYTES, or a single tensor."""
    open_buckets, sizes, filled = {}, {}, []
    for index, tensor in enumerate(tensors):
        dtype = tensor.dtype.base_dtype
        size = tensor.shape.num_elements() * dtype.size
        if dtype not in sizes or sizes[dtype] + size > BUCKET_BYTES:
            open_buckets[dtype], sizes[dtype] = [], 0
            filled.append(open_buckets[dtype])
        open_buckets[dtype].append(index)
        sizes[dtype] += size
    return filled
