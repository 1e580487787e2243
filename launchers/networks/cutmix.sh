# shellcheck shell=bash
# How CutMix's log is read.

read_fps() { last_field "$1" '^TimeHistory: ' 4; }

read_step_time() { quotient "$2" "$(read_fps "$1")"; }

loss_file() { echo "train_$1_loss.txt"; }

read_losses() { fields "$1" ' val_loss: ' 6; }

read_accuracy() { last_field "$1" ' val_accuracy: ' 15; }
