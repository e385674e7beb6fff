"""Comparing the arms of an ablation: equal protocols only, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from mmad.analysis.frames import AblationFrame, MemberFrame
from mmad.analysis.metrics import AgreementOptions, MeasuredRun, PairAgreement, agreement_of, difference_of, estimate_of
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget, evaluation_target
from mmad.base.errors import EvaluationError
from mmad.base.formatting import decimal
from mmad.base.multiple_testing import holm
from mmad.base.records import AblationRecord, CheckpointKind, RunRecord
from mmad.evaluation.bootstrap import Difference
from mmad.store.lookup import CheckpointFigures, FoundRun, MemberSummary, check_ablation, find_seeds, member_summaries
from mmad.store.store import Store


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
class SeedMean:
    """A mean over ``n`` seeds with its sample standard deviation (None for one seed)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class SeedContrast:
    """One measure of both arms over the seeds that both have finished, and the mean paired difference."""

    reference: SeedMean | None
    other: SeedMean | None
    difference: SeedMean | None


@dataclass(frozen=True)
class PairRow:
    """One setting: the members of both arms and what they measured with their checkpoints of ``kind``."""

    setting: str
    reference: tuple[MemberFrame, ...]
    other: tuple[MemberFrame, ...]
    seeds: tuple[int, ...]
    val_ap: SeedContrast
    test_ap: SeedContrast
    val_ar: SeedContrast
    test_ar: SeedContrast
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
class ComparisonTable:
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
class ArmsNotComparable:
    """A setting whose arms cannot be compared, and why."""

    setting: str
    reference: str
    other: str
    reason: str


