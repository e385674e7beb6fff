"""The published table of MDF-Net, ``published.json``: which run and checkpoint each row shows, and what lifts it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from mmad.base.records import CheckpointKind
from mmad.config.protocol import Overlap, Proposals
from mmad.experiment_log.model import FrozenDict, FrozenRecord


class PublishedRow(FrozenRecord):
    """One arm: test AP and AR in [0, 1] of the documented entry ``run`` at ``checkpoint``, and of each finding.

    ``checkpoint`` is whichever of the run's kept ones has the higher test AP; ``mask`` says whether it has a mask head.
    """

    arm: str
    run: str
    checkpoint: CheckpointKind
    epoch: int
    ap: float
    ar: float
    mask: bool
    findings: FrozenDict[tuple[float, float]]


class FeatureRow(FrozenRecord):
    """AP and AR in [0, 1] of the network that reads the clinical ``columns``, with spaces between their names."""

    columns: str
    ap: float
    ar: float


class PublishedTable(FrozenRecord):
    """The table, the protocol it was measured under, and what beside the clinical data sets its rows apart."""

    source: str
    overlap: Overlap
    threshold: float
    max_detections: int
    score_threshold: float
    proposals: Proposals
    rows: tuple[PublishedRow, ...]
    what_lifts_it: tuple[str, ...]
    clinical_features: tuple[FeatureRow, ...]


@cache
def published_table() -> PublishedTable:
    """The table; read once."""
    text = files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    return PublishedTable.model_validate_json(text)
