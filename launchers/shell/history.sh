# shellcheck shell=bash
# Earlier runs: OUTPUT_ROOT/history/<device>-<time>/ keeps the results of each. The globals DEVICES, OUTPUT_ROOT
# and PLAN are explained in launch.sh.

archive_previous_runs() {
    local device
    for device in "${DEVICES[@]}"; do
        archive_previous_run "$device"
    done
}

# Moves the results of the device's previous run to the history. A resumed run goes on with some of them, which
# PLAN[kept] names and which stay; so does the log, of which the figures of the whole run are read.
archive_previous_run() {  # DEVICE
    local run_dir=$OUTPUT_ROOT/$1 archive name kept
    local moved=(-mindepth 1 -maxdepth 1)
    IFS=/ read -ra kept <<<"${PLAN[kept]}${PLAN[kept]:+/train_$1.log}"
    for name in "${kept[@]}"; do
        [[ ! -e $run_dir/$name ]] || moved+=(! -samefile "$run_dir/$name")
    done
    mkdir -p -- "$run_dir"
    if [[ -n $(find "$run_dir/" "${moved[@]}" -print -quit) ]]; then
        archive=$(new_archive "$OUTPUT_ROOT/history/$1-$(date +%Y%m%d-%H%M%S)")
        find "$run_dir/" "${moved[@]}" -exec mv -t "$archive" -- {} +
    fi
}

new_archive() {  # DIR: makes and prints DIR, or DIR-2, DIR-3... for further archives of the same second
    local archive=$1 n=1
    mkdir -p -- "${archive%/*}"
    until mkdir -- "$archive" 2>/dev/null; do
        [[ -e $archive ]] || die 1 "cannot move the previous run: $archive cannot be made"
        archive=$1-$((++n))
    done
    printf '%s\n' "$archive"
}

# Deletes the oldest archives beyond --keep_history, after a run that ended well only: a run that failed may be a
# mistake, and its user then wants the earlier run back.
prune_histories() {
    local device
    [[ -n ${PLAN[keep_history]} && -d $OUTPUT_ROOT/history ]] || return 0
    for device in "${DEVICES[@]}"; do
        prune_history "$OUTPUT_ROOT/history" "$device" "${PLAN[keep_history]}"
    done
}

# Looks at the archives of this device alone: the launchers of other devices delete theirs at the same time.
prune_history() {  # HISTORY DEVICE N: deletes all archives of the device but its N newest, and nothing else
    local path name
    for path in "$1/$2-"*; do
        name=${path##*/}
        [[ ! -d $path || -L $path || ! $name =~ ^[^-]+-[0-9]{8}-[0-9]{6}(-[0-9]+)?$ ]] || printf '%s\n' "$name"
    done | sort -rV | tail -n +"$(($3 + 1))" | while IFS= read -r name; do
        rm -rf -- "${1:?}/${name:?}"
    done
}
