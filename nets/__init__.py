"""The networks, one file per paper: pure functions from images to logits."""
