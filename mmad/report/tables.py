"""The tables of a report as data: for every figure a column with its name, unit and meaning, in full precision.

CSV is written from ``columns`` and ``rows``, LaTeX from ``printed``: the same figures, rounded and combined as the
page shows them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from statistics import fmean
from typing import Any

from mmad.analysis.comparison import (
    Comparison,
    ComparisonTable,
    Conditions,
    NotComparable,
    PairedMeans,
    PairStatistics,
    SeedMean,
    compare,
    spread,
    verdict,
)
from mmad.analysis.frames import AblationFrame, CheckpointResult, ClassFigures, MemberFrame, RunFrame, load_frame
from mmad.analysis.input_controls import alteration_words, meaning
from mmad.analysis.metrics import estimate_of
from mmad.analysis.overfitting import Onset, lowest_loss, onset_of
from mmad.analysis.statistics import RunStatistics, Statistics
from mmad.analysis.targets import DetectionStore, EvaluationOptions, evaluation_target
from mmad.base.errors import DataError, EvaluationError, ReportError
from mmad.base.formatting import DASH, clip, decimal, duration, interval, p_value, plural, short_key, signed, whole
from mmad.base.json import finite
from mmad.base.paths import file_stem
from mmad.base.records import MemberRecord, Split
from mmad.evaluation.intervals import RESAMPLES, Interval
from mmad.evaluation.operating_points import FROC_RATES, OperatingInterval, OperatingPoint, gaps
from mmad.experiment_log import LogEntry, entry
from mmad.report.badges import Badge, audit_badges, evaluation_badges, legend, member_badges, setup_badges
from mmad.report.model import AblationSection, ReportModel, member_title, mirrored
from mmad.store.lookup import FoundRun
from mmad.store.store import Store

Cell = str | int | float | bool | datetime | None
Row = tuple[Cell, ...]

#: The unit of AP, AR, precision, recall and every other figure in [0, 1].
FRACTION = "fraction"


@dataclass(frozen=True)
class Column:
    """One column; ``name`` ends with the unit where a figure has one (``time_s``)."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class PrintedTable:
    """A table as text for a paper; columns from ``numbers_from`` on are right-aligned.

    ``groups`` are headings above the column headings: (text, number of columns).
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers_from: int = 1
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class TableContent:
    """One table; ``name`` is its file name without the suffix. ``printed`` is None where it has no form for a paper."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    printed: PrintedTable | None = None


#: The columns that identify a member in every table.
MEMBER = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("arm", "arm of the pair"),
    Column("seed", "seed of the run"),
    Column("replicate", "number of a true repeat, from 1"),
    Column("run", "first 12 digits of the run's key"),
)
#: The columns of the protocol under which a member was evaluated.
EVALUATION = (
    Column("overlap", "overlap by which a detection hits: iou or iobb"),
    Column("threshold", "least overlap of a hit", FRACTION),
    Column("max_detections", "detections of an image that count, best first"),
    Column("proposals", "source of the proposals"),
)


def of_member(member: MemberFrame) -> Row:
    """The cells of ``MEMBER``."""
    record: MemberRecord = member.record
    return (record.ablation, record.setting, record.arm, record.seed, record.replicate, short_key(member.run.key))


def of_evaluation(member: MemberFrame) -> Row:
    """The cells of ``EVALUATION``."""
    protocol = member.protocol
    return (protocol.overlap, protocol.threshold, protocol.max_detections, protocol.proposals)


def each(items: Iterable[MemberFrame], cells: Callable[[MemberFrame], Iterable[Row]]) -> list[Row]:
    """The rows of every member, each preceded by the cells of ``MEMBER``."""
    return [(*of_member(member), *row) for member in items for row in cells(member)]


# What the page and Markdown show: intervals, verdicts, thresholds and best epochs.


