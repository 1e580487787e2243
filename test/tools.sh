#!/usr/bin/env bash
# Runs tools that others wrote on the files of this project: bash test/tools.sh [pytest arguments].
# They are CANN's msaccucmp, the profiler's advisor, TensorFlow 2, tf2onnx with onnxruntime, OpenCV and ml_dtypes.
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
set_up_tools ascend frameworks
cd -- "$REPO_ROOT"
exec "$PYTHON" -m pytest test/tools "$@"
