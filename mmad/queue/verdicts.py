"""Who won: the arms of each pair of an ablation, compared by their best-AP checkpoints.

Where a run kept no best checkpoint both arms are compared by their final ones: a best is never set against a final.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmad.base.records import AblationRecord
from mmad.store.gateway import Store
from mmad.store.results import MemberSummary, Result, member_summaries


@dataclass(frozen=True)
class Pair:
    """Two arms of one setting and seed, and their best-AP checkpoints (None: not finished)."""

    ablation: str
    setting: str
    seed: int
    replicate: int
    reference: str
    other: str
    reference_result: Result | None
    other_result: Result | None

    def difference(self, split: str) -> float | None:
        """AP of the other arm less that of the reference on ``val`` or ``test``; None when one is missing."""
        first, second = ap_of(self.reference_result, split), ap_of(self.other_result, split)
        return None if first is None or second is None else second - first


@dataclass(frozen=True)
class FinalPair(Pair):
    """Two arms with their final checkpoints, because a run of either, of whatever seed, kept no best one."""

    checkpoint: str = "final"


def pairs(store: Store, ablation: AblationRecord) -> list[Pair]:
    """Every pair that ``ablation`` compares, in the order of its members."""
    found: dict[tuple[str, int, int], dict[str, MemberSummary]] = {}
    bestless: set[tuple[str, str]] = set()
    for summary in member_summaries(store, ablation.name):
        member = summary.member
        found.setdefault((member.setting, member.seed, member.replicate), {})[member.arm] = summary
        if summary.run.status == "finished" and summary.results.best_ap is None:
            bestless.add((member.setting, member.arm))

    def pair(point: tuple[str, int, int], reference: MemberSummary, other: MemberSummary) -> Pair:
        arms = reference.member.arm, other.member.arm
        final = any((point[0], arm) in bestless for arm in arms)
        results = [_result(summary, final=final) for summary in (reference, other)]
        return (FinalPair if final else Pair)(ablation.name, *point, *arms, *results)

    return [
        pair(point, arms[reference], arms[other])
        for point, arms in found.items()
        for reference, other in ablation.compare
        if reference in arms and other in arms
    ]


def _result(summary: MemberSummary, *, final: bool) -> Result | None:
    if summary.run.status != "finished":
        return None
    return summary.results.final if final else summary.results.best_ap


def verdict_lines(compared: Sequence[Pair], *, whole: bool = True) -> list[str]:
    """One line per setting and pair of arms, several seeds by their mean; only those measured unless ``whole``."""
    groups: dict[tuple[str, str, str], list[Pair]] = {}
    for pair in compared:
        groups.setdefault((pair.setting, pair.reference, pair.other), []).append(pair)
    return [
        _line(setting, group)
        for (setting, _, _), group in groups.items()
        if whole or any(pair.difference(split) is not None for pair in group for split in ("test", "val"))
    ]


def _line(setting: str, group: list[Pair]) -> str:
    reference, other = group[0].reference, group[0].other
    split = "test" if any(pair.difference("test") is not None for pair in group) else "val"
    whole = [pair for pair in group if pair.difference(split) is not None]
    if not whole:
        missing = [arm for arm, result in _arms(group[0]) if result is None] or [reference, other]
        return f"{setting}: no comparison, nothing measured for {' and '.join(missing)}"
    head = f"{setting}, final checkpoints" if isinstance(group[0], FinalPair) else setting
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


def _arms(pair: Pair) -> tuple[tuple[str, Result | None], ...]:
    return (pair.reference, pair.reference_result), (pair.other, pair.other_result)


def ap_of(result: Result | None, split: str) -> float | None:
    """A result's AP on ``val`` or ``test``, or None when it was not measured."""
    value = None if result is None else (result.test_ap if split == "test" else result.val_ap)
    return None if value is None or math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
