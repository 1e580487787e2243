#!/usr/bin/env bash
# A short run on one device that measures speed; -h tells its flags.
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p performance "$@"
