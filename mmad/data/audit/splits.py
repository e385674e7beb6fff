"""The splits: what each holds, who stands in two of them, and which labels one of them lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmad.base.records import SPLITS
from mmad.data.audit.findings import Finding, LabelCount, Level, SplitCount, finding
from mmad.data.audit.leaks import missing_of
from mmad.data.dataset import BOXES, STUDIES, DataSet

#: A split with fewer boxes of a label says little about it.
FEWEST_BOXES = 5
#: Boxes below the first share of the image's area are small, from the second on large.
SMALL, LARGE = 0.01, 0.10
#: What nothing can be trained without, and what for.
_NEEDED = {"train": "learn from", "val": "choose the best checkpoints by"}


def split_counts(dataset: DataSet) -> tuple[SplitCount, ...]:
    """What each split holds, in the order train, val, test."""
    missing = missing_of(dataset)
    shares = _area_shares(dataset)
    return tuple(_count(dataset, split, shares, missing) for split in SPLITS)


def _count(
    dataset: DataSet, split: str, shares: NDArray[np.float64], missing: Mapping[str, NDArray[np.bool_]]
) -> SplitCount:
    positions = list(dataset.split(split))
    inside = np.zeros(len(dataset.studies), dtype=np.bool_)
    inside[positions] = True
    here = inside[dataset.box_study]
    labels = []
    for number, label in enumerate(dataset.labels, 1):
        chosen = here & (dataset.labels_of == number)
        of = shares[chosen]
        small, large = int((of < SMALL).sum()), int((of >= LARGE).sum())
        studies = int(np.unique(dataset.box_study[chosen]).size)
        labels.append(LabelCount(label, len(of), studies, small, len(of) - small - large, large))
    return SplitCount(
        split=split,
        studies=len(positions),
        patients=len({dataset.studies[i].patient for i in positions}),
        images=len({dataset.studies[i].image for i in positions}),
        boxes=int(here.sum()),
        labels=tuple(labels),
        present=tuple((column, int((~mask[positions]).sum())) for column, mask in missing.items()),
    )


def _area_shares(dataset: DataSet) -> NDArray[np.float64]:
    """Per box the share of its image's area, NaN where the image's size is not known."""
    areas = np.array([s.width * s.height or np.nan for s in dataset.studies], dtype=np.float64)[dataset.box_study]
    sides = dataset.boxes[:, 2:] - dataset.boxes[:, :2]
    return np.asarray(np.clip(sides, 0, None).prod(axis=1) / areas, dtype=np.float64)


def split_findings(dataset: DataSet, counts: tuple[SplitCount, ...]) -> list[Finding]:
    """Patients and images in several splits, splits without studies or boxes, labels that a split lacks."""
    return [*_across(dataset), *_empty(counts), *_labels(dataset, counts), *_twice(dataset)]


def _across(dataset: DataSet) -> list[Finding]:
    """A data set whose split is documented as such is warned of, any other refused."""
    findings = []
    level: Level = "warning" if dataset.split_policy == "documented" else "error"
    told = 'it says so (split_policy = "documented"); read its test figures as too high'
    mend = 'keep each in one split (`mmad data check DIR --fix --out NEW`), or say split_policy = "documented"'
    for kind in ("patient", "image"):
        splits: dict[str, set[str]] = {}
        for study in dataset.studies:
            splits.setdefault(getattr(study, kind), set()).add(study.split)
        several = {name for name, found in splits.items() if len(found) > 1}
        if not several:
            continue
        pairs = Counter(pair for name in several for pair in _pairs(splits[name]))
        shown = ", ".join(f"{pair} {count}" for pair, count in sorted(pairs.items()))
        ids = [study.study for study in dataset.studies if getattr(study, kind) in several]
        many = f"{kind}s stand" if len(several) > 1 else f"{kind} stands"
        what = f"{len(several)} {many} in more than one split ({shown})"
        findings.append(
            finding(f"{kind}-across-splits", level, STUDIES, what, told if level == "warning" else mend, ids)
        )
    return findings


def _pairs(splits: set[str]) -> list[str]:
    found = [split for split in SPLITS if split in splits]
    return [f"{a}-{b}" for i, a in enumerate(found) for b in found[i + 1 :]]


def _empty(counts: tuple[SplitCount, ...]) -> list[Finding]:
    findings = []
    for count in counts:
        level: Level = "error" if count.split in _NEEDED else "warning"
        use = _NEEDED.get(count.split, "judge the chosen checkpoints by")
        if not count.studies:
            what, mend = f"no study is in the split {count.split!r}: nothing to {use}", "put some patients there"
            findings.append(finding("split-empty", level, STUDIES, what, mend))
        elif not count.boxes:
            what = f"no study of the split {count.split!r} has a box: nothing to {use}"
            findings.append(
                finding("split-without-boxes", level, BOXES, what, "add its boxes, or divide the studies otherwise")
            )
    return findings


def _labels(dataset: DataSet, counts: tuple[SplitCount, ...]) -> list[Finding]:
    findings = []
    full = [count for count in counts if count.boxes]
    for i, label in enumerate(dataset.labels):
        boxes = {count.split: count.labels[i].boxes for count in full}
        absent = [split for split, number in boxes.items() if not number]
        scarce = [f"{number} in {split}" for split, number in boxes.items() if 0 < number < FEWEST_BOXES]
        if absent:
            what, mend = (
                f"label {label!r} has no box in {', '.join(absent)}",
                "leave the label out, or divide otherwise",
            )
            findings.append(finding("label-absent", "warning", BOXES, what, mend))
        if scarce:
            what, mend = f"label {label!r} has few boxes: {', '.join(scarce)}", "read its figures with care"
            findings.append(finding("label-scarce", "warning", BOXES, what, mend))
    return findings


def repeated(dataset: DataSet) -> NDArray[np.bool_]:
    """Which boxes (M,) repeat an earlier one: study, reading, label and sides alike."""
    readings = {name: i for i, name in enumerate(dict.fromkeys(dataset.reading))}
    reading = np.array([readings[name] for name in dataset.reading], dtype=np.float64)
    table = np.column_stack([dataset.box_study, reading, dataset.labels_of, dataset.boxes])
    again = np.ones(len(table), dtype=np.bool_)
    again[np.unique(table, axis=0, return_index=True)[1]] = False
    return again


def _twice(dataset: DataSet) -> list[Finding]:
    again = np.flatnonzero(repeated(dataset))
    if not len(again):
        return []
    ids = [dataset.studies[int(dataset.box_study[i])].study for i in again]
    many = "boxes repeat" if len(again) > 1 else "box repeats"
    what, mend = f"{len(again)} {many} another of the same reading and label", "drop what is there twice"
    return [finding("box-twice", "warning", BOXES, what, mend, ids)]
