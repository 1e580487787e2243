# shellcheck shell=bash
# Finds the Python that has TensorFlow 1.15, or sets one up. Sourcing this file only defines functions.
#
# find_python sets PYTHON to the first of these: the PYTHON of the environment; the Python that called, python3 or
# python3.7 where TensorFlow 1.15 is installed already, as in Ascend images; the Python of .venv, which is made from
# requirements.lock on first use. .venv needs Python 3.7, because TensorFlow 1.15 has no wheels for a later one;
# where the machine has no Python 3.7, uv or conda downloads one. The CPU kernels are then compiled (kernels.sh).

set +o posix  # `sh` may be bash, which then reads less than these files have
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    printf 'bash %s is too old: these scripts need bash 4.4 or newer; bash --version tells\n' "$BASH_VERSION" >&2
    exit 2
fi
REPO_ROOT=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")")
# shellcheck source=launchers/shell/environment.sh
source "$REPO_ROOT/launchers/shell/environment.sh"
# shellcheck source=launchers/shell/set_up.sh
source "$REPO_ROOT/launchers/shell/set_up.sh"
# shellcheck source=launchers/shell/ascend.sh
source "$REPO_ROOT/launchers/shell/ascend.sh"
# shellcheck source=launchers/shell/kernels.sh
source "$REPO_ROOT/launchers/shell/kernels.sh"

UV_VERSION=0.6.17  # the last uv that downloads Python 3.7 (astral-sh/uv, pull request 13022)

die() {  # STATUS MESSAGE: prints the line to standard error and exits
    printf '%s\n' "$2" >&2
    exit "$1"
}

find_python() {
    choose_python
    build_kernels
}

choose_python() {
    installed_python && return
    build_venv "$REPO_ROOT/.venv"
    PYTHON=$REPO_ROOT/.venv/bin/python
}

