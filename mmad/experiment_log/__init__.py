"""The documented experiment log as data: what its 101 entries print, and how counts compare with theirs."""

from mmad.experiment_log.shipped import (
    CountComparison,
    CountDifference,
    DocumentedEntry,
    DocumentedFigure,
    DocumentedResult,
    compare_counts,
    entries,
    entry,
)

__all__ = [
    "CountComparison",
    "CountDifference",
    "DocumentedEntry",
    "DocumentedFigure",
    "DocumentedResult",
    "compare_counts",
    "entries",
    "entry",
]
