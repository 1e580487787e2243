"""A stand-in for the Ascend package hccl. Its modules cannot be imported where the library libhcomm.so is missing."""
import os


def load_library():
    """As on a machine whose set_env.sh was not sourced, when a test sets FAKE_LIBHCOMM=missing."""
    if os.environ.get('FAKE_LIBHCOMM') == 'missing':
        raise ValueError('load hccl lib error')
