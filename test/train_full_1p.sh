#!/usr/bin/env bash
# A full training on one device; -h tells its flags.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p full "$@"
