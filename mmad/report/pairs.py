"""Comparing the arms of an ablation: equal protocols only, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields

from mmad.base.records import CheckpointKind, RunRecord
from mmad.report.frames import AblationFrame, MemberFrame


@dataclass(frozen=True)
class Conditions:
    """Under what a figure was won. Two figures are compared only if all of this is equal."""

    overlap: str
    threshold: float
    max_detections: int
    proposals: str
    selection_overlap: str
    selection_proposals: str
    weights: str
    data: str
    fingerprint: str
    split_policy: str | None
    recipe: int
    epochs: int
    steps_per_epoch: int | None

    def differing(self, other: Conditions) -> list[str]:
        """What the two do not share, in words."""
        return [
            f"{f.name.replace('_', ' ')}: {getattr(self, f.name)} / {getattr(other, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]


def conditions(member: MemberFrame) -> Conditions:
    run, judged = member.run.record, member.judged
    return Conditions(
        overlap=judged.overlap,
        threshold=judged.threshold,
        max_detections=judged.max_detections,
        proposals=judged.proposals,
        selection_overlap=str(run.protocol.get("selection_overlap", "iou")),
        selection_proposals=str(run.protocol.get("selection_proposals", "clean")),
        weights=_weights(run),
        data=run.dataset_name,
        fingerprint=run.dataset_fingerprint or "",
        split_policy=member.run.split_policy,
        recipe=run.recipe,
        epochs=int(run.protocol.get("epochs", 0)),
        steps_per_epoch=run.protocol.get("steps_per_epoch"),
    )


@dataclass(frozen=True)
class Figure:
    """A mean over ``n`` seeds with its sample standard deviation (None for one seed)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Contrast:
    """One measure of both arms over the seeds that both have finished, and the mean paired difference."""

    reference: Figure | None
    other: Figure | None
    difference: Figure | None


@dataclass(frozen=True)
class PairRow:
    """One setting: the members of both arms and what they measured with their checkpoints of ``kind``."""

    setting: str
    reference: tuple[MemberFrame, ...]
    other: tuple[MemberFrame, ...]
    seeds: tuple[int, ...]
    val_ap: Contrast
    test_ap: Contrast
    val_ar: Contrast
    test_ar: Contrast
    note: str
    kind: CheckpointKind

    @property
    def pairs(self) -> tuple[tuple[MemberFrame, MemberFrame], ...]:
        """(reference, other) of every seed and replicate that both arms have finished."""
        right = {(m.record.seed, m.record.replicate): m for m in self.other}
        both = ((m, right.get((m.record.seed, m.record.replicate))) for m in self.reference)
        return tuple((a, b) for a, b in both if b is not None and a.run.finished and b.run.finished)

    @property
    def reference_count(self) -> int | None:
        return next((m.run.count("model") for m in self.reference), None)

    @property
    def other_count(self) -> int | None:
        return next((m.run.count("model") for m in self.other), None)


@dataclass(frozen=True)
class Comparison:
    """Rows of one pair of arms, all won under the same conditions (``epochs`` aside) with checkpoints of one kind."""

    reference: str
    other: str
    conditions: Conditions
    rows: tuple[PairRow, ...]
    kind: CheckpointKind

    @property
    def counts(self) -> tuple[int, int] | None:
        """Parameters of reference and other arm, if all settings have the same."""
        found = {(row.reference_count, row.other_count) for row in self.rows}
        both = found.pop() if len(found) == 1 else (None, None)
        return None if both[0] is None or both[1] is None else (both[0], both[1])

    @property
    def differences(self) -> list[float]:
        """The mean test AP differences that exist."""
        return [row.test_ap.difference.mean for row in self.rows if row.test_ap.difference is not None]


@dataclass(frozen=True)
class Refusal:
    """A setting whose arms cannot be compared, and why."""

    setting: str
    reference: str
    other: str
    reason: str


