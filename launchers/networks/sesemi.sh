# shellcheck shell=bash
# How SESEMI's log is read: the losses are in Keras progress lines, which tell the time of a step in whole milliseconds
# or seconds; the last line of the log tells it exactly. The vendor's launcher misses the accuracy.

read_step_time() {
    local exact
    exact=$(read_exact_step_time "$1")
    echo "${exact:-$(keras_seconds "$(last_field "$1" '/step - loss: ' 5)")}"
}

read_fps() { quotient "$2" "$(read_step_time "$1")"; }

loss_file() { echo "train_$1_loss.txt"; }

read_losses() { fields "$1" '/step - loss: ' 8; }

read_accuracy() {
    last_states "$1" | awk '/^classification error rate: / { error = $4 }
        END { if (error != "") printf "%.4f\n", 1 - error }'
}
