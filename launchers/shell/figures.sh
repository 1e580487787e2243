# shellcheck shell=bash
# From the figures of a finished run, which the trainer wrote as data (core/reporting/report.py), to the case log, the
# file of losses and the Final block. The globals PLAN and LOGS are explained in launch.sh. read_figures sets the
# global FIGURES: the keys of the trainer's file.
#
# The launchers of the vendors mix units. Here ActualFPS is images a second and TrainingTime is milliseconds a
# step, whatever the network.

awk() {  # reads a decimal point and any byte, whatever the locale of the user
    LC_ALL=C command awk "$@"
}

case_name() {  # the vendors' CaseName
    printf '%s\n' "${PLAN[vendor_name]}_bs${PLAN[batch_size]}_${RANK_SIZE}p_${PLAN[case_name]}"
}

report_figures() {  # SECONDS, of the whole training
    local case_name figures=${LOGS[0]%/*}/report
    case_name=$(case_name)
    read_figures "$figures/figures"
    cut -d ' ' -f 2- <"$figures/losses" >"${PLAN[run_dir]}/${PLAN[loss_prefix]}${case_name}_loss.txt"
    print_case_log "$case_name" "$1" >"${PLAN[run_dir]}/$case_name.log"
    print_npu_notice
    print_final_block "$1"
    print_results
}

read_figures() {  # FILE, of lines key=value
    local line
    declare -gA FIGURES=()
    [[ -f $1 ]] || die 1 "$1: the trainer has left no figures, so there is no case log"
    while IFS= read -r line; do
        FIGURES["${line%%=*}"]=${line#*=}
    done <"$1"
}

milliseconds() {  # SECONDS
    awk -v seconds="$1" 'BEGIN { printf "%.8g\n", seconds * 1000 }'
}

print_case_log() {  # CASE_NAME SECONDS
    cat <<CASE
Network = ${PLAN[vendor_name]}
RankSize = $RANK_SIZE
BatchSize = ${PLAN[batch_size]}
DeviceType = $(uname -m)
CaseName = $1
ActualFPS = ${FIGURES[images_per_second]}
TrainingTime = $(milliseconds "${FIGURES[seconds_per_step]}")
TrainAccuracy = ${FIGURES[accuracy]:-None}
ActualLoss = ${FIGURES[loss]}
E2ETrainingTime = $2
CASE
    [[ ${PLAN[npu]:-} != True ]] || printf 'CompileTime = %s\n' "${FIGURES[first_step_seconds]}"
}

print_final_block() {  # SECONDS
    cat <<FINAL
------------------ Final result ------------------
Final Performance images/sec : ${FIGURES[images_per_second]}
Final Performance sec/step : ${FIGURES[seconds_per_step]}
E2E Training Duration sec : $1
Final Train Accuracy : ${FIGURES[accuracy]:-None}
FINAL
    if [[ -n ${FIGURES[test_accuracy]} ]]; then
        printf 'Final Test Accuracy : %s\n' "${FIGURES[test_accuracy]}"
    fi
}

print_results() {  # what the figures are, and where the rest is
    local directories directory next
    [[ -z ${FIGURES[accuracy]} ]] || printf 'The accuracy is %s\n' "${FIGURES[accuracy_is]}"
    printf 'Report: %s\n' "${PLAN[run_dir]}/report.html"
    [[ ! -d ${PLAN[ckpt_dir]} ]] || printf 'Checkpoints: %s\n' "${PLAN[ckpt_dir]}"  # rank 0 alone has them
    IFS='|' read -ra directories <<<"${PLAN[directories]}"
    for directory in "${directories[@]}"; do
        printf 'Dumps, profiles or tuning: %s\n' "$directory"
        cat -- "$directory"/summary_*.txt 2>/dev/null || true
    done
    printf -v next '%q ' "--network=${PLAN[network]}" ${PLAN[data_path]:+"--data_path=${PLAN[data_path]}"}
    printf 'Next: python3 -m launchers evaluate %s%q\n' "$next" "--ckpt_path=${PLAN[ckpt_dir]}"
}

print_npu_notice() {
    local kind=ERROR text
    text="your task haven't used Ascend NPU, please check your npu Migration."
    if grep -q 'The model has been compiled on the Ascend AI processor' "${LOGS[0]}"; then
        kind=INFO
        text='your task have used Ascend NPU, please check your result.'
    fi
    printf -- '------------------ %s NOTICE START ------------------\n' "$kind"
    printf '%s, %s\n' "$kind" "$text"
    printf -- '------------------ %s NOTICE END------------------\n' "$kind"
    if [[ ${PLAN[npu]} != True ]]; then
        printf 'Trained on %s: without an NPU the notice above is no failure\n' "${PLAN[device]}"
    fi
}
