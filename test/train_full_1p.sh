#!/usr/bin/env bash
# A full training on one device; -h tells its flags.
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p full "$@"
