# shellcheck shell=bash
# Which devices a run may use. The globals DEVICES, OUTPUT_ROOT and PLAN are explained in launch.sh.

check_device() {
    [[ ${ASCEND_DEVICE_ID-0} =~ ^[0-7]$ ]] ||
        die 2 "ASCEND_DEVICE_ID='$ASCEND_DEVICE_ID': must be a whole number from 0 to 7"
}

# The trainers inherit the open lock files. So a device stays locked while its trainer runs, even when the
# launcher was killed.
lock_devices() {
    local device lock file
    mkdir -p -- "$OUTPUT_ROOT"
    for device in "${DEVICES[@]}"; do
        file=$OUTPUT_ROOT/.lock-$device
        exec {lock}>>"$file"  # for writing, because network file systems refuse the lock otherwise
        take_lock "$lock" "$file" "$device" "writes to $OUTPUT_ROOT/$device" ' or --output_path'
        if [[ ${PLAN[npu]} == True ]]; then
            file=${TMPDIR:-/tmp}/ascend-device-$device.lock
            [[ -e $file ]] || : >>"$file"
            exec {lock}<"$file"  # for reading, because another user may own the file
            take_lock "$lock" "$file" "$device" 'trains on this NPU' ''
        fi
    done
}

# Each user writes the holder's process id, host and start to a file of his own beside FILE, because he may not
# write to a file of another user in /tmp. The newest of these files is the holder's.
take_lock() {  # FILE_DESCRIPTOR FILE DEVICE WHAT_ITS_HOLDER_DOES ALTERNATIVE
    flock -n "$1" || die 1 "ASCEND_DEVICE_ID=$3 is in use: another run $4$(holder_of "$2"); wait for it, or choose \
another device$5"
    printf '%s %s %s %s\n' "$$" "$(id -un 2>/dev/null || id -u)" "$HOSTNAME" "$(date '+%F %T')" >"$2.$UID"
}

holder_of() {  # FILE: prints who holds the lock
    local record newest='' pid user host start
    for record in "$1".*; do
        [[ $newest -nt $record ]] || newest=$record
    done
    [[ -f $newest ]] || return 0  # the holder has just taken the lock
    read -r pid user host start <"$newest"
    printf ' (process %s of user %s on %s, started %s' "$pid" "$user" "$host" "$start"
    [[ $host != "$HOSTNAME" || -d /proc/$pid ]] || printf '; it was killed, and its trainers have not ended yet'
    printf ')'
}
