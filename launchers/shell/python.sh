# shellcheck shell=bash
# Finds the Python that has TensorFlow 1.15, or sets one up. Sourcing this file only defines functions.
#
# find_python sets PYTHON to the first of these: the PYTHON of the environment; python3 or python3.7 where
# TensorFlow 1.15 is installed already, as in Ascend images; the Python of .venv, which is made from
# requirements.txt on first use. .venv needs Python 3.7, because TensorFlow 1.15 has no wheels for a later one;
# where the machine has no Python 3.7, uv or conda downloads one. The CPU kernels are then compiled (kernels.sh).

REPO_ROOT=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")")
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
    local name
    set_ascend_environment
    if [[ -n ${PYTHON:-} ]]; then
        [[ $PYTHON != */* ]] || PYTHON=$(realpath -s -- "$PYTHON")
        has_tensorflow "$PYTHON" || die 2 \
            "PYTHON=$PYTHON does not import TensorFlow 1.15: install it there, or unset PYTHON"
        return
    fi
    for name in python3 python3.7; do
        if has_tensorflow "$name"; then
            PYTHON=$name
            return
        fi
    done
    build_venv "$REPO_ROOT/.venv"
    PYTHON=$REPO_ROOT/.venv/bin/python
}

# Looks for the package first, because that is fast; only the import proves that TensorFlow works.
has_tensorflow() {  # PYTHON
    "$1" -c '
import sys
del sys.path[0]
import importlib.util, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
if importlib.util.find_spec("tensorflow") is None:
    sys.exit(1)
import tensorflow
sys.exit(not tensorflow.__version__.startswith("1.15"))' </dev/null &>/dev/null
}

build_venv() {  # VENV
    local key
    key=$(sha256sum <"$REPO_ROOT/requirements.txt")
    if is_set_up "$1" "$key"; then
        "$1/bin/python" -c '' &>/dev/null && return
        rm -f -- "$1/.complete"  # the Python that the venv was made from is gone
    fi
    set_up "$1" "$key" fill_venv "$1"
}

# pip is upgraded first, because a pip older than 19.3 finds no wheels for some packages of TensorFlow.
fill_venv() {  # VENV
    local python37
    if python37=$(find_python37); then
        "$python37" -m venv "$1" || return
    else
        download_python37 "$1"
    fi
    "$1/bin/python" -m pip install --quiet --upgrade pip &&
        "$1/bin/python" -m pip install --quiet --requirement "$REPO_ROOT/requirements.txt"
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
    tail -n 10 -- "$1.log" >&4
    die 1 "no Python 3.7 found, and none could be downloaded. Install one ('pyenv install 3.7', your system's \
python3.7 and python3.7-venv, or 'conda create --name py37 python=3.7' and 'conda activate py37'); or make a download \
possible (uv, conda, mamba or micromamba on PATH; HTTPS_PROXY, PIP_INDEX_URL and UV_PYTHON_INSTALL_MIRROR name a proxy \
and mirrors); or set PYTHON to a Python that has TensorFlow 1.15, as Ascend images have it" 2>&4
}

try_download() {  # VENV WAY COMMAND...: says what it does; status 0 when COMMAND has made a VENV of Python 3.7
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
        "$uv/bin/python" -m pip install --quiet "uv==$UV_VERSION"
    else
        python3 -m pip install --quiet --target "$uv" "uv==$UV_VERSION"
    fi && "$uv/bin/uv" venv --seed --python 3.7 "$1" || status=$?
    rm -rf -- "${uv:?}"
    return "$status"
}

is_set_up() {  # DIR KEY
    [[ -f $1/.complete && $(<"$1/.complete") == "$2" ]]
}

# Runs COMMAND, which fills DIR, once for each KEY. Other processes that want DIR wait. What COMMAND prints goes to
# DIR.log; file descriptor 4 leads to the user.
set_up() {  # DIR KEY COMMAND...
    local dir=$1 key=$2
    shift 2
    is_set_up "$dir" "$key" && return
    printf 'setting up %s: once, a minute or two\n' "$dir" >&2
    (
        flock 9
        is_set_up "$dir" "$key" && exit  # another process has done it in the meantime
        rm -rf -- "${dir:?}"
        "$@" 4>&2 >"$dir.log" 2>&1 || {
            tail -n 10 -- "$dir.log" >&2
            die 1 "setting up $dir failed: the lines above end its log, $dir.log"
        }
        printf '%s\n' "$key" >"$dir/.complete"
    ) 9>"$dir.lock"
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
