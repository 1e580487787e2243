#!/usr/bin/env bash
# How far the figures of trained networks stay from the thresholds of the tests, over many seeds:
#
#     bash test/margins.sh [--seeds=10] [pytest arguments]
#
# prints a table for this machine's kernels and cores; `taskset -c 0 bash test/margins.sh` is that of one core.
# Without the kernels: remove .kernels/cpu. With those of another instruction set: KERNEL_ARCHITECTURE=haswell and an
# empty .kernels.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
set_up_photographs
cd -- "$REPO_ROOT"
exec "$PYTHON" "$REPO_ROOT/test/helpers/margins.py" "$@"
