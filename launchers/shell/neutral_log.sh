# shellcheck shell=bash
# How the log of a network without a file of its own is read: the lines of core/reporting/neutral_log.py. The file of a
# network defines those of these functions anew that are different for its log.

read_fps() { read_exact_fps "$1"; }

read_exact_fps() { read_word "$1" '^end: ' images_per_second; }

read_step_time() { read_exact_step_time "$1"; }

read_exact_step_time() { read_word "$1" '^end: ' seconds_per_step; }

read_losses() { read_words "$1" '^step [0-9]+ of ' loss; }

read_accuracy() { read_word "$1" '^test after epoch ' accuracy; }

read_test_accuracy() { :; }  # beside read_accuracy, where that is of the training images

loss_file() { echo "$1_loss.txt"; }  # CASE_NAME

read_word() {  # LOG REGEX NAME: what follows the word NAME in the last line that matches
    read_words "$@" | tail -n 1
}

read_words() {  # LOG REGEX NAME: what follows the word NAME in each line that matches
    last_states "$1" | awk -v regex="$2" -v name="$3" '
        $0 ~ regex { for (n = 1; n < NF; n++) if ($n == name) { print $(n + 1); next } }'
}
