# shellcheck shell=bash
# The launcher: plan, lock, archive, train, report. Functions only, nothing runs when it is sourced.
#
# The trainer (launchers/train.py) owns every flag, default and number; --plan makes it check
# them all and say what it would do, before anything is touched. Its lines fill the array plan. One
# rank or many, the way is the same: ranks, devices, cores and logs have an entry for each of them.

# shellcheck source=launchers/shell/python.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/python.sh"
# shellcheck source=launchers/shell/ranks.sh
source "$REPO_ROOT/launchers/shell/ranks.sh"
# shellcheck source=launchers/shell/figures.sh
source "$REPO_ROOT/launchers/shell/figures.sh"

# by its path: -m would look in the working directory first, where another package `core` may lie
TRAINER=$REPO_ROOT/launchers/train.py

launch_1p() {  # CASE [FLAG...]: one rank, on ASCEND_DEVICE_ID; CASE as the trainer's --case
    check_device
    launch 1 "$@"
}

launch_8p() {  # CASE [FLAG...]: 8 ranks, on the devices of this server; --rank_size=N: so many
    launch 8 "$@"
}

launch() {  # RANK_SIZE CASE [FLAG...]: RANK_SIZE where no flag says how many ranks
    set -euo pipefail
    local ranks devices cores output_root logs seconds flags=("--case=$2" "${@:3}")
    export RANK_SIZE=$1 RANK_ID=0 JOB_ID=${JOB_ID:-10087}
    find_python
    export PYTHONUNBUFFERED=1 PYTHONIOENCODING=utf-8
    make_plan "${flags[@]}"
    read_plan
    if [[ -n ${plan[finished]} ]]; then
        printf '%s\n' "${plan[finished]}"
        return
    fi
    lock_devices
    archive_previous_runs
    share_rank_table
    announce
    SECONDS=0
    train "${flags[@]}"
    seconds=$SECONDS
    if nothing_was_left; then
        return
    fi
    prune_histories
    report_figures "$seconds" "${logs[@]}"
}

check_device() {
    if [[ -z ${ASCEND_DEVICE_ID+set} ]]; then
        printf 'ASCEND_DEVICE_ID is not set: using 0\n' >&2
    fi
    export ASCEND_DEVICE_ID=${ASCEND_DEVICE_ID-0}
    [[ $ASCEND_DEVICE_ID =~ ^[0-7]$ ]] ||
        die 2 "ASCEND_DEVICE_ID='$ASCEND_DEVICE_ID': must be a whole number from 0 to 7"
}

