"""What N devices would reach, from the time of a step on one and the bytes of its gradients:

    python3 docs/scaling.py STEP_SECONDS BATCH_SIZE GRADIENT_BYTES [--gigabits=100] [--segments=2]

A ring all-reduce sends 2 (N - 1) / N times the gradients through each link, and for each segment of them 2 (N - 1)
messages, one after the other. `at least` waits for it after the step; `at most` hides as much of it as two thirds of
the step, the backward pass, can.
"""
import argparse

MESSAGE_SECONDS = 5e-6         # latency of one message on such a link
BACKWARD = 2 / 3               # part of a step that an all-reduce can overlap with
DEVICES = (1, 8, 64, 1024)


def reduce_seconds(devices, gradient_bytes, gigabits, segments):
    """Seconds of an all-reduce of so many bytes over links of so many Gb/s."""
    sent = 2 * (devices - 1) / devices * gradient_bytes
    return sent / (gigabits * 1e9 / 8) + segments * 2 * (devices - 1) * MESSAGE_SECONDS


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('step_seconds', type=float)
    parser.add_argument('batch_size', type=int)
    parser.add_argument('gradient_bytes', type=int)
    parser.add_argument('--gigabits', type=float, default=100.)
    parser.add_argument('--segments', type=int, default=2)
    given = parser.parse_args()
    for devices in DEVICES:
        reduce = reduce_seconds(devices, given.gradient_bytes, given.gigabits, given.segments)
        exposed = reduce, max(0., reduce - BACKWARD * given.step_seconds)
        images = [devices * given.batch_size / (given.step_seconds + seconds) for seconds in exposed]
        ideal = devices * given.batch_size / given.step_seconds
        print('%4d devices: all-reduce %.1f ms, %.0f to %.0f images/s, efficiency %.3f to %.3f' % (
            devices, 1000 * reduce, *images, images[0] / ideal, images[1] / ideal))


if __name__ == '__main__':
    main()
