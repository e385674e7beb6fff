"""One run: losses, schedules, loop, checkpoints."""