@dataclass(frozen=True)
class GapColumn:
    """One run of a gap table: its operating points and their gaps to the first, with intervals."""

    member: MemberFrame
    rows: tuple[OperatingPoint, ...]
    bands: tuple[OperatingInterval, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        return gaps(self.rows)

    def bounds(self, place: int) -> str:
        """The interval of the AP at the first score; at later scores the interval of the gap."""
        return bounds(self.bands[place].gap, sign=True) if place else bounds(self.bands[place].ap)


@dataclass(frozen=True)
class GapTable:
    """Runs of one protocol and one kind of checkpoint side by side, by score threshold."""

    first: MemberFrame
    kind: str
    scores: tuple[float, ...]
    columns: tuple[GapColumn, ...]


@dataclass(frozen=True)
class BestEpochs:
    """The best epochs of one run, and the onset of its overfitting."""

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
    """``[0.512, 0.701]``, or an empty text where it could not be measured."""
    if value is None or not (math.isfinite(value.low) and math.isfinite(value.high)):
        return ""
    form = signed if sign else decimal
    return f"[{form(value.low)}, {form(value.high)}]"


def verdict_words(stats: PairStatistics) -> str:
    """The verdict, or an empty text without an interval."""
    return "" if stats.difference is None else verdict(stats.difference)


def tone(stats: PairStatistics) -> str:
    """``up``, ``down`` or ``even``, according to the verdict."""
    words = "" if stats.difference is None else stats.difference.verdict
    return {"better": "up", "worse": "down"}.get(words, "even")


def tests(stats: PairStatistics) -> str:
    """``p 0.012, Holm 0.036``, or an empty text."""
    if stats.difference is None or math.isnan(stats.difference.p):
        return ""
    return f"p {p_value(stats.difference.p)}, Holm {p_value(stats.p_holm)}"


def verdict_summary(statistics: Statistics, comparison: ComparisonTable) -> str:
    """One sentence on the verdicts of a comparison; empty without any."""
    differences = [s.difference for _, s in statistics_rows(statistics, comparison) if s.difference is not None]
    if not differences:
        return ""
    if len(differences) == 1:
        words = verdict(differences[0])
        return f"By its 95 % interval the difference is {words}."
    counted = [(word, sum(d.verdict == word for d in differences)) for word in ("better", "worse", "not settled")]
    if counted[-1][1] == len(differences):
        return "By their 95 % intervals no setting is settled."
    parts = [f"{count} {'is' if count == 1 else 'are'} {word}" for word, count in counted if count]
    return f"By their 95 % intervals, of {plural(len(differences), 'setting')} {' and '.join(parts)}."


def statistics_rows(statistics: Statistics, comparison: ComparisonTable) -> list[tuple[Comparison, PairStatistics]]:
    """Each row of a table with its statistics."""
    return [(row, statistics.pair(row)) for row in comparison.rows]


def parameters(ablation: AblationFrame, row: Comparison) -> tuple[int | None, int | None]:
    """The numbers of parameters of the detectors of the reference arm and of the other arm."""
    left, right = (ablation.of(row.setting, arm) for arm in (row.reference, row.other))
    return tuple(next((m.run.count("model") for m in members), None) for members in (left, right))  # type: ignore[return-value]


def common_parameters(ablation: AblationFrame, comparison: ComparisonTable) -> tuple[int, int] | None:
    """The numbers of parameters that all rows of the table share, if they do."""
    found = {parameters(ablation, row) for row in comparison.rows}
    reference, other = found.pop() if len(found) == 1 else (None, None)
    return None if reference is None or other is None else (reference, other)


def reasons(found: Iterable[PairStatistics | RunStatistics]) -> str:
    """Why something is missing, on one line; empty where nothing is."""
    whys = list(dict.fromkeys(stats.why for stats in found if stats.why))
    more = f" (and {plural(len(whys) - 1, 'more reason')})" if len(whys) > 1 else ""
    return f"{clip(whys[0], 300)}{more}" if whys else ""


def gap_tables(statistics: Statistics, ablation: AblationFrame) -> tuple[GapTable, ...]:
    """AP by score threshold of every run, one table per protocol and kind of checkpoint; each run once."""
    groups: dict[object, list[tuple[GapColumn, RunStatistics]]] = {}
    seen = set()
    for member in ablation.members:
        stats = statistics.run(member)
        if stats is None or stats.profile is None or (member.run.key, member.protocol) in seen:
            continue
        seen.add((member.run.key, member.protocol))
        group = groups.setdefault((member.protocol, stats.kind), [])
        group.append((GapColumn(member, stats.profile.rows, stats.profile.bands), stats))
    return tuple(
        GapTable(
            columns[0][0].member,
            columns[0][1].kind,
            tuple(row.score for row in columns[0][0].rows),
            tuple(column for column, _ in columns),
        )
        for columns in groups.values()
    )


def best_epochs(ablation: AblationFrame) -> tuple[BestEpochs, ...]:
    """Best epochs and onset of overfitting of every run that has an epoch."""
    return tuple(
        BestEpochs(
            member,
            member.best_ap.epoch if member.best_ap else None,
            member.best_ar.epoch if member.best_ar else None,
            lowest_loss(member.run),
            onset_of(member.run),
        )
        for member in ablation.members
        if member.run.epochs
    )


def by_finding_pair(stats: PairStatistics) -> tuple[FindingPair, ...]:
    """Every finding of a pair; empty where the pair has no interval."""
    if stats.difference is None or stats.reference is None or stats.other is None:
        return ()
    left = {label: ap for label, ap, _ in stats.reference.estimate.per_class}
    right = {label: ap for label, ap, _ in stats.other.estimate.per_class}
    return tuple(FindingPair(label, left[label], right[label], ap) for label, ap, _ in stats.difference.per_class)


FindingRow = tuple[str, float | None, float | None, float | None, float | None, str, str]


def by_finding(outcome: CheckpointResult, stats: RunStatistics | None = None) -> list[FindingRow]:
    """(finding, validation AP, AR, test AP, AR, interval of test AP, of test AR) for every finding of either split."""
    val = {label: (ap, ar) for label, ap, ar in outcome.val_classes}
    test = {label: (ap, ar) for label, ap, ar in outcome.test_classes}
    known = stats is not None and stats.kind == outcome.kind and stats.measured is not None
    each = stats.measured.estimate.per_class if known and stats is not None and stats.measured is not None else ()
    intervals = {label: (bounds(ap), bounds(ar)) for label, ap, ar in each}
    none = (None, None)
    labels = dict.fromkeys([*val, *test])
    return [(x, *val.get(x, none), *test.get(x, none), *intervals.get(x, ("", ""))) for x in labels]


def filled_bins(stats: RunStatistics) -> list[tuple[str, float, float, int]]:
    """(score range, mean score, share of hits, count) of each reliability bin that has detections."""
    if stats.profile is None:
        return []
    found = stats.profile.calibration
    edges: Sequence[float] = found.edges
    rows = zip(edges, edges[1:], found.score, found.hits, found.count, strict=False)
    return [(f"{low:.1f} to {high:.1f}", score, hits, count) for low, high, score, hits, count in rows if count]


FrocRow = tuple[str, Interval, tuple[Interval, ...]]


def froc_rows(stats: RunStatistics) -> list[FrocRow]:
    """(finding, FROC score, sensitivity at each rate); the first row is over all findings."""
    if stats.profile is None:
        return []
    band = stats.profile.froc_band
    return [
        ("all findings", band.score, band.sensitivity),
        *((finding.label, finding.score, finding.sensitivity) for finding in band.per_class),
    ]


# Tables that compare: arms, arms by finding, documented with measured figures.

_MEASURES = (("test_ap", "test AP"), ("test_ar", "test AR"), ("val_ap", "validation AP"), ("val_ar", "validation AR"))
_INTERVAL = "of the 95 % interval over patients and seeds"
_PAIR = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("reference", "first arm of the pair"),
    Column("other", "second arm of the pair"),
    Column("seeds", "seeds that both arms have finished", "seeds"),
)


