# shellcheck shell=bash
# How SWA's log is read: Keras progress lines that tell the time of a sample.
# The vendor's launcher takes microseconds a sample for a step's; its log has no accuracy.

vendor_name() { echo SWA_ID0252_for_TensorFlow; }

read_sample_time() { keras_seconds "$(last_field "$1" '/sample - loss: ' 5)"; }

read_fps() { quotient 1 "$(read_sample_time "$1")"; }

read_step_time() { product "$(read_sample_time "$1")" "$2"; }

read_losses() { fields "$1" '/sample - loss: ' 8; }

read_accuracy() { last_field "$1" '^Test accuracy: ' 3; }
