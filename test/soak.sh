#!/usr/bin/env bash
# Trains, kills and resumes for some minutes: bash test/soak.sh MINUTES [--kill_seed=N] [trainer flag...], or has the
# launcher restart killed ranks: bash test/soak.sh --restarts=KILLS ...
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/python.sh"
find_python
export PYTHON
exec "$PYTHON" "$REPO_ROOT/test/soak.py" "$@"
