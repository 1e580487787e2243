#!/usr/bin/env bash
# Prints the loss of each network after some steps in every emulated precision mode, as the table in docs/precision.md.
#
#     bash test/precision.sh [--steps=N] [NETWORK...]
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

find_python
exec "$PYTHON" "$REPO_ROOT/test/helpers/precision.py" "$@"
