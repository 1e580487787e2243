#!/usr/bin/env bash
# Trains the networks on real images and holds what they reach against thresholds; about a quarter of an hour on two cores.
#
#     bash test/accuracy.sh [--fault] [--seed=N] [NETWORK...]
#
# NETWORK may also be the word precision: mixed precision with loss scaling, emulated, must end as near as 0.01 to the
# accuracy of float32, and the training loss of force_fp16 without it must be 1.2 times that of float32 at least.
# With --fault each network has the fault that its threshold is there to find, and the thresholds must not be reached.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
set_up_photographs
exec "$PYTHON" "$REPO_ROOT/test/helpers/accuracy.py" "$@"
