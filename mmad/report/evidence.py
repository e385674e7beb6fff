"""The tables that show how sure an ablation's figures are, for every form of report alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmad.evaluation.bands import OperatingBand
from mmad.evaluation.interval import Interval
from mmad.evaluation.thresholds import Operating, gaps
from mmad.report.certainty import Certainty, SurePair, SureRun
from mmad.report.frames import AblationFrame, MemberFrame, Outcome
from mmad.report.onset import Onset, lowest_loss, onset_of
from mmad.report.pairs import Comparison, PairRow
from mmad.report.verdicts import p_value, verdict
from mmad.report.words import clip, decimal, plural, signed


@dataclass(frozen=True)
class GapColumn:
    """One run of a gap table: its operating points and their gap to the first, with their intervals."""

    member: MemberFrame
    rows: tuple[Operating, ...]
    bands: tuple[OperatingBand, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        return gaps(self.rows)

    def bounds(self, place: int) -> str:
        """The interval of the first AP; of a later one that of its gap."""
        return bounds(self.bands[place].gap, sign=True) if place else bounds(self.bands[place].ap)


@dataclass(frozen=True)
class GapTable:
    """Runs of one protocol and one kind of checkpoint side by side, by score threshold."""

    first: MemberFrame
    kind: str
    scores: tuple[float, ...]
    columns: tuple[GapColumn, ...]


@dataclass(frozen=True)
class Turn:
    """When one run was best, and when it began to overfit."""

    member: MemberFrame
    best_ap: int | None
    best_ar: int | None
    lowest_loss: int | None
    onset: Onset | None


@dataclass(frozen=True)
class FindingPair:
    """One finding's test AP in both arms, and the difference."""

    label: str
    reference: Interval
    other: Interval
    difference: Interval


def bounds(value: Interval | None, *, sign: bool = False) -> str:
    """``[0.512, 0.701]``, or nothing where it could not be measured."""
    if value is None or not (math.isfinite(value.low) and math.isfinite(value.high)):
        return ""
    form = signed if sign else decimal
    return f"[{form(value.low)}, {form(value.high)}]"


def verdict_words(sure: SurePair) -> str:
    """The verdict, or nothing where there is no interval."""
    return "" if sure.difference is None else verdict(sure.difference)


def tone(sure: SurePair) -> str:
    """``up``, ``down`` or ``even``, as the verdict says."""
    words = "" if sure.difference is None else sure.difference.verdict
    return {"better": "up", "worse": "down"}.get(words, "even")


def tests(sure: SurePair) -> str:
    """``p 0.012, Holm 0.036``, or nothing."""
    if sure.difference is None or math.isnan(sure.difference.p):
        return ""
    return f"p {p_value(sure.difference.p)}, Holm {p_value(sure.p_holm)}"


def settled(certainty: Certainty, ablation: AblationFrame, comparison: Comparison) -> str:
    """One sentence on the verdicts of a comparison; nothing without any."""
    told = [s.difference for _, s in sure_rows(certainty, ablation, comparison) if s.difference is not None]
    if not told:
        return ""
    if len(told) == 1:
        words = verdict(told[0])
        return f"By its 95 % interval the difference is {words}."
    counted = [(word, sum(d.verdict == word for d in told)) for word in ("better", "worse", "not settled")]
    if counted[-1][1] == len(told):
        return "By their 95 % intervals no setting is settled."
    parts = [f"{count} {'is' if count == 1 else 'are'} {word}" for word, count in counted if count]
    return f"By their 95 % intervals, of {plural(len(told), 'setting')} {' and '.join(parts)}."


def sure_rows(certainty: Certainty, ablation: AblationFrame, comparison: Comparison) -> list[tuple[PairRow, SurePair]]:
    """Every row of a comparison with what is known of it."""
    ends = comparison.reference, comparison.other
    return [(row, certainty.pair(ablation, *ends, row)) for row in comparison.rows]


