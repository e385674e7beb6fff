"""The frozen records that cross the borders of rooms.

Boxes are ``(xmin, ymin, xmax, ymax)`` in pixels of the ORIGINAL image, origin top left. Labels are
integers from 1 (0 is the background), in the order of the data set's ``labels``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Status = Literal["queued", "claimed", "running", "finished", "failed", "interrupted", "stopped"]
#: The statuses of a run that somebody holds.
HELD: tuple[Status, ...] = ("claimed", "running")
CheckpointKind = Literal["best_ap", "best_ar", "final", "last"]
#: The kinds of checkpoints that a finished run keeps, and what they are called.
KEPT_KINDS: tuple[CheckpointKind, ...] = ("best_ap", "best_ar", "final")
KIND_WORDS: Mapping[str, str] = {"best_ap": "best AP", "best_ar": "best AR", "final": "final"}
#: The four components every detector reports, in the log's order of the loss dictionary.
LOSS_COMPONENTS: tuple[str, ...] = (
    "loss_classifier",
    "loss_box_reg",
    "loss_objectness",
    "loss_rpn_box_reg",
)


#: Hears how far something long is: how much of how much is done.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClinicalColumns:
    """Which clinical columns a detector reads: names of numbers, and of categories with their values."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[tuple[str, tuple[str, ...]], ...] = ()


