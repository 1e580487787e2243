#!/usr/bin/env bash
# Starts a command of launchers/ in the Python that has TensorFlow 1.15: bash command.sh CALLING_PYTHON COMMAND [FLAG...]
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/python.sh"

run_command() {  # CALLING_PYTHON [COMMAND [FLAG...]]
    set -euo pipefail
    local given=${PYTHON:-} name=${2:-}
    CALLING_PYTHON=$1
    if [[ " doctor runs locks stalls " == *" $name "* || ! -f $REPO_ROOT/launchers/$name.py ]]; then
        installed_python || PYTHON=$1  # it needs no TensorFlow, or is no command: nothing is set up
    else
        find_python
    fi
    export PYTHON
    if [[ -z $given && $PYTHON != "$1" ]]; then
        printf '%s uses the Python %s\n' "${name:+the command }${name:-python3 -m launchers}" "$PYTHON" >&2
    fi
    # TensorFlow's start-up lines would hide what the command prints; a trainer's belong in the log of its run.
    [[ $name == *modelarts* ]] || export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
    exec "$PYTHON" "$REPO_ROOT" "${@:2}"
}

run_command "$@"