def comparison_tables(ablation: AblationFrame) -> tuple[tuple[ComparisonTable, ...], tuple[ArmsNotComparable, ...]]:
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
                refusals.append(ArmsNotComparable(setting, reference, other, "; ".join(differing)))
                continue
            row = pair_row(setting, left, right)
            table = (row.kind, *(getattr(found[0], f.name) for f in fields(Conditions) if f.name != "epochs"))
            groups.setdefault((reference, other, table), []).append((found[0], row))
    comparisons = tuple(
        ComparisonTable(reference, other, rows[0][0], tuple(row for _, row in rows), rows[0][1].kind)
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

    def over(name: str) -> SeedContrast:
        return seed_contrast([_value(left[s], kind, name) for s in both], [_value(right[s], kind, name) for s in both])

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


def seed_contrast(reference: Sequence[float | None], other: Sequence[float | None]) -> SeedContrast:
    """Means of two paired samples and of their differences; pairs with a missing figure are left out."""
    pairs = [(a, b) for a, b in zip(reference, other, strict=True) if a is not None and b is not None]
    return SeedContrast(
        seed_mean([a for a, _ in pairs]),
        seed_mean([b for _, b in pairs]),
        seed_mean([b - a for a, b in pairs]),
    )


def spread(figure: SeedMean | None) -> str:
    """``± 0.012`` of several seeds, else nothing."""
    return "" if figure is None or figure.sd is None else f"± {decimal(figure.sd)}"


def seed_mean(values: Sequence[float]) -> SeedMean | None:
    """Mean and sample standard deviation; None of nothing or of what is not finite."""
    if not values or not all(math.isfinite(v) for v in values):
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return SeedMean(statistics.fmean(values), sd, len(values))


# Comparisons that people ask for: two arms by name, or every pair of an ablation, with the tests adjusted together.


@dataclass(frozen=True)
class ComparedArm:
    """One arm of a comparison: its runs by seed, and what they came to."""

    name: str
    runs: tuple[EvaluationTarget, ...]
    measured: MeasuredRun


@dataclass(frozen=True)
class ArmComparison:
    """Two arms compared. ``p_holm`` is adjusted over all contrasts that were asked for together."""

    setting: str
    reference: ComparedArm
    other: ComparedArm
    difference: Difference
    p_holm: float
    alike: PairAgreement
    note: str


@dataclass(frozen=True)
class NotComparable:
    """A pair of an ablation that cannot be compared, and why."""

    setting: str
    reference: str
    other: str
    reason: str


Progress = Callable[[int, int], None]


def compare_arms(
    store: Store,
    archive: DetectionStore,
    reference: str,
    other: str,
    how: EvaluationOptions | None = None,
    agreeing: AgreementOptions | None = None,
) -> ArmComparison:
    """Compare what two names mean (see ``find_seeds``), over the seeds that both have finished.

    Raises:
        StoreError: a name that means no run.
        EvaluationError: runs that are not finished, share no seed, are one run, or differ in data or protocol.
    """
    sides = find_seeds(store, reference), find_seeds(store, other)
    found = _compared(store, archive, "", (reference, other), sides, how or EvaluationOptions(), agreeing)
    return replace(found, p_holm=found.difference.p)


def compare_ablation(
    store: Store,
    archive: DetectionStore,
    ablation: str,
    how: EvaluationOptions | None = None,
    progress: Progress = lambda done, whole: None,
    agreeing: AgreementOptions | None = None,
) -> tuple[list[ArmComparison], list[NotComparable]]:
    """Every pair of arms that the ablation compares, setting by setting, with Holm's p over all of them.

    Raises:
        StoreError: no such ablation.
        EvaluationError: no pair can be compared.
    """
    check_ablation(store, ablation)
    (record,) = (a for a in store.ablations() if a.name == ablation)
    pairs = [(s, pair) for s in dict.fromkeys(m.setting for m in record.members) for pair in _pairs(record)]
    done: list[ArmComparison] = []
    refused: list[NotComparable] = []
    for number, (setting, (reference, other)) in enumerate(pairs):
        progress(number, len(pairs))
        sides = _seeds(store, record, setting, reference), _seeds(store, record, setting, other)
        if not sides[0] or not sides[1]:
            continue
        names = (f"{ablation}/{setting}/{reference}", f"{ablation}/{setting}/{other}")
        try:
            done.append(_compared(store, archive, setting, names, sides, how or EvaluationOptions(), agreeing))
        except EvaluationError as error:
            refused.append(NotComparable(setting, reference, other, str(error)))
    progress(len(pairs), len(pairs))
    if not done:
        reason = refused[0].reason if refused else "it has no pair of arms"
        raise EvaluationError(f"nothing can be compared: {reason}", where=f"ablation {ablation}")
    adjusted = holm([c.difference.p for c in done])
    return [replace(c, p_holm=p) for c, p in zip(done, adjusted, strict=True)], refused


def _pairs(record: AblationRecord) -> Sequence[tuple[str, str]]:
    arms = list(dict.fromkeys(member.arm for member in record.members))
    return record.compare or [(arms[0], arm) for arm in arms[1:]]


def _seeds(store: Store, record: AblationRecord, setting: str, arm: str) -> list[FoundRun]:
    members = [m for m in record.members if (m.setting, m.arm) == (setting, arm)]
    return [FoundRun(store.run(m.key), (m,)) for m in members]


def _compared(
    store: Store,
    archive: DetectionStore,
    setting: str,
    names: tuple[str, str],
    sides: tuple[list[FoundRun], list[FoundRun]],
    how: EvaluationOptions,
    agreeing: AgreementOptions | None,
) -> ArmComparison:
    """The contrast, its p not yet adjusted."""
    paired, note = _paired(names, *sides)
    how = replace(how, checkpoint=how.checkpoint or _kind(store, paired))
    pairs = [(evaluation_target(store, a, how), evaluation_target(store, b, how)) for a, b in paired]
    for a, b in pairs:
        if a.run.key == b.run.key:
            raise EvaluationError(
                f"{names[0]} and {names[1]} are one run ({a.run.key[:12]})",
                where="comparison",
                hint="name two runs of different content",
            )
    difference = difference_of(store, archive, pairs, how)
    reference, other = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    return ArmComparison(
        setting or _setting(reference[0]),
        ComparedArm(names[0], reference, estimate_of(store, archive, reference, how)),
        ComparedArm(names[1], other, estimate_of(store, archive, other, how)),
        difference,
        float("nan"),
        agreement_of(store, archive, pairs, agreeing),
        note,
    )


def _setting(judged: EvaluationTarget) -> str:
    return judged.member.setting if judged.member else ""


def _paired(
    names: tuple[str, str], reference: list[FoundRun], other: list[FoundRun]
) -> tuple[list[tuple[FoundRun, FoundRun]], str]:
    """The runs of both sides by seed and replicate, finished ones alone, and a word on those left out."""
    if len(reference) == len(other) == 1:
        return [(reference[0], other[0])], ""
    left, right = ({_seed(found): found for found in side} for side in (reference, other))
    both = [seed for seed in left if seed in right]
    ready = [s for s in both if left[s].run.status == right[s].run.status == "finished"]
    every = len(left.keys() | right.keys())
    if not ready:
        what = "have no seed in common" if not both else "have no seed that both have finished"
        raise EvaluationError(
            f"{names[0]} and {names[1]} {what}", where="comparison", hint="finish the runs, or name one of each"
        )
    note = "" if len(ready) == every else f"{len(ready)} of {every} seeds: the others are not there in both arms"
    return [(left[s], right[s]) for s in ready], note


def _seed(found: FoundRun) -> tuple[int, int]:
    if not found.members:
        return int(found.run.protocol.get("seed", 0)), int(found.run.protocol.get("replicate", 1))
    return found.members[0].seed, found.members[0].replicate


def _kind(store: Store, pairs: Sequence[tuple[FoundRun, FoundRun]]) -> CheckpointKind:
    """Best-AP checkpoints where every run kept one, else final ones for all."""
    runs = [found.run.key for pair in pairs for found in pair]
    kept = store.all_checkpoints(runs)
    return "best_ap" if all(any(c.kind == "best_ap" for c in kept[key]) for key in runs) else "final"


# Who won: the arms of each pair of an ablation, compared by their best-AP checkpoints.
#
# Where a run kept no best checkpoint both arms are compared by their final ones: a best is never set against a final.


@dataclass(frozen=True)
class CheckpointPair:
    """Two arms of one setting and seed, and their best-AP checkpoints (None: not finished)."""

    ablation: str
    setting: str
    seed: int
    replicate: int
    reference: str
    other: str
    reference_result: CheckpointFigures | None
    other_result: CheckpointFigures | None

    def difference(self, split: str) -> float | None:
        """AP of the other arm less that of the reference on ``val`` or ``test``; None when one is missing."""
        first, second = ap_of(self.reference_result, split), ap_of(self.other_result, split)
        return None if first is None or second is None else second - first


@dataclass(frozen=True)
class FinalCheckpointPair(CheckpointPair):
    """Two arms with their final checkpoints, because a run of either, of whatever seed, kept no best one."""

    checkpoint: str = "final"


def checkpoint_pairs(store: Store, ablation: AblationRecord) -> list[CheckpointPair]:
    """Every pair that ``ablation`` compares, in the order of its members."""
    found: dict[tuple[str, int, int], dict[str, MemberSummary]] = {}
    bestless: set[tuple[str, str]] = set()
    for summary in member_summaries(store, ablation.name):
        member = summary.member
        found.setdefault((member.setting, member.seed, member.replicate), {})[member.arm] = summary
        if summary.run.status == "finished" and summary.results.best_ap is None:
            bestless.add((member.setting, member.arm))

    def pair(point: tuple[str, int, int], reference: MemberSummary, other: MemberSummary) -> CheckpointPair:
        arms = reference.member.arm, other.member.arm
        final = any((point[0], arm) in bestless for arm in arms)
        results = [_result(summary, final=final) for summary in (reference, other)]
        return (FinalCheckpointPair if final else CheckpointPair)(ablation.name, *point, *arms, *results)

    return [
        pair(point, arms[reference], arms[other])
        for point, arms in found.items()
        for reference, other in ablation.compare
        if reference in arms and other in arms
    ]


def _result(summary: MemberSummary, *, final: bool) -> CheckpointFigures | None:
    if summary.run.status != "finished":
        return None
    return summary.results.final if final else summary.results.best_ap


def verdict_lines(compared: Sequence[CheckpointPair], *, whole: bool = True) -> list[str]:
    """One line per setting and pair of arms, several seeds by their mean; only those measured unless ``whole``."""
    groups: dict[tuple[str, str, str], list[CheckpointPair]] = {}
    for pair in compared:
        groups.setdefault((pair.setting, pair.reference, pair.other), []).append(pair)
    return [
        _line(setting, group)
        for (setting, _, _), group in groups.items()
        if whole or any(pair.difference(split) is not None for pair in group for split in ("test", "val"))
    ]


def _line(setting: str, group: list[CheckpointPair]) -> str:
    reference, other = group[0].reference, group[0].other
    split = "test" if any(pair.difference("test") is not None for pair in group) else "val"
    whole = [pair for pair in group if pair.difference(split) is not None]
    if not whole:
        missing = [arm for arm, result in _arms(group[0]) if result is None] or [reference, other]
        return f"{setting}: no comparison, nothing measured for {' and '.join(missing)}"
    head = f"{setting}, final checkpoints" if isinstance(group[0], FinalCheckpointPair) else setting
    if len(group) > 1:
        head += f", mean of {'' if len(whole) == len(group) else f'{len(whole)} of '}{len(group)} repeats"
    first = _mean([ap_of(pair.reference_result, split) for pair in whole])
    second = _mean([ap_of(pair.other_result, split) for pair in whole])
    line = f"{head}: {_ahead(reference, other, first, second, split)}"
    if split == "test" and all(pair.difference("val") is not None for pair in whole):
        val_first = _mean([ap_of(pair.reference_result, "val") for pair in whole])
        val_second = _mean([ap_of(pair.other_result, "val") for pair in whole])
        line += f"; val AP {val_second:.3f} for {other}, {val_first:.3f} for {reference}"
    return line


def _ahead(reference: str, other: str, first: float, second: float, split: str) -> str:
    if f"{first:.3f}" == f"{second:.3f}":
        return f"{other} and {reference} are level at {first:.3f} {split} AP"
    winner, loser, high, low = (
        (other, reference, second, first) if second > first else (reference, other, first, second)
    )
    return f"{winner} is ahead of {loser} by {high - low:.3f} {split} AP ({high:.3f} against {low:.3f})"


def _arms(pair: CheckpointPair) -> tuple[tuple[str, CheckpointFigures | None], ...]:
    return (pair.reference, pair.reference_result), (pair.other, pair.other_result)


def ap_of(result: CheckpointFigures | None, split: str) -> float | None:
    """A result's AP on ``val`` or ``test``, or None when it was not measured."""
    value = None if result is None else (result.test_ap if split == "test" else result.val_ap)
    return None if value is None or math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
