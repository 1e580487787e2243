#!/usr/bin/env bash
# Trains, kills, resumes and damages checkpoints: bash test/soak.sh [--kills=300] [--damages=1000] [--kill_seed=N] ...
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/python.sh"
find_python
export PYTHON
exec "$PYTHON" "$REPO_ROOT/test/soak.py" "$@"
