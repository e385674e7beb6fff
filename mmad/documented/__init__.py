"""The documented experiment log as data: what its 101 entries print, and how counts compare with theirs."""

from mmad.documented.counts import Comparison, Difference, compare_counts
from mmad.documented.entries import Entry, Figure, Result, entries, entry

__all__ = ["Comparison", "Difference", "Entry", "Figure", "Result", "compare_counts", "entries", "entry"]
