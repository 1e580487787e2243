#!/usr/bin/env bash
# How fast training on this CPU is, beside the same nets trained in the usual way, by TensorFlow and by others:
# bash test/benchmark.sh [--network=NAME|all] [--with=pytorch,mkl]; -h tells all flags.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

find_python
"$PYTHON" "$REPO_ROOT/test/benchmark/benchmark.py" "$@" --check >/dev/null  # before anything is set up
for argument; do
    case $argument in
    --with=*pytorch* | --with=*eager*) set_up_pytorch ;;&
    --with=*mkl*) set_up_mkl ;;
    --inference | --kernels) set_up_tools frameworks ;;
    esac
done
exec "$PYTHON" "$REPO_ROOT/test/benchmark/benchmark.py" "$@"
