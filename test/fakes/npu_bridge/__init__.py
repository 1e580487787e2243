"""A stand-in for the Ascend package of this name: trains on the CPU and records what is asked."""
calls = []  # (name, argument, ...) of every call, in order