# exits here when the flags are bad, or ask for an answer (-h) and not for a run; TensorFlow's own
# start-up lines belong in the run's log, not here
make_plan() {  # FLAG...
    local answer line
    declare -gA plan=()
    answer=$(TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" "$TRAINER" "$@" --plan </dev/null) || exit
    if [[ $'\n'$answer != *$'\n'run_dir=* ]] || asks_for_plan "$@"; then
        printf '%s\n' "$answer"
        exit
    fi
    while IFS= read -r line; do
        [[ $line == ?*=* ]] || continue  # something that a package printed
        plan["${line%%=*}"]=${line#*=}
    done <<<"$answer"
}

asks_for_plan() {  # FLAG...
    local flag
    for flag; do
        [[ ! ${flag,,} =~ ^--?plan(=true|=1)?$ ]] || return 0
    done
    return 1
}

read_plan() {
    local device
    export RANK_SIZE=${plan[rank_size]}
    read -ra ranks <<<"${plan[ranks]}"
    read -ra devices <<<"${plan[devices]}"
    read -ra cores <<<"${plan[cores]}"
    output_root=${plan[run_dir]%/*}
    for device in "${devices[@]}"; do
        logs+=("$output_root/$device/train_$device.log")
    done
}

lock_devices() {  # the trainers inherit the locks, and so keep them even if the launcher is killed
    local device lock npu_lock
    mkdir -p -- "$output_root"
    for device in "${devices[@]}"; do
        exec {lock}>>"$output_root/.lock-$device"
        flock -n "$lock" || die 1 "ASCEND_DEVICE_ID=$device is in use: another run writes to \
$output_root/$device; wait for it, or choose another device or --output_path"
        if [[ ${plan[npu]} == True ]]; then
            npu_lock=${TMPDIR:-/tmp}/ascend-device-$device.lock
            [[ -e $npu_lock ]] || : >>"$npu_lock"
            exec {lock}<"$npu_lock"  # which may be another user's
            flock -n "$lock" || die 1 "ASCEND_DEVICE_ID=$device is in use: another run trains on this NPU; wait for \
it, or choose another device"
        fi
    done
}

archive_previous_runs() {
    local device
    for device in "${devices[@]}"; do
        archive_previous_run "$device"
    done
}

archive_previous_run() {  # DEVICE: moved, never deleted, but for what a resumed run keeps
    local run_dir=$output_root/$1 history=$output_root/history archive name kept
    local moved=(-mindepth 1 -maxdepth 1)
    IFS=/ read -ra kept <<<"${plan[kept]}"
    for name in "${kept[@]}"; do
        [[ ! -e $run_dir/$name ]] || moved+=(! -samefile "$run_dir/$name")
    done
    mkdir -p -- "$run_dir"
    if [[ -n $(find "$run_dir/" "${moved[@]}" -print -quit) ]]; then
        archive=$(new_archive "$history/$1-$(date +%Y%m%d-%H%M%S)")
        find "$run_dir/" "${moved[@]}" -exec mv -t "$archive" -- {} +
    fi
}

new_archive() {  # DIR: makes and prints DIR, or DIR-2, DIR-3... for further ones in the same second
    local archive=$1 n=1
    mkdir -p -- "${archive%/*}"
    until mkdir -- "$archive" 2>/dev/null; do
        [[ -e $archive ]] || die 1 "cannot move the previous run: $archive cannot be made"
        archive=$1-$((++n))
    done
    printf '%s\n' "$archive"
}

nothing_was_left() {  # of ranks on several servers, only the trainers know; the words are core/training/checkpoints.py's
    local last
    last=$(tail -n 1 -- "${logs[0]}")
    [[ $last == '--resume: '*' has already done '* ]] && printf '%s\n' "$last"
}

prune_histories() {  # after a run that ended well: one that failed may be a mistake, and its forerunner wanted back
    local device history=$output_root/history
    [[ -n ${plan[keep_history]} && -d $history ]] || return 0
    for device in "${devices[@]}"; do
        prune_history "$history" "$device" "${plan[keep_history]}"
    done
}

prune_history() {  # HISTORY DEVICE N: deletes all but the device's N newest archives, nothing else
    local name
    find "$1/" -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
        -regex ".*/$2-[0-9]{8}-[0-9]{6}(-[0-9]+)?" -printf '%f\n' |
        sort -rV | tail -n +"$(($3 + 1))" | while IFS= read -r name; do
        rm -rf -- "${1:?}/${name:?}"
    done
}

share_rank_table() {  # HCCL and core/ranks/communicator.py read these
    if [[ -n ${plan[rank_table]} ]]; then
        plan[rank_table_file]=$output_root/${devices[0]}/rank_table.json
        printf '%s\n' "${plan[rank_table]}" >"${plan[rank_table_file]}"
    fi
    if [[ -n ${plan[rank_table_file]} ]]; then
        export RANK_TABLE_FILE=${plan[rank_table_file]} RANK_ADDRESSES=${plan[rank_addresses]}
    fi
}

announce() {
    local modelarts_logs=${MODELARTS_LOG_DIR:-/home/ma-user/modelarts/log} shown=''
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        shown=$(find "$modelarts_logs" -maxdepth 1 -name '*proc-rank*' -print -quit 2>/dev/null) ||
            true
    fi
    printf '### get your log here : %s\n' "${shown:-${logs[@]}}"
    if [[ ${plan[synthetic]} == True ]]; then
        printf 'Training on synthetic data: give --data_path=DIR to train on real data\n'
    fi
}
