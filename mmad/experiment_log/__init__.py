"""The documented experiment log as data: what its entries print, and how counts compare with theirs."""

from mmad.experiment_log.model import Checkpoint, LogEntry, LogFigure
from mmad.experiment_log.shipped import (
    CountComparison,
    CountDifference,
    compare_counts,
    entries,
    entry,
    later_entries,
    setup_of,
)

__all__ = [
    "Checkpoint",
    "CountComparison",
    "CountDifference",
    "LogEntry",
    "LogFigure",
    "compare_counts",
    "entries",
    "entry",
    "later_entries",
    "setup_of",
]
