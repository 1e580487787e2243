# shellcheck shell=bash
# The ranks of this server: one trainer process each, started, watched and ended together.
# Functions only. The arrays ranks, devices, cores and logs are launch()'s.
# shellcheck disable=SC2154

STOP_SECONDS=${STOP_SECONDS:-5}  # after one rank failed, until the others are killed
SAVE_SECONDS=${SAVE_SECONDS:-60}  # after a signal: rank 0 may be saving when the others have ended

train() {  # FLAG...: returns when every rank has ended well, else exits as the first failure did
    local trainers=() signal='' failed='' status=0 timer='' screen=''
    trap 'forward TERM' TERM HUP
    trap 'forward INT' INT
    start_ranks "$@"
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        # ModelArts keeps what a job prints as its own log. The trainer writes to our file, which
        # alone is surely whole when the figures are read, and tail shows it: no pipe that could
        # break the training or hide its status.
        tail -n +1 -s 0.2 -f --pid="${trainers[0]}" -- "${logs[0]}" &
        screen=$!
    fi
    await_ranks 2>/dev/null  # without bash's own words on killed processes
    trap - TERM HUP INT
    [[ -z $screen ]] || wait "$screen" || true
    [[ -z $failed ]] || report_failure
}

start_ranks() {  # FLAG...
    local i
    if ((${#cores[@]})) && ! type -P taskset >/dev/null; then
        printf 'taskset is not installed: the ranks are not bound to cores of their own\n' >&2
        cores=()
    fi
    for i in "${!ranks[@]}"; do
        start_rank "$i" "$@"
    done
}

start_rank() {  # I FLAG...
    local i=$1 bind=()
    shift
    : >"${logs[i]}"  # made here, not by the trainer's process: tail may be faster
    [[ -z ${cores[i]:-} ]] || bind=(taskset -c "${cores[i]}")
    unset LIVE_FD
    if ((i == 0)) && [[ -t 1 ]]; then
        exec 3>&1
        export LIVE_FD=3
    fi
    set -m  # a process group of its own, which Ctrl-C reaches once: from here, and not ignored
    ASCEND_DEVICE_ID=${devices[i]} RANK_ID=${ranks[i]} "${bind[@]}" \
        "$PYTHON" "$TRAINER" "$@" >>"${logs[i]}" 2>&1 </dev/null &
    trainers[i]=$!
    set +m
    [[ -z $signal ]] || kill -s "$signal" "${trainers[i]}" 2>/dev/null || true
}

forward() {  # SIGNAL
    signal=$1
    signal_ranks "$1"
}

signal_ranks() {  # SIGNAL: to the ranks that still run; KILL to what they started, too
    local pid group=''
    [[ $1 != KILL ]] || group=-
    for pid in "${trainers[@]}"; do
        kill -s "$1" -- "$group$pid" 2>/dev/null || true
    done
}

await_ranks() {
    local i
    while ((${#trainers[@]})); do
        wait -n || true  # until some child has ended, or a signal was forwarded
        for i in "${!trainers[@]}"; do
            kill -0 "${trainers[i]}" || collect "$i"
        done
        if [[ -n $timer ]] && ! kill -0 "$timer"; then
            signal_ranks KILL
        fi
    done
    [[ -z $timer ]] || kill "$timer" || true
}

collect() {  # I: of a rank that has ended
    local pid=${trainers[$1]} ended=0
    wait "$pid" || ended=$?
    unset "trainers[$1]"
    kill -KILL -- "-$pid" || true  # processes that it may have left behind
    if ((ended != 0)) && [[ -z $failed ]]; then
        failed=$1
        status=$ended
        stop_others
    fi
}

stop_others() {  # a rank that waits for a dead one cannot answer TERM
    local seconds=$SAVE_SECONDS
    if [[ -z $signal ]]; then
        seconds=$STOP_SECONDS
        signal_ranks TERM
    fi
    sleep "$seconds" &
    timer=$!
}

report_failure() {
    local who=training how="status $status" log=${logs[failed]} end='the lines above end its log,'
    ((status != 137)) || how+=' (killed, as when memory runs out)'
    [[ -s $log || -n $signal ]] || end='it has left nothing in its log (is the disk full?),'
    ((${#ranks[@]} == 1)) || who="rank ${ranks[failed]} of $RANK_SIZE"
    last_states "$log" | tail -n 20 >&2
    die "$status" "$who ended with $how; $end $log"
}
