"""Buckets: many tensors exchanged a few at a time, so that a training step makes few collectives."""
from typing import Callable, List, Sequence

import tensorflow as tf

BUCKET_BYTES = 2 ** 22  # measured on loopback: smaller ones cost more, larger ones overlap less with the backward pass


def in_buckets(tensors: Sequence[tf.Tensor], exchange: Callable[[List[tf.Tensor]], List[tf.Tensor]]
               ) -> List[tf.Tensor]:
    """What exchange(tensors of a bucket) -> as many tensors makes of each tensor; their shapes are static.

    The first bucket has the first tensors, so that its exchange may start before the last tensors exist.
    """
    results = [None] * len(tensors)
    for indices in buckets(tensors):
        for index, result in zip(indices, exchange([tf.convert_to_tensor(tensors[index]) for index in indices])):
            results[index] = result
    return results


def as_vector(bucket: Sequence[tf.Tensor], exchange: Callable[[tf.Tensor], tf.Tensor]) -> List[tf.Tensor]:
    """[exchange(tensor) for each tensor of one type], computed by one exchange(vector)."""
    vector = exchange(tf.concat([tf.reshape(tensor, [-1]) for tensor in bucket], 0))
    parts = tf.split(vector, [tensor.shape.num_elements() for tensor in bucket])
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, bucket)]


def packed(tensors: Sequence[tf.Tensor], exchange: Callable[[tf.Tensor], tf.Tensor]) -> List[tf.Tensor]:
    """[exchange(tensor) for each tensor], computed by one exchange(vector) a bucket. The shapes are static."""
    return in_buckets(tensors, lambda bucket: as_vector(bucket, exchange))


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
