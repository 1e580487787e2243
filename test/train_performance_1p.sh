#!/usr/bin/env bash
# A short run on one device that measures speed; -h tells its flags.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p performance "$@"
