# shellcheck shell=bash
# The ranks of this server: one trainer process for each, started, watched and ended together. The globals RANKS,
# DEVICES, CORES and LOGS are explained in launch.sh. While the trainers run, this file has globals of its own:
#   PIDS           index of the rank in RANKS -> process id, of the trainers that still run
#   SIGNAL         the signal that the launcher received and passed on; empty before that
#   FAILED         index of the first rank that failed; empty while none has
#   FAILED_STATUS  the exit status of that rank
#   NOTHING_LEFT   not empty when a trainer found, with --resume, that no step was left; the launcher reads it
#   TIMER          process id of the sleep after which the remaining trainers are killed; empty without one
# shellcheck disable=SC2154

STOP_SECONDS=${STOP_SECONDS:-5}  # the other ranks have so long to end after one rank failed
SAVE_SECONDS=${SAVE_SECONDS:-60}  # after a signal they have longer, because rank 0 may still save a checkpoint
STATUS_NOTHING_LEFT=3  # of such a trainer (NothingLeft in core/errors.py)

train() {  # FLAG...: returns when every rank ended well; otherwise exits with the status of the first failure
    local screen=''
    declare -ga PIDS=()
    SIGNAL='' FAILED='' FAILED_STATUS=0 NOTHING_LEFT='' TIMER=''
    trap 'pass_on TERM' TERM
    trap 'pass_on INT' INT
    start_ranks "$@"
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        # ModelArts keeps what a job prints as the log of the job. The trainer writes to its file as always,
        # because a pipe could break and would hide the trainer's status; tail copies the file to the screen.
        tail -n +1 -s 0.2 -f --pid="${PIDS[0]}" -- "${LOGS[0]}" &
        screen=$!
    fi
    await_ranks 2>/dev/null  # bash would print a line for every killed process
    trap - TERM INT
    [[ -z $screen ]] || wait "$screen" || true
    leave_closed_terminal
    [[ -z $FAILED ]] || report_failure
}

start_ranks() {  # FLAG...
    local i
    if ((${#CORES[@]})) && ! type -P taskset >/dev/null; then
        printf 'taskset is not installed: the ranks are not bound to cores of their own\n' >&2
        CORES=()
    fi
    for i in "${!RANKS[@]}"; do
        start_rank "$i" "$@"
    done
}

start_rank() {  # INDEX FLAG...
    local i=$1 bind=()
    shift
    : >"${LOGS[i]}"  # made before the trainer starts, because tail may open the file earlier than the trainer
    [[ -z ${CORES[i]:-} ]] || bind=(taskset -c "${CORES[i]}")
    unset LIVE_FD
    if ((i == 0)) && [[ -t 1 ]]; then
        exec 3>&1
        export LIVE_FD=3
    fi
    set -m  # gives the trainer a process group of its own, so that Ctrl-C reaches it once, through pass_on
    ASCEND_DEVICE_ID=${DEVICES[i]} RANK_ID=${RANKS[i]} LAUNCHER_PID=$$ "${bind[@]}" \
        "$PYTHON" "$TRAINER" "$@" >>"${LOGS[i]}" 2>&1 </dev/null &
    PIDS[i]=$!
    set +m
    # A signal that came while this trainer was being started has not reached it.
    [[ -z $SIGNAL ]] || kill -s "$SIGNAL" "${PIDS[i]}" 2>/dev/null || true
}

pass_on() {  # SIGNAL
    SIGNAL=$1
    signal_ranks "$1"
}

signal_ranks() {  # SIGNAL: to the trainers that still run; KILL goes to the processes that they started, too
    local pid group=''
    [[ $1 != KILL ]] || group=-
    for pid in "${PIDS[@]}"; do
        kill -s "$1" -- "$group$pid" 2>/dev/null || true
    done
}

await_ranks() {
    local i
    while ((${#PIDS[@]})); do
        wait -n || true  # returns when a child has ended and when a signal was passed on
        for i in "${!PIDS[@]}"; do
            kill -0 "${PIDS[i]}" || collect "$i"
        done
        if [[ -n $TIMER ]] && ! kill -0 "$TIMER"; then
            signal_ranks KILL
        fi
    done
    [[ -z $TIMER ]] || kill "$TIMER" || true
}

collect() {  # INDEX of a rank whose trainer has ended
    local pid=${PIDS[$1]} ended=0
    wait "$pid" || ended=$?
    unset "PIDS[$1]"
    kill -KILL -- "-$pid" || true  # processes that the trainer may have left behind
    if ((ended == STATUS_NOTHING_LEFT)); then
        # shellcheck disable=SC2034  # launch.sh reads NOTHING_LEFT
        NOTHING_LEFT=yes
    elif ((ended != 0)) && [[ -z $FAILED ]]; then
        FAILED=$1
        FAILED_STATUS=$ended
        stop_others
    fi
}

stop_others() {  # a rank that waits for a dead rank cannot react to TERM, so the timer ends in KILL
    local seconds=$SAVE_SECONDS
    if [[ -z $SIGNAL ]]; then
        seconds=$STOP_SECONDS
        signal_ranks TERM
    fi
    sleep "$seconds" &
    TIMER=$!
}

report_failure() {
    local who=training how="status $FAILED_STATUS" log=${LOGS[FAILED]} end='the lines above end its log,'
    ((FAILED_STATUS != 137)) || how+=' (killed, as when memory runs out)'
    [[ -s $log || -n $SIGNAL ]] || end='it has left nothing in its log (is the disk full?),'
    ((${#RANKS[@]} == 1)) || who="rank ${RANKS[FAILED]} of $RANK_SIZE"
    last_states "$log" | tail -n 20 >&2
    die "$FAILED_STATUS" "$who ended with $how; $end $log"
}
