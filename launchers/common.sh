# shellcheck shell=bash
# The launcher: plan, lock, archive, train, report. Functions only, nothing runs when it is sourced.
#
# The trainer (python -m launchers.train) owns every flag, default and number; --plan makes it check
# them all and say what it would do, before anything is touched. Its lines fill the array plan.

# shellcheck source=launchers/env.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/env.sh"
# shellcheck source=launchers/figures.sh
source "$REPO_ROOT/launchers/figures.sh"

launch_1p() {  # CASE [flag...]: one run on one device; CASE as the trainer's --case
    set -euo pipefail
    local log seconds flags=("--case=$1" "${@:2}")
    export RANK_SIZE=1 RANK_ID=0 JOB_ID=${JOB_ID:-10087}
    check_device
    find_python
    export PYTHONPATH=$REPO_ROOT${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
    make_plan "${flags[@]}"
    lock_device
    archive_previous_run
    log=${plan[run_dir]}/train_$ASCEND_DEVICE_ID.log
    announce "$log"
    SECONDS=0
    train "$log" "${flags[@]}"
    seconds=$SECONDS
    report_figures "$log" "$seconds"
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
    answer=$(TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" -m launchers.train "$@" --plan </dev/null) || exit
    if [[ $'\n'$answer != *$'\n'run_dir=* || " $* " == *' --plan '* ]]; then
        printf '%s\n' "$answer"
        exit
    fi
    while IFS= read -r line; do
        plan["${line%%=*}"]=${line#*=}
    done <<<"$answer"
}

lock_device() {  # the trainer inherits the lock, and so keeps it even if the launcher is killed
    local output_root=${plan[run_dir]%/*}
    local lock=$output_root/.lock-$ASCEND_DEVICE_ID
    mkdir -p -- "$output_root"
    exec 8>>"$lock"
    flock -n 8 || die 1 "ASCEND_DEVICE_ID=$ASCEND_DEVICE_ID is in use: another run writes to \
${plan[run_dir]}; wait for it, or choose another device or --output_path"
}

archive_previous_run() {  # moved, never deleted; a resumed run goes on with its ckpt/ and summary/
    local run_dir=${plan[run_dir]} archive moved=(-mindepth 1 -maxdepth 1)
    local history=${run_dir%/*}/history
    if [[ ${plan[resume]} == True ]]; then
        moved+=(! -name ckpt ! -name summary)
    fi
    mkdir -p -- "$run_dir"
    if [[ -n $(find "$run_dir/" "${moved[@]}" -print -quit) ]]; then
        archive=$(new_archive "$history/$ASCEND_DEVICE_ID-$(date +%Y%m%d-%H%M%S)")
        find "$run_dir/" "${moved[@]}" -exec mv -t "$archive" -- {} +
    fi
    if [[ -n ${plan[keep_history]} && -d $history ]]; then
        prune_history "$history" "${plan[keep_history]}"
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

prune_history() {  # HISTORY N: deletes all but this device's N newest archives, and nothing else
    local name
    find "$1" -mindepth 1 -maxdepth 1 -type d -regextype posix-extended \
        -regex ".*/$ASCEND_DEVICE_ID-[0-9]{8}-[0-9]{6}(-[0-9]+)?" -printf '%f\n' |
        sort -rV | tail -n +"$(($2 + 1))" | while IFS= read -r name; do
        rm -rf -- "${1:?}/${name:?}"
    done
}

announce() {  # LOG
    local modelarts_logs=${MODELARTS_LOG_DIR:-/home/ma-user/modelarts/log} shown=$1
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        shown=$(find "$modelarts_logs" -maxdepth 1 -name '*proc-rank*' -print -quit 2>/dev/null) ||
            true
    fi
    printf '### get your log here : %s\n' "${shown:-$1}"
    if [[ ${plan[synthetic]} == True ]]; then
        printf 'Training on synthetic data: give --data_path=DIR to train on real data\n'
    fi
}

train() {  # LOG FLAG...: returns when the trainer has ended well, else exits with its status
    local log=$1 screen='' status
    shift
    start_trainer "$log" "$@"
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        # ModelArts keeps what a job prints as its own log. The trainer writes to our file, which
        # alone is surely whole when the figures are read, and tail shows it: no pipe that could
        # break the training or hide its status.
        tail -n +1 -s 0.2 -f --pid="$trainer" -- "$log" 8>&- &
        screen=$!
    fi
    await_trainer
    [[ -z $screen ]] || wait "$screen" || true
    if ((status != 0)); then
        last_states "$log" | tail -n 20 >&2
        die "$status" "training ended with status $status; the lines above end its log, $log"
    fi
}

start_trainer() {  # LOG FLAG...: sets trainer, its process id
    local log=$1
    shift
    : >"$log"  # made here, not by the trainer's process: tail may be faster
    trainer='' signal=''
    trap 'forward TERM' TERM HUP
    trap 'forward INT' INT
    unset LIVE_FD
    if [[ -t 1 ]]; then
        exec 3>&1
        export LIVE_FD=3
    fi
    set -m  # a process group of its own, which Ctrl-C reaches once: from here, and not ignored
    "$PYTHON" -m launchers.train "$@" >>"$log" 2>&1 </dev/null &
    trainer=$!
    set +m
    [[ -z $signal ]] || forward "$signal"
}

forward() {  # SIGNAL
    signal=$1
    [[ -z $trainer ]] || kill -s "$signal" "$trainer" 2>/dev/null || true
}

await_trainer() {  # sets the caller's status; a signal ends bash's wait, but not ours
    local ended
    status=127
    while true; do
        signal=''
        wait "$trainer" 2>/dev/null && ended=0 || ended=$?
        ((ended == 127)) || status=$ended  # 127: it had been waited for when the signal came
        [[ -n $signal ]] || break
    done
    trap - TERM HUP INT
}
