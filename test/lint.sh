#!/usr/bin/env bash
# Checks the style of all Python and bash files: bash test/lint.sh. setup.cfg and .shellcheckrc have the rules.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
# shellcheck source=test/helpers/packages.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/helpers/packages.sh"

set_up_tests
cd -- "$REPO_ROOT"
"$PYTHON" -m flake8
find .ci launchers test -type f \( -name '*.sh' -o -path '.ci/*' \) -exec shellcheck -- {} +
