"""The number under which results of this room are kept."""

from __future__ import annotations

#: Raised whenever the code changes an analysis of unchanged detections; earlier ones are then computed anew.
ANALYSIS_VERSION = 1