def compare(ablation: AblationFrame) -> tuple[tuple[Comparison, ...], tuple[Refusal, ...]]:
    """Every pair of arms the ablation asks for, grouped so that no table mixes two protocols, or best with final."""
    groups: dict[tuple[str, str, tuple[object, ...]], list[tuple[Conditions, PairRow]]] = {}
    refusals = []
    arms = ablation.arms
    pairs = ablation.record.compare or tuple((arms[0], arm) for arm in arms[1:])
    for reference, other in pairs:
        for setting in ablation.settings:
            left, right = ablation.of(setting, reference), ablation.of(setting, other)
            if not left or not right:
                continue
            found = [conditions(m) for m in (*left, *right)]
            if differing := next((d for c in found if (d := found[0].differing(c))), None):
                refusals.append(Refusal(setting, reference, other, "; ".join(differing)))
                continue
            row = pair_row(setting, left, right)
            table = (row.kind, *(getattr(found[0], f.name) for f in fields(Conditions) if f.name != "epochs"))
            groups.setdefault((reference, other, table), []).append((found[0], row))
    comparisons = tuple(
        Comparison(reference, other, rows[0][0], tuple(row for _, row in rows), rows[0][1].kind)
        for (reference, other, _), rows in groups.items()
    )
    return comparisons, tuple(refusals)


def _weights(run: RunRecord) -> str:
    """``none`` where a setup that asks for pretrained weights went without; a setup may also ask for none."""
    asked = bool(run.setup.get("pretrained", True))
    return str(run.protocol.get("weights", "imagenet")) if asked else "imagenet"


def pair_row(setting: str, reference: Sequence[MemberFrame], other: Sequence[MemberFrame]) -> PairRow:
    """One setting's comparison over the seeds (and replicates) that both arms have finished."""
    left = {(m.record.seed, m.record.replicate): m for m in reference}
    right = {(m.record.seed, m.record.replicate): m for m in other}
    both = [s for s in left if s in right and left[s].run.finished and right[s].run.finished]
    kind = compared_kind((*reference, *other))

    def over(name: str) -> Contrast:
        return contrast([_value(left[s], kind, name) for s in both], [_value(right[s], kind, name) for s in both])

    return PairRow(
        setting,
        tuple(reference),
        tuple(other),
        tuple(seed for seed, _ in both),
        over("val_ap"),
        over("test_ap"),
        over("val_ar"),
        over("test_ar"),
        _note(len(both), len(set(left) | set(right)), (*reference, *other)),
        kind,
    )


def compared_kind(members: Sequence[MemberFrame]) -> CheckpointKind:
    """Best-AP checkpoints if every member has (or will have) one, else final ones for all of them."""
    return "final" if any(_without_best(m) for m in members) else "best_ap"


def _without_best(member: MemberFrame) -> bool:
    if member.run.finished:
        return member.best_ap is None
    return member.run.record.setup.get("use_early_stop_model") is False


def _value(member: MemberFrame, kind: CheckpointKind, name: str) -> float | None:
    outcome = member.outcome(kind)
    return None if outcome is None else getattr(outcome, name)


def _note(both: int, asked: int, members: Sequence[MemberFrame]) -> str:
    """Why fewer seeds count than were asked for, or nothing."""
    if both == asked:
        return ""
    several = asked > 1
    states = [
        f"{m.record.arm}{f' seed {m.record.seed}' if several else ''} {_state(m)}"
        for m in members
        if not m.run.finished
    ]
    head = f"{both} of {asked} seeds" if several else "not compared yet"
    return f"{head}: {'; '.join(states)}" if states else head


def _state(member: MemberFrame) -> str:
    run = member.run
    done = f" at epoch {run.record.epochs_done} of {run.epochs_asked}"
    return run.record.status + (done if run.record.status != "queued" else "")


def contrast(reference: Sequence[float | None], other: Sequence[float | None]) -> Contrast:
    """Means of two paired samples and of their differences; pairs with a missing figure are left out."""
    pairs = [(a, b) for a, b in zip(reference, other, strict=True) if a is not None and b is not None]
    return Contrast(
        figure([a for a, _ in pairs]),
        figure([b for _, b in pairs]),
        figure([b - a for a, b in pairs]),
    )


def figure(values: Sequence[float]) -> Figure | None:
    """Mean and sample standard deviation; None of nothing or of what is not finite."""
    if not values or not all(math.isfinite(v) for v in values):
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Figure(statistics.fmean(values), sd, len(values))
