"""Comparisons that people ask for: two arms by name, or every pair of an ablation, with the tests adjusted together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmad.base.errors import EvaluationError
from mmad.base.records import AblationRecord, CheckpointKind
from mmad.evaluation.intervals import Difference, holm
from mmad.report.analysis import Agreeing, Alike, Measured, alike_of, difference_of, estimate_of
from mmad.report.judged import Archive, How, Judged, judge
from mmad.store.find import Found, find_seeds
from mmad.store.gateway import Store
from mmad.store.results import check_ablation


@dataclass(frozen=True)
class Side:
    """One arm of a comparison: its runs by seed, and what they came to."""

    name: str
    runs: tuple[Judged, ...]
    measured: Measured


@dataclass(frozen=True)
class Contrast:
    """Two arms compared. ``p_holm`` is adjusted over all contrasts that were asked for together."""

    setting: str
    reference: Side
    other: Side
    difference: Difference
    p_holm: float
    alike: Alike
    note: str


@dataclass(frozen=True)
class Uncompared:
    """A pair of an ablation that cannot be compared, and why."""

    setting: str
    reference: str
    other: str
    reason: str


Progress = Callable[[int, int], None]


def contrast(
    store: Store,
    archive: Archive,
    reference: str,
    other: str,
    how: How | None = None,
    agreeing: Agreeing | None = None,
) -> Contrast:
    """Compare what two names mean (see ``find_seeds``), over the seeds that both have finished.

    Raises:
        StoreError: a name that means no run.
        EvaluationError: runs that are not finished, share no seed, are one run, or differ in data or protocol.
    """
    sides = find_seeds(store, reference), find_seeds(store, other)
    found = _compared(store, archive, "", (reference, other), sides, how or How(), agreeing)
    return replace(found, p_holm=found.difference.p)


def contrasts_of(
    store: Store,
    archive: Archive,
    ablation: str,
    how: How | None = None,
    progress: Progress = lambda done, whole: None,
    agreeing: Agreeing | None = None,
) -> tuple[list[Contrast], list[Uncompared]]:
    """Every pair of arms that the ablation compares, setting by setting, with Holm's p over all of them.

    Raises:
        StoreError: no such ablation.
        EvaluationError: no pair can be compared.
    """
    check_ablation(store, ablation)
    (record,) = (a for a in store.ablations() if a.name == ablation)
    pairs = [(s, pair) for s in dict.fromkeys(m.setting for m in record.members) for pair in _pairs(record)]
    done: list[Contrast] = []
    refused: list[Uncompared] = []
    for number, (setting, (reference, other)) in enumerate(pairs):
        progress(number, len(pairs))
        sides = _seeds(store, record, setting, reference), _seeds(store, record, setting, other)
        if not sides[0] or not sides[1]:
            continue
        names = (f"{ablation}/{setting}/{reference}", f"{ablation}/{setting}/{other}")
        try:
            done.append(_compared(store, archive, setting, names, sides, how or How(), agreeing))
        except EvaluationError as error:
            refused.append(Uncompared(setting, reference, other, str(error)))
    progress(len(pairs), len(pairs))
    if not done:
        reason = refused[0].reason if refused else "it has no pair of arms"
        raise EvaluationError(f"nothing can be compared: {reason}", where=f"ablation {ablation}")
    adjusted = holm([c.difference.p for c in done])
    return [replace(c, p_holm=p) for c, p in zip(done, adjusted, strict=True)], refused


def _pairs(record: AblationRecord) -> Sequence[tuple[str, str]]:
    arms = list(dict.fromkeys(member.arm for member in record.members))
    return record.compare or [(arms[0], arm) for arm in arms[1:]]


def _seeds(store: Store, record: AblationRecord, setting: str, arm: str) -> list[Found]:
    members = [m for m in record.members if (m.setting, m.arm) == (setting, arm)]
    return [Found(store.run(m.key), (m,)) for m in members]


def _compared(
    store: Store,
    archive: Archive,
    setting: str,
    names: tuple[str, str],
    sides: tuple[list[Found], list[Found]],
    how: How,
    agreeing: Agreeing | None,
) -> Contrast:
    """The contrast, its p not yet adjusted."""
    paired, note = _paired(names, *sides)
    how = replace(how, checkpoint=how.checkpoint or _kind(store, paired))
    pairs = [(judge(store, a, how), judge(store, b, how)) for a, b in paired]
    for a, b in pairs:
        if a.run.key == b.run.key:
            raise EvaluationError(
                f"{names[0]} and {names[1]} are one run ({a.run.key[:12]})",
                where="comparison",
                mend="name two runs of different content",
            )
    difference = difference_of(store, archive, pairs, how)
    reference, other = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    return Contrast(
        setting or _setting(reference[0]),
        Side(names[0], reference, estimate_of(store, archive, reference, how)),
        Side(names[1], other, estimate_of(store, archive, other, how)),
        difference,
        float("nan"),
        alike_of(store, archive, pairs, agreeing),
        note,
    )


def _setting(judged: Judged) -> str:
    return judged.member.setting if judged.member else ""


def _paired(
    names: tuple[str, str], reference: list[Found], other: list[Found]
) -> tuple[list[tuple[Found, Found]], str]:
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
            f"{names[0]} and {names[1]} {what}", where="comparison", mend="finish the runs, or name one of each"
        )
    note = "" if len(ready) == every else f"{len(ready)} of {every} seeds: the others are not there in both arms"
    return [(left[s], right[s]) for s in ready], note


def _seed(found: Found) -> tuple[int, int]:
    if not found.members:
        return int(found.run.protocol.get("seed", 0)), int(found.run.protocol.get("replicate", 1))
    return found.members[0].seed, found.members[0].replicate


def _kind(store: Store, pairs: Sequence[tuple[Found, Found]]) -> CheckpointKind:
    """Best-AP checkpoints where every run kept one, else final ones for all."""
    runs = [found.run.key for pair in pairs for found in pair]
    kept = store.all_checkpoints(runs)
    return "best_ap" if all(any(c.kind == "best_ap" for c in kept[key]) for key in runs) else "final"
