# shellcheck shell=bash
# How AlexNet's log is read. Its accuracies are in percent.

vendor_name() { echo AlexNet_ID0259_for_TensorFlow; }

read_fps() { last_field "$1" ' FPS ' 8; }

read_step_time() { last_field "$1" 'step_time ' 6; }

read_losses() { last_states "$1" | awk -F: '/loss :/ { print $3 }'; }

read_accuracy() { last_field "$1" '^test accuracy ' 3; }
