"""npu_bridge.estimator.npu.npu_common: the job that the environment describes."""
import logging
import os
from types import SimpleNamespace

from npu_bridge.estimator.npu import util


class NPUBasics:
    """Without JOB_ID there is no job, which is logged, and found out as an AttributeError later."""

    def __init__(self, file_name):
        del file_name
        self._job_info = SimpleNamespace(_rank_size=int(util.get_rank_size())) if os.environ.get('JOB_ID') else None
        if not self._job_info:
            logging.error('Error:can not get job config from env')

    def size(self):
        return self._job_info._rank_size
