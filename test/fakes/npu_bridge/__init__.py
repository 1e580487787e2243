"""A stand-in for the Ascend package npu_bridge: it trains on the CPU, and records what is asked of it.

Names, parameters, errors, graph structure and side effects of the import are those of the TF Adapter's Python package.
What the chip and the adapter's C++ part do is played in machine.py, where tests look.
"""
