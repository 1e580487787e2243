# shellcheck shell=bash
# Sets up the environment of tf2onnx and onnxruntime. Sourcing this file only defines functions.

# shellcheck source=launchers/shell/python.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/python.sh"

set_up_onnx() {  # DIR REQUIREMENTS: prints why it cannot be set up, in one line, and then leaves nothing behind
    local key
    key=$(sha256sum <"$2")
    is_set_up "$1" "$key" && return
    (set_up "$1" "$key" fill_newer_python "$2") && return
    tail -n 1 -- "$1.log" 2>/dev/null || printf '%s cannot be written\n' "$1"
    rm -rf -- "${1:?}.new" "$1.log" "$1.lock"
    return 1
}
