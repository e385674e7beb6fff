"""The numbers under which results of this room are kept."""

from __future__ import annotations

#: Raised whenever the code changes every analysis of unchanged detections; earlier ones are then computed anew.
ANALYSIS_VERSION = 1
#: Raised for one kind of analysis alone: controls need the network again, and are not thrown away for another's sake.
_OF_KIND = {"thresholds": 2, "estimate": 2, "difference": 3, "agreement": 2}


def version_of(kind: str) -> int:
    """The number under which analyses of ``kind`` are kept."""
    return _OF_KIND.get(kind, ANALYSIS_VERSION)
