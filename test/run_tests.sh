#!/usr/bin/env bash
# Sets up what the tests need and runs them: bash test/run_tests.sh [pytest arguments].
# The test packages lie beside the Python that is tested, which itself stays as it is.
set -euo pipefail
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/env.sh"

install_packages() {  # DIR
    "$PYTHON" -m pip install --quiet --target "$1" --requirement requirements-test.txt
}

find_python
cd -- "$REPO_ROOT"
packages=$REPO_ROOT/.test-packages
set_up "$packages" "$PYTHON $(sha256sum <requirements-test.txt)" install_packages "$packages"
export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} PATH=$packages/bin:$PATH
exec "$PYTHON" -m pytest --override-ini testpaths=test --override-ini timeout=240 "$@"
