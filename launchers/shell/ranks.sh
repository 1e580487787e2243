# shellcheck shell=bash
# The ranks of this server: one trainer process for each, started, watched and ended together. The globals RANKS,
# DEVICES, CORES and LOGS are explained in launch.sh. While the trainers run, this file has globals of its own:
#   PIDS           index of the rank in RANKS -> process id, of the trainers that still run
#   SIGNAL         the signal that the launcher received and passed on; empty before that
#   FAILED         index of the first rank that failed; empty while none has
#   FAILED_STATUS  the exit status of that rank
#   NO_RESTART     not empty when a rank failed for a reason that a restart does not cure
#   RESTARTS       how often the ranks were started again
#   NOTHING_LEFT   not empty when a trainer found, with --resume, that no step was left; the launcher reads it
#   MEETING        the trainers' RANKS_DIRECTORY, if this launcher has made it
#   WATCH          process id of launchers/stalls.py; empty without it
#   STALLED        not empty when a rank did not get on
#   TIMER          process id of what ends before the remaining trainers are killed; empty without one
#   PAUSE          process id of what ends before the ranks start again; empty at other times
# On ModelArts each rank has a launcher of its own, started by the boot process of its card with the variables of
# launchers/modelarts/server.py. The launchers share RANKS_DIRECTORY, in which the file end-N ends all their trainers
# that were started again N times: it has a signal's name, or an exit status and how a rank failed with it.
#   END            process id of await_end; empty without it
#   ELSEWHERE      how a rank of another launcher failed; empty while none has
# shellcheck disable=SC2154

STOP_SECONDS=${STOP_SECONDS:-5}  # the other ranks have so long to end after one rank failed
SAVE_SECONDS=${SAVE_SECONDS:-60}  # after a signal they have longer, because rank 0 may still save a checkpoint
RESTART_SECONDS=${RESTART_SECONDS:-5}  # before the first restart; twice as many before each next one
MOST_RESTART_SECONDS=300
# Exit statuses of a trainer (core/errors.py)
STATUS_BAD_INPUT=2
STATUS_NOTHING_LEFT=3
STATUS_BAD_LOSS=4
STATUS_STALLED=64  # of launchers/stalls.py: for the rank of index 0

train() {  # FLAG...: returns when every rank ended well; otherwise exits with the status of the first failure
    SIGNAL='' RESTARTS=0 MEETING='' PAUSE=''
    trap 'pass_on TERM' TERM
    trap 'pass_on INT' INT
    begin_logs
    run_ranks "$@"
    while may_restart; do
        RESTARTS=$((RESTARTS + 1))
        tell_restart
        pause_before_restart
        [[ -n $SIGNAL ]] || run_ranks "$@" --resume=True
    done
    trap - TERM INT
    leave_closed_terminal
    [[ -z $FAILED ]] || report_failure
}

# Before the trainers start, because tail may open a log earlier than its trainer. The history has taken the logs of
# other runs; a resumed run goes on in its own, behind a line of which a process that was killed may lack the end.
begin_logs() {
    local log
    for log in "${LOGS[@]}"; do
        if [[ -s $log ]]; then
            [[ -z $(tail -c 1 -- "$log") ]] || printf '\n' >>"$log"
            printf 'resume at %s: what follows is of the same run\n' "$(date '+%F %T')" >>"$log"
        else
            : >>"$log"
        fi
    done
    if [[ ${PLAN[npu]} == True && -n ${PLAN[rank_table_source]:-} ]]; then  # HCCL alone uses the addresses
        printf 'Rank table: device addresses from %s\n' "${PLAN[rank_table_source]}" >>"${LOGS[0]}"
    fi
}