def reasons(found: Iterable[SurePair | SureRun]) -> str:
    """Why something is missing, each reason once, on one line; nothing where all is there."""
    whys = list(dict.fromkeys(sure.why for sure in found if sure.why))
    more = f" (and {plural(len(whys) - 1, 'more reason')})" if len(whys) > 1 else ""
    return f"{clip(whys[0], 300)}{more}" if whys else ""


def run_reasons(certainty: Certainty, ablation: AblationFrame) -> str:
    """The same of an ablation's runs."""
    return reasons(sure for m in ablation.members if (sure := certainty.run(m)) is not None)


def gap_tables(certainty: Certainty, ablation: AblationFrame) -> tuple[GapTable, ...]:
    """AP by score threshold of every run, one table per protocol and kind of checkpoint; each run once."""
    groups: dict[object, list[tuple[GapColumn, SureRun]]] = {}
    seen = set()
    for member in ablation.members:
        sure = certainty.run(member)
        if sure is None or sure.profile is None or (member.run.key, member.judged) in seen:
            continue
        seen.add((member.run.key, member.judged))
        group = groups.setdefault((member.judged, sure.kind), [])
        group.append((GapColumn(member, sure.profile.rows, sure.profile.bands), sure))
    return tuple(
        GapTable(
            columns[0][0].member,
            columns[0][1].kind,
            tuple(row.score for row in columns[0][0].rows),
            tuple(column for column, _ in columns),
        )
        for columns in groups.values()
    )


def turns(ablation: AblationFrame) -> tuple[Turn, ...]:
    """Best epochs and onset of overfitting of every run that has an epoch."""
    return tuple(
        Turn(
            member,
            member.best_ap.epoch if member.best_ap else None,
            member.best_ar.epoch if member.best_ar else None,
            lowest_loss(member.run),
            onset_of(member.run),
        )
        for member in ablation.members
        if member.run.epochs
    )


def by_finding_pair(sure: SurePair) -> tuple[FindingPair, ...]:
    """Every finding of a pair; nothing where the pair has no interval."""
    if sure.difference is None or sure.reference is None or sure.other is None:
        return ()
    left = {label: ap for label, ap, _ in sure.reference.estimate.per_class}
    right = {label: ap for label, ap, _ in sure.other.estimate.per_class}
    return tuple(FindingPair(label, left[label], right[label], ap) for label, ap, _ in sure.difference.per_class)


FindingRow = tuple[str, float | None, float | None, float | None, float | None, str, str]


def by_finding(outcome: Outcome, sure: SureRun | None = None) -> list[FindingRow]:
    """(finding, validation AP, AR, test AP, AR, interval of test AP, of test AR) for every finding of either split."""
    val = {label: (ap, ar) for label, ap, ar in outcome.val_classes}
    test = {label: (ap, ar) for label, ap, ar in outcome.test_classes}
    known = sure is not None and sure.kind == outcome.kind and sure.measured is not None
    each = sure.measured.estimate.per_class if known and sure is not None and sure.measured is not None else ()
    intervals = {label: (bounds(ap), bounds(ar)) for label, ap, ar in each}
    none = (None, None)
    labels = dict.fromkeys([*val, *test])
    return [(x, *val.get(x, none), *test.get(x, none), *intervals.get(x, ("", ""))) for x in labels]


def filled_bins(sure: SureRun) -> list[tuple[str, float, float, int]]:
    """(score range, mean score, share of hits, number) of every bin of the reliability that holds a detection."""
    if sure.profile is None:
        return []
    found = sure.profile.calibration
    edges: Sequence[float] = found.edges
    rows = zip(edges, edges[1:], found.score, found.hits, found.count, strict=False)
    return [(f"{low:.1f} to {high:.1f}", score, hits, count) for low, high, score, hits, count in rows if count]


FrocRow = tuple[str, Interval, tuple[Interval, ...]]


def froc_rows(sure: SureRun) -> list[FrocRow]:
    """(finding, FROC score, sensitivity at each rate), all findings together first."""
    if sure.profile is None:
        return []
    band = sure.profile.froc_band
    return [
        ("all findings", band.score, band.sensitivity),
        *((finding.label, finding.score, finding.sensitivity) for finding in band.per_class),
    ]
