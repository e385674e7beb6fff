"""The findings of REFLACX: which names its phases use, and which of phase 1 became others in phases 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence

from mmad.base.errors import DataError
from mmad.data.names import no_such, one_of

PHASES = (1, 2, 3)
#: Findings a reader of phase 1 could draw, in the order of the files.
PHASE_1 = (
    "Airway wall thickening",
    "Atelectasis",
    "Consolidation",
    "Emphysema",
    "Enlarged cardiac silhouette",
    "Fibrosis",
    "Fracture",
    "Groundglass opacity",
    "Mass",
    "Nodule",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary edema",
    "Wide mediastinum",
)
#: The same of phases 2 and 3.
PHASES_2_3 = (
    "Abnormal mediastinal contour",
    "Acute fracture",
    "Atelectasis",
    "Consolidation",
    "Enlarged cardiac silhouette",
    "Enlarged hilum",
    "Groundglass opacity",
    "Hiatal hernia",
    "High lung volume / emphysema",
    "Interstitial lung disease",
    "Lung nodule or mass",
    "Pleural abnormality",
    "Pneumothorax",
    "Pulmonary edema",
)
#: Names of phase 1 and what they are called here. The first five are the documented log's; it left the last three
#: apart, which touches none of its five findings.
MERGED = {
    "Emphysema": "High lung volume / emphysema",
    "Mass": "Lung nodule or mass",
    "Nodule": "Lung nodule or mass",
    "Pleural effusion": "Pleural abnormality",
    "Pleural thickening": "Pleural abnormality",
    "Fracture": "Acute fracture",
    "Fibrosis": "Interstitial lung disease",
    "Wide mediastinum": "Abnormal mediastinal contour",
}
#: Columns of the files that are no findings with a place: nothing was drawn for them.
NEVER_DRAWN = ("Other", "Quality issue", "Support devices")
#: Every label a data set can have.
KNOWN = tuple(sorted({MERGED.get(name, name) for name in (*PHASE_1, *PHASES_2_3)}))


def check_labels(wanted: Sequence[str]) -> tuple[str, ...]:
    """``wanted`` without repetition. Raises DataError for a name that no label has, telling what it is part of."""
    if not wanted:
        raise DataError("names no label", where="--labels", mend=one_of(KNOWN))
    for name in wanted:
        if name in MERGED:
            raise DataError(f"{name!r} is part of {MERGED[name]!r}", where="--labels", mend="ask for that")
        if name in NEVER_DRAWN:
            raise DataError(f"nothing was drawn for {name!r}", where="--labels", mend="leave it out")
        if name not in KNOWN:
            raise DataError(no_such("label", name, KNOWN), where="--labels", mend=f"use some of {', '.join(KNOWN)}")
    return tuple(dict.fromkeys(wanted))


def columns_of(phase: int, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The columns of the files of ``phase`` that make up ``labels``: pairs of (column, label)."""
    pairs = ((name, MERGED.get(name, name)) for name in (PHASE_1 if phase == 1 else PHASES_2_3))
    return tuple((name, label) for name, label in pairs if label in labels)
