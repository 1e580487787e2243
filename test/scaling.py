"""What N devices would reach, from the time of a step on one and the bytes of its gradients:

    python3 test/scaling.py STEP_SECONDS BATCH_SIZE GRADIENT_BYTES [GIGABITS_PER_SECOND]

A ring all-reduce sends 2 (N - 1) / N times the gradients through each link in 2 (N - 1) messages. `at least` waits for
it after the step; `at most` hides as much of it as two thirds of the step, the backward pass, can.
"""
import sys

MESSAGE_SECONDS = 5e-6         # latency of one message on such a link
BACKWARD = 2 / 3               # part of a step that an all-reduce can overlap with


def images_per_second(devices, step_seconds, batch_size, gradient_bytes, gigabits):
    """(at least, at most) images a second of `devices`."""
    sent = 2 * (devices - 1) / devices * gradient_bytes / (gigabits * 1e9 / 8)
    reduce_seconds = sent + 2 * (devices - 1) * MESSAGE_SECONDS
    exposed = reduce_seconds, max(0., reduce_seconds - BACKWARD * step_seconds)
    return [devices * batch_size / (step_seconds + seconds) for seconds in exposed]


def main(step_seconds, batch_size, gradient_bytes, gigabits=100.):
    for devices in (1, 8, 64, 1024):
        least, most = images_per_second(devices, step_seconds, batch_size, gradient_bytes, gigabits)
        ideal = devices * batch_size / step_seconds
        print('%4d devices: %.0f to %.0f images/s, efficiency %.3f to %.3f' % (
            devices, least, most, least / ideal, most / ideal))


if __name__ == '__main__':
    main(*map(float, sys.argv[1:]))
