# shellcheck shell=bash
# Fills directories such as .venv and .kernels once. Sourcing this file only defines functions.

is_set_up() {  # DIR KEY
    [[ -f $1/.complete && $(<"$1/.complete") == "$2" ]]
}

# Has COMMAND fill DIR once for each KEY. COMMAND gets the directory to fill, DIR.new, which takes the name DIR when it
# is whole; until then what was there before stays. Other processes that want DIR wait. What COMMAND prints goes to
# DIR.log; file descriptor 4 leads to the user. The status is COMMAND's, but exit in COMMAND ends the caller.
set_up() {  # DIR KEY COMMAND [ARGUMENT...]
    local dir=$1 key=$2 status=0
    is_set_up "$dir" "$key" && return
    check_lock "$dir.lock"
    printf 'setting up %s: once, a minute or two\n' "$dir" >&2
    (
        flock 9
        [[ -e $dir || ! -e $dir.old ]] || mv -- "$dir.old" "$dir"  # a set-up was killed between its last two steps
        is_set_up "$dir" "$key" && exit  # another process has done it in the meantime
        rm -rf -- "${dir:?}.new"
        show_life "$dir" &
        life=$!
        trap 'kill "$life" 2>/dev/null || true' EXIT
        "$3" "$dir.new" "${@:4}" 4>&2 >"$dir.log" 2>&1 || exit "$RETURNED"
        printf '%s\n' "$key" >"$dir.new/.complete"
        name_finally "$dir.new" "$dir"
    ) 9<>"$dir.lock" || status=$?
    ((status == 0 || status == RETURNED)) || exit "$status"
    return "$status"
}

# Bash cannot refuse a link in the call that opens a file. Whoever could put one there in between could change this file,
# too. `<>` does not wait at a FIFO.
check_lock() {  # PATH
    [[ ! -L $1 && (! -e $1 || -f $1) ]] || die 1 "$1: is no plain file, so it cannot be locked; remove it"
}

must_set_up() {  # the same; exits when COMMAND fails
    set_up "$@" && return
    tail -n 10 -- "$1.log" >&2
    die 1 "setting up $1 failed: the lines above end its log, $1.log; what was there is as before"
}

RETURNED=9  # the status of set_up when COMMAND has returned a status; any other one is COMMAND's own exit

name_finally() {  # NEW DIR: NEW becomes DIR
    local file
    while IFS= read -r -d '' file; do  # scripts of a venv have its path in their first line
        replace_in "$file" "$1" "$2"
    done < <(grep -rlIFZ -- "$1" "$1/bin" 2>/dev/null)
    rm -rf -- "${2:?}.old"
    [[ ! -e $2 ]] || mv -- "$2" "$2.old"
    mv -- "$1" "$2"
    rm -rf -- "${2:?}.old"
}

replace_in() {  # FILE OLD NEW
    local text
    text=$(<"$1")
    printf '%s\n' "${text//"$2"/"$3"}" >"$1"
}

# A sign of life: on a terminal the seconds and the last line of the log, elsewhere a line every half minute.
show_life() {  # DIR
    local launcher=$$ line
    SECONDS=0
    while sleep 1 2>/dev/null && kill -0 "$launcher" 2>/dev/null; do
        line=$(tail -n 1 -- "$1.log" 2>/dev/null)
        if [[ -t 2 ]]; then
            printf '\r\e[2K%3d s  %.60s\r' "$SECONDS" "$line" >&2
        elif ((SECONDS % 30 == 0)); then
            printf 'still setting up %s: %d s\n' "$1" "$SECONDS" >&2
        fi
    done
}
