# shellcheck shell=bash
# How SESEMI's log is read: Keras progress lines that tell the time of a step.
# The vendor's launcher divides by whole seconds and misses the accuracy.

vendor_name() { echo SESEMI_ID1270_for_TensorFlow; }

read_step_time() { keras_seconds "$(last_field "$1" '/step - loss: ' 5)"; }

read_fps() { quotient "$2" "$(read_step_time "$1")"; }

read_losses() { fields "$1" '/step - loss: ' 8; }

read_accuracy() {
    last_states "$1" | awk '/^classification error rate: / { error = $4 }
        END { if (error != "") printf "%.4f\n", 1 - error }'
}