installed_python() {  # sets PYTHON to one that is there already; status 1 without one
    local name
    clean_environment
    set_ascend_environment
    if [[ -n ${PYTHON:-} ]]; then
        [[ $PYTHON != */* ]] || PYTHON=$(realpath -s -- "$PYTHON")
        has_tensorflow "$PYTHON" || die 2 "PYTHON=$PYTHON does not import TensorFlow 1.15: $(refusal); install it \
there, or unset PYTHON"
        return
    fi
    for name in ${CALLING_PYTHON:+"$CALLING_PYTHON"} python3 python3.7; do
        [[ $name != "$REPO_ROOT/.venv/"* ]] || continue
        if has_tensorflow "$name"; then
            PYTHON=$(type -P "$name")
            return
        fi
    done
    venv_is_whole "$REPO_ROOT/.venv" && PYTHON=$REPO_ROOT/.venv/bin/python
}

# Looks for the package first, because that is fast; only the import proves that TensorFlow works. Leaves what was
# printed in ANSWER, so that a program which is no Python is found out.
has_tensorflow() {  # PYTHON
    ANSWER=$("$1" -c '
import sys
del sys.path[0]
import importlib.util, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.version_info < (3, 7):
    sys.exit("it is Python %d.%d, and 3.7 is needed" % sys.version_info[:2])
if importlib.util.find_spec("tensorflow") is None:
    sys.exit("No module named tensorflow")
import tensorflow
print("TensorFlow", tensorflow.__version__)' </dev/null 2>&1) && [[ $'\n'$ANSWER == *$'\n'TensorFlow\ 1.15* ]]
}

refusal() {  # why has_tensorflow has refused: the last line of ANSWER
    local line
    line=$(tail -n 1 <<<"$ANSWER")
    [[ $line != *': line '*"$PYTHON: "* ]] || line=${line##*"$PYTHON: "}  # from bash, which could not start it
    printf '%.150s\n' "${line:-it prints nothing, as no Python does}"
}

build_venv() {  # VENV
    local key
    key=$(requirements_key)
    if is_set_up "$1" "$key" && ! "$1/bin/python" -c '' &>/dev/null; then  # its Python is gone
        rm -f -- "$1/.complete"
    fi
    must_set_up "$1" "$key" fill_venv
}

venv_is_whole() {  # VENV: whether it has what is required; its Python is gone when the one that it was made from is
    is_set_up "$1" "$(requirements_key)" && "$1/bin/python" -c '' &>/dev/null
}

requirements_key() {
    sha256sum <"$REPO_ROOT/requirements.lock"
}

# The pip of the lock file comes first, because a pip older than 19.3 finds no wheels for some packages of TensorFlow.
fill_venv() {  # VENV
    local python37 lock=$REPO_ROOT/requirements.lock
    if [[ $(uname -m) != x86_64 ]]; then
        die 1 "TensorFlow 1.15 has no package for $(uname -m): set PYTHON to a Python that has it, as Ascend images do" 2>&4
    fi
    if python37=$(find_python37); then
        "$python37" -m venv "$1" || return
    else
        download_python37 "$1"
    fi
    pip_install "$1/bin/python" --require-hashes --requirement <(awk '/^[a-z]/ { found = /^pip==/ } found' "$lock") &&
        pip_install "$1/bin/python" --require-hashes --requirement "$lock" &&
        { has_tensorflow "$1/bin/python" || { printf '%s\n' "$ANSWER" && return 1; }; }
}

download_python37() {  # VENV: makes it with a Python 3.7 that is downloaded; exits when no way leads to one
    local name
    if type -P uv; then
        try_download "$1" "uv (uv venv --python 3.7)" uv venv --seed --python 3.7 "$1" && return
    fi
    if type -P python3; then
        try_download "$1" "uv $UV_VERSION from PyPI (uv venv --python 3.7)" venv_by_uv_of_pypi "$1" && return
    fi
    for name in conda mamba micromamba; do
        if type -P "$name"; then
            try_download "$1" "$name ($name create python=3.7)" \
                "$name" create --yes --prefix "$1" --channel conda-forge python=3.7 pip && return
        fi
    done
    tail -n 10 -- "${1%.new}.log" >&4
    die 1 "no Python 3.7 found, and none could be downloaded. Install one ('pyenv install 3.7', your system's \
python3.7 and python3.7-venv, or 'conda create --name py37 python=3.7' and 'conda activate py37'); or make a download \
possible (uv, conda, mamba or micromamba on PATH; HTTPS_PROXY, PIP_INDEX_URL and UV_PYTHON_INSTALL_MIRROR name a proxy \
and mirrors); or set PYTHON to a Python that has TensorFlow 1.15, as Ascend images have it" 2>&4
}

try_download() {  # VENV WAY COMMAND...: prints what it does; status 0 when COMMAND has made a VENV of Python 3.7
    printf 'no Python 3.7 on this machine: %s downloads one\n' "$2" >&4
    rm -rf -- "${1:?}"
    "${@:3}" && "$1/bin/python" -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 7))'
}

# Makes VENV with a uv that is removed afterwards. Where python3 cannot make a venv for uv, because Debian's
# python3-venv is missing, pip can still install uv in a directory.
venv_by_uv_of_pypi() {  # VENV
    local uv=$1.uv status=0
    rm -rf -- "${uv:?}"
    if python3 -m venv "$uv"; then
        pip_install "$uv/bin/python" "uv==$UV_VERSION"
    else
        pip_install python3 --target "$uv" "uv==$UV_VERSION"
    fi && "$uv/bin/uv" venv --seed --python 3.7 "$1" || status=$?
    rm -rf -- "${uv:?}"
    return "$status"
}

# Each candidate is tried, because a shim of pyenv may be there and not run.
find_python37() {  # prints the first Python 3.7 that can make venvs; status 1 without one
    local candidate
    while IFS= read -r candidate; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 7))' \
            </dev/null &>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done < <(python37_candidates)
    return 1
}

python37_candidates() {
    local pyenv_root
    type -ap python3.7 python3
    for pyenv_root in "$(pyenv root 2>/dev/null)" "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"; do
        printf '%s\n' "$pyenv_root"/versions/3.7.*/bin/python
    done
    printf '%s\n' /usr/local/python3.7*/bin/python3.7
    printf '%s\n' "${XDG_DATA_HOME:-${HOME:-}/.local/share}"/uv/python/cpython-3.7.*/bin/python3.7
}

fill_newer_python() {  # DIR REQUIREMENTS: for set_up; what TensorFlow 1.15's Python is too old for
    local name
    for name in python3.{13,12,11,10} python3; do
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' &&
            "$name" -m venv --clear "$1" && "$1/bin/python" -m pip install --quiet --requirement "$2"; then
            return
        fi
    done
    printf '%s: needs a Python of 3.10 to 3.13 with venv, and wheels for it\n' "$2"
    return 1
}
