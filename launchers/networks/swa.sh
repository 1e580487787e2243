# shellcheck shell=bash
# How SWA's log is read: the losses are in Keras progress lines, which tell the time of a sample in whole microseconds;
# the last line of the log tells the exact time of a step. The vendor's logs have neither that line nor an accuracy.

read_step_time() {
    local exact
    exact=$(read_exact_step_time "$1")
    echo "${exact:-$(product "$(keras_seconds "$(last_field "$1" '/sample - loss: ' 5)")" "$2")}"
}

read_fps() { quotient "$2" "$(read_step_time "$@")"; }

read_losses() { fields "$1" '/sample - loss: ' 8; }

read_accuracy() { last_field "$1" '^Test accuracy: ' 3; }
