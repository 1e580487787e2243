#!/usr/bin/env bash
# CutMix's speed, its test set whole, the last batch partial; -h tells the flags.
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p dynamic_eval --network=cutmix "$@"
