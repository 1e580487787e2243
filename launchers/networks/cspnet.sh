# shellcheck shell=bash
# How CSPNet's log is read.

read_fps() { last_field "$1" '^FPS = ' 3; }

read_step_time() { last_field "$1" '^StepTime = ' 3; }

read_losses() { fields "$1" 'Loss:' 7; }

read_accuracy() { last_field "$1" '^Validation accuracy: ' 3; }
