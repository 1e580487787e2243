# shellcheck shell=bash
# Which devices a run may use. The globals DEVICES, OUTPUT_ROOT and PLAN are explained in launch.sh.

check_device() {
    [[ ${ASCEND_DEVICE_ID-0} =~ ^([0-9]|1[0-5])$ ]] ||
        die 2 "ASCEND_DEVICE_ID='$ASCEND_DEVICE_ID': must be a whole number from 0 to 15"
}

# The trainers inherit the open lock files. So a device stays locked while its trainer runs, even when the
# launcher was killed. The lock of an NPU cannot lie in a directory of the user's own, because the jobs of two users on
# one NPU have to meet at it.
lock_devices() {
    local device machine=${TMPDIR:-/tmp} lock=0 paths=()
    mkdir -p -- "$OUTPUT_ROOT"
    for device in "${DEVICES[@]}"; do
        paths+=("$OUTPUT_ROOT/.lock-$device")
        [[ ${PLAN[npu]} != True ]] || paths+=("$machine/ascend-device-$device.lock")
    done
    open_locks "${paths[@]}"
    for device in "${DEVICES[@]}"; do
        take_lock "${LOCKS[lock]}" "${paths[lock]}" "$device" "writes to $OUTPUT_ROOT/$device" ' or --output_path'
        lock=$((lock + 1))
        if [[ ${PLAN[npu]} == True ]]; then
            take_lock "${LOCKS[lock]}" "${paths[lock]}" "$device" 'trains on this NPU' ''
            lock=$((lock + 1))
        fi
    done
}

# Opens plain files alone: another user may have put a link or a FIFO there, which locks.py refuses. The descriptors
# are those of locks.py, opened anew, because only what bash has opened reaches the trainers.
open_locks() {  # PATH...: sets LOCKS, a file descriptor for each path
    local opener path pid='' number lock
    LOCKS=()
    exec {opener}< <("$PYTHON" "$REPO_ROOT" locks "$@")
    for path; do
        read -r pid number <&"$opener" || exit 2
        if [[ -w $path ]]; then
            exec {lock}>>"/proc/$pid/fd/$number"
        else
            exec {lock}<"/proc/$pid/fd/$number"
        fi
        LOCKS+=("$lock")
    done
    kill "$pid"
    exec {opener}<&-
}

# Each user writes the holder's process id, host and start to a file of his own beside PATH, because he may not
# write to a file of another user in /tmp. The newest of these files is the holder's. It is made anew each time:
# noclobber does not follow a link that lies at its name.
take_lock() {  # FILE_DESCRIPTOR PATH DEVICE WHAT_ITS_HOLDER_DOES ALTERNATIVE
    flock -n "$1" || die 1 "ASCEND_DEVICE_ID=$3 is in use: another run $4$(holder_of "$2"); wait for it, or choose \
another device$5"
    rm -f -- "$2.$UID" || true
    (
        set -o noclobber
        printf '%s %s %s %s\n' "$$" "$(id -un 2>/dev/null || id -u)" "$HOSTNAME" "$(date '+%F %T')" >"$2.$UID"
    ) 2>/dev/null || true  # without it the lock is none the worse
}

holder_of() {  # PATH: prints who holds the lock
    local record newest='' pid user host start
    for record in "$1".*; do
        if [[ -f $record && ! -L $record && -r $record ]]; then
            [[ $newest -nt $record ]] || newest=$record
        fi
    done
    [[ -n $newest ]] || return 0  # the holder has just taken the lock
    read -r pid user host start < <(head -c 300 -- "$newest" | cat -v) || true  # another user's bytes
    printf ' (process %s of user %s on %s, started %s' "$pid" "$user" "$host" "$start"
    [[ $host != "$HOSTNAME" || -d /proc/${pid:-none} ]] || printf '; it was killed, and its trainers have not ended yet'
    printf ')'
}
