#!/usr/bin/env bash
# Trains the networks on real images; a loss of each must fall below half, with --fault it must not. Each takes half a
# minute of CPU or less.
#
#     bash test/accuracy.sh [--fault] [--seed=N] [--seeds=COUNT] [CHECK...]
#
# CHECK is a network or `precision`: cutmix in mixed precision with a dynamic loss scale, emulated. With --fault each has
# a fault that the check is there to find. Several seeds end with a table of the worst.
# The table of another machine: see test/margins.sh.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
set_up_photographs
exec "$PYTHON" "$REPO_ROOT/test/helpers/accuracy.py" "$@"
