# shellcheck shell=bash
# Sets up the Python and the packages that the tests need. Functions only.
# The packages lie beside the Python that is tested, which itself stays as it is.

# shellcheck source=launchers/shell/python.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../../launchers/shell/python.sh"

set_up_tests() {  # leaves PYTHON, and the packages and their commands on PYTHONPATH and PATH
    local packages=$REPO_ROOT/.test-packages
    find_python
    add_packages "$packages" "$REPO_ROOT/requirements-test.txt"
    export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} PATH=$packages/bin:$PATH
}

set_up_s3_server() {
    add_packages "$REPO_ROOT/.test-packages-s3" "$REPO_ROOT/test/helpers/s3_server.txt"
}

set_up_photographs() {
    add_packages "$REPO_ROOT/.test-packages-photographs" "$REPO_ROOT/test/helpers/photographs.txt" --no-deps
}

add_packages() {  # DIR REQUIREMENTS [PIP OPTION...]
    set_up "$1" "$PYTHON $(sha256sum <"$2")" \
        "$PYTHON" -m pip install --quiet --target "$1" --requirement "$2" "${@:3}"
}
