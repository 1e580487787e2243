# shellcheck shell=bash
# How AlexNet's log is read. Its accuracies are in percent, and the vendor's figure is the one of the training images. The
# speed in a line is of the steps since the line before; that of the run is in the last line, which the vendor's logs
# do not have.

read_fps() {
    local exact
    exact=$(read_exact_fps "$1")
    echo "${exact:-$(last_field "$1" ' FPS ' 8)}"
}

read_step_time() {
    local exact
    exact=$(read_exact_step_time "$1")
    echo "${exact:-$(last_field "$1" 'step_time ' 6)}"
}

read_losses() { last_states "$1" | awk -F: '/loss :/ { print $3 }'; }

read_accuracy() { last_field "$1" '^train accuracy ' 3; }

read_test_accuracy() { last_field "$1" '^test accuracy ' 3; }
