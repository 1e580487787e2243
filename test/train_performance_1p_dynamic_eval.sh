#!/usr/bin/env bash
# CutMix's speed, its test set whole, the last batch partial; -h tells the flags.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../launchers/shell/launch.sh"
launch_1p dynamic_eval --network=cutmix "$@"
