# shellcheck shell=bash
# Compiles the CPU kernels of core/host/kernels for this machine. Sourcing this file only defines functions.
#
# They are compiled once, into .kernels, and again when the sources, the CPU, the compiler or the Python change. Where
# they cannot be compiled, one line says so and training runs on TensorFlow's own kernels, which are slower. A machine
# with an NPU needs none.

build_kernels() {
    local sources=$REPO_ROOT/core/host/kernels
    [[ -f $sources/requirements.txt ]] || return 0
    [[ -z $(compgen -G '/dev/davinci[0-9]*') ]] || return 0
    set_up "$REPO_ROOT/.kernels" "$(sha256sum < <(
        cat -- "$sources"/*.cc "$sources"/*.h "$sources/requirements.txt"
        cpu_flags
        printf '%s\n' "$PYTHON"
        type -P g++
    ))" fill_kernels "$REPO_ROOT/.kernels" "$sources"
}

cpu_flags() {
    awk '/^flags/ { print; exit }' /proc/cpuinfo
}

fill_kernels() {  # DIR SOURCES
    mkdir -p -- "$1"
    if ! type -P g++; then
        printf 'no g++ on this machine: a CPU trains on the kernels of TensorFlow, which are slower\n' >&4
    elif ! compile_kernels "$1" "$2"; then
        rm -f -- "$1/cpu"
        printf 'the CPU kernels could not be compiled (see %s.log): a CPU trains on the kernels of TensorFlow, which \
are slower; remove %s to try again\n' "$1" "$1" >&4
    fi
}

# The file cpu comes last: it says that the library is whole, and for which CPU.
compile_kernels() {  # DIR SOURCES
    local flags options object source jobs=() job
    flags=$("$PYTHON" -c '
import tensorflow as tf
print(*tf.sysconfig.get_compile_flags())
print(*tf.sysconfig.get_link_flags())' 2>/dev/null) || return
    options=(-std=c++14 -O3 -march=native -fno-math-errno -fno-trapping-math -fopenmp -fPIC -DNDEBUG -w "-I$1/onednn/include")
    read -ra options < <(printf '%s ' "${options[@]}" "${flags%%$'\n'*}"; echo)
    "$PYTHON" -m pip install --quiet --no-deps --prefix "$1/onednn" --requirement "$2/requirements.txt" || return
    for source in "$2"/*.cc; do
        object=$1/$(basename -- "$source" .cc).o
        g++ "${options[@]}" -c "$source" -o "$object" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || return
    done
    read -ra options <<<"${flags#*$'\n'}"
    # shellcheck disable=SC2016
    g++ -shared -fopenmp -o "$1/kernels.so" "$1"/*.o "${options[@]}" "-L$1/onednn/lib" -ldnnl \
        '-Wl,-rpath,$ORIGIN/onednn/lib' || return
    rm -f -- "$1"/*.o
    cpu_flags >"$1/cpu"
}
