# shellcheck shell=bash
# From the log of a finished run to its figures: the case log, the file of losses and the Final block.
# launchers/networks/<network>.sh says where the log of a network has each figure; without such a file the log has
# the neutral lines, which neutral_log.sh reads. The globals PLAN and LOGS are explained in launch.sh. read_figures
# sets the global FIGURES:
#   FIGURES      fps (images a second, all ranks together), step_time (seconds), accuracy and test_accuracy (empty without one),
#                losses (one a line), loss (the last of them)
#
# The launchers of the vendors mix units. Here ActualFPS is images a second and TrainingTime is milliseconds a
# step, whatever the network.

awk() {  # reads a decimal point and any byte, whatever the locale of the user
    LC_ALL=C command awk "$@"
}

# The lines of a log as a terminal shows them after progress bars were redrawn. A restarted or resumed run went on from
# a checkpoint, so what the log says of later steps before that is left out: those steps were made again. Checkpoints
# count by their names alone, because the directory may have moved in between.
last_states() {  # LOG
    awk '{
        sub(/[\r\010]+$/, "")
        sub(/^.*[\r\010]/, "")
        if (/^restart [0-9]+ of [0-9]+: / || /^resume at [0-9-]+ [0-9:]+: /) restarted = 1
        if (restarted && /^resumed from checkpoint: /) {
            name = $0
            sub(/.*\//, "", name)
            if (name in saved) n = saved[name]
            restarted = 0
        }
        if (restarted && /^--resume: no checkpoint in /) n = restarted = 0
        lines[++n] = $0
        if (/^checkpoint saved in file: /) {
            name = $0
            sub(/.*\//, "", name)
            saved[name] = n
        }
    }
    END { for (i = 1; i <= n; i++) print lines[i] }' "$1"
}

fields() {  # LOG REGEX N: field N of every line that matches
    last_states "$1" | awk -v regex="$2" -v n="$3" '$0 ~ regex { print $n }'
}

last_field() {  # LOG REGEX N: field N of the last line that matches; empty when none does
    fields "$@" | tail -n 1
}

keras_seconds() {  # DURATION, such as 6us/sample, 53.18ms/step or 6s/step: the same in seconds
    awk -v duration="$1" 'BEGIN {
        scale["us"] = 1e-6; scale["ms"] = 1e-3; scale["s"] = 1
        unit = duration
        sub(/^[0-9.]+/, "", unit)
        sub("/.*", "", unit)
        if (unit in scale) printf "%.8g\n", duration * scale[unit]
    }'
}

product() {  # A B: empty when one of them is
    awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b != "") printf "%.8g\n", a * b }'
}

quotient() {  # A B: empty when it is not defined
    awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b > 0) printf "%.8g\n", a / b }'
}

mean() {  # NUMBER...: a single number is printed unchanged
    awk 'BEGIN {
        if (ARGC == 2) { print ARGV[1]; exit }
        for (i = 1; i < ARGC; i++) sum += ARGV[i]
        printf "%.8g\n", sum / (ARGC - 1)
    }' "$@"
}

source_log_reader() {  # NETWORK: defines read_fps, read_step_time, read_losses, read_accuracy, loss_file
    local own=$REPO_ROOT/launchers/networks/$1.sh
    # shellcheck source=launchers/shell/neutral_log.sh
    source "$REPO_ROOT/launchers/shell/neutral_log.sh"
    # shellcheck source=launchers/networks/cspnet.sh
    [[ ! -e $own ]] || source "$own"
}

case_name() {  # the vendors' CaseName
    source_log_reader "${PLAN[network]}"
    printf '%s\n' "${PLAN[vendor_name]}_bs${PLAN[batch_size]}_${RANK_SIZE}p_${PLAN[case_name]}"
}

report_figures() {  # SECONDS, of the whole training
    local case_name
    source_log_reader "${PLAN[network]}"
    case_name=$(case_name)
    read_figures
    printf '%s\n' "${FIGURES[losses]}" >"${PLAN[run_dir]}/$(loss_file "$case_name")"
    print_case_log "$case_name" "$1" >"${PLAN[run_dir]}/$case_name.log"
    print_npu_notice
    print_final_block "$1"
}

read_figures() {  # the speed comes from the log of every rank on this server, the rest from the first log
    local fps losses
    declare -gA FIGURES=()
    fps=$(read_mean 'images per second' read_fps)
    FIGURES[step_time]=$(read_mean 'the time of a step' read_step_time)
    # The sum over all ranks; the ranks of other servers count as fast as those of this server.
    ((RANK_SIZE == 1)) || fps=$(product "$fps" "$RANK_SIZE")
    losses=$(read_losses "${LOGS[0]}")
    FIGURES[fps]=$fps
    FIGURES[accuracy]=$(read_accuracy "${LOGS[0]}")
    FIGURES[test_accuracy]=$(read_test_accuracy "${LOGS[0]}")
    FIGURES[losses]=$losses
    FIGURES[loss]=${losses##*$'\n'}
    require_number 'the loss' "${FIGURES[loss]}" "${LOGS[0]}"
}

read_mean() {  # NAME READER: the mean over the logs of what READER finds in each
    local log value values=()
    for log in "${LOGS[@]}"; do
        value=$("$2" "$log" "${PLAN[batch_size]}")
        require_number "$1" "$value" "$log"
        values+=("$value")
    done
    mean "${values[@]}"
}

require_number() {  # NAME VALUE LOG
    [[ $2 =~ ^[0-9]+([.][0-9]+)?(e[-+]?[0-9]+)?$ ]] ||
        die 1 "cannot read $1 from $3: found '$2', so there is no case log"
}

print_case_log() {  # CASE_NAME SECONDS
    cat <<CASE
Network = ${PLAN[vendor_name]}
RankSize = $RANK_SIZE
BatchSize = ${PLAN[batch_size]}
DeviceType = $(uname -m)
CaseName = $1
ActualFPS = ${FIGURES[fps]}
TrainingTime = $(product "${FIGURES[step_time]}" 1000)
TrainAccuracy = ${FIGURES[accuracy]:-None}
ActualLoss = ${FIGURES[loss]}
E2ETrainingTime = $2
CASE
}

print_final_block() {  # SECONDS
    cat <<FINAL
------------------ Final result ------------------
Final Performance images/sec : ${FIGURES[fps]}
Final Performance sec/step : ${FIGURES[step_time]}
E2E Training Duration sec : $1
Final Train Accuracy : ${FIGURES[accuracy]:-None}
FINAL
    if [[ -n ${FIGURES[test_accuracy]} ]]; then
        printf 'Final Test Accuracy : %s\n' "${FIGURES[test_accuracy]}"
    fi
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
}
