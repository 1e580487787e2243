#!/usr/bin/env bash
# Starts a command of launchers/ in the Python that has TensorFlow 1.15: bash command.sh CALLING_PYTHON COMMAND [FLAG...]
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/python.sh"

COMMANDS='evaluate predict export score runs compare doctor npu_options'

run_command() {  # CALLING_PYTHON [COMMAND [FLAG...]]
    set -euo pipefail
    local given=${PYTHON:-}
    CALLING_PYTHON=$1
    if [[ -z ${2:-} || " $COMMANDS " != *" $2 "* ]]; then
        die 2 "usage: python3 -m launchers COMMAND [--flag=value ...]; COMMAND is one of $COMMANDS; COMMAND -h tells more"
    fi
    case $2 in
    doctor | runs) installed_python || PYTHON=$1 ;;  # these need no TensorFlow and set nothing up
    *) find_python ;;
    esac
    export PYTHON
    if [[ -z $given && $PYTHON != "$1" ]]; then
        printf '%s runs in %s\n' "$2" "$PYTHON" >&2
    fi
    # TensorFlow's start-up lines would hide what the command prints.
    export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
    exec "$PYTHON" "$REPO_ROOT/launchers/$2.py" "${@:3}"
}

run_command "$@"
