"""One run: losses, schedules, loop, checkpoints."""

from mmad.training.trainer import TrainingOutcome, train

__all__ = ["TrainingOutcome", "train"]
