# shellcheck shell=bash
# Starts a training run and ends with its figures. Sourcing this file only defines functions.
#
# The flags, their defaults and every number belong to the Python side. Before the launcher touches any file,
# the command plan checks all flags and prints the plan of the run as lines key=value.
#
# Globals that the files of this folder share; make_plan and read_plan set them:
#   PLAN         the plan, key -> value
#   OUTPUT_ROOT  the directory of --output_path
#   RANKS        the ids of the ranks on this server; the next three arrays have one entry for each rank
#   DEVICES      the rank's ASCEND_DEVICE_ID
#   CORES        the rank's cores as taskset -c takes them; the array is empty in a run of one rank
#   LOGS         the path of the rank's log
#   TERMINALS    which of the file descriptors 1 and 2 were terminals when the launcher was started
#   PLANNER      process id of the plan's process where that waits to become the trainer; else empty
#   HAND_OVER    file descriptor of its standard input

# shellcheck source=launchers/shell/python.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/python.sh"
# shellcheck source=launchers/shell/devices.sh
source "$REPO_ROOT/launchers/shell/devices.sh"
# shellcheck source=launchers/shell/history.sh
source "$REPO_ROOT/launchers/shell/history.sh"
# shellcheck source=launchers/shell/ranks.sh
source "$REPO_ROOT/launchers/shell/ranks.sh"
# shellcheck source=launchers/shell/ascend_errors.sh
source "$REPO_ROOT/launchers/shell/ascend_errors.sh"
# shellcheck source=launchers/shell/figures.sh
source "$REPO_ROOT/launchers/shell/figures.sh"

launch_1p() {  # CASE [FLAG...]: one rank on ASCEND_DEVICE_ID; CASE is the trainer's --case
    check_device
    launch 1 "$@"
}

launch_8p() {  # CASE [FLAG...]: 8 ranks, or --rank_size=N ranks, on the devices of this server
    launch 8 "$@"
}

launch() {  # RANK_SIZE CASE [FLAG...]: RANK_SIZE counts where no flag says how many ranks there are
    set -euo pipefail
    local seconds flags=("--case=$2" "${@:3}")
    survive_hangup
    export RANK_SIZE=$1 RANK_ID=0 JOB_ID=${JOB_ID:-10087}
    find_python
    export PYTHONUNBUFFERED=1 PYTHONIOENCODING=utf-8
    make_plan "${flags[@]}"
    read_plan
    if [[ -n ${PLAN[finished]} ]]; then
        printf '%s\n' "${PLAN[finished]}"
        return
    fi
    lock_devices
    archive_previous_runs
    share_rank_table
    announce
    seconds=$(uptime_seconds)
    train "${flags[@]}"
    seconds=$(($(uptime_seconds) - seconds))
    if [[ -n $NOTHING_LEFT ]]; then
        tail -n 1 -- "${LOGS[0]}"
        return
    fi
    prune_histories
    report_figures "$seconds"
}

uptime_seconds() {  # of the machine: SECONDS of bash would jump with the clock
    local seconds
    read -r seconds _ </proc/uptime
    printf '%s\n' "${seconds%.*}"
}

# A run goes on when its terminal is closed, as under nohup: the launcher and all that it starts ignore SIGHUP.
survive_hangup() {
    trap '' HUP
    TERMINALS=''
    [[ ! -t 1 ]] || TERMINALS=1
    [[ ! -t 2 ]] || TERMINALS+=2
}

# What a closed terminal cannot show goes to nohup.out beside the log of the first rank.
leave_closed_terminal() {
    [[ $TERMINALS != *1* || -t 1 ]] || exec >>"${PLAN[run_dir]}/nohup.out"
    [[ $TERMINALS != *2* || -t 2 ]] || exec 2>>"${PLAN[run_dir]}/nohup.out"
}

# Exits when the flags are bad, and after -h, which prints and runs nothing.
make_plan() {  # FLAG...
    local answers line text='' output input
    declare -gA PLAN=()
    [[ $TERMINALS != *1* ]] || exec 3>&1  # for the trainer's live line
    set -m  # as of every trainer: start_rank
    # Python starts after the newline, because bash closes the descriptors of a coprocess that has ended, and a plan that
    # ends at once would be lost.
    coproc PLANNING {
        read -r _
        LAUNCHER=$0 exec "$PYTHON" "$REPO_ROOT" plan "$@"  # without LAUNCHER it would not wait to become the trainer
    }
    PLANNER=$!
    set +m
    output=${PLANNING[0]} input=${PLANNING[1]}
    exec {answers}<&"$output" {HAND_OVER}>&"$input" {output}<&- {input}>&-
    printf '\n' >&"$HAND_OVER"
    while IFS= read -r line <&"$answers" || [[ -n $line ]]; do
        text+=$line$'\n'
        [[ $line == ?*=* ]] || continue  # a package of the Python side may print lines of its own
        PLAN["${line%%=*}"]=${line#*=}
        [[ $line != waits=True ]] || break
    done
    exec {answers}<&-
    if [[ ${PLAN[waits]:-} != True ]]; then
        exec {HAND_OVER}>&-
        wait "$PLANNER" || exit
        PLANNER=''
    fi
    if [[ -z ${PLAN[run_dir]:-} ]]; then
        printf '%s' "$text"
        exit
    fi
}

read_plan() {
    local device
    declare -ga RANKS DEVICES CORES LOGS=()
    export RANK_SIZE=${PLAN[rank_size]}
    read -ra RANKS <<<"${PLAN[ranks]}"
    read -ra DEVICES <<<"${PLAN[devices]}"
    # shellcheck disable=SC2034  # ranks.sh reads CORES
    read -ra CORES <<<"${PLAN[cores]}"
    OUTPUT_ROOT=${PLAN[run_dir]%/*}
    for device in "${DEVICES[@]}"; do
        LOGS+=("$OUTPUT_ROOT/$device/train_$device.log")
    done
}

share_rank_table() {  # exports what HCCL and the ranks of several servers read
    if [[ -n ${PLAN[rank_table]} ]]; then
        PLAN[rank_table_file]=$OUTPUT_ROOT/${DEVICES[0]}/rank_table.json
        printf '%s\n' "${PLAN[rank_table]}" >"${PLAN[rank_table_file]}"
    fi
    [[ -z ${PLAN[rank_table_file]} ]] || export RANK_TABLE_FILE=${PLAN[rank_table_file]}
    export RANK_ADDRESSES=${PLAN[rank_addresses]}
}

announce() {
    local modelarts_logs=${MODELARTS_LOG_DIR:-/home/ma-user/modelarts/log} shown=''
    if [[ -n ${MODELARTS_MODEL_PATH:-} && -d $modelarts_logs ]]; then
        shown=$(find "$modelarts_logs" -maxdepth 1 -name '*proc-rank*' -print -quit)
    fi
    printf '%s\n' "${PLAN[headline]}"
    [[ -z ${PLAN[data]:-} ]] || printf 'Data: %s\n' "${PLAN[data]:-}"
    if ((RANK_SIZE == 1)) && [[ -z ${ASCEND_DEVICE_ID+set} ]]; then
        printf 'ASCEND_DEVICE_ID is not set: using %s\n' "${DEVICES[0]}" >&2
    fi
    [[ -z ${PLAN[open_ports]} ]] || printf '%s\n' "${PLAN[open_ports]}"
    printf '### get your log here : %s\n' "${shown:-${LOGS[@]}}"
    if [[ ${PLAN[synthetic]} == True ]]; then
        printf 'Training on synthetic data: give --data_path=DIR to train on real data\n'
    fi
}