#: The documented experiment log's columns: nine numbers and gender.
DOCUMENTED_COLUMNS = ClinicalColumns(
    numeric=(
        "age",
        "temperature",
        "heartrate",
        "resprate",
        "o2sat",
        "sbp",
        "dbp",
        "pain",
        "acuity",
    ),
    categorical=(("gender", ("F", "M")),),
)
DOCUMENTED_LABELS: tuple[str, ...] = (
    "Enlarged cardiac silhouette",
    "Atelectasis",
    "Pleural abnormality",
    "Consolidation",
    "Pulmonary edema",
)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated boxes of one split.

    ``study`` holds, per box, the position of its study in ``studies``. ``patients`` is parallel to
    ``studies``. Studies without boxes are listed too. ``ignore`` marks boxes that neither count nor
    punish (COCO's crowd). ``extent`` holds width and height of every study's image in pixels, where it is known.
    """

    studies: tuple[str, ...]
    patients: tuple[str, ...]
    categories: tuple[str, ...]
    study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels: NDArray[np.int64]  # (M,)
    ignore: NDArray[np.bool_] | None = None  # (M,)
    extent: NDArray[np.float64] | None = None  # (I, 2)


@dataclass(frozen=True, eq=False)
class Masks:
    """Outlines of detections, each on a grid of ``side`` × ``side`` cells that spans its whole image.

    ``runs`` are COCO's compressed run lengths (column by column), one per detection; ``extent`` holds width and
    height of every study's original image in pixels.
    """

    side: int
    extent: NDArray[np.float64]  # (I, 2)
    runs: tuple[bytes, ...]

    def take(self, rows: NDArray[Any]) -> Masks:
        """The masks at ``rows``, positions or flags."""
        import numpy as np

        return Masks(self.side, self.extent, tuple(self.runs[i] for i in np.arange(len(self.runs))[rows]))


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one split; ``study`` indexes ``studies``. Scores lie in [0, 1].

    ``masks`` is there for detectors with a mask head.
    """

    studies: tuple[str, ...]
    study: NDArray[np.int64]  # (N,)
    boxes: NDArray[np.float64]  # (N, 4)
    scores: NDArray[np.float64]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    masks: Masks | None = None


@dataclass(frozen=True, slots=True)  # a report holds millions
class Metric:
    """One measured number of one epoch.

    ``name`` is ``loss``, a loss component, or ``ap_iou``, ``ar_iou``, ``ap_iobb``, ``ar_iobb``;
    with a mask head also ``ap_mask_iou`` and so on.
    """

    split: Split
    name: str
    value: float


@dataclass(frozen=True)
class EpochRecord:
    """One committed epoch. ``epoch`` counts from 1; ``seconds`` is wall time of training and evaluation;
    ``peak_memory`` is in bytes (memory of the GPU, or resident set on the CPU)."""

    epoch: int
    lr: float
    seconds: float
    peak_memory: int
    metrics: tuple[Metric, ...]

    def value(self, split: Split, name: str) -> float | None:
        """The metric ``name`` of ``split``, or None when it was not measured."""
        return next((m.value for m in self.metrics if m.split == split and m.name == name), None)


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint file of a run; ``path`` is relative to the run's folder, ``created`` is UTC."""

    kind: CheckpointKind
    epoch: int
    path: str
    sha256: str
    size: int
    created: datetime


@dataclass(frozen=True)
class EvaluationRecord:
    """AP/AR of one checkpoint on one split under one evaluation protocol.

    ``per_class`` holds (label name, AP, AR). ``detections`` is the path of the stored detections, relative
    to the run's folder.
    """

    kind: CheckpointKind
    epoch: int
    split: Split
    overlap: str
    threshold: float
    max_detections: int
    proposals: str
    ap: float
    ar: float
    per_class: tuple[tuple[str, float | None, float | None], ...] = ()
    detections: str | None = None

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol as a member records what it asks for."""
        return {name: getattr(self, name) for name in ("overlap", "threshold", "max_detections", "proposals")}


@dataclass(frozen=True)
class EnvironmentRecord:
    """Where and with what a run (or a part of it, after an interruption) was trained.

    ``versions`` are those of the packages that decide bits, the instructions that torch uses of the CPU as ``cpu`` and,
    of a run on a GPU, its model as ``gpu``, its ``driver``, ``cudnn`` and how it computes ``float32``.
    """

    started: datetime
    host: str
    platform: str
    python: str
    versions: Mapping[str, str]
    device: str
    threads: int
    git_commit: str | None
    git_dirty: bool | None
    command: str
    from_epoch: int


def differing_versions(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What two environments name in another version, such as ``torch 2.6.0 / 2.7.1, cpu AVX2 / AVX512``, or nothing.

    mmad's own version does not count: what changes its results raises the recipe. One on a GPU and one without differ,
    and so do two layouts, of which only channels last is recorded.
    """
    sides = [dict(side) for side in (before, after)]
    if before and after:
        for side in sides:
            if any("layout" in one for one in sides):
                side.setdefault("layout", "channels_first")
            if any("gpu" in one for one in sides) and "cudnn" not in side:  # a GPU recorded without its model has one
                side.setdefault("gpu", "none")
    first, second = sides
    shared = [name for name in first if name in second and name != "mmad"]
    return ", ".join(f"{name} {first[name]} / {second[name]}" for name in shared if first[name] != second[name])


@dataclass(frozen=True)
class ParameterCount:
    """Trainable and fixed parameters of one module; ``module`` is ``model`` or ``model.backbone`` …"""

    module: str
    count: int


@dataclass(frozen=True)
class RunRecord:
    """One row of the store's runs. ``setup`` and ``protocol`` are plain JSON, idle fields included.

    ``content`` is the hash of all that decides the result: the key, but for runs from before keys left out idle
    fields, and None for one of these whose content another has too.
    ``attempts`` counts how often it was claimed; ``device`` is where it was trained last; ``replacement`` is the key
    of the run that is trained in its place, whose batches fit into the memory.
    """

    key: str
    status: Status
    setup: Mapping[str, Any]
    protocol: Mapping[str, Any]
    dataset_name: str
    dataset_path: str
    dataset_fingerprint: str
    recipe: int
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    error: str | None = None
    epochs_done: int = 0
    priority: int = 0
    attempts: int = 0
    device: str | None = None
    stop_asked: bool = False
    replacement: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class MemberRecord:
    """One row of the store's members: what a user asked for, and the run that answers it.

    ``own`` holds the fields of the setup that are idle in the run and have another value here than there.
    """

    ablation: str
    setting: str
    arm: str
    seed: int
    replicate: int
    key: str
    position: int
    documented: str | None
    evaluation: Mapping[str, Any]
    inferred: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """``ablation/setting/arm/seed``, with the replicate's number from the second on."""
        path = f"{self.ablation}/{self.setting}/{self.arm}/{self.seed}"
        return path if self.replicate == 1 else f"{path}/{self.replicate}"

    def setup(self, run: RunRecord) -> dict[str, Any]:
        """The setup that was asked for: that of ``run``, which answers it, with the member's own idle fields."""
        return {**run.setup, **self.own}


@dataclass(frozen=True)
class RegistrationRecord:
    """A hypothesis as it was registered; ``content`` is plain JSON with this SHA-256, None where it was withdrawn."""

    content: Mapping[str, Any] | None
    sha256: str
    created: datetime


@dataclass(frozen=True)
class AblationRecord:
    """One row of the store's ablations; ``compare`` holds pairs (reference arm, other arm).

    ``registrations`` are the hypotheses that its file declared, oldest first, also of a variant.
    """

    name: str
    title: str
    description: str
    path: str
    source: str
    compare: tuple[tuple[str, str], ...]
    members: tuple[MemberRecord, ...] = field(default_factory=tuple)
    registrations: tuple[RegistrationRecord, ...] = ()


@dataclass(frozen=True)
class AnalysisRecord:
    """One row of the store's analyses: a result computed from stored detections, and all that decides it.

    ``kind`` is ``estimate``, ``difference``, ``thresholds``, ``precision``, ``coco``, ``masks``, ``agreement``,
    ``diagnosis``, ``cohort``, ``flow``, ``figure``, ``section``, ``control``, ``note`` or ``registration``; ``key`` the
    SHA-256 of the canonical JSON of kind and ``subject``; ``subject`` and ``value`` are plain JSON.
    """

    kind: str
    key: str
    subject: Mapping[str, Any]
    value: Mapping[str, Any]
    created: datetime


@dataclass(frozen=True)
class Progress:
    """How far a running training is inside its epoch, for live views only (never stored)."""

    key: str
    epoch: int
    epochs: int
    phase: Literal["load", "train", "val", "test"]
    step: int
    steps: int
    loss: float | None = None
    type: Literal["progress"] = field(default="progress", kw_only=True)  # among a worker's messages
