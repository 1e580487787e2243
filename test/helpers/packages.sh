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
    must_set_up "$1" "$PYTHON $(sha256sum <"$2")" fill_packages --requirement "${@:2}"
}

fill_packages() {  # DIR PIP_OPTION...
    pip_install "$PYTHON" --target "$@"
}

set_up_pytorch() {  # leaves BENCHMARK_PYTORCH, a Python that has PyTorch
    local packages=$REPO_ROOT/.test-packages-pytorch requirements=$REPO_ROOT/test/benchmark/pytorch.txt
    must_set_up "$packages" "$(sha256sum <"$requirements")" fill_newer_python "$requirements"
    export BENCHMARK_PYTORCH=$packages/bin/python
}

set_up_tools() {  # NAME...: leaves TOOLS_ASCEND, TOOLS_FRAMEWORKS, Pythons that have the tools of test/tools/NAME.txt
    local name packages requirements
    for name; do
        packages=$REPO_ROOT/.test-packages-$name requirements=$REPO_ROOT/test/tools/$name.txt
        must_set_up "$packages" "$(sha256sum <"$requirements")" fill_newer_python "$requirements"
        export "TOOLS_${name^^}=$packages/bin/python"
    done
}

set_up_mkl() {  # leaves BENCHMARK_MKL, a Python that has the MKL build of TensorFlow 1.15
    local packages=$REPO_ROOT/.test-packages-mkl requirements=$REPO_ROOT/test/benchmark/mkl.txt
    must_set_up "$packages" "$(cat "$REPO_ROOT/requirements.txt" "$requirements" | sha256sum)" \
        fill_mkl "$requirements"
    export BENCHMARK_MKL=$packages/bin/python
}

fill_mkl() {  # DIR REQUIREMENTS
    local python37
    python37=$(find_python37) || {
        printf 'no Python 3.7 found\n'
        return 1
    }
    "$python37" -m venv "$1" && "$1/bin/python" -m pip install --quiet --upgrade pip &&
        "$1/bin/python" -m pip install --quiet --requirement <(grep -v '^tensorflow==' "$REPO_ROOT/requirements.txt") \
            --requirement "$2"
}
