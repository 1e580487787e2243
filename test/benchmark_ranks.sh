#!/usr/bin/env bash
# Images per second of one rank on one core, and of several with a core each, and what part of
# the ideal gain that is: bash test/benchmark_ranks.sh [RANKS [trainer flag...]].
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # where sh has started it
set -euo pipefail
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=launchers/shell/python.sh
source "$here/../launchers/shell/python.sh"

images_per_second() {  # RANKS FLAG...: the launcher gives each rank an even share of the cores
    local bind
    bind=$(IFS=,; echo "${cores[*]:0:$1}")
    taskset -c "$bind" bash "$here/train_performance_8p.sh" --rank_size="$1" --train_steps=25 \
        --output_path="$output" "${@:2}" >"$output.log" 2>&1 || die 1 "$(<"$output.log")"
    awk '/^Final Performance images\/sec/ { print $NF }' "$output.log"
}

ranks=${1:-2}
shift $(($# > 0))
find_python
export PYTHON
read -ra cores < <("$PYTHON" -c 'import os; print(*sorted(os.sched_getaffinity(0)))')
((ranks <= ${#cores[@]})) || die 2 "$ranks ranks: there are ${#cores[@]} cores, and each needs one"
output=$(mktemp -d)
trap 'rm -rf -- "$output" "$output.log"' EXIT
for n in 1 "$ranks"; do
    fps[n]=$(images_per_second "$n" "$@")
    printf '%d rank(s), a core each: %s images/s\n' "$n" "${fps[n]}"
done
awk -v one="${fps[1]}" -v all="${fps[ranks]}" -v ranks="$ranks" \
    'BEGIN { printf "efficiency: %.3f\n", all / (ranks * one) }'