def bounded(value: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Value and bounds; None for what could not be measured."""
    found = (None,) * 3 if value is None else (value.value, value.low, value.high)
    return tuple(None if x is None or math.isnan(x) else x for x in found)  # type: ignore[return-value]


def bounded_columns(name: str, meaning: str) -> tuple[Column, ...]:
    """A figure and the ends of its interval."""
    return (
        Column(name, meaning, FRACTION),
        Column(f"{name}_low", f"{meaning}: lower end {_INTERVAL}", FRACTION),
        Column(f"{name}_high", f"{meaning}: upper end {_INTERVAL}", FRACTION),
    )


def pair_tables(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """For every pair of arms and protocol one table, followed by one of its findings."""
    frame = section.frame
    for n, comparison in enumerate(section.comparisons, start=1):
        known = statistics_rows(statistics, comparison)
        marks = "; ".join(badge.text for badge in section.badges[n - 1])
        ends = f"{clip(comparison.other, 60)} against {clip(comparison.reference, 60)}"
        head = f"{clip(section.title, 120)}: {ends}"
        design = f" {comparison.design[:1].upper()}{comparison.design[1:]}." if comparison.design else ""
        under = f"On {clip(comparison.sides[0].data, 80)}: {marks}.{design}"
        yield TableContent(
            file_stem(frame.record.name, f"pairs-{n}"),
            head,
            _pair_columns(),
            [_pair_cells(frame, row, stats) for row, stats in known],
            _printed_pairs(frame, comparison, known, under),
        )
        if rows := [
            (*_ends(row), f.label, *bounded(f.reference), *bounded(f.other), *bounded(f.difference))
            for row, stats in known
            for f in by_finding_pair(stats)
        ]:
            yield TableContent(
                file_stem(frame.record.name, f"findings-pairs-{n}"),
                f"{head}: test AP by finding",
                (
                    *_PAIR,
                    Column("finding", "the finding"),
                    *bounded_columns("test_ap_reference", "test AP of the first arm"),
                    *bounded_columns("test_ap_other", "test AP of the second arm"),
                    *bounded_columns("test_ap_difference", "second arm minus first"),
                ),
                rows,
                _printed_findings(comparison, known, under),
            )


def _ends(row: Comparison) -> Row:
    return (row.ablation, row.setting, row.reference, row.other, len(row.seeds))


#: Conditions with a column of their own; the checkpoint has one before them, the split is in the figures' names.
_CONDITIONS = tuple(f.name for f in fields(Conditions) if f.name not in ("split", "checkpoint"))


def _pair_columns() -> tuple[Column, ...]:
    columns = [*_PAIR]
    for name, words in _MEASURES:
        for side, whose in (("reference", "first arm"), ("other", "second arm"), ("difference", "second minus first")):
            columns += [
                Column(f"{name}_{side}", f"{words}, {whose}: mean over the seeds", FRACTION),
                Column(f"{name}_{side}_sd", f"{words}, {whose}: sample standard deviation over the seeds", FRACTION),
            ]
            if name.startswith("test"):
                columns += bounded_columns(f"{name}_{side}", f"{words}, {whose}")[1:]
    columns += [
        Column("verdict", "better, worse or not settled, by the interval of the test AP's difference"),
        Column("verdict_words", "the verdict, and what would settle it"),
        Column(
            "p", "two-sided test of the test AP's difference, over patients and seeds (of one: patients)", "probability"
        ),
        Column("p_patients", "permutation test over patients, for these trained networks", "probability"),
        Column("p_holm", "p adjusted (Holm) over the pairs of this ablation", "probability"),
        Column("seed_share", "share of the difference's variance between seeds", FRACTION),
        Column("parameters_reference", "parameters of the first arm's detector", "parameters"),
        Column("parameters_other", "parameters of the second arm's detector", "parameters"),
        Column("checkpoint", "which checkpoints are compared"),
        *(Column(name, f"of the first arm: {name.replace('_', ' ')}") for name in _CONDITIONS),
        Column("differs_by_design", "what the ablation file varies between the arms: first / second"),
        Column("note", "seeds that are missing"),
        Column("no_interval", "why there is no interval"),
    ]
    return tuple(columns)


def _pair_cells(frame: AblationFrame, row: Comparison, stats: PairStatistics) -> Row:
    cells: list[Cell] = [*_ends(row)]
    for name, _ in _MEASURES:
        contrast: PairedMeans = getattr(row, name)
        within = _intervals(stats, name)
        for side in ("reference", "other", "difference"):
            figure: SeedMean | None = getattr(contrast, side)
            cells += [figure.mean if figure else None, figure.sd if figure else None]
            if name.startswith("test"):
                cells += bounded(within[side])[1:]
    difference = stats.difference
    return (
        *cells,
        difference.verdict if difference else None,
        verdict_words(stats) or None,
        finite(difference.p if difference else None),
        finite(difference.p_patients if difference else None),
        finite(stats.p_holm),
        finite(difference.seed_share if difference else None),
        *parameters(frame, row),
        row.kind,
        *(getattr(row.sides[0], name) for name in _CONDITIONS),
        "; ".join(row.by_design.values()) or None,
        row.note or None,
        stats.why or None,
    )


def _intervals(stats: PairStatistics, name: str) -> dict[str, Interval | None]:
    measure = name.rsplit("_", 1)[-1]
    reference, other = (getattr(s.estimate, measure) if s else None for s in (stats.reference, stats.other))
    return {"reference": reference, "other": other, "difference": getattr(stats.difference, measure, None)}


def _printed_pairs(
    frame: AblationFrame, comparison: ComparisonTable, known: list[tuple[Comparison, PairStatistics]], under: str
) -> PrintedTable:
    has_intervals = any(stats.difference is not None for _, stats in known)
    heads = ["Setting", "On test", clip(comparison.reference, 30), clip(comparison.other, 30), "Difference"]
    heads += ["Verdict", "p", "Holm"] if has_intervals else []
    rows = []
    for row, stats in known:
        name = f"{clip(row.setting, 60)} ({len(row.seeds)} seeds)" if len(row.seeds) > 1 else clip(row.setting, 60)
        difference = stats.difference
        tests = (difference.verdict, p_value(difference.p), p_value(stats.p_holm)) if difference else ("",) * 3
        rows.append((name, "AP", *_three(row.test_ap, stats, "test_ap"), *(tests if has_intervals else ())))
        rows.append(("", "AR", *_three(row.test_ar, stats, "test_ar"), *(("",) * 3 if has_intervals else ())))
    said = [under]
    if has_intervals:
        seeds = any(stats.difference is not None and stats.difference.seeds > 1 for _, stats in known)
        test = "a test over patients and seeds" if seeds else "permutation test over patients"
        said.append(f"In brackets: 95 % intervals. p: {test}; Holm: adjusted over the pairs of this ablation.")
    if (counts := common_parameters(frame, comparison)) is not None:
        reference, other = counts
        said.append(f"{heads[3]}: {whole(other)} parameters, {heads[2]}: {whole(reference)}.")
    return PrintedTable(tuple(heads), tuple(rows), 2, " ".join(said))


def _three(contrast: PairedMeans, stats: PairStatistics, name: str) -> tuple[str, str, str]:
    """Reference, other and difference: each a mean with its interval, or else with its standard deviation."""
    within = _intervals(stats, name)

    def cell(side: str) -> str:
        figure: SeedMean | None = getattr(contrast, side)
        of_side = within[side]
        form = signed if side == "difference" else decimal
        value = figure.mean if figure else of_side.value if of_side else None
        beside = bounds(of_side, sign=side == "difference") or spread(figure)
        return f"{form(value)} {beside}".rstrip()

    return cell("reference"), cell("other"), cell("difference")


def _printed_findings(
    comparison: ComparisonTable, known: list[tuple[Comparison, PairStatistics]], under: str
) -> PrintedTable:
    heads = ("Setting", "Finding", clip(comparison.reference, 30), clip(comparison.other, 30), "Difference")
    rows = tuple(
        (clip(row.setting, 60), clip(f.label, 60), interval(f.reference), interval(f.other),
         interval(f.difference, sign=True))
        for row, stats in known
        for f in by_finding_pair(stats)
    )  # fmt: skip
    return PrintedTable(heads, rows, 2, f"{under} In brackets: 95 % intervals; findings are not tested one by one.")


def refused_table(section: AblationSection) -> Iterable[TableContent]:
    """Pairs that cannot be compared."""
    if section.refusals:
        name = section.frame.record.name
        yield TableContent(
            file_stem(name, "not-compared"),
            f"{clip(section.title, 120)}: cannot be compared",
            (*_PAIR[:4], Column("reason", "what differs between the arms: first / second")),
            [(name, r.setting, r.reference, r.other, r.reason) for r in section.refusals],
        )


def documented_table(section: AblationSection) -> Iterable[TableContent]:
    """What the documented log prints beside what was measured here."""
    found = mirrored(section.frame)
    if not found:
        return
    names = ("test_ap", "val_ap", "test_ar", "val_ar")
    words = dict(_MEASURES)
    columns = [*MEMBER, Column("entry", "entry of the documented log"), Column("checkpoint", "the log's word for it")]
    for name in names:
        columns += [
            Column(f"{name}_documented", f"{words[name]} that the log prints", FRACTION),
            Column(f"{name}_measured", f"{words[name]} measured here", FRACTION),
        ]
    rows = [
        (
            *of_member(m.member),
            m.entry,
            m.checkpoint,
            *(x for both in m.figures for x in both),
            *of_evaluation(m.member),
        )
        for m in found
    ]
    heads = ("Run", "Entry", "Checkpoint", *("doc.", "meas.") * 4)
    groups = (("", 3), *((word, 2) for word in ("Test AP", "Val AP", "Test AR", "Val AR")))
    printed = tuple(
        (
            member_title(m.member, section.frame),
            m.entry,
            m.checkpoint,
            *(decimal(x) for both in m.figures for x in both),
        )
        for m in found
    )
    note = "The log's figures were obtained on its own data and under its protocol of the time."
    yield TableContent(
        file_stem(section.frame.record.name, "documented"),
        f"{clip(section.title, 120)}: documented beside measured",
        (*columns, *EVALUATION),
        rows,
        PrintedTable(heads, printed, 3, note, groups),
    )


# Tables of runs: parameter counts, varied fields and results, checkpoints, and every epoch.

#: The most setup fields in the printed form of a table of runs; the CSV has all.
_MOST_FIELDS = 5
_RUN = (
    Column("key", "the run's whole key"),
    Column("status", "finished, running, queued, interrupted or failed"),
    Column("epochs_done", "committed epochs", "epochs"),
    Column("epochs_asked", "epochs requested", "epochs"),
    Column("checkpoint", "the checkpoint of the figures: best_ap, or final where there is no best one"),
    Column("epoch", "its epoch", "epoch, from 1"),
    Column("val_ap", "validation AP", FRACTION),
    Column("val_ar", "validation AR", FRACTION),
    Column("test_ap", "test AP", FRACTION),
    Column("test_ar", "test AR", FRACTION),
    *EVALUATION,
    Column("best_ap_epoch", "epoch of the best validation AP", "epoch, from 1"),
    Column("best_ar_epoch", "epoch of the best validation AR", "epoch, from 1"),
    Column("lowest_val_loss_epoch", "epoch of the lowest validation loss", "epoch, from 1"),
    Column(
        "overfitting_from_epoch", "from which the validation loss rises; empty where it is not seen to", "epoch, from 1"
    ),
    Column("time_s", "training and evaluation of all epochs", "s"),
    Column("started_utc", "first start", "ISO 8601, UTC"),
    Column("finished_utc", "end", "ISO 8601, UTC"),
    Column("parameters", "parameters of the whole detector", "parameters"),
    Column("data", "name of the data set"),
    Column("fingerprint", "SHA-256 of the data set's content"),
    Column("split_policy", "how the data set was split: by patient or by row"),
    Column("recipe", "version of the code that results depend on"),
    Column("documented", "entry of the documented log that it mirrors"),
    Column("changed_by_hand", "fields set on the command line"),
    Column("error", "why it failed"),
)


def parameters_table(section: AblationSection) -> Iterable[TableContent]:
    """Parameter counts of every module in every setting and arm."""
    if not section.count_rows:
        return
    frame, name = section.frame, section.frame.record.name
    first = {(m.record.setting, m.record.arm): m for m in reversed(frame.members) if m.run.counts}
    members = [first[s, a] for a in frame.arms for s in frame.settings if (s, a) in first]
    columns = (
        *(
            Column(x, y)
            for x, y in (("ablation", "name of the ablation's file"), ("setting", "setting"), ("arm", "arm"))
        ),
        Column("module", "module of the detector"),
        Column("parameters", "trainable and fixed parameters", "parameters"),
    )
    rows = [(name, m.record.setting, m.record.arm, c.module, c.count) for m in members for c in m.run.counts]
    yield TableContent(
        file_stem(name, "parameters"),
        f"{clip(section.title, 120)}: parameters",
        columns,
        rows,
        _printed_counts(section),
    )


def _printed_counts(section: AblationSection) -> PrintedTable:
    settings = len(section.frame.settings)
    groups = [
        clip(row.arm if len(row.settings) == settings else f"{row.arm}: {', '.join(row.settings)}", 60)
        for row in section.count_rows
    ]
    counts = [[whole(count) for count in row.counts] for row in section.count_rows]
    if len(groups) > len(section.modules):
        heads = ("Arm and settings", *(clip(m.rsplit(".", 1)[-1], 40) for m in section.modules))
        return PrintedTable(heads, tuple((group, *row) for group, row in zip(groups, counts, strict=True)))
    by_module = zip(section.modules, zip(*counts, strict=True), strict=True)
    return PrintedTable(("Module", *groups), tuple((clip(module, 60), *row) for module, row in by_module))


def runs_table(name: str, title: str, frames: Sequence[AblationFrame]) -> TableContent:
    """Every member with its varied fields and its results."""
    members = [m for frame in frames for m in frame.members]
    setup = _varying([m.setup for m in members])
    protocol = [field for field in _varying([m.run.record.protocol for m in members]) if field != "seed"]
    columns = (
        *MEMBER,
        *_RUN,
        *(Column(f"setup.{field}", "field of the setup that varies") for field in setup),
        *(Column(f"protocol.{field}", "field of the training protocol that varies") for field in protocol),
    )
    rows = [
        (
            *of_member(m),
            *_run_cells(m),
            *(_plain(m.setup.get(field)) for field in setup),
            *(_plain(m.run.record.protocol.get(field)) for field in protocol),
        )
        for m in members
    ]
    return TableContent(name, title, columns, rows, _printed_runs(frames, setup) if len(frames) == 1 else None)


def _varying(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields whose values differ, in order of first appearance."""
    found: dict[str, set[str]] = {}
    for values in given:
        for field in values:
            found.setdefault(field, set())
    for field, texts in found.items():
        texts.update(json.dumps(values.get(field), sort_keys=True) for values in given)
    return [field for field, texts in found.items() if len(texts) > 1]


def _plain(value: Any) -> Cell:
    """A field's value as one cell: lists and tables as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def time_of(run: RunFrame) -> float:
    """Seconds of all epochs that were measured."""
    return math.fsum(e.seconds for e in run.epochs if math.isfinite(e.seconds))


def _run_cells(member: MemberFrame) -> Row:
    run, record, best = member.run, member.run.record, member.alone
    turned = onset_of(run)
    return (
        record.key,
        record.status,
        record.epochs_done,
        run.epochs_asked,
        *((best.kind, best.epoch, best.val_ap, best.val_ar, best.test_ap, best.test_ar) if best else (None,) * 6),
        *of_evaluation(member),
        member.best_ap.epoch if member.best_ap else None,
        member.best_ar.epoch if member.best_ar else None,
        lowest_loss(run),
        turned.epoch if turned else None,
        time_of(run) if run.epochs else None,
        record.started,
        record.finished,
        run.count("model"),
        record.dataset_name,
        record.dataset_fingerprint or None,
        run.split_policy,
        record.recipe,
        member.record.documented,
        ", ".join(member.record.overrides) or None,
        record.error,
    )


def _printed_runs(frames: Sequence[AblationFrame], setup: Sequence[str]) -> PrintedTable:
    shown, left = setup[:_MOST_FIELDS], setup[_MOST_FIELDS:]
    heads = ("Run", *(clip(field, 40) for field in shown), "Epochs", "Best AP at", "Best AR at", "Lowest loss at",
             "Overfitting from", "Val AP", "Test AP", "Val AR", "Test AR", "Time")  # fmt: skip
    rows = []
    for frame in frames:
        for m in frame.members:
            best, turned = m.alone, onset_of(m.run)
            epochs = (m.best_ap.epoch if m.best_ap else None, m.best_ar.epoch if m.best_ar else None,
                      lowest_loss(m.run), turned.epoch if turned else None)  # fmt: skip
            figures = (best.val_ap, best.test_ap, best.val_ar, best.test_ar) if best else (None,) * 4
            state = "" if m.run.finished else f" ({m.run.record.status})"
            rows.append(
                (
                    member_title(m, frame) + state,
                    *(_words(m.setup.get(field)) for field in shown),
                    f"{m.run.record.epochs_done} / {m.run.epochs_asked}",
                    *(DASH if n is None else str(n) for n in epochs),
                    *(decimal(value) for value in figures),
                    duration(time_of(m.run)) if m.run.epochs else DASH,
                )
            )
    also = f" These vary too: {', '.join(left)}." if left else ""
    return PrintedTable(heads, tuple(rows), note=f"AP and AR of best-AP checkpoints, or final ones without them.{also}")


def _words(value: Any) -> str:
    cell = _plain(value)
    return DASH if cell is None else f"{cell:g}" if isinstance(cell, float) else clip(str(cell), 40)


def checkpoints_table(section: AblationSection) -> Iterable[TableContent]:
    """AP and AR of the three checkpoints of every run."""
    frame = section.frame
    figures = ("val_ap", "val_ar", "test_ap", "test_ar")
    words = {"val": "validation", "test": "test"}
    columns = (
        *MEMBER,
        Column("checkpoint", "best_ap, best_ar or final"),
        Column("epoch", "its epoch", "epoch, from 1"),
        *(Column(f, f"{words[f[:-3]]} {f[-2:].upper()}", FRACTION) for f in figures),
        *EVALUATION,
    )
    rows = each(
        frame.members,
        lambda m: [(o.kind, o.epoch, *(getattr(o, f) for f in figures), *of_evaluation(m)) for _, o in m.outcomes if o],
    )
    if rows:
        printed = tuple(
            (member_title(m, frame), name, str(o.epoch), *(decimal(getattr(o, f), 4) for f in figures))
            for m in frame.members
            for name, o in m.outcomes
            if o
        )
        heads = ("Run", "Checkpoint", "Epoch", "Val AP", "Val AR", "Test AP", "Test AR")
        title = f"{clip(section.title, 120)}: checkpoints"
        yield TableContent(
            file_stem(frame.record.name, "checkpoints"), title, columns, rows, PrintedTable(heads, printed, 2)
        )


def epochs_table(model: ReportModel) -> TableContent:
    """Every metric of every epoch in long form, each run once."""
    columns = (
        Column("run", "first 12 digits of the run's key"),
        Column("epoch", "the epoch", "epoch, from 1"),
        Column("split", "train, val or test; empty for metrics without a split"),
        Column("metric", "loss, a part of it, ap_iou, ar_iou, ap_iobb, ar_iobb, or lr, time_s, peak_memory_bytes"),
        Column("value", "AP and AR as fractions, time_s in seconds, peak_memory_bytes in bytes", "as the metric says"),
    )
    rows: list[Row] = []
    for section in model.runs:
        key = short_key(section.run.key)
        for e in section.run.epochs:
            rows += [
                (key, e.epoch, None, "lr", e.lr),
                (key, e.epoch, None, "time_s", e.seconds),
                (key, e.epoch, None, "peak_memory_bytes", e.peak_memory),
            ]
            rows += [(key, e.epoch, m.split, m.name, m.value) for m in e.metrics]
    return TableContent("epochs", "Every metric of every epoch", columns, rows)


# Tables of a run's detections: score thresholds, findings, confusion, reliability, controls.

_CHECKPOINT = Column("checkpoint", "which checkpoint was evaluated")
_SCORE = Column("score", "least score of the detections that count", FRACTION)


def threshold_tables(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """Test AP by score threshold, one table per protocol and kind of checkpoint."""
    frame = section.frame
    names = ("ap", "ar", "precision", "recall", "f1")
    words = {"ap": "AP", "ar": "AR", "f1": "F1"}
    columns = (
        *MEMBER, _CHECKPOINT, *EVALUATION, _SCORE,
        *bounded_columns("test_ap_gap", "test AP minus test AP at the first score"),
        *(column for name in names for column in bounded_columns(f"test_{name}", f"test {words.get(name, name)}")),
        Column("detections_per_image", "detections of an image on average", "detections"),
    )  # fmt: skip
    for n, gap in enumerate(gap_tables(statistics, frame), start=1):
        rows: list[Row] = [
            (*of_member(c.member), gap.kind, *of_evaluation(c.member), r.score, c.gaps[i],
             *bounded(b.gap)[1:], *(x for name in names for x in (getattr(r, name), *bounded(getattr(b, name))[1:])),
             r.per_image)
            for c in gap.columns
            for i, (r, b) in enumerate(zip(c.rows, c.bands, strict=True))
        ]  # fmt: skip
        heads = ("Run", *(f"≥ {score:g}" for score in gap.scores))
        printed = tuple(
            (member_title(c.member, frame),
             *(f"{decimal(r.ap)}{f' ({signed(c.gaps[i])})' if i else ''} {c.bounds(i)}".rstrip()
               for i, r in enumerate(c.rows)))
            for c in gap.columns
        )  # fmt: skip
        protocol = gap.first.protocol
        said = (
            f"{'Final' if gap.kind == 'final' else 'Best-AP'} checkpoints by "
            f"{'IoBB' if protocol.overlap == 'iobb' else 'IoU'} ≥ {protocol.threshold:g}, "
            f"{protocol.proposals.replace('_', ' ')} proposals; in parentheses the gap to the first column. "
            "In brackets: 95 % intervals, of the gap where there is one."
        )
        title = f"{clip(section.title, 120)}: test AP of the detections with at least a score"
        yield TableContent(
            file_stem(frame.record.name, f"thresholds-{n}"),
            title,
            columns,
            rows,
            PrintedTable(heads, printed, note=said),
        )


def findings_table(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """AP and AR of each finding, for every checkpoint, on validation and test."""
    frame = section.frame

    def cells(member: MemberFrame) -> Iterable[Row]:
        for _, outcome in member.outcomes:
            if outcome is not None:
                yield from _by_split(outcome, statistics.run(member), of_evaluation(member))

    rows = each(frame.members, cells)
    if not rows:
        return
    columns = (
        *MEMBER, _CHECKPOINT, Column("epoch", "its epoch", "epoch, from 1"), *EVALUATION,
        Column("split", "val or test"), Column("finding", "the finding"),
        *bounded_columns("ap", "AP of the finding"), *bounded_columns("ar", "AR of the finding"),
    )  # fmt: skip
    heads = ("Run", "Finding", "Val AP", "Val AR", "Test AP", "Test AR")
    printed = tuple(
        (member_title(m, frame), clip(label, 60), *figures)
        for m in frame.members
        if m.alone is not None
        for label, *figures in _finding_cells(m.alone, statistics.run(m))
    )
    title = f"{clip(section.title, 120)}: by finding"
    note = "Best-AP checkpoints, or final ones without them; in brackets 95 % intervals."
    yield TableContent(
        file_stem(frame.record.name, "findings"), title, columns, rows, PrintedTable(heads, printed, 2, note)
    )


def _within(outcome: CheckpointResult, stats: RunStatistics | None) -> dict[str, tuple[Row, Row]]:
    """The test intervals of AP and AR by finding, if the statistics are for this checkpoint."""
    if stats is None or stats.measured is None or stats.kind != outcome.kind:
        return {}
    return {label: (bounded(ap)[1:], bounded(ar)[1:]) for label, ap, ar in stats.measured.estimate.per_class}


def _by_split(outcome: CheckpointResult, stats: RunStatistics | None, evaluation: Row) -> Iterable[Row]:
    within = _within(outcome, stats)
    splits: Sequence[tuple[str, ClassFigures]] = (("val", outcome.val_classes), ("test", outcome.test_classes))
    for split, classes in splits:
        for label, ap, ar in classes:
            none: Row = (None, None)
            of_ap, of_ar = within.get(label, (none, none)) if split == "test" else (none, none)
            yield (outcome.kind, outcome.epoch, *evaluation, split, label, ap, *of_ap, ar, *of_ar)


def _finding_cells(outcome: CheckpointResult, stats: RunStatistics | None) -> Iterable[tuple[str, ...]]:
    val = {label: (ap, ar) for label, ap, ar in outcome.val_classes}
    test = {label: (ap, ar) for label, ap, ar in outcome.test_classes}
    each_ = stats.measured.estimate.per_class if stats and stats.measured and stats.kind == outcome.kind else ()
    within = {label: (interval(ap), interval(ar)) for label, ap, ar in each_}
    for label in dict.fromkeys([*val, *test]):
        plain = tuple(map(decimal, test.get(label, (None, None))))
        shown = tuple(w if w != DASH else p for w, p in zip(within.get(label, plain), plain, strict=True))
        yield (label, *map(decimal, val.get(label, (None, None))), *shown)


def _profiles(section: AblationSection, statistics: Statistics) -> Iterable[tuple[MemberFrame, RunStatistics]]:
    for member in section.frame.members:
        stats = statistics.run(member)
        if stats is not None:
            yield member, stats


def confusion_table(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """Confusion and reliability of every run's scores in long form."""
    name, title = section.frame.record.name, clip(section.title, 120)
    profiled = [(m, s, s.profile) for m, s in _profiles(section, statistics) if s.profile is not None]
    counts: list[Row] = [
        (*of_member(m), s.kind, *of_evaluation(m), p.rows[-1].score, true, called, int(p.confusion.counts[i, j]))
        for m, s, p in profiled
        for i, true in enumerate([*p.confusion.labels, "nothing there"])
        for j, called in enumerate([*p.confusion.labels, "missed"])
        if (i, j) != (len(p.confusion.labels),) * 2
    ]
    if counts:
        columns = (
            *MEMBER, _CHECKPOINT, *EVALUATION, _SCORE, Column("true", "the true finding"),
            Column("called", "what was detected there"), Column("count", "how often, on test", "findings"),
        )  # fmt: skip
        yield TableContent(file_stem(name, "confusion"), f"{title}: confusion", columns, counts)
    bins: list[Row] = [
        (*of_member(m), s.kind, *of_evaluation(m), *row)
        for m, s, p in profiled
        for row in zip(
            p.calibration.edges, p.calibration.edges[1:], p.calibration.score, p.calibration.hits, p.calibration.count,
            strict=False,
        )
        if row[-1]
    ]  # fmt: skip
    if bins:
        edges = (
            *MEMBER, _CHECKPOINT, *EVALUATION, Column("score_from", "lower end of the bin", FRACTION),
            Column("score_to", "upper end of the bin", FRACTION), Column("mean_score", "mean score in it", FRACTION),
            Column("share_right", "share of its detections that are right", FRACTION),
            Column("detections", "detections in it, on test", "detections"),
        )  # fmt: skip
        yield TableContent(file_stem(name, "reliability"), f"{title}: reliability of the scores", edges, bins)


def froc_table(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """Sensitivity by false positives per image, over all findings together and of each."""
    frame = section.frame
    profiled = [(m, s, froc_rows(s)) for m, s in _profiles(section, statistics) if s.profile is not None]
    if not profiled:
        return
    columns = (
        *MEMBER, _CHECKPOINT, *EVALUATION, Column("finding", "the finding, or all findings together"),
        Column("false_positives_per_image", "the rate; empty of the score, the mean over the rates", "detections"),
        *bounded_columns("sensitivity", "share of the findings that are found at this rate"),
    )  # fmt: skip
    rows: list[Row] = [
        (*of_member(m), s.kind, *of_evaluation(m), label, rate, *bounded(value))
        for m, s, found in profiled
        for label, score, each_rate in found
        for rate, value in ((None, score), *zip(FROC_RATES, each_rate, strict=True))
    ]
    printed = tuple(
        (member_title(m, frame), interval(score), *(decimal(value.value) for value in each_rate))
        for m, _, found in profiled
        for label, score, each_rate in found[:1]
    )
    heads = ("Run", "Score", *(f"{rate:g}" for rate in FROC_RATES))
    note = "Sensitivity over all findings by false positives per image, and its mean (score) with a 95 % interval."
    title = f"{clip(section.title, 120)}: FROC on test"
    yield TableContent(
        file_stem(frame.record.name, "froc"), title, columns, rows, PrintedTable(heads, printed, note=note)
    )


def controls_table(section: AblationSection, statistics: Statistics) -> Iterable[TableContent]:
    """What the test AP loses when an input is made useless."""
    found = [(m, s, c) for m, s in _profiles(section, statistics) for c in s.controls]
    if not found:
        return
    columns = (
        *MEMBER, _CHECKPOINT, *EVALUATION, Column("altered", "column, records or image"),
        Column("column", "the clinical column that was shuffled"),
        Column("ap_before", "test AP as it is", FRACTION), Column("ap_after", "test AP altered", FRACTION),
        *bounded_columns("ap_lost", "test AP lost"), *bounded_columns("ar_lost", "test AR lost"),
        Column("repeats", "how often the input was altered", "repeats"), Column("meaning", "what it says"),
    )  # fmt: skip
    rows: list[Row] = [
        (*of_member(m), s.kind, *of_evaluation(m), c.alteration.kind, c.alteration.name or None, c.drop.before,
         c.drop.after, *bounded(c.drop.ap), *bounded(c.drop.ar), c.drop.repeats, meaning(c))
        for m, s, c in found
    ]  # fmt: skip
    printed = tuple(
        (member_title(m, section.frame), clip(alteration_words(c.alteration), 60), decimal(c.drop.after),
         interval(c.drop.ap, sign=True))
        for m, _, c in found
    )  # fmt: skip
    heads = ("Run", "Altered", "AP left", "AP lost")
    title = f"{clip(section.title, 120)}: controls"
    yield TableContent(
        file_stem(section.frame.record.name, "controls"), title, columns, rows, PrintedTable(heads, printed, 2)
    )


# The paper's table: the four arms of ``ablations/paper.toml``, documented figures beside measured ones.

#: The ablation of the table, and the figures of the table (from the best-AP checkpoints).
ABLATION = "paper"
MEASURES = ("val_ap", "val_ar", "test_ap", "test_ar")
NAN = float("nan")


@dataclass(frozen=True)
class PaperFigure:
    """One measure: documented, and measured here (bounds are NaN without an interval)."""

    documented: float | None
    measured: Interval | None


@dataclass(frozen=True)
class PaperRow:
    """One arm; ``note`` says why figures or intervals are missing."""

    arm: str
    documented: str | None
    documented_parameters: int | None
    parameters: int | None
    seeds: int
    figures: Mapping[str, PaperFigure]
    note: str


@dataclass(frozen=True)
class PaperTable:
    """All arms under equal conditions, with badges; ``design`` says what differs from the first arm by design."""

    title: str
    rows: tuple[PaperRow, ...]
    badges: tuple[Badge, ...]
    data: str
    resamples: int
    design: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Why something is missing, arm by arm."""
        return [f"{row.arm}: {row.note}" for row in self.rows if row.note]


def paper_table(store: Store, *, ablation: str = ABLATION, resamples: int = RESAMPLES) -> PaperTable:
    """The table of the store's results so far; unfinished arms have only their documented figures.

    Raises:
        ReportError: the ablation was never started, or its arms were trained or evaluated under unequal conditions.
    """
    try:
        frame = load_frame(store, [ablation]).ablations[0]
    except ReportError as error:
        raise ReportError(error.what, hint=f"train it with `mmad ablate ablations/{ABLATION}.toml`") from error
    conditions, design = _conditions(frame)
    detections = DetectionStore()
    rows = tuple(_row(store, detections, arm, _of(frame, arm), resamples) for arm in frame.arms)
    badges = tuple(legend([*evaluation_badges(conditions), *_marks(frame)]))
    return PaperTable(frame.record.title, rows, badges, conditions.data, resamples, design)


def _marks(frame: AblationFrame) -> list[Badge]:
    """The badges that warn of inflated or weakened figures in any arm."""
    marks = [
        badge
        for member in frame.members
        for badge in (*setup_badges(member.run), *audit_badges(member.run), *member_badges(member))
    ]
    return [badge for badge in marks if badge.tone == "caution"]


def _of(frame: AblationFrame, arm: str) -> list[MemberFrame]:
    return [member for member in frame.members if member.record.arm == arm]


def _conditions(frame: AblationFrame) -> tuple[Conditions, tuple[str, ...]]:
    """The conditions of the first arm, and what differs by design; a table never mixes two protocols."""
    first, *others = frame.arms
    design = []
    for arm in others:
        found = compare(
            *([m.compared for m in _of(frame, one)] for one in (first, arm)),
            names=(first, arm), file=frame.record, kind="best_ap",
        )  # fmt: skip
        if isinstance(found, NotComparable):
            where, hint = f"ablation {frame.record.name}", "run the whole file under one protocol"
            raise ReportError(found.error().what, where=where, hint=hint)
        if found.by_design:
            design.append(f"{arm} {found.design}")
    return frame.members[0].compared.conditions("best_ap"), tuple(design)


def _row(
    store: Store, detections: DetectionStore, arm: str, members: Sequence[MemberFrame], resamples: int
) -> PaperRow:
    name = next((member.record.documented for member in members if member.record.documented), None)
    log = None if name is None else entry(name)
    done = [member for member in members if member.run.finished and member.best_ap is not None]
    measured, note = _measured(store, detections, done, resamples)
    waiting = [
        "has no best-AP checkpoint" if m.run.finished else f"{m.run.record.status} at epoch {m.run.record.epochs_done}"
        for m in members
        if m not in done
    ]
    return PaperRow(
        arm=arm,
        documented=name,
        documented_parameters=None if log is None else log.params.get("model"),
        parameters=next((member.run.count("model") for member in members), None),
        seeds=len(done),
        figures={name: PaperFigure(_documented(log, name), measured.get(name)) for name in MEASURES},
        note="; ".join([*waiting, *([note] if note else [])]),
    )


def _documented(log: LogEntry | None, measure: str) -> float | None:
    best = None if log is None else log.results.get("best_ap")
    return None if best is None else float(getattr(best, measure))


def _measured(
    store: Store, detections: DetectionStore, members: Sequence[MemberFrame], resamples: int
) -> tuple[dict[str, Interval], str]:
    """(mean of each measure over the seeds, with an interval where stored detections allow one; reason if not)."""
    found = {name: Interval(mean, NAN, NAN) for name in MEASURES if (mean := _mean(members, name)) is not None}
    why = ""
    for split in ("val", "test"):
        try:
            found |= _with_intervals(store, detections, members, split, resamples) if members else {}
        except (EvaluationError, DataError) as error:
            why = f"no interval: {error}"
    return found, why


def _mean(members: Sequence[MemberFrame], measure: str) -> float | None:
    values = [getattr(member.best_ap, measure) for member in members]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _with_intervals(
    store: Store, detections: DetectionStore, members: Sequence[MemberFrame], split: Split, resamples: int
) -> dict[str, Interval]:
    options = EvaluationOptions(split=split, checkpoint="best_ap", resamples=resamples)
    targets = [evaluation_target(store, FoundRun(member.run.record, (member.record,)), options) for member in members]
    estimate = estimate_of(store, detections, targets).estimate
    return {f"{split}_ap": estimate.ap, f"{split}_ar": estimate.ar}
