# shellcheck shell=bash
# Which error codes of CANN a failed run on an NPU has left, and what they mean. Sourcing this file only defines
# functions. The table of the codes is ascend_errors.tsv; the globals LOGS and PLAN are explained in launch.sh.

explain_ascend_errors() {  # SECONDS since the run started: a line for each code; nothing without one
    local folder=${ASCEND_PROCESS_LOG_PATH:-${HOME:-}/ascend/log} code file files=()
    [[ ${PLAN[npu]} == True ]] || return 0
    if [[ -d $folder ]]; then
        mapfile -d '' files < <(find "$(realpath -- "$folder")" -type f -name '*.log' \
            -newermt "@$(($(date +%s) - $1 - 1))" -print0 | sort -z | without_other_runs)
    fi
    while IFS=$'\t' read -r code file; do
        explain_ascend_error "$code" "$file"
    done < <(find_ascend_errors "${LOGS[@]}" "${files[@]}")
}

# Leaves out the logs, plog-PID_TIME.log and device-PID_TIME.log, of processes that still run: this run's have ended.
without_other_runs() {
    local file
    while IFS= read -r -d '' file; do
        [[ $file =~ /(plog|device)-([0-9]+)_[^/]*$ && -d /proc/${BASH_REMATCH[2]} ]] || printf '%s\0' "$file"
    done
}

# Prints CODE<tab>FILE for each code, where it is found first. A code has six characters, such as EI0006 and E19999;
# logs have it as `EI0006: ...`, `[EI0006]`, `EL0004: [PID: 1] ...`, `E39999[PID: 1] ...` and `ErrorCode=EE1001.`
find_ascend_errors() {  # FILE...
    awk '{
        line = $0
        while (match(line, /E[A-Z0-9][0-9][0-9][0-9][0-9]/)) {
            code = substr(line, RSTART, RLENGTH)
            before = substr(line, 1, RSTART - 1)
            after = substr(line, RSTART + RLENGTH, 1)
            if (before !~ /[A-Za-z0-9_.\/-]$/ && after !~ /[A-Za-z0-9_\/-]/ && !(code in seen)) {
                seen[code] = 1
                print code "\t" FILENAME
            }
            line = substr(line, RSTART + RLENGTH)
        }
    }' "$@"
}

explain_ascend_error() {  # CODE FILE
    local pattern meaning try
    while IFS=$'\t' read -r pattern meaning try _; do
        if [[ $1 =~ ^($pattern)$ ]]; then
            printf 'Ascend error %s: %s; try: %s (in %s)\n' "$1" "$meaning" "$try" "$2"
            return
        fi
    done < <(grep -v '^#' "$REPO_ROOT/launchers/shell/ascend_errors.tsv")
    printf "Ascend error %s: not in this project's table; CANN's error code reference has it (in %s)\n" "$1" "$2"
}
