# shellcheck shell=bash
# How CSPNet's log is read.

vendor_name() { echo CSPNet_ID0840_for_TensorFlow; }

read_fps() { last_field "$1" '^FPS = ' 3; }

read_step_time() { last_field "$1" '^StepTime = ' 3; }

read_losses() { fields "$1" 'Loss:' 7; }

read_accuracy() { last_field "$1" '^Validation accuracy: ' 3; }
