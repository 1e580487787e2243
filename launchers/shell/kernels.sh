# shellcheck shell=bash
# Compiles the CPU kernels of core/cpu/kernels for this machine. Sourcing this file only defines functions.
#
# They are compiled once, into .kernels, and again when the sources, the CPU or the compiler change.
# KERNEL_ARCHITECTURE (environment) compiles them for another CPU than this one, in the words of g++'s -march. Where
# they cannot be compiled, one line is printed and training runs on TensorFlow's own kernels, which are slower. A machine
# with an NPU needs none.

SLOWER='a CPU trains on the kernels of TensorFlow, which are slower'

# What the last try could not build is not tried again until something changes; .kernels.failed has its key. A library
# that was there before stays in .kernels. It names its sources, and core/cpu/kernels loads none of other sources.
build_kernels() {
    local sources=$REPO_ROOT/core/cpu/kernels kernels=$REPO_ROOT/.kernels key compiler=''
    [[ -f $sources/requirements.txt && -z $(compgen -G '/dev/davinci[0-9]*') ]] || return 0
    key=$({
        names_of_sources "$sources"
        cat -- "$sources/requirements.txt"
        cpu_flags
        printf '%s\n' "${KERNEL_ARCHITECTURE:-}"
        printf 'g++\n'
    } | sha256sum)
    if is_set_up "$kernels" "$key"; then
        [[ ! -e $kernels.failed ]] || rm -f -- "$kernels.failed"
        return
    fi
    type -P g++ >/dev/null || compiler=no
    [[ -w $REPO_ROOT ]] || return 0
    [[ ! -f $kernels.failed || $(<"$kernels.failed") != "$compiler$key" ]] || return 0
    set_up "$kernels" "$key" fill_kernels "$sources" && rm -f -- "$kernels.failed" && return
    printf '%s\n' "$compiler$key" >"$kernels.failed"
}

names_of_sources() {  # DIR: prints the SHA-256 and the name of each C++ file, in one order whatever the language
    (cd -- "$1" && LC_ALL=C && sha256sum -- *.cc *.h)
}

cpu_flags() {
    awk '/^flags/ { print; exit }' /proc/cpuinfo
}

fill_kernels() {  # DIR SOURCES
    mkdir -p -- "$1"
    if ! type -P g++; then
        printf 'no g++ on this machine: %s\n' "$SLOWER" >&4
    elif [[ $(uname -m) != x86_64 ]]; then
        printf 'no oneDNN for %s: %s\n' "$(uname -m)" "$SLOWER" >&4
    elif ! compile_kernels "$1" "$2"; then
        printf 'the CPU kernels could not be compiled (see %s.log): %s; remove %s.failed to try again\n' "${1%.new}" \
            "$SLOWER" "${1%.new}" >&4
    else
        return 0
    fi
    return 1
}

# The files cpu and sources come last: with them the library is whole, and they say what it is for.
compile_kernels() {  # DIR SOURCES
    local options compile_flags link_flags
    compile_flags=$(tensorflow_flags compile) && link_flags=$(tensorflow_flags link) || return
    install_onednn "$1/onednn" "$2/requirements.lock" || return
    mapfile -t options <<<"$compile_flags"
    options+=(-std=c++14 -O3 "-march=${KERNEL_ARCHITECTURE:-native}" -fno-math-errno -fno-trapping-math -fopenmp -fPIC -DNDEBUG -w
        "-I$1/onednn/include")
    # As many at a time as there are cores, because a compiler takes half a gigabyte.
    printf '%s\0' "$2"/*.cc | (cd -- "$1" && xargs -0 -n 1 -P "$(nproc)" g++ "${options[@]}" -c) || return
    mapfile -t options <<<"$link_flags"
    # shellcheck disable=SC2016
    g++ -shared -fopenmp -o "$1/kernels.so" "$1"/*.o "${options[@]}" "-L$1/onednn/lib" -ldnnl \
        '-Wl,-rpath,$ORIGIN/onednn/lib' || return
    rm -f -- "$1"/*.o
    cpu_flags >"$1/cpu"
    names_of_sources "$2" >"$1/sources"
    "$PYTHON" -c 'import sys; del sys.path[0]; import tensorflow; tensorflow.load_op_library(sys.argv[1])' "$1/kernels.so"
}

install_onednn() {  # DIR LOCK: that of the library before, if it is the same, needs no network
    local before=$REPO_ROOT/.kernels/onednn
    if [[ -f $before/lock && $(<"$before/lock") == "$(<"$2")" ]]; then
        cp -a -- "$before" "$1"
    else
        pip_install "$PYTHON" --require-hashes --no-deps --prefix "$1" --requirement "$2" && cp -- "$2" "$1/lock"
    fi
}

tensorflow_flags() {  # compile or link: prints the flags that TensorFlow's own build had, a line each
    "$PYTHON" -c '
import sys
del sys.path[0]
import tensorflow as tf
print(*getattr(tf.sysconfig, "get_%s_flags" % sys.argv[1])(), sep="\n")' "$1" 2>/dev/null
}