run_ranks() {  # FLAG...: starts all ranks and returns when all have ended; FAILED is set when a rank failed
    local screen='' bytes
    declare -ga PIDS=()
    FAILED='' FAILED_STATUS=0 NO_RESTART='' NOTHING_LEFT='' TIMER='' STALLED='' WATCH='' END='' ELSEWHERE=''
    bytes=$(wc -c <"${LOGS[0]}")
    make_meeting
    start_ranks "$@"
    watch_ranks
    if [[ -n ${BOOT_LOCK:-} ]]; then
        await_end &
        END=$!
    fi
    if [[ -n ${MODELARTS_MODEL_PATH:-} ]]; then
        # ModelArts keeps what a job prints as the log of the job. The trainer writes to its file as always,
        # because a pipe could break and would hide the trainer's status; tail copies the file to the screen.
        tail -c +"$((bytes + 1))" -s 0.2 -f --pid="${PIDS[0]}" -- "${LOGS[0]}" &
        screen=$!
    fi
    await_ranks 2>/dev/null  # bash would print a line for every killed process
    stop_helper "$WATCH" 2>/dev/null
    stop_helper "$END" 2>/dev/null
    [[ -z $MEETING ]] || rm -rf -- "$MEETING"
    [[ -z $screen ]] || wait "$screen" || true
}

# The ranks meet in a directory that nobody else can enter (core/ranks/meeting.py). Trainers and launcher hold its lock,
# so a directory without a holder belongs to processes that were all killed.
make_meeting() {
    local left lock
    [[ -z ${RANKS_DIRECTORY:-} || -n $MEETING ]] || return 0
    for left in "${TMPDIR:-/tmp}/training-ranks-$UID".*; do
        [[ ! -d $left || -L $left || ! -O $left ]] || flock -n "$left" rm -rf -- "$left" || true
    done
    until [[ -d $MEETING ]]; do  # another launcher may take it for left before it is locked
        MEETING=$(mktemp -d "${TMPDIR:-/tmp}/training-ranks-$UID.XXXXXX")
        exec {lock}<"$MEETING"
        flock -n "$lock" || true
    done
    export RANKS_DIRECTORY=$MEETING
}

may_restart() {  # not after a signal to the launcher, bad input or a bad loss
    [[ -n $FAILED && -z $SIGNAL && -z $NO_RESTART ]] && ((RESTARTS < ${PLAN[max_restarts]:-0}))
}

tell_restart() {  # on the screen, in the logs of the ranks and in the companion of the case log
    local line log
    line="restart $RESTARTS of ${PLAN[max_restarts]}: $(describe_failure) at $(date '+%F %T'); starting again in \
$(restart_seconds) seconds from the newest whole checkpoint"
    printf '%s\n' "$line"
    for log in "${LOGS[@]}" "${PLAN[run_dir]}/$(case_name)_restarts.log"; do
        printf '%s\n' "$line" >>"$log"
    done
}

pause_before_restart() {
    start_timer "$(restart_seconds)"
    PAUSE=$TIMER
    while [[ -z $SIGNAL ]] && kill -0 "$PAUSE" 2>/dev/null; do
        wait "$PAUSE" || true  # a signal that comes just before this line has ended the timer
    done
    kill "$PAUSE" 2>/dev/null || true
    PAUSE=''
}

restart_seconds() {
    awk -v first="$RESTART_SECONDS" -v n="$RESTARTS" -v most="$MOST_RESTART_SECONDS" 'BEGIN {
        seconds = first * 2 ^ (n - 1)
        print (seconds < most ? seconds : most)
    }'
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
    [[ -z ${CORES[i]:-} ]] || bind=(taskset -c "${CORES[i]}")
    unset LIVE_FD
    ((i > 0)) || [[ $TERMINALS != *1* || ! -t 3 ]] || export LIVE_FD=3
    set -m  # gives the trainer a process group of its own, so that Ctrl-C reaches it once, through pass_on
    if [[ -n $PLANNER ]]; then  # the first start of a run of one rank
        PIDS[i]=$PLANNER PLANNER=''
        ASCEND_DEVICE_ID=${DEVICES[i]} RANK_ID=${RANKS[i]} LAUNCHER_PID=$$ TRAINING_LOG=${LOGS[i]} \
            env -0 >&"$HAND_OVER" || true  # where it was killed meanwhile, the launcher finds that out as of a trainer
        exec {HAND_OVER}>&-
    else
        ASCEND_DEVICE_ID=${DEVICES[i]} RANK_ID=${RANKS[i]} LAUNCHER_PID=$$ "${bind[@]}" "$PYTHON" "$REPO_ROOT" train \
            "$@" >>"${LOGS[i]}" 2>&1 </dev/null &
        PIDS[i]=$!
    fi
    set +m
    # A signal that came while this trainer was being started has not reached it.
    [[ -z $SIGNAL ]] || kill -s "$SIGNAL" "${PIDS[i]}" 2>/dev/null || true
}

