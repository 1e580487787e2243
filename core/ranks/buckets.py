"""Packing: many tensors exchanged as few vectors, so that a step makes few collectives."""
import tensorflow as tf

BUCKET_BYTES = 2 ** 22  # measured on loopback: smaller ones cost more, larger ones overlap less with the backward pass


def packed(tensors, exchange):
    """[exchange(tensor)] by calls of exchange(vector) on packed tensors; their shapes are static.

    Tensors of one type are packed in the given order, so that the first vector may go when the first are there.
    """
    results = [None] * len(tensors)
    for places in buckets(tensors):
        bucket = [tf.convert_to_tensor(tensors[place]) for place in places]
        vector = exchange(tf.concat([tf.reshape(tensor, [-1]) for tensor in bucket], 0))
        parts = tf.split(vector, [tensor.shape.num_elements() for tensor in bucket])
        for place, tensor, part in zip(places, bucket, parts):
            results[place] = tf.reshape(part, tensor.shape)
    return results


def buckets(tensors):
    """Lists of indices of tensors of one type that have at most BUCKET_BYTES together, or are alone."""
    open_buckets, sizes, filled = {}, {}, []
    for place, tensor in enumerate(tensors):
        dtype = tensor.dtype.base_dtype
        size = tensor.shape.num_elements() * dtype.size
        if dtype not in sizes or sizes[dtype] + size > BUCKET_BYTES:
            open_buckets[dtype], sizes[dtype] = [], 0
            filled.append(open_buckets[dtype])
        open_buckets[dtype].append(place)
        sizes[dtype] += size
    return filled
