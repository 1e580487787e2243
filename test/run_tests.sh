#!/usr/bin/env bash
# Sets up what the tests need and runs them: bash test/run_tests.sh [pytest arguments].
# Without arguments all tests run; -m 'not slow' leaves out those that start the real trainer. Where no file is named,
# there is one process of pytest more than cores, because some tests wait and leave theirs to others.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
set_up_s3_server
set_up_photographs
arguments=()
processes=(--numprocesses="$(($(nproc) + 1))" --dist=worksteal)
for argument; do  # files are named from where the user is
    [[ ! $argument =~ ^[^-/].*[.]py(::|$) ]] || argument=$PWD/$argument
    [[ ! $argument =~ [.]py(::|$) ]] || processes=()
    arguments+=("$argument")
done
cd -- "$REPO_ROOT"
exec "$PYTHON" -m pytest "${processes[@]}" "${arguments[@]}"
