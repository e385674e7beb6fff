"""One run: losses, schedules, loop, checkpoints."""

from mmad.training.trainer import Outcome, train

__all__ = ["Outcome", "train"]
