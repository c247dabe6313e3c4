"""The training loop: steps, schedule, checkpoints, and the fused operations that it uses."""
