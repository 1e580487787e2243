#!/usr/bin/env bash
# A short run on 8 devices that measures speed, or on --rank_size=N of them; -h tells its flags.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_8p performance "$@"
