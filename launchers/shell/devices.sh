# shellcheck shell=bash
# Which devices a run may use. The globals DEVICES, OUTPUT_ROOT and PLAN are explained in launch.sh.

check_device() {  # exports ASCEND_DEVICE_ID
    if [[ -z ${ASCEND_DEVICE_ID+set} ]]; then
        printf 'ASCEND_DEVICE_ID is not set: using 0\n' >&2
    fi
    export ASCEND_DEVICE_ID=${ASCEND_DEVICE_ID-0}
    [[ $ASCEND_DEVICE_ID =~ ^[0-7]$ ]] ||
        die 2 "ASCEND_DEVICE_ID='$ASCEND_DEVICE_ID': must be a whole number from 0 to 7"
}

# The trainers inherit the open lock files. So a device stays locked while its trainer runs, even when the
# launcher was killed.
lock_devices() {
    local device lock npu_lock
    mkdir -p -- "$OUTPUT_ROOT"
    for device in "${DEVICES[@]}"; do
        exec {lock}>>"$OUTPUT_ROOT/.lock-$device"  # for writing, because network file systems refuse the lock otherwise
        take_lock "$lock" "$device" "another run writes to $OUTPUT_ROOT/$device" ' or --output_path'
        if [[ ${PLAN[npu]} == True ]]; then
            npu_lock=${TMPDIR:-/tmp}/ascend-device-$device.lock
            [[ -e $npu_lock ]] || : >>"$npu_lock"
            exec {lock}<"$npu_lock"  # for reading, because another user may own the file
            take_lock "$lock" "$device" 'another run trains on this NPU' ''
        fi
    done
}

take_lock() {  # FILE_DESCRIPTOR DEVICE REASON ALTERNATIVE
    flock -n "$1" || die 1 "ASCEND_DEVICE_ID=$2 is in use: $3; wait for it, or choose another device$4"
}
