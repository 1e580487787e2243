#!/usr/bin/env bash
# Sets up what the tests need and runs them: bash test/run_tests.sh [pytest arguments].
# The test packages lie beside the Python that is tested, which itself stays as it is.
set -euo pipefail
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/python.sh"

add_packages() {  # DIR REQUIREMENTS
    set_up "$1" "$PYTHON $(sha256sum <"$2")" \
        "$PYTHON" -m pip install --quiet --target "$1" --requirement "$2"
}

find_python
arguments=()
for argument; do  # files are named from where the user is
    [[ ! $argument =~ ^[^-/].*[.]py(::|$) ]] || argument=$PWD/$argument
    arguments+=("$argument")
done
cd -- "$REPO_ROOT"
packages=$REPO_ROOT/.test-packages
export S3_SERVER_PACKAGES=$REPO_ROOT/.test-packages-s3
add_packages "$packages" requirements-test.txt
add_packages "$S3_SERVER_PACKAGES" test/helpers/s3_server.txt
export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} PATH=$packages/bin:$PATH
exec "$PYTHON" -m pytest "${arguments[@]}"
