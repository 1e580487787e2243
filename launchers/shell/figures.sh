# shellcheck shell=bash
# From a finished run's log to its figures: the losses' file, the case log, the Final block.
# launchers/networks/<network>.sh says where a network's log has them. Functions only.
#
# The vendors' launchers mix units; here ActualFPS is images a second and TrainingTime is
# milliseconds a step, for every network.

awk() {  # with the decimal point and the bytes of a log as they are, whatever the user's locale
    LC_ALL=C command awk "$@"
}

last_states() {  # LOG: its lines as a terminal leaves them, after progress bars redrew themselves
    awk '{ sub(/[\r\010]+$/, ""); sub(/^.*[\r\010]/, ""); print }' "$1"
}

fields() {  # LOG REGEX N: field N of every matching line
    last_states "$1" | awk -v regex="$2" -v n="$3" '$0 ~ regex { print $n }'
}

last_field() {  # LOG REGEX N: field N of the last matching line, empty without one
    fields "$@" | tail -n 1
}

keras_seconds() {  # DURATION: 6us/sample, 53.18ms/step or 6s/step in seconds
    awk -v duration="$1" 'BEGIN {
        scale["us"] = 1e-6; scale["ms"] = 1e-3; scale["s"] = 1
        unit = duration
        sub(/^[0-9.]+/, "", unit)
        sub("/.*", "", unit)
        if (unit in scale) printf "%.8g\n", duration * scale[unit]
    }'
}

product() {  # A B
    awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b != "") printf "%.8g\n", a * b }'
}

quotient() {  # A B: empty where it is not defined
    awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b > 0) printf "%.8g\n", a / b }'
}

mean() {  # NUMBER...: a single one as it is
    awk 'BEGIN {
        if (ARGC == 2) { print ARGV[1]; exit }
        for (i = 1; i < ARGC; i++) sum += ARGV[i]
        printf "%.8g\n", sum / (ARGC - 1)
    }' "$@"
}

report_figures() {  # SECONDS LOG...: of the run that the array plan describes, a log for each rank
    # the functions below see these names, as bash's do their caller's
    # shellcheck disable=SC2154  # plan is common.sh's
    local seconds=$1 log=$2 logs=("${@:2}") batch_size=${plan[batch_size]} run_dir=${plan[run_dir]}
    local case_name fps step_time accuracy losses loss
    # shellcheck source=launchers/networks/cspnet.sh
    source "$REPO_ROOT/launchers/networks/${plan[network]}.sh"
    case_name=$(vendor_name)_bs${batch_size}_${RANK_SIZE}p_${plan[case_name]}
    read_figures
    printf '%s\n' "$losses" >"$run_dir/${case_name}_loss.txt"
    print_case_log >"$run_dir/$case_name.log"
    print_npu_notice
    print_final_block
}

read_figures() {  # speed from every rank, the rest from the first one
    fps=$(read_mean 'images per second' read_fps)
    step_time=$(read_mean 'the time of a step' read_step_time)
    # the sum over the ranks, those of other servers taken to be as fast as these
    ((RANK_SIZE == 1)) || fps=$(product "$fps" "$RANK_SIZE")
    accuracy=$(read_accuracy "$log")
    losses=$(read_losses "$log")
    loss=${losses##*$'\n'}
    require_number 'the loss' "$loss"
}

read_mean() {  # NAME READ: the mean of what READ finds in the ranks' logs
    local log value values=()
    for log in "${logs[@]}"; do
        value=$("$2" "$log" "$batch_size")
        require_number "$1" "$value"
        values+=("$value")
    done
    mean "${values[@]}"
}

require_number() {  # NAME VALUE
    [[ $2 =~ ^[0-9]+([.][0-9]+)?(e[-+]?[0-9]+)?$ ]] ||
        die 1 "cannot read $1 from $log: found '$2', so there is no case log"
}

print_case_log() {
    cat <<CASE
Network = $(vendor_name)
RankSize = $RANK_SIZE
BatchSize = $batch_size
DeviceType = $(uname -m)
CaseName = $case_name
ActualFPS = $fps
TrainingTime = $(product "$step_time" 1000)
TrainAccuracy = ${accuracy:-None}
ActualLoss = $loss
E2ETrainingTime = $seconds
CASE
}

print_final_block() {
    cat <<FINAL
------------------ Final result ------------------
Final Performance images/sec : $fps
Final Performance sec/step : $step_time
E2E Training Duration sec : $seconds
Final Train Accuracy : ${accuracy:-None}
FINAL
}

print_npu_notice() {
    local kind=ERROR text
    text="your task haven't used Ascend NPU, please check your npu Migration."
    if grep -q 'The model has been compiled on the Ascend AI processor' "$log"; then
        kind=INFO
        text='your task have used Ascend NPU, please check your result.'
    fi
    printf -- '------------------ %s NOTICE START ------------------\n' "$kind"
    printf '%s, %s\n' "$kind" "$text"
    printf -- '------------------ %s NOTICE END------------------\n' "$kind"
}