watch_ranks() {  # unless --stall_seconds=0
    local i trainers=()
    [[ -n ${PLAN[stall_seconds]:-} && ${PLAN[stall_seconds]} != 0.0 ]] || return 0
    for i in "${!PIDS[@]}"; do
        trainers+=("${RANKS[i]}:${PIDS[i]}:${LOGS[i]}")
    done
    set -m  # in a process group of its own, so that Ctrl-C does not end it before the trainers
    LAUNCHER_PID=$$ "$PYTHON" "$REPO_ROOT" stalls "${PLAN[stall_seconds]}" "${trainers[@]}" </dev/null &
    WATCH=$!
    set +m
}

stop_helper() {  # PID, empty without one
    [[ -n $1 ]] || return 0
    kill "$1" || true
    wait "$1" || true
}

collect_watch() {  # it has ended
    local ended=0
    wait "$WATCH" || ended=$?
    WATCH=''
    if ((ended >= STATUS_STALLED && ended < 128)) && [[ -z $FAILED ]]; then
        STALLED=yes
        fail $((ended - STATUS_STALLED)) 1
        signal_ranks KILL  # no signal handler of a rank that waits would ever run
    fi
}

pass_on() {  # SIGNAL
    SIGNAL=$1
    [[ -z $PAUSE ]] || kill "$PAUSE" 2>/dev/null || true
    end_all "$1" || true
    signal_ranks "$1"
}

end_all() {  # LINE: ends the trainers of the launchers beside this one; status 1 when another launcher has done so
    [[ -n ${ONLY_RANK:-} ]] || return 0
    (
        set -o noclobber
        printf '%s\n' "$1" >"$RANKS_DIRECTORY/end-$RESTARTS"
    ) 2>/dev/null
}

# Returns when another launcher has ended all trainers, and when the boot process is gone, which would have copied the
# results: its lock is free then.
await_end() {
    until [[ -s $RANKS_DIRECTORY/end-$RESTARTS ]] || flock -s -n "$BOOT_LOCK" true; do
        sleep 0.2
    done
}

collect_end() {  # await_end has returned
    END=''
    [[ -z $FAILED && -z $SIGNAL ]] || return 0
    if [[ ! -s $RANKS_DIRECTORY/end-$RESTARTS ]]; then
        pass_on TERM
        return
    fi
    adopt_end
    if [[ -n $SIGNAL ]]; then
        signal_ranks "$SIGNAL"
    else
        FAILED=0
        stop_others
    fi
}

adopt_end() {  # takes over what another launcher has written
    local how='' why=''
    read -r how why <"$RANKS_DIRECTORY/end-$RESTARTS" || true
    case $how in
    [A-Z]*) SIGNAL=$how ;;
    [0-9]*) FAILED_STATUS=$how ELSEWHERE=$why ;;
    esac
    judge_status "$FAILED_STATUS"
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
        [[ -z $WATCH ]] || kill -0 "$WATCH" || collect_watch
        [[ -z $END ]] || kill -0 "$END" || collect_end
        for i in "${!PIDS[@]}"; do
            kill -0 "${PIDS[i]}" || collect "$i"
        done
        if [[ -n $TIMER ]] && ! kill -0 "$TIMER"; then
            signal_ranks KILL
        fi
    done
    [[ -z $TIMER ]] || kill "$TIMER" || true
}

