"""Copies a directory from or to an S3 server: `s3_copy.py SOURCE TARGET`."""
import sys

from launchers.modelarts import gfile_storage

gfile_storage.copy_parallel(*sys.argv[1:])
