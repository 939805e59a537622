"""Checkpoints of the source projects, in and out: names and shapes of tensors, nothing else."""