collect() {  # INDEX of a rank; its trainer has ended
    local pid=${PIDS[$1]} ended=0
    wait "$pid" || ended=$?
    unset "PIDS[$1]"
    kill -KILL -- "-$pid" || true  # processes that the trainer may have left behind
    if ((ended == STATUS_NOTHING_LEFT)); then
        # shellcheck disable=SC2034  # launch.sh reads NOTHING_LEFT
        NOTHING_LEFT=yes
    elif ((ended != 0)); then
        judge_status "$ended"
        [[ -z $FAILED ]] || return 0
        fail "$1" "$ended"
        stop_others
    fi
}

judge_status() {  # STATUS of a trainer
    (($1 != STATUS_BAD_INPUT && $1 != STATUS_BAD_LOSS)) || NO_RESTART=yes
}

fail() {  # INDEX STATUS: the first failure counts, in whichever launcher it is
    FAILED=$1 FAILED_STATUS=$2
    end_all "$2 $(describe_failure)" || adopt_end
}

stop_others() {  # a rank that waits for a dead rank cannot react to TERM, so the timer ends in KILL
    local seconds=$SAVE_SECONDS
    if [[ -z $SIGNAL ]]; then
        seconds=$STOP_SECONDS
        signal_ranks TERM
    fi
    start_timer "$seconds"
}

start_timer() {  # SECONDS: sets TIMER
    sleep_of_launcher "$1" &
    TIMER=$!
}

# Where the launcher is killed meanwhile, it ends as well, and has kept no lock and no screen open.
sleep_of_launcher() {  # SECONDS
    local descriptor
    for descriptor in "/proc/$BASHPID/fd/"*; do
        descriptor=${descriptor##*/}
        ((descriptor <= 2)) || exec {descriptor}>&-
    done
    [[ $1 != *[1-9]* ]] || exec timeout "$1" tail -f --pid=$$ /dev/null &>/dev/null  # for 0 it would never end
}

report_failure() {
    local log=${LOGS[FAILED]} end='the lines above end its log,' status=$FAILED_STATUS
    ((status != STATUS_BAD_LOSS)) || status=1
    if [[ -n $ELSEWHERE ]]; then
        printf '%s; its log is in %s\n' "$ELSEWHERE" "$OUTPUT_ROOT" >&2
        exit "$status"
    fi
    if ((status == STATUS_BAD_INPUT)) && [[ -s $log ]]; then
        tail -n 1 -- "$log" >&2  # it names what is wrong and what to do; what stands before it would only hide it
        exit "$status"
    fi
    [[ -s $log || -n $SIGNAL ]] || end='it has left nothing in its log (is the disk full?),'
    # As a terminal shows it after progress bars were redrawn, without the lines that every start of TensorFlow has.
    awk '/: I tensorflow\/|dso_loader[.]cc:|device_tracer[.]cc:|failed call to cuInit/ { next }
        { sub(/[\r\010]+$/, ""); sub(/^.*[\r\010]/, ""); print }' "$log" | tail -n 20 >&2
    printf '%s\n' "$(describe_failure); $end $log" >&2
    explain_ascend_errors "$SECONDS" >&2
    exit "$status"
}

describe_failure() {
    local who=training how="status $FAILED_STATUS"
    if [[ -n $ELSEWHERE ]]; then
        printf '%s\n' "$ELSEWHERE"
        return
    fi
    ((FAILED_STATUS != STATUS_BAD_LOSS)) || how='status 1'
    [[ -z $STALLED ]] || how+=' (it did not get on)'
    ((FAILED_STATUS != 137)) || how+=' (killed, as when memory runs out)'
    ((RANK_SIZE == 1)) || who="rank ${RANKS[FAILED]} of $RANK_SIZE"
    printf '%s ended with %s\n' "$who" "$how"
}
