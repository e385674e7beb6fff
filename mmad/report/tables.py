"""The tables of a report: for every figure a column with its name, unit and meaning, in full precision.

Each is made once, whether the page, Markdown, LaTeX, CSV or ``mmad eval`` and ``mmad compare`` print it. Tables of an
ablation take its section and the statistics; tables of evaluated runs take ``EvaluatedRun``s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean, stdev
from typing import Any

from mmad.analysis.cached_statistics import Diagnosis
from mmad.analysis.clinical_table import TableAuroc
from mmad.analysis.comparison import (
    ESTIMAND,
    ESTIMAND_OF_FOLDS,
    NOTHING_REGISTERED,
    OUTSIDE_FOLDS,
    Comparison,
    ComparisonTable,
    Conditions,
    PairAgreement,
    PairStatistics,
    benefits,
    registration_words,
    search_of,
)
from mmad.analysis.input_controls import alteration_words, meaning
from mmad.analysis.overfitting import lowest_loss, onset_of, onset_words
from mmad.analysis.report_frame import AblationFrame, ClassFigures, MemberFrame
from mmad.analysis.run_readers import merged_words
from mmad.analysis.verdicts import RunStatistics, Statistics
from mmad.base.formatting import clip, level_words, plural, short_key, whole
from mmad.base.json_values import finite
from mmad.base.paths import file_stem
from mmad.base.records import CheckpointKind, MemberRecord, Split
from mmad.config.ablation_file import ALIASES
from mmad.config.protocol import EvaluationProtocol
from mmad.config.runs import TRIAL, TRIALS
from mmad.config.tuning import best_of, same
from mmad.data.acquisition import Acquired
from mmad.data.exclusions import in_source
from mmad.data.samples import UNIFIED
from mmad.evaluation.coco_summary import CocoSet
from mmad.evaluation.diagnosis import ANY
from mmad.evaluation.operating_points import FROC_RATES, gaps
from mmad.evaluation.readers import DETECTOR, OTHERS
from mmad.evaluation.resampling import LEVEL, Interval
from mmad.evaluation.tide import NOTE as TIDE_NOTE
from mmad.report.against import Against
from mmad.report.badges import OVERLAP_NAMES
from mmad.report.cohort import Cohort, CohortKey, Flow, SplitCohort, cohort_key
from mmad.report.sections import (
    AblationSection,
    LogView,
    ReportModel,
    member_title,
    mirrored,
    run_anchor,
)
from mmad.report.table_model import FRACTION, HIGH, LOW, SD, Column, ReportTable, Row, Shown, Value

#: The columns that identify a member in every table.
MEMBER = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("arm", "arm of the pair"),
    Column("seed", "seed of the run"),
    Column("replicate", "number of a true repeat, from 1"),
    Column("run", "first 12 digits of the run's key"),
    Column("_run", "what the run is called"),
    Column("_anchor", "its place in the page"),
)
#: The columns of the protocol under which a member was evaluated.
EVALUATION = (
    Column("overlap", "overlap by which a detection hits: iou or iobb"),
    Column("threshold", "least overlap of a hit", FRACTION),
    Column("max_detections", "detections of an image that count, best first"),
    Column("proposals", "source of the proposals"),
)
_RUN = Shown("_run", "Run", "text", anchor="_anchor")
_CHECKPOINT = Column("checkpoint", "which checkpoint was evaluated")
_EPOCH = Column("epoch", "its epoch", "epoch, from 1")
_SCORE = Column("score", "least score of the detections that count", FRACTION)
_FINDING = Column("finding", "the finding")
_PATIENTS = Column("patients", "patients of the split with the finding", "patients")
#: More rows of readers against each other than this leave single pairs of readers to the files.
_MOST_PAIRS = 22
_INTERVALS = f"In brackets: {level_words(LEVEL)} intervals."
_ON_EXTERNAL = "All studies of data sets that no run was trained on."
_BY_PREVALENCE = "AP also depends on how frequent findings are: never compare it with the AP on other data."


def of_member(member: MemberFrame, ablation: AblationFrame) -> Row:
    """The cells of ``MEMBER``."""
    record: MemberRecord = member.record
    key = member.run.key
    names = (record.ablation, record.setting, record.arm, record.seed, record.replicate, short_key(key))
    return (*names, member_title(member, ablation), run_anchor(key))


def of_evaluation(protocol: EvaluationProtocol) -> Row:
    """The cells of ``EVALUATION``."""
    return (protocol.overlap, protocol.threshold, protocol.max_detections, protocol.proposals)


def protocol_words(protocol: EvaluationProtocol) -> str:
    """``IoU ≥ 0.5, clean proposals``."""
    least = f"{OVERLAP_NAMES[protocol.overlap]} ≥ {protocol.threshold:g}"
    return f"{least}, {protocol.proposals.replace('_', ' ')} proposals"


def _by(protocol: EvaluationProtocol) -> str:
    """``IoU, clean``."""
    return f"{OVERLAP_NAMES[protocol.overlap]}, {protocol.proposals.replace('_', ' ')}"


def bounded(value: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Value and bounds; None for what could not be measured."""
    if value is None:
        return None, None, None
    return finite(value.value), finite(value.low), finite(value.high)


def bounded_columns(
    name: str, meaning: str, *, sd: bool = False, level: str = level_words(LEVEL)
) -> tuple[Column, ...]:
    """A figure and the ends of its interval of a ``level``, with ``sd`` its deviation too."""
    within = f"of the {level} interval over patients and seeds"
    spread = (Column(f"{name}{SD}", f"{meaning}: sample standard deviation over the seeds", FRACTION),) if sd else ()
    return (
        Column(name, meaning, FRACTION),
        *spread,
        Column(f"{name}{LOW}", f"{meaning}: lower end {within}", FRACTION),
        Column(f"{name}{HIGH}", f"{meaning}: upper end {within}", FRACTION),
    )


# Tables that compare: arms, arms by finding, documented with measured figures.

_PAIR = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("reference", "first arm of the pair"),
    Column("other", "second arm of the pair"),
    Column("folds_done", "folds in which both arms have finished a seed; 0 without cross-validation", "folds"),
    Column("seeds", "seeds that both arms have finished", "seeds"),
)
_SIDES = (("reference", "first arm"), ("other", "second arm"), ("difference", "second minus first"))
#: Conditions with a column of their own; the checkpoint has one before them, the split is in the figures' names.
_CONDITIONS = tuple(f.name for f in fields(Conditions) if f.name not in ("split", "checkpoint"))
Known = Sequence[tuple[Comparison, PairStatistics]]


def statistics_rows(statistics: Statistics, comparison: ComparisonTable) -> list[tuple[Comparison, PairStatistics]]:
    """Each row of a comparison with its statistics, which the row then has, too."""
    return [(replace(row, statistics=stats), stats) for row in comparison.rows for stats in [statistics.pair(row)]]


def _ends(row: Comparison) -> Row:
    return (row.ablation, row.setting, row.reference, row.other, row.folds_done, len(row.seeds))


def _figures(row: Comparison, stats: PairStatistics, split: Split, measure: str) -> list[Value]:
    """Value, deviation and bounds of both arms and the difference; intervals are of the split that was compared."""
    here = split == row.sides[0].split
    sides = (stats.reference and stats.reference.estimate, stats.other and stats.other.estimate, stats.difference)
    cells: list[Value] = []
    for (name, _), found in zip(_SIDES, sides, strict=True):
        figure = getattr(getattr(row, f"{split}_{measure}"), name)
        value, low, high = bounded(getattr(found, measure, None) if here else None)
        cells += [figure.mean if figure else value, figure.sd if figure else None, low, high]
    return cells


def _arm_heads(known: Known, columns: Sequence[str], group: str = "", tone: str = "", level: str = "") -> list[Shown]:
    reference, other, difference = columns
    first = known[0][0]
    return [
        Shown(reference, clip(first.reference, 30), group=group),
        Shown(other, clip(first.other, 30), group=group),
        Shown(difference, "Difference", "difference", group, tone=tone, level=level),
    ]


def pairs_table(known: Known, name: str = "pairs", title: str = "", **more: Any) -> ReportTable:
    """Two arms in every setting: AP of both, the difference, the verdict in one word, p for all pairs together.

    Args:
        known: rows of one pair of arms on one split, with their statistics.
    """
    split = known[0][0].sides[0].split
    words = "Test AP" if split == "test" else "Validation AP"
    names = [f"{split}_ap_{side}" for side, _ in _SIDES]
    level = f"{names[-1]}_level"
    columns = [
        *_PAIR,
        *(c for n, (_, who) in zip(names[:2], _SIDES, strict=False)
          for c in bounded_columns(n, f"{words}, {who}", sd=True)),
        *bounded_columns(names[-1], f"{words}, {_SIDES[-1][1]}", sd=True, level=level),
        Column(level, "level of that interval: 1 − alpha where the pair is registered", FRACTION),
        Column("verdict", "higher, lower, not settled or no verdict, by the interval of the AP's difference"),
        Column("reasons", "codes of why the verdict is what it is"),
        Column("verdict_words", "the verdict in full"),
        Column("p", "two-sided, over seeds and patients (one seed: patients), for all pairs together", "probability"),
        Column("p_pointwise", "the same for this pair alone", "probability"),
        *bounded_columns(f"{names[-1]}_pointwise", f"{words}, second minus first, for this pair alone")[1:],
        Column("p_patients", "permutation test over patients, for these trained networks", "probability"),
        Column("by_checkpoint", "difference in test AP by each kind of checkpoint"),
        Column("seed_share", "share of the difference's variance between seeds", FRACTION),
        Column("checkpoint", "which checkpoints are compared"),
        *(Column(name, f"of the first arm: {name.replace('_', ' ')}") for name in _CONDITIONS),
        Column("differs_by_design", "what the ablation file varies between the arms: first / second"),
        Column("note", "seeds that are missing"),
        Column("no_interval", "why there is no interval"),
        Column("_below", "seeds, and those that are missing"),
        Column("_tone", "colour of the difference"),
    ]  # fmt: skip
    rows: list[Row] = []
    for row, stats in known:
        found = stats.difference
        seeds = plural(len(row.seeds), "seed") if len(row.seeds) > 1 and not row.note else ""
        if row.folds and not row.note:
            seeds = f"{row.folds} folds{f' × {seeds}' if seeds else ''}"
        judgement = row.judgement
        said = (judgement.word, " ".join(judgement.reasons), judgement.sentence) if judgement and found else (None,) * 3
        ps = (found.p, found.p_pointwise) if found else (None, None)
        rows.append((
            *_ends(row), *_figures(row, stats, split, "ap"), found.level if found else None, *said, *map(finite, ps),
            *bounded(found.pointwise if found else None)[1:], finite(found.p_patients if found else None),
            "; ".join(f"{kind} {value:+.4f}" for kind, value in row.by_checkpoint.items()) or None,
            finite(found.seed_share if found else None), row.kind,
            *(getattr(row.sides[0], name) for name in _CONDITIONS), "; ".join(row.by_design.values()) or None,
            row.note or None, stats.why or None, row.note or seeds,
            f"diff {judgement.tone}" if judgement else "diff even",
        ))  # fmt: skip
    shown = [Shown("setting", "Setting", "text", below="_below"), *_arm_heads(known, names, words, "_tone", level)]
    compared = [row for row, stats in known if stats.difference is not None]
    if compared:
        shown += [Shown("verdict", "Verdict", "text"), Shown("p", "p", "p")]
    title = title or f"{clip(known[0][0].other, 60)} against {clip(known[0][0].reference, 60)}"
    return ReportTable.of(
        name, title, columns, rows, shown=tuple(shown), note=_pairs_note(known),
        footnotes=_by_words((row.setting, row.sentence) for row in compared), footing="The verdicts in full", **more,
    )  # fmt: skip


def _by_words(found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """``patience 10: These two networks differ …``; settings with equal words together."""
    settings: dict[str, list[str]] = {}
    for setting, words in found:
        settings.setdefault(words, []).append(clip(setting, 60))
    return tuple(f"{', '.join(names)}: {words}" for words, names in settings.items())


def measures_table(known: Known, name: str = "measures", **more: Any) -> ReportTable:
    """AR and validation figures of both arms beside the AP that decides, a row a setting and measure."""
    decided = known[0][0].sides[0].split
    measures = [(split, measure) for split in ("test", "val") for measure in ("ap", "ar")]
    columns = [
        *_PAIR,
        Column("split", "val or test"),
        Column("measure", "AP or AR"),
        *(c for side, who in _SIDES for c in bounded_columns(f"figure_{side}", f"mean over the seeds, {who}", sd=True)),
        Column("_measure", "both in words"),
    ]  # fmt: skip
    rows = [
        (*_ends(row), split, measure.upper(), *_figures(row, stats, split, measure),  # type: ignore[arg-type]
         f"{'Test' if split == 'test' else 'Validation'} {measure.upper()}")
        for row, stats in known
        if row.seeds
        for split, measure in measures
        if (split, measure) != (decided, "ap")
    ]  # fmt: skip
    shown = (
        Shown("setting", "Setting", "text"),
        Shown("_measure", "Measure", "text"),
        *_arm_heads(known, [f"figure_{side}" for side, _ in _SIDES]),
    )
    return ReportTable.of(name, "AR, and validation", columns, rows, shown=shown, note=_INTERVALS, **more)


def pair_findings_table(known: Known, name: str = "findings-pairs", **more: Any) -> ReportTable:
    """AP of each finding in both arms, and the difference."""
    columns = (*_PAIR, _FINDING, *(c for side, whose in _SIDES for c in bounded_columns(f"ap_{side}", f"AP, {whose}")))
    rows = []
    for row, stats in known:
        if stats.difference is None or stats.reference is None or stats.other is None:
            continue
        left, right = ({x: ap for x, ap, _ in side.estimate.per_class} for side in (stats.reference, stats.other))
        rows += [
            (*_ends(row), label, *bounded(left[label]), *bounded(right[label]), *bounded(ap))
            for label, ap, _ in stats.difference.per_class
        ]
    heads = _arm_heads(known, [f"ap_{side}" for side, _ in _SIDES])
    shown = (Shown("finding", "Finding", "text"), *heads)
    note = f"{_INTERVALS} Findings are not tested one by one."
    section = "setting" if len(known) > 1 else ""
    title = f"{'Test' if known[0][0].sides[0].split == 'test' else 'Validation'} AP by finding"
    return ReportTable.of(name, title, columns, rows, shown=shown, note=note, section=section, **more)


def external_pairs_table(known: Known, name: str = "external-pairs", **more: Any) -> ReportTable:
    """AP of both arms and the difference on every external data set that both were evaluated on."""
    sides = [f"external_ap_{side}" for side, _ in _SIDES]
    columns = (
        *_PAIR, Column("external", "what the external data set is called"), Column("data", "its own name"),
        Column("images", "images of it", "images"), Column("patients", "patients of it", "patients"),
        *(c for n, (_, who) in zip(sides, _SIDES, strict=True) for c in bounded_columns(n, f"external AP, {who}")),
        Column("p_pointwise", "two-sided, for this pair alone", "probability"),
        Column("missing", "why there are no figures, or the runs that are missing"),
    )  # fmt: skip
    rows: list[Row] = []
    for row, stats in known:
        for one in stats.external:
            found = one.difference
            size = (found.images, found.patients) if found else (None, None)
            arms = (bounded(side.estimate.ap if side else None) for side in (one.reference, one.other))
            rows.append((
                *_ends(row), one.name, one.data, *size, *(x for side in arms for x in side),
                *bounded(found.pointwise if found else None), finite(found.p_pointwise if found else None),
                one.why or row.note or None,
            ))  # fmt: skip
    shown = (
        Shown("setting", "Setting", "text"), Shown("external", "External data", "text", below="missing"),
        Shown("patients", "Patients", "whole"), *_arm_heads(known, sides, "External AP"),
    )  # fmt: skip
    folds = f" {OUTSIDE_FOLDS}" if any(row.folds for row, _ in known) else ""
    note = f"{_ON_EXTERNAL} No verdict; each interval is of one pair.{folds} {_BY_PREVALENCE}"
    return ReportTable.of(name, "On external data", columns, rows, shown=shown, note=note, **more)


def interactions_table(known: Known, name: str = "interactions", **more: Any) -> ReportTable:
    """Whether the arms differ more in one part of the split than in the others."""
    columns = (
        *_PAIR, Column("column", "the column that parts the split"), Column("level", "which part"),
        Column("patients", "patients with a finding, or without one where they are fewer", "patients"),
        *bounded_columns("difference", "mean wAFROC, second minus first arm, within the part"),
        *bounded_columns("interaction", "that minus the same difference in all other parts"),
        Column("p", "of the interaction, two-sided, of this part alone", "probability"),
        Column("p_family", "adjusted for all parts of all columns together (Holm)", "probability"),
    )  # fmt: skip
    rows = [
        (*_ends(row), one.column, one.level, one.patients, *bounded(one.difference), *bounded(one.interaction),
         finite(one.p), finite(one.p_family))
        for row, stats in known
        for one in stats.interactions
    ]  # fmt: skip
    shown = (
        Shown("column", "Column", "text"), Shown("level", "Part", "text"), Shown("patients", "Patients", "whole"),
        Shown("difference", "Difference in wAFROC", "difference", patients="patients"),
        Shown("interaction", "Minus elsewhere", "difference"), Shown("p_family", "p", "p"),
    )  # fmt: skip
    note = (
        "The difference of the arms in mean wAFROC within a part, and that minus the same in all other parts. p holds "
        f"for all parts together (Holm); exploratory. {_INTERVALS}"
    )
    title, section = "Do the arms differ more in some patients?", "setting" if len(known) > 1 else ""
    return ReportTable.of(name, title, columns, rows, shown=shown, note=note, section=section, **more)


def reader_verdicts_table(known: Known, name: str = "readers-pairs", **more: Any) -> ReportTable:
    """The difference with the boxes of each reader alone as the reference, and whether sign and verdict hold."""
    columns = (
        *_PAIR, Column("reader", "whose boxes are the reference"), Column("images", "images that they read", "images"),
        Column("patients", "patients of these", "patients"),
        Column("left_out", "images that they did not read", "images"),
        Column("ap_reference", "AP, first arm", FRACTION), Column("ap_other", "AP, second arm", FRACTION),
        *bounded_columns("ap_difference", "AP, second minus first arm", level="ap_difference_level"),
        Column("ap_difference_level", "level of that interval: 1 − alpha where the pair is registered", FRACTION),
        Column("p", "two-sided, for all pairs together", "probability"),
        Column("verdict", "by the interval of the difference under this reader"),
        Column("sign_holds", "whether the sign is that with the boxes of all readers"),
        Column("verdict_holds", "whether the verdict is that with the boxes of all readers"),
        Column("missing", "why there is no difference"),
    )  # fmt: skip
    rows: list[Row] = []
    for row, _ in known:
        for one in row.under_readers:
            found = one.difference
            size = (found.images, found.patients) if found else (None, None)
            rows.append((
                *_ends(row), one.reader, *size, one.left_out, *map(finite, one.arms),
                *bounded(found.ap if found else None), found.level if found else None,
                finite(found.p if found else None), one.verdict, one.sign_holds, one.verdict_holds, one.why or None,
            ))  # fmt: skip
    shown = (
        Shown("reader", "Reader", "text", below="missing"), Shown("images", "Images", "whole"),
        Shown("left_out", "Left out", "whole"),
        *_arm_heads(known, [f"ap_{side}" for side, _ in _SIDES], "AP", level="ap_difference_level"),
        Shown("verdict", "Verdict", "text"), Shown("p", "p", "p"),
    )  # fmt: skip
    asked = [(row, stats.merged) for row, stats in known if row.under_readers]
    lines = _by_words((row.setting, row.readers_line) for row, _ in asked)
    alone = asked[0][0].readers_line if len(asked) == 1 else ""
    merged = dict.fromkeys(merged_words(images) for _, images in asked)
    note = "The boxes of one reader alone are the reference, on the images that they read; exploratory."
    return ReportTable.of(
        name, "Under each reader", columns, rows, shown=shown, note=" ".join(filter(None, (note, alone, *merged))),
        section="setting" if len(known) > 1 else "", footnotes=() if alone else lines,
        footing="Under how many readers sign and verdict hold", **more,
    )  # fmt: skip


def pair_tables(section: AblationSection, number: int, statistics: Statistics) -> tuple[ReportTable, ...]:
    """The results of a comparison of the ablation (from 0), its other measures, and the same by finding."""
    comparison, frame = section.comparisons[number], section.frame
    known = statistics_rows(statistics, comparison)
    design = f" {comparison.design[:1].upper()}{comparison.design[1:]}." if comparison.design else ""
    marks = "; ".join(badge.text for badge in section.badges[number])
    ends = f"{clip(comparison.other, 60)} against {clip(comparison.reference, 60)}"
    title = f"{ends}, on {clip(comparison.sides[0].data, 80)}"
    title += ", final checkpoints" if comparison.kind == "final" else ""
    counts = common_parameters(frame, comparison)
    title += f"; {whole(counts[1])} against {whole(counts[0])} parameters" if counts else ""
    more = {"subject": clip(section.title, 120), "conditions": f"{marks}.{design}"}

    def named(part: str) -> str:
        return file_stem(frame.record.name, f"{part}-{number + 1}")

    return (
        pairs_table(known, named("pairs"), title, **more),
        measures_table(known, named("measures"), **more),
        pair_findings_table(known, named("findings-pairs"), **more),
        external_pairs_table(known, named("external-pairs"), **more),
        interactions_table(known, named("interactions"), **more),
        reader_verdicts_table(known, named("readers-pairs"), **more),
    )


def _pairs_note(known: Known) -> str:
    """What the intervals of a table of pairs are, and what was registered beforehand."""
    intervals = interval_note(stats for _, stats in known)
    registration = known[0][0].registration
    registered = NOTHING_REGISTERED if registration is None else registration_words(registration)
    return f"{intervals} {registered}" if intervals else ""


def interval_note(known: Iterable[PairStatistics]) -> str:
    """What intervals and p of the AP differences of a table are; an empty text without any."""
    found = [stats.difference for stats in known if stats.difference is not None]
    if not found:
        return ""
    several = any(one.seeds > 1 for one in found)
    over = "over seeds and patients" if several else "over patients, of these networks alone"
    estimand, folds = ESTIMAND, next((one.folds for one in found if one.folds), 0)
    if folds:
        over, estimand = f"over {folds} folds, seeds averaged in each", ESTIMAND_OF_FOLDS
    family = max(one.family for one in found)
    together = f" The intervals of the AP differences and p hold for all {family} pairs together." if family > 1 else ""
    own = {one.level for one in found if one.level != LEVEL}
    registered = f", of a registered pair {level_words(*own)}" if own else ""
    intervals = f"In brackets: {level_words(LEVEL)} intervals {over}{registered}.{together}"
    return f"{intervals} Only the difference in test AP takes a verdict. {estimand}"


def common_parameters(ablation: AblationFrame, comparison: ComparisonTable) -> tuple[int, int] | None:
    """The numbers of parameters of both arms' detectors, if all rows share them."""

    def count(setting: str, arm: str) -> int | None:
        return next((m.run.count("model") for m in ablation.of(setting, arm)), None)

    found = {(count(row.setting, row.reference), count(row.setting, row.other)) for row in comparison.rows}
    reference, other = found.pop() if len(found) == 1 else (None, None)
    return None if reference is None or other is None else (reference, other)


def reasons(found: Iterable[PairStatistics | RunStatistics]) -> str:
    """Why something is missing, on one line; empty where nothing is."""
    whys = list(dict.fromkeys(stats.why for stats in found if stats.why))
    more = f" (and {plural(len(whys) - 1, 'more reason')})" if len(whys) > 1 else ""
    return f"{clip(whys[0], 300)}{more}" if whys else ""


def refused_table(section: AblationSection) -> ReportTable:
    """Pairs that cannot be compared."""
    name = section.frame.record.name
    columns = (*_PAIR[:4], Column("reason", "what differs between the arms: first / second"))
    rows = [(name, r.setting, r.reference, r.other, r.reason) for r in section.refusals]
    return ReportTable.of(file_stem(name, "not-compared"), "Cannot be compared", columns, rows)


def benefit_table(section: AblationSection, statistics: Statistics) -> ReportTable:
    """Whether clinical data help in each setting that is compared with no record and with permuted ones."""
    name = section.frame.record.name
    columns = (
        Column("ablation", "the file's name"),
        Column("setting", "point of the ablation"),
        Column("arm", "the arm with the patients' own records"),
        Column("against", "the arms it is compared with"),
        Column("helps", "whether it is ahead of those without them and of the mean of the permuted ones, each at 5 %"),
        Column("claim", "what may be said"),
        Column("beats_late_fusion", "whether it is ahead of cheap late fusion, at 5 %"),
        Column("late_fusion", "what may be said of cheap late fusion"),
    )
    rows = [row for table in section.comparisons for row, _ in statistics_rows(statistics, table)]
    found = benefits(row for row in rows if row.kind == row.primary)
    return ReportTable.of(
        file_stem(name, "benefit"), "Benefit of clinical data", columns,
        [
            (name, b.setting, b.arm, ", ".join(c.reference for c in b.against), b.helps, b.sentence,
             b.beats_late_fusion, b.late_sentence)
            for b in found
        ],
        shown=(Shown("setting", "Setting", "text"), Shown("against", "Against", "text"),
               Shown("claim", "Claim", "text"), Shown("late_fusion", "Cheap late fusion", "text")),
        note="Records permuted at test alone (mmad controls) show reliance, not benefit.",
    )  # fmt: skip


def trials_table(section: AblationSection) -> ReportTable:
    """The trials of a search, with what each was trained with; empty for every other ablation."""
    record = section.frame.record
    search = search_of(record) if record.name.endswith(TRIALS) else {}
    fields = [ALIASES.get(name, name) for name in search.get("space", {})]
    columns = (
        *MEMBER,
        *(Column(name, "as the trial was trained") for name in fields),
        Column("_setup", "all of them in words"),
        Column("status", "of the run"),
        Column("val_ap", "validation AP of the kept checkpoint", FRACTION),
        Column(
            "chosen",
            "yes for the setup that the arm is trained with in this setting, once all trials have ended; "
            "no for a higher AP that came after that",
        ),
    )
    groups: dict[tuple[str, str], list[MemberFrame]] = {}
    for member in section.frame.members if search else ():
        groups.setdefault((member.record.setting.partition(TRIAL)[0], member.record.arm), []).append(member)
    rows: list[Row] = []
    for place, trials in groups.items():
        figures = [one.alone.val_ap if one.alone is not None else None for one in trials]
        ended = all(one.run.record.status in ("finished", "failed") for one in trials)
        best = best_of(figures) if ended and len(trials) == search.get("trials") else None
        tuned = section.frame.tuned.get(place)
        alike = [tuned is not None and all(same(one.setup.get(f), tuned.get(f)) for f in fields) for one in trials]
        chosen = alike.index(True) if any(alike) else best
        for number, (one, figure) in enumerate(zip(trials, figures, strict=True)):
            values = [value if isinstance(value, int | float) else str(value) for value in map(one.setup.get, fields)]
            words = ", ".join(
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in zip(fields, values, strict=True)
            )
            said = "yes" if number == chosen else "no" if number == best else ""
            rows.append((*of_member(one, section.frame), *values, words, one.run.record.status, figure, said))
    return ReportTable.of(
        file_stem(record.name, "trials"), "Trials", columns, rows,
        shown=(
            Shown("setting", "Trial", "text", anchor="_anchor"), Shown("arm", "Arm", "text"),
            Shown("_setup", "Setup", "text"), Shown("val_ap", "Val AP"), Shown("chosen", "Chosen", "text"),
        ),
        note="Chosen is the highest validation AP of an arm in a setting, no where that came when runs had begun with "
        "another choice; trials are not compared with each other.",
    )  # fmt: skip


_CHANGES = {
    "new": "new", "gone": "gone", "verdict": "verdict changed", "difference": "difference changed",
    "changed": "changed", "": "as before",
}  # fmt: skip


def against_tables(against: Against) -> tuple[ReportTable, ...]:
    """Pairs and runs of two reports beside one another; those that both have alike are exported alone."""
    ends = tuple(
        column
        for when, words in (("then", "in the earlier or other report"), ("now", "in this report"))
        for column in (
            Column(f"difference_{when}", f"difference in test AP, other minus reference, {words}", FRACTION),
            Column(f"difference_{when}{LOW}", f"lower end of its interval {words}", FRACTION),
            Column(f"difference_{when}{HIGH}", f"upper end of its interval {words}", FRACTION),
            Column(f"verdict_{when}", f"verdict {words}"),
            Column(f"seeds_{when}", f"seeds of both arms {words}", "seeds"),
        )
    )
    pair_rows: list[Row] = []
    for pair in against.pairs:
        sides: list[Value] = []
        for state in (pair.then, pair.now):
            sides += (None,) * 5 if state is None else (
                state.difference, state.low, state.high, state.verdict, state.seeds,
            )  # fmt: skip
        names = (pair.ablation, pair.setting, pair.reference, pair.other, _CHANGES[pair.change])
        pair_rows.append((*names, *sides, bool(pair.change), f"{pair.other} minus {pair.reference}"))
    shown = [Shown("ablation", "Ablation", "text", below="_pair"), Shown("setting", "Setting", "text")]
    for when in ("then", "now"):
        shown += [
            Shown(f"difference_{when}", "Difference", "difference", group=when.capitalize()),
            Shown(f"verdict_{when}", "Verdict", "text", group=when.capitalize()),
        ]
    change = Column("change", "what changed")
    brief = Column("_brief", "whether it is displayed")
    note = f"Then: {against.words}. Pairs of which both say the same are left out."
    pairs = ReportTable.of(
        file_stem("against", "pairs"), "Pairs that changed",
        (*_PAIR[:4], change, *ends, brief, Column("_pair", "the pair in words")), pair_rows,
        shown=(*shown, Shown("change", "Change", "text")), note=note, brief="_brief",
    )  # fmt: skip
    run_rows: list[Row] = []
    for run in against.runs:
        sides = []
        for found in (run.then, run.now):
            sides += (None,) * 3 if found is None else (found.status, found.epochs, found.test_ap)
        names_of = (run.ablation, run.setting, run.arm, run.seed, run.key, short_key(run.key), _CHANGES[run.change])
        title = f"{run.ablation}: {run.setting} · {run.arm} · seed {run.seed}"
        run_rows.append((*names_of, *sides, bool(run.change), title, run_anchor(run.key)))
    measures = (("status", "status", ""), ("epochs", "committed epochs", "epochs"), ("test_ap", "test AP", FRACTION))
    columns = (
        *MEMBER[:4],
        Column("key", "the run's whole key"),
        Column("run", "its first 12 digits"),
        change,
        *(
            Column(f"{name}_{when}", f"{words} {when}", unit)
            for when in ("then", "now")
            for name, words, unit in measures
        ),
        brief,
        Column("_title", "what the run is called"),
        Column("_anchor", "its place in the page"),
    )
    shown = [Shown("_title", "Run", "text", anchor="_anchor")]
    for when in ("then", "now"):
        shown += [
            Shown(f"status_{when}", "Status", "text", group=when.capitalize()),
            Shown(f"epochs_{when}", "Epochs", "whole", group=when.capitalize()),
            Shown(f"test_ap_{when}", "Test AP", group=when.capitalize()),
        ]
    runs = ReportTable.of(
        file_stem("against", "runs"), "Runs that changed", columns, run_rows,
        shown=(*shown, Shown("change", "Change", "text")), brief="_brief",
    )  # fmt: skip
    return pairs, runs


_FOUR = (("test_ap", "Test AP"), ("val_ap", "Val AP"), ("test_ar", "Test AR"), ("val_ar", "Val AR"))


def documented_table(section: AblationSection) -> ReportTable:
    """What the documented log prints beside what was measured here."""
    columns = [*MEMBER, Column("entry", "entry of the documented log"), Column("checkpoint", "the log's word for it")]
    shown = [_RUN, Shown("entry", "Entry", "text", anchor="_entry"), Shown("checkpoint", "Checkpoint", "text")]
    for name, head in _FOUR:
        columns += [
            Column(f"{name}_documented", f"{head} that the log prints", FRACTION),
            Column(f"{name}_measured", f"{head} measured here", FRACTION),
        ]
        shown += [Shown(f"{name}_documented", "doc.", group=head), Shown(f"{name}_measured", "meas.", group=head)]
    rows = [
        (*of_member(m.member, section.frame), m.entry, m.checkpoint, *(x for both in m.figures for x in both),
         *of_evaluation(m.member.protocol), _by(m.member.protocol), m.entry)
        for m in mirrored(section.frame)
    ]  # fmt: skip
    hidden = (Column("_by", "the protocol in words"), Column("_entry", "the entry's name"))
    note = (
        "What the documented log prints for the entry, and what was measured here. The log's figures were obtained on "
        "its own data and under its protocol of the time: they are shown side by side, without a difference."
    )
    return ReportTable.of(
        file_stem(section.frame.record.name, "documented"), "Documented beside measured",
        (*columns, *EVALUATION, *hidden), rows, subject=clip(section.title, 120),
        shown=(*shown, Shown("_by", "Measured by", "text")), note=note,
    )  # fmt: skip


_PROPOSALS = {"with_ground_truth": "with true boxes", "sampled": "sampled", "clean": "clean", None: ""}


def log_table(log: LogView) -> ReportTable:
    """A log's entries in the order of print: what each prints of one checkpoint, and beside it what runs measured.

    The checkpoint is the best-AP one, else the final or unlabelled one; an entry that several runs mirror has a row
    for each.
    """
    columns = (
        Column("entry", "entry of the log"),
        Column("chapter", "the heading of the chapter"),
        Column("heading", "its own heading, without figures"),
        Column("arm", "CXR, or CXR+Clinical"),
        Column("era", "form of the clinical branch: A, B or C"),
        Column("proposals", "source of the proposals of the log's evaluation; empty where it is not known"),
        Column("checkpoint", "the printed checkpoint"),
        _EPOCH,
        *(Column(name, f"{head} that the log prints", FRACTION) for name, head in _FOUR),
        Column("run", "the run that mirrors it"),
        Column("measured_epoch", "epoch of its checkpoint", "epoch, from 1"),
        *(Column(f"measured_{name}", f"{head} measured by the run", FRACTION) for name, head in _FOUR),
        Column("measured_by", "overlap, proposals and what inflates the measured figures"),
        Column("_anchor", "the entry's place in the page"),
        Column("_brief", "whether it is displayed"),
    )
    rows: list[Row] = []
    for one in log.entries:
        printed = one.represented
        words: Row = (one.id, log.chapter_of(one), one.heading, one.arm, one.era, _PROPOSALS[one.proposals])
        figures: Row = (None,) * 6
        beside: list[Row] = [(None,) * 7]
        if printed is not None:
            figures = (printed.kind, printed.epoch, *(printed.by_name[name] for name, _ in _FOUR))
            beside = [
                (
                    run.title,
                    run.epoch,
                    *(run.by_name[name][0] for name, _ in _FOUR),
                    ", ".join(b.text for b in run.badges),
                )
                for run in printed.measured
            ] or beside
        rows += [(*words, *figures, *measured, one.anchor, printed is not None) for measured in beside]
    some = any(printed.measured for one in log.entries for printed in one.results)
    shown = (
        Shown("entry", "Entry", "text", below="heading", anchor="_anchor"),
        Shown("arm", "Arm", "text"),
        *((Shown("era", "Era", "text"),) if any(one.era for one in log.entries) else ()),
        *((Shown("proposals", "Proposals", "text"),) if any(one.proposals for one in log.entries) else ()),
        Shown("epoch", "Epoch", "whole"),
        *(Shown(name, head, digits=4) for name, head in _FOUR),
        *((Shown("measured_test_ap", "Measured test AP", digits=4, below="run"),) if some else ()),
    )
    note = (
        "Of each entry that prints a checkpoint the best-AP one, else the final or unlabelled one. Data, split and "
        "protocol changed while a log was written, so entries of different times are no ranking."
    )
    return ReportTable.of(
        file_stem(log.name, "entries"), "Entries as a table", columns, rows, shown=shown, note=note, brief="_brief"
    )


# Tables of runs: parameter counts, varied fields and results, best epochs, checkpoints, and every epoch.

#: The most setup fields in the displayed form of a table of runs; the CSV has all.
_MOST_FIELDS = 5
_RESULT = (
    Column("key", "the run's whole key"),
    Column("status", "finished, running, queued, interrupted or failed"),
    Column("epochs_done", "committed epochs", "epochs"),
    Column("epochs_asked", "epochs requested", "epochs"),
    Column("checkpoint", "the checkpoint of the figures: best_ap, or final where there is no best one"),
    _EPOCH,
    Column("val_ap", "validation AP", FRACTION),
    Column("val_ar", "validation AR", FRACTION),
    Column("test_ap", "test AP", FRACTION),
    Column("test_ar", "test AR", FRACTION),
    *EVALUATION,
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
    Column("_epochs", "done / asked for"),
    Column("_by", "the protocol in words"),
    Column("_status", "the class of the status"),
    Column("_final", "final, where the figures are of the final checkpoint"),
)
_FIGURES = ("val_ap", "val_ar", "test_ap", "test_ar")


def parameters_table(section: AblationSection) -> ReportTable:
    """Parameter counts of every module in every setting and arm; settings with equal counts are displayed once."""
    frame, name = section.frame, section.frame.record.name
    first = {(m.setting, m.record.arm): m for m in reversed(frame.members) if m.run.counts}
    alike: dict[tuple[str, str], tuple[str, bool]] = {}
    for row in section.count_rows:
        every = len(row.settings) == len(frame.settings)
        title = clip(row.arm if every else f"{row.arm}: {', '.join(row.settings)}", 80)
        alike |= {(setting, row.arm): (title, setting == row.settings[0]) for setting in row.settings}
    columns = (
        *_PAIR[:2],
        Column("arm", "arm"),
        Column("module", "module of the detector"),
        Column("parameters", "trainable and fixed parameters", "parameters"),
        Column("_of", "the settings and the arm with these counts"),
        Column("_brief", "whether it is displayed"),
    )
    rows = [
        (name, setting, arm, c.module, c.count, *alike.get((setting, arm), ("", False)))
        for arm in frame.arms
        for setting in frame.settings
        if (setting, arm) in first
        for c in first[setting, arm].run.counts
    ]
    down, across = ("module", "_of") if len(section.count_rows) <= 6 else ("_of", "module")
    return ReportTable.of(
        file_stem(name, "parameters"), "Parameters", columns, rows, subject=clip(section.title, 120), across=across,
        shown=(Shown(down, "Module" if down == "module" else "Arm and settings", "text"),
               Shown("parameters", "Parameters", "whole")),
        brief="_brief",
        note="Trainable and fixed parameters of each module. Settings with equal counts stand together.",
    )  # fmt: skip


def runs_table(frames: Sequence[AblationFrame], name: str, title: str, **more: Any) -> ReportTable:
    """Every member with its results and the fields that vary; each run is displayed once.

    The fields are displayed for one ablation (``subject``) alone.
    """
    members = [(m, frame) for frame in frames for m in frame.members]
    setup = _varying([m.setup for m, _ in members])
    protocol = [field for field in _varying([m.run.record.protocol for m, _ in members]) if field != "seed"]
    columns = (
        *MEMBER,
        *_RESULT,
        *(Column(f"setup.{field}", "field of the setup that varies") for field in setup),
        *(Column(f"protocol.{field}", "field of the training protocol that varies") for field in protocol),
        Column("_title", "title of the ablation"),
        Column("_first", "whether the run is met for the first time"),
    )
    seen: set[str] = set()
    rows = []
    for m, frame in members:
        rows.append((
            *of_member(m, frame), *_result_cells(m), *(_plain(m.setup.get(field)) for field in setup),
            *(_plain(m.run.record.protocol.get(field)) for field in protocol),
            clip(frame.record.title or frame.record.name, 120), m.run.key not in seen,
        ))  # fmt: skip
        seen.add(m.run.key)
    displayed = setup[:_MOST_FIELDS] if "subject" in more else []
    shown = (
        _RUN, Shown("status", "Status", "text", tone="_status"),
        *(Shown(f"setup.{field}", clip(field, 40), "field") for field in displayed),
        Shown("_epochs", "Epochs", "text"), Shown("epoch", "Best at", "whole", below="_final"),
        Shown("val_ap", "Val AP"), Shown("test_ap", "Test AP"), Shown("val_ar", "Val AR"), Shown("test_ar", "Test AR"),
        Shown("_by", "Evaluated by", "text"), Shown("time_s", "Time", "seconds"),
    )  # fmt: skip
    left = setup[len(displayed) :] if displayed else ()
    also = f" These vary too: {', '.join(left)}." if left else ""
    note = f"Each run once. AP and AR of its best-AP checkpoint, or of its final one without it.{also}"
    section = "_title" if len(frames) > 1 else ""
    return ReportTable.of(name, title, columns, rows, shown=shown, note=note, section=section, brief="_first", **more)


def all_runs_table(model: ReportModel) -> ReportTable:
    """The runs of all ablations."""
    return runs_table([a.frame for a in model.ablations], "runs", "All runs")


def _varying(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields whose values differ, in order of first appearance."""
    found: dict[str, set[str]] = {}
    for values in given:
        for field in values:
            found.setdefault(field, set())
    for field, texts in found.items():
        texts.update(json.dumps(values.get(field), sort_keys=True) for values in given)
    return [field for field, texts in found.items() if len(texts) > 1]


def _plain(value: Any) -> Value:
    """A field's value as one cell: lists and tables as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def _result_cells(member: MemberFrame) -> Row:
    run, record, best = member.run, member.run.record, member.alone
    return (
        record.key, record.status, record.epochs_done, run.epochs_asked,
        *((best.kind, best.epoch, *(getattr(best, f) for f in _FIGURES)) if best else (None,) * 6),
        *of_evaluation(member.protocol),
        run.seconds, record.started, record.finished, run.count("model"),
        record.dataset_name, record.dataset_fingerprint or None, run.data_file.policy_of(record), record.recipe,
        member.record.documented, ", ".join(member.record.overrides) or None, record.error,
        f"{record.epochs_done} / {run.epochs_asked}", _by(member.protocol),
        f"status {record.status}", "final" if best and best.kind == "final" else "",
    )  # fmt: skip


def best_epochs_table(section: AblationSection) -> ReportTable:
    """Best epochs and onset of overfitting of every run that has an epoch."""
    columns = (
        *MEMBER,
        Column("best_ap_epoch", "epoch of the best validation AP", "epoch, from 1"),
        Column("best_ar_epoch", "epoch of the best validation AR", "epoch, from 1"),
        Column("lowest_val_loss_epoch", "epoch of the lowest validation loss", "epoch, from 1"),
        Column("overfitting_from_epoch", "where overfitting began; empty where none is seen", "epoch, from 1"),
        Column("overfitting", "the same in words"),
    )
    rows = []
    for m in section.frame.members:
        if m.run.epochs:
            onset = onset_of(m.run)
            best = (one.epoch if one else None for one in (m.best_ap, m.best_ar))
            cells = (*best, lowest_loss(m.run), onset.epoch if onset else None, onset_words(onset, len(m.run.epochs)))
            rows.append((*of_member(m, section.frame), *cells))
    shown = (
        _RUN, Shown("best_ap_epoch", "Best AP at", "whole"), Shown("best_ar_epoch", "Best AR at", "whole"),
        Shown("lowest_val_loss_epoch", "Lowest validation loss at", "whole"),
        Shown("overfitting", "Overfitting", "text"),
    )  # fmt: skip
    note = (
        "A rise of the validation loss is said where a test of its trend finds one; in at most one of twenty curves at "
        "rest it does."
    )
    name = file_stem(section.frame.record.name, "best-epochs")
    title, subject = "Best epochs and overfitting", clip(section.title, 120)
    return ReportTable.of(name, title, columns, rows, subject=subject, shown=shown, note=note)


def checkpoints_table(members: Sequence[MemberFrame], frame: AblationFrame, **more: Any) -> ReportTable:
    """AP and AR of the three checkpoints of runs."""
    words = {"val": "validation", "test": "test"}
    columns = (
        *MEMBER, Column("checkpoint", "best_ap, best_ar or final"), _EPOCH,
        *(Column(f, f"{words[f[:-3]]} {f[-2:].upper()}", FRACTION) for f in _FIGURES), *EVALUATION,
        Column("missing", "why there are no figures"), Column("_checkpoint", "the checkpoint in words"),
    )  # fmt: skip
    rows = [
        (*of_member(m, frame), kind, *((o.epoch, *(getattr(o, f) for f in _FIGURES)) if o else (None,) * 5),
         *of_evaluation(m.protocol), None if o else "none stored" if m.run.finished else "none yet", title)
        for m in members
        for kind, (title, o) in zip(("best_ap", "best_ar", "final"), m.outcomes, strict=True)
    ]  # fmt: skip
    figures = (("Val AP", "val_ap"), ("Val AR", "val_ar"), ("Test AP", "test_ap"), ("Test AR", "test_ar"))
    shown = (
        _RUN, Shown("_checkpoint", "Checkpoint", "text", below="missing"), Shown("epoch", "Epoch", "whole"),
        *(Shown(name, head, digits=4) for head, name in figures),
    )  # fmt: skip
    name = file_stem(frame.record.name, "checkpoints")
    return ReportTable.of(name, "Checkpoints", columns, rows, shown=shown, **more)


def findings_table(
    members: Sequence[MemberFrame], frame: AblationFrame, statistics: Statistics, **more: Any
) -> ReportTable:
    """AP and AR of each finding on both splits, of every checkpoint; the one that stands for the run is displayed."""
    columns = (
        *MEMBER, _CHECKPOINT, _EPOCH, *EVALUATION, Column("split", "val or test"), _FINDING,
        *bounded_columns("ap", "AP of the finding"), *bounded_columns("ar", "AR of the finding"),
        _PATIENTS, Column("_split", "the split in words"), Column("_brief", "whether it is displayed"),
        Column("_test_patients", "patients of the test split with the finding"),
    )  # fmt: skip
    rows: list[Row] = []
    for m in members:
        stats = statistics.run(m)
        for _, outcome in m.outcomes:
            if outcome is None:
                continue
            measured = stats.measured if stats is not None and stats.kind == outcome.kind else None
            known = {x: (ap, ar) for x, ap, ar in measured.estimate.per_class} if measured else {}
            people = {x: ap.patients for x, (ap, _) in known.items()}
            splits: Sequence[tuple[str, str, ClassFigures]] = (
                ("val", "Val", outcome.val_classes), ("test", "Test", outcome.test_classes),
            )  # fmt: skip
            for split, words, classes in splits:
                for label, *values in classes:
                    within = known.get(label, (None, None)) if split == "test" else (None, None)
                    cells = (x for v, i in zip(values, within, strict=True) for x in (v, *bounded(i)[1:]))
                    rows.append((
                        *of_member(m, frame), outcome.kind, outcome.epoch, *of_evaluation(m.protocol), split, label,
                        *cells, people.get(label) if split == "test" else None, words, outcome is m.alone,
                        people.get(label),
                    ))  # fmt: skip
    patients = [Shown("_test_patients", "Test patients", "whole", once=True)] if statistics.runs else []
    shown = (
        _RUN, Shown("finding", "Finding", "text"), *patients,
        Shown("ap", "AP", patients="patients"), Shown("ar", "AR", patients="patients"),
    )  # fmt: skip
    kinds = dict.fromkeys("Final" if m.best_ap is None else "Best-AP" for m in members if m.alone is not None)
    note = f"{' and '.join(kinds)} checkpoint{'s' if len(members) > 1 else ''}."
    note += f" {_INTERVALS}" if statistics.runs else ""
    name = file_stem(frame.record.name, "findings")
    return ReportTable.of(
        name, "By finding", columns, rows, shown=shown, across="_split", brief="_brief", note=note, **more
    )


def epochs_table(model: ReportModel) -> ReportTable:
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
    return ReportTable.of("epochs", "Every metric of every epoch", columns, rows)


# Tables of evaluated runs: score thresholds, FROC, confusion, reliability, masks, controls.


@dataclass(frozen=True)
class EvaluatedRun:
    """A checkpoint of a run and what its detections come to.

    ``identity`` has the cells of ``MEMBER`` but for the last two, ``name`` and ``anchor``.
    """

    identity: Row
    name: str
    anchor: str
    protocol: EvaluationProtocol
    stats: RunStatistics
    epoch: int | None = None
    coco: CocoSet | None = None

    @property
    def head(self) -> Row:
        """The cells of ``EVALUATED``."""
        return (*self.identity, self.name, self.anchor, self.stats.kind, *of_evaluation(self.protocol))


#: The columns of an evaluated run.
EVALUATED = (*MEMBER, _CHECKPOINT, *EVALUATION)


def evaluated(members: Iterable[MemberFrame], frame: AblationFrame, statistics: Statistics) -> tuple[EvaluatedRun, ...]:
    """The members of which there are statistics; a run asked for twice alike is met once."""
    found: dict[object, EvaluatedRun] = {}
    for m in members:
        if (stats := statistics.run(m)) is not None:
            *identity, name, anchor = of_member(m, frame)
            run = EvaluatedRun(identity, str(name), str(anchor), m.protocol, stats)
            found.setdefault((m.run.key, m.protocol), run)
    return tuple(found.values())


def thresholds_table(runs: Sequence[EvaluatedRun], name: str = "thresholds", **more: Any) -> ReportTable:
    """Operating points of runs under one protocol: AP and its gap to the first score, AR, precision, recall, F1."""
    names = (("ap", "AP"), ("ar", "AR"), ("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
    columns = (
        *EVALUATED, _SCORE, *(column for one, head in names for column in bounded_columns(one, head)),
        *bounded_columns("ap_gap", "AP minus AP at the first score"),
        Column("per_image", "detections of an image on average", "detections"),
    )  # fmt: skip
    rows: list[Row] = []
    for run in runs:
        if (profile := run.stats.profile) is not None:
            for row, band, gap in zip(profile.rows, profile.bands, gaps(profile.rows), strict=True):
                cells = (x for one, _ in names for x in (finite(getattr(row, one)), *bounded(getattr(band, one))[1:]))
                rows.append((*run.head, row.score, *cells, finite(gap), *bounded(band.gap)[1:], row.per_image))
    shown = (
        _RUN, Shown("score", "Score", "at least"), Shown("ap", "AP"), Shown("ap_gap", "Gap", "difference"),
        *(Shown(one, head) for one, head in names[1:]), Shown("per_image", "Per image", digits=2),
    )  # fmt: skip
    note = f"Detections with at least a score; the gap is to the AP at the first score. {_INTERVALS}"
    return ReportTable.of(name, "Operating points", columns, rows, shown=shown, note=note, **more)


def gap_view(table: ReportTable) -> ReportTable:
    """A table of operating points displayed as a row a run, with the AP and its gap at each score."""
    run, _, *figures = table.shown
    return replace(table, title="Test AP by score threshold", shown=(run, *figures[:2]), across="score")


def threshold_tables(section: AblationSection, statistics: Statistics) -> Iterator[ReportTable]:
    """One table per protocol and kind of checkpoint."""
    groups: dict[tuple[EvaluationProtocol, CheckpointKind], list[EvaluatedRun]] = {}
    for run in evaluated(section.frame.members, section.frame, statistics):
        if run.stats.profile is not None:
            groups.setdefault((run.protocol, run.stats.kind), []).append(run)
    for n, ((protocol, kind), runs) in enumerate(groups.items(), start=1):
        said = f"{'Final' if kind == 'final' else 'Best-AP'} checkpoints by {protocol_words(protocol)}."
        name = file_stem(section.frame.record.name, f"thresholds-{n}")
        yield thresholds_table(runs, name, subject=clip(section.title, 120), conditions=said)


def froc_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """Sensitivity by false positives per image, over all findings together and of each."""
    columns = (
        *EVALUATED, Column("finding", "the finding, or all findings together"),
        Column("false_positives_per_image", "the rate; empty of the mean over the rates", "detections"),
        *bounded_columns("sensitivity", "share of the findings that are found at this rate"),
        _PATIENTS, Column("_brief", "whether it is of all findings"),
    )  # fmt: skip
    rows: list[Row] = []
    for run in runs:
        if (profile := run.stats.profile) is None:
            continue
        band = profile.froc_band
        each = [("all findings", band.sensitivity, band.score)]
        each += [(finding.label, finding.sensitivity, finding.score) for finding in band.per_class]
        for label, sensitivity, score in each:
            for rate, value in (*zip(FROC_RATES, sensitivity, strict=True), (None, score)):
                rows.append((*run.head, label, rate, *bounded(value), value.patients, label == "all findings"))
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("sensitivity", "Sensitivity", patients="patients"),
    )  # fmt: skip
    note = f"Sensitivity by false positives per image, and its mean. {_INTERVALS}"
    return ReportTable.of(
        "froc", "FROC", columns, rows, shown=shown, across="false_positives_per_image", note=note, **more
    )


def confusion_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """How often each finding was called what."""
    columns = (
        *EVALUATED, _SCORE, Column("true", "the true finding"), Column("called", "what was detected there"),
        Column("count", "how often", "findings"), Column("_tone", "same, where it was rightly called"),
    )  # fmt: skip
    rows: list[Row] = []
    score = None
    for run in runs:
        if (profile := run.stats.profile) is None:
            continue
        labels, score = profile.confusion.labels, profile.rows[-1].score
        for i, true in enumerate([*labels, "nothing there"]):
            for j, called in enumerate([*labels, "missed"]):
                if (i, j) != (len(labels),) * 2:
                    count = int(profile.confusion.counts[i, j])
                    rows.append((*run.head, score, true, called, count, "same" if i == j else ""))
    shown = (_RUN, Shown("true", "True", "text"), Shown("count", "Count", "whole", tone="_tone"))
    note = f"At a score of {score:g}: true findings down, what was called across." if score is not None else ""
    return ReportTable.of("confusion", "Confusion", columns, rows, shown=shown, across="called", note=note, **more)


def reliability_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """Do scores say how often a detection is right? By bins of the score."""
    columns = (
        *EVALUATED, Column("score_from", "lower end of the bin", FRACTION),
        Column("score_to", "upper end of the bin", FRACTION), Column("mean_score", "mean score in it", FRACTION),
        Column("share_right", "share of its detections that are right", FRACTION),
        Column("detections", "detections in it", "detections"), Column("_bin", "the bin in words"),
    )  # fmt: skip
    rows: list[Row] = []
    errors = []
    for run in runs:
        if (profile := run.stats.profile) is None:
            continue
        found = profile.calibration
        errors.append(f"{found.error:.3f}")
        bins = zip(found.edges, found.edges[1:], found.score, found.hits, found.count, strict=False)
        rows += [(*run.head, *row, f"{row[0]:.1f} to {row[1]:.1f}") for row in bins if row[-1]]
    shown = (
        _RUN, Shown("_bin", "Score", "text"), Shown("mean_score", "Mean score"), Shown("share_right", "Share right"),
        Shown("detections", "Detections", "whole"),
    )  # fmt: skip
    note = "Do scores say how often a detection is right?"
    note += f" Expected calibration error {errors[0]}." if len(errors) == 1 else ""
    return ReportTable.of("reliability", "Reliability", columns, rows, shown=shown, note=note, **more)


def masks_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """AP and AR of masks, over all findings and of each."""
    columns = (
        *EVALUATED, _FINDING, *bounded_columns("mask_ap", "AP of the masks"),
        *bounded_columns("mask_ar", "AR of the masks"), _PATIENTS,
        Column("_brief", "whether it is of all findings"),
    )  # fmt: skip
    rows = [
        (*run.head, label, *bounded(ap), *bounded(ar), ap.patients, label == "all findings")
        for run in runs
        if run.stats.masks is not None and (found := run.stats.masks.estimate)
        for label, ap, ar in (("all findings", found.ap, found.ar), *found.per_class)
    ]
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("patients", "Patients", "whole"),
        Shown("mask_ap", "AP", patients="patients"), Shown("mask_ar", "AR", patients="patients"),
    )  # fmt: skip
    note = f"Masks compared with the filled annotated boxes. {_INTERVALS}"
    return ReportTable.of("masks", "Masks", columns, rows, shown=shown, note=note, **more)


def coco_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """COCO's figures of boxes and masks, as far as they are known."""
    columns = (
        *EVALUATED, Column("outline", "boxes or masks"), Column("figure", "COCO's name of the figure"),
        Column("value", "the figure", FRACTION),
    )  # fmt: skip
    rows = [
        (*run.head, outline, figure, finite(value))
        for run in runs
        for outline, found in (("boxes", run.coco), ("masks", run.stats.masks and run.stats.masks.coco))
        if found
        for figure, value in found.figures.items()
    ]
    shown = (_RUN, Shown("outline", "Of", "text"), Shown("figure", "Figure", "text"), Shown("value", "Value"))
    return ReportTable.of("coco", "COCO's figures", columns, rows, shown=shown, **more)


def controls_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """What the AP loses when an input is made useless."""
    columns = (
        *EVALUATED, Column("altered", "column, records or image"),
        Column("column", "the clinical column that was shuffled"), Column("ap_before", "AP as it is", FRACTION),
        Column("ap_after", "AP altered", FRACTION), *bounded_columns("ap_lost", "AP lost"),
        *bounded_columns("ar_lost", "AR lost"), Column("repeats", "how often the input was altered", "repeats"),
        Column("meaning", "what it says"), Column("_altered", "the alteration in words"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, c.alteration.kind, c.alteration.name or None, c.drop.before, c.drop.after, *bounded(c.drop.ap),
         *bounded(c.drop.ar), c.drop.repeats, meaning(c), alteration_words(c.alteration))
        for run in runs
        for c in run.stats.controls
        if c.alteration.kind != "missing"
    ]  # fmt: skip
    shown = (
        _RUN, Shown("_altered", "Altered", "text"), Shown("ap_before", "AP as it is"), Shown("ap_after", "AP left"),
        Shown("ap_lost", "AP lost", "difference"), Shown("meaning", "It says", "text"),
    )  # fmt: skip
    note = f"What the AP loses when an input is made useless. {_INTERVALS}"
    return ReportTable.of("controls", "Controls", columns, rows, shown=shown, note=note, **more)


def missingness_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """What the AP loses where clinical values are missing, by what decides about them and how many they are."""
    columns = (
        *EVALUATED, Column("mechanism", "what decides which values are missing"),
        Column("share", "of the values, columns or records that are missing", FRACTION),
        Column("ap_before", "AP as it is", FRACTION), Column("ap_after", "AP with the values missing", FRACTION),
        *bounded_columns("ap_lost", "AP lost"), *bounded_columns("ar_lost", "AR lost"),
        Column("repeats", "how often values were drawn", "repeats"), Column("meaning", "what it says"),
        Column("_missing", "what is missing, in words"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, c.alteration.name, c.alteration.share, c.drop.before, c.drop.after, *bounded(c.drop.ap),
         *bounded(c.drop.ar), c.drop.repeats, meaning(c), alteration_words(c.alteration))
        for run in runs
        for c in run.stats.controls
        if c.alteration.kind == "missing"
    ]  # fmt: skip
    shown = (
        _RUN, Shown("_missing", "Missing", "text"), Shown("ap_before", "AP as it is"), Shown("ap_after", "AP left"),
        Shown("ap_lost", "AP lost", "difference"), Shown("meaning", "It says", "text"),
    )  # fmt: skip
    note = (
        f"Equal values are missing in every arm and seed, and those of a smaller share in every greater. {_INTERVALS}"
    )
    return ReportTable.of("missingness", "Missing clinical values", columns, rows, shown=shown, note=note, **more)


def missing_by_arm(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """AP with values missing, of arms trained otherwise side by side: means over their seeds; of one arm nothing."""
    columns = (
        Column("setting", "setting of the ablation"), Column("mechanism", "what decides which values are missing"),
        Column("share", "of the values, columns or records that are missing", FRACTION),
        Column("arm", "arm of the pair"), Column("ap", "mean AP over the seeds", FRACTION),
        Column("ap_sd", "their standard deviation", FRACTION),
        Column("seeds", "how many", "seeds"), Column("_missing", "what is missing, in words"),
    )  # fmt: skip
    found: dict[tuple[Value, ...], dict[Value, float]] = {}
    for run in runs:
        _, setting, arm, *_, key = run.identity
        for one in (c for c in run.stats.controls if c.alteration.kind == "missing"):
            named = (setting, one.alteration.name, one.alteration.share, arm, alteration_words(one.alteration))
            found.setdefault((setting, "", 0.0, arm, "nothing"), {})[key] = one.drop.before
            found.setdefault(named, {})[key] = one.drop.after
    rows: list[Row] = []
    several = len({arm for _, _, _, arm, _ in found}) > 1
    for (*which, words), of in found.items() if several else ():
        if len(of) < len(found[which[0], "", 0.0, which[3], "nothing"]):
            continue  # another mean than of all the seeds beside it
        deviation = stdev(of.values()) if len(of) > 1 else None
        rows.append((*which, fmean(of.values()), deviation, len(of), words))
    shown = (Shown("_missing", "Missing", "text"), Shown("ap", "AP"))
    return ReportTable.of(
        "missingness-by-arm", "Missing clinical values, by how an arm was trained", columns, rows, shown=shown,
        note="AP with the values missing, mean over the seeds; equal values are missing in every arm and seed.",
        across="arm", section="setting" if len({row[0] for row in rows}) > 1 else "", **more,
    )  # fmt: skip


def missing_by_arm_table(section: AblationSection, statistics: Statistics) -> ReportTable:
    """The same of all runs of an ablation."""
    frame = section.frame
    table = missing_by_arm(evaluated(frame.members, frame, statistics), subject=clip(section.title, 120))
    return replace(table, name=file_stem(frame.record.name, table.name))


def clinical_table(found: Sequence[tuple[EvaluatedRun, Sequence[TableAuroc]]], **more: Any) -> ReportTable:
    """What the clinical values say of each finding without the image, beside what a run does."""
    columns = (
        *EVALUATED, _FINDING, Column("positives", "images with the finding"), Column("images", "images of the split"),
        *bounded_columns("run", "AUROC of the run's best detection"),
        *bounded_columns("logistic", "AUROC of a logistic regression of the clinical values"),
        *bounded_columns("boosting", "AUROC of boosting of the clinical values"),
        Column("patients", "the fewer of the patients with and without it", "patients"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, one.label, one.positives, one.images, *bounded(one.run), *bounded(one.logistic),
         *bounded(one.boosting), one.run.patients)
        for run, table in found
        for one in table
    ]  # fmt: skip
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("positives", "With", "whole"),
        Shown("images", "Images", "whole"), Shown("run", "Run", patients="patients"),
        Shown("logistic", "Logistic regression", patients="patients"),
        Shown("boosting", "Boosting", patients="patients"),
    )  # fmt: skip
    note = f"AUROC of whole images; the classifiers read the clinical values alone. {_INTERVALS}"
    return ReportTable.of(
        "clinical-table", "What the clinical table says", columns, rows, shown=shown, note=note, **more
    )


def evaluation_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """AP, AR and FROC score of runs, with intervals, and how well their scores are calibrated."""
    columns = (
        *EVALUATED, _EPOCH, *bounded_columns("ap", "AP"), *bounded_columns("ar", "AR"),
        *bounded_columns("froc", "mean sensitivity"), Column("ece", "expected calibration error", FRACTION),
        Column("patients", "patients with a finding", "patients"),
    )  # fmt: skip
    rows = [
        (*run.head, run.epoch, *bounded(found.measured.estimate.ap), *bounded(found.measured.estimate.ar),
         *bounded(found.profile.froc_band.score), found.profile.calibration.error, found.measured.estimate.ap.patients)
        for run in runs
        if (found := run.stats) and found.measured is not None and found.profile is not None
    ]  # fmt: skip
    shown = (
        _RUN, Shown("epoch", "Epoch", "whole"), Shown("ap", "AP", patients="patients"),
        Shown("ar", "AR", patients="patients"), Shown("froc", "FROC", patients="patients"), Shown("ece", "ECE"),
    )  # fmt: skip
    return ReportTable.of("evaluations", "Evaluations", columns, rows, shown=shown, **more)


def classes_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """AP and AR of each finding on the split that was evaluated."""
    columns = (*EVALUATED, _FINDING, *bounded_columns("ap", "AP"), *bounded_columns("ar", "AR"), _PATIENTS)
    rows = [
        (*run.head, label, *bounded(ap), *bounded(ar), ap.patients)
        for run in runs
        if run.stats.measured is not None
        for label, ap, ar in run.stats.measured.estimate.per_class
    ]
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("patients", "Patients", "whole"),
        Shown("ap", "AP", patients="patients"), Shown("ar", "AR", patients="patients"),
    )  # fmt: skip
    return ReportTable.of("classes", "Findings", columns, rows, shown=shown, **more)


def agreement_table(same: PairAgreement) -> ReportTable:
    """Detections of each finding that two arms share."""
    columns = (
        _FINDING, Column("both", "found by both", "detections"),
        Column("reference", "found by the reference alone", "detections"),
        Column("other", "found by the other alone", "detections"),
        Column("agreement", "share found by both", FRACTION),
    )  # fmt: skip
    rows = [(s.label, s.both, s.first, s.second, finite(s.agreement)) for s in same.shared]
    shown = (
        Shown("finding", "Finding", "text"), Shown("both", "Both", "whole"),
        Shown("reference", "Reference alone", "whole"), Shown("other", "Other alone", "whole"),
        Shown("agreement", "Agreement"),
    )  # fmt: skip
    title = f"Detections with score ≥ {same.score:g}, the same from {same.overlap} ≥ {same.threshold:g} on"
    return ReportTable.of("agreement", title, columns, rows, shown=shown)


def studies_table(same: PairAgreement) -> ReportTable:
    """The studies on which two arms differ most."""
    columns = (Column("study", "the study"), Column("gain", "hits minus false alarms, other minus reference", "boxes"))
    shown = (Shown("study", "Study", "text"), Shown("gain", "Gain", "difference", digits=0))
    title = "Studies that differ most (hits minus false alarms, other minus reference)"
    return ReportTable.of("studies", title, columns, same.studies, shown=shown)


# Beside AP: whole images and patients, boxes at the same score, calibration, and what errors cost.


def _diagnosed(runs: Sequence[EvaluatedRun]) -> list[tuple[EvaluatedRun, Diagnosis]]:
    return [(run, run.stats.diagnosis) for run in runs if run.stats.diagnosis is not None]


def _at_score(found: Sequence[tuple[EvaluatedRun, Diagnosis]]) -> str:
    """``Score ≥ 0.12, the lowest with at most 0.5 false positives per image on validation.``; empty of several runs."""
    if len(found) != 1:
        return ""
    ((_, one),) = found
    if one.score is None:
        return f"No score is fixed: {clip(one.why, 300)}. "
    return f"Score ≥ {one.score:.3g}, the lowest with {one.rule}. "


def detected_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """How images and patients with a finding are separated from others at the score that was fixed on validation."""
    columns = (
        *EVALUATED, _SCORE, Column("finding", "the finding, or any finding"), Column("of", "images or patients"),
        Column("positives", "images or patients with the finding"), Column("negatives", "those without it"),
        *bounded_columns("sensitivity", "share of the positives with a detection"),
        *bounded_columns("specificity", "share of the negatives without a detection"),
        *bounded_columns("auroc", "area under the ROC curve of the highest score"),
        Column("patients_with", "patients with the finding", "patients"),
        Column("patients_without", "patients without it", "patients"),
        Column("patients_fewer", "the fewer of both", "patients"), Column("_brief", "whether it is of any finding"),
    )  # fmt: skip
    found = _diagnosed(runs)
    rows: list[Row] = [
        (*run.head, diagnosis.score, one.label, of, one.positives, one.negatives, *bounded(one.sensitivity),
         *bounded(one.specificity), *bounded(one.auroc), one.sensitivity.patients, one.specificity.patients,
         one.auroc.patients, one.label == ANY)
        for run, diagnosis in found
        for pair in zip(diagnosis.images, diagnosis.patients, strict=True)
        for of, one in zip(("images", "patients"), pair, strict=True)
    ]  # fmt: skip
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("of", "Of", "text"), Shown("positives", "With", "whole"),
        Shown("negatives", "Without", "whole"), Shown("sensitivity", "Sensitivity", patients="patients_with"),
        Shown("specificity", "Specificity", patients="patients_without"),
        Shown("auroc", "AUROC", patients="patients_fewer"),
    )  # fmt: skip
    said = "An image has the score of its best detection, a patient that of the best image."
    note = f"{_at_score(found)}{said} {_INTERVALS}"
    return ReportTable.of(
        "classification", "Images and patients classified", columns, rows, shown=shown, note=note, **more
    )


def boxes_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """True boxes found and missed, and detections of nothing, at the same score; wAFROC needs none."""
    columns = (
        *EVALUATED, _SCORE, _FINDING, Column("true_positives", "true boxes found", "boxes"),
        Column("false_negatives", "true boxes missed", "boxes"),
        Column("false_positives", "detections of nothing", "detections"), *bounded_columns("wafroc", "wAFROC"),
        Column("merit", "wAFROC, or wAFROC1 where no image is without the finding"),
        Column("patients", "patients that wAFROC rests on", "patients"), Column("_below", "wAFROC1, where it is"),
    )  # fmt: skip
    found = _diagnosed(runs)
    rows: list[Row] = []
    for run, diagnosis in found:
        for place, merit in enumerate(diagnosis.wafroc):
            one = diagnosis.counts[place] if diagnosis.counts else None
            counts = (one.true_positives, one.false_negatives, one.false_positives) if one else (None,) * 3
            rows.append((
                *run.head, diagnosis.score, merit.label, *counts, *bounded(merit.value), merit.name,
                merit.value.patients, "" if merit.name == "wAFROC" else merit.name,
            ))  # fmt: skip
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("true_positives", "Found", "whole"),
        Shown("false_negatives", "Missed", "whole"), Shown("false_positives", "False positives", "whole"),
        Shown("wafroc", "wAFROC", below="_below", patients="patients"),
    )  # fmt: skip
    note = f"{_at_score(found)}wAFROC is of all scores. {_INTERVALS}"
    return ReportTable.of("boxes", "Boxes found and missed", columns, rows, shown=shown, note=note, **more)


def image_scores_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """Whether images with a finding are as frequent as the highest score says."""
    columns = (
        *EVALUATED, _FINDING, *bounded_columns("intercept", "of the logistic regression on the score's logit"),
        *bounded_columns("slope", "of the logistic regression on the score's logit"),
        *bounded_columns("brier", "mean squared difference of score and presence"),
        Column("ece", "expected calibration error in ten bins", FRACTION),
        Column("patients", "patients with the finding, or without it where they are fewer", "patients"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, one.label, *bounded(one.intercept), *bounded(one.slope), *bounded(one.brier),
         finite(one.reliability.error), one.brier.patients)
        for run, diagnosis in _diagnosed(runs)
        for one in diagnosis.calibration
    ]  # fmt: skip
    shown = (
        _RUN, Shown("finding", "Finding", "text"), Shown("intercept", "Intercept", "number", patients="patients"),
        Shown("slope", "Slope", "number", patients="patients"), Shown("brier", "Brier", patients="patients"),
        Shown("ece", "ECE"),
    )  # fmt: skip
    note = f"Intercept 0 and slope 1 where scores are chances; ECE only describes. {_INTERVALS}"
    return ReportTable.of(
        "image-scores", "Calibration of an image's highest score", columns, rows, shown=shown, note=note, **more
    )


def errors_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """The AP that repairing each kind of error alone would gain."""
    columns = (
        *EVALUATED, Column("error", "kind of error, or all false positives or negatives"),
        Column("errors", "how many", "errors"), Column("ap_gained", "AP that repairing them would gain", FRACTION),
    )  # fmt: skip
    rows: list[Row] = []
    for run, diagnosis in _diagnosed(runs):
        costs = diagnosis.errors
        rows += [(*run.head, one.kind, one.count, finite(one.ap)) for one in costs.kinds]
        rows += [
            (*run.head, "all false positives", None, finite(costs.false_positives)),
            (*run.head, "all false negatives", None, finite(costs.false_negatives)),
        ]
    shown = (
        _RUN, Shown("error", "Error", "text"), Shown("ap_gained", "AP gained"), Shown("errors", "Errors", "whole"),
    )  # fmt: skip
    note = f"AP that repairing each kind alone would gain; it {TIDE_NOTE}."
    return ReportTable.of("errors", "Cost of errors", columns, rows, shown=shown, note=note, **more)


def external_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """What runs come to on external data sets, which no figure of their own is mixed with."""
    columns = (
        *EVALUATED, Column("external", "what the external data set is called"), Column("data", "its own name"),
        Column("images", "images of it", "images"), Column("patients", "patients of it", "patients"),
        *bounded_columns("external_ap", "AP on it"), *bounded_columns("external_ar", "AR on it"),
        Column("score", "of the operating point, fixed on the run's own validation", FRACTION),
        *bounded_columns("sensitivity", "share of the images with a finding that have a detection"),
        *bounded_columns("specificity", "share of the images without one that have none"),
        Column("patients_with", "patients with a finding", "patients"),
        Column("patients_without", "patients without one", "patients"),
        Column("missing", "why there are no figures"),
    )  # fmt: skip
    rows: list[Row] = []
    for run in runs:
        for one in run.stats.external:
            cells: Row = (None,) * 17
            if (found := one.measured) is not None and (diagnosis := one.diagnosis) is not None:
                images = diagnosis.images[0]
                cells = (
                    found.images, found.patients, *bounded(found.estimate.ap), *bounded(found.estimate.ar),
                    diagnosis.score, *bounded(images.sensitivity), *bounded(images.specificity),
                    images.sensitivity.patients, images.specificity.patients,
                )  # fmt: skip
            rows.append((*run.head, one.name, one.data, *cells, one.why or None))
    shown = (
        _RUN, Shown("external", "External data", "text", below="missing"), Shown("patients", "Patients", "whole"),
        Shown("external_ap", "AP", patients="patients_with"), Shown("external_ar", "AR", patients="patients_with"),
        Shown("sensitivity", "Sensitivity", patients="patients_with"),
        Shown("specificity", "Specificity", patients="patients_without"),
    )  # fmt: skip
    said = "Sensitivity and specificity of images, at the score that the run's own validation fixed."
    note = f"{_ON_EXTERNAL} {said} {_BY_PREVALENCE} {_INTERVALS}"
    return ReportTable.of("external", "On external data", columns, rows, shown=shown, note=note, **more)


def subgroups_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """What runs do in parts of the split, at the score that was fixed on validation."""
    columns = (
        *EVALUATED, Column("column", "the column that parts the split"), Column("level", "which part"), _SCORE,
        Column("images", "images of the part", "images"), Column("patients", "patients of the part", "patients"),
        Column("prevalence", "share of the images with a finding", FRACTION),
        *bounded_columns("sensitivity", "share of the true boxes that are found"),
        *bounded_columns("false_positives", "per image without a finding"), *bounded_columns("wafroc", "mean wAFROC"),
        *bounded_columns("ap", "AP"), Column("patients_with", "patients with a finding", "patients"),
        Column("patients_without", "patients without one", "patients"),
        Column("patients_fewer", "the fewer of both", "patients"), Column("_why", "why no score is fixed"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, one.column, one.level, column.score, one.images, one.patients, one.prevalence,
         *bounded(one.sensitivity), *bounded(one.false_positives), *bounded(one.wafroc), *bounded(one.ap),
         one.sensitivity.patients, one.false_positives.patients, one.wafroc.patients, clip(column.why, 160) or None)
        for run in runs
        for column in run.stats.subgroups
        for one in column.groups
    ]  # fmt: skip
    shown = (
        _RUN, Shown("column", "Column", "text", below="_why"), Shown("level", "Part", "text"),
        Shown("patients", "Patients", "whole"), Shown("sensitivity", "Sensitivity", patients="patients_with"),
        Shown("false_positives", "False positives", "number", patients="patients_without"),
        Shown("wafroc", "wAFROC", patients="patients_fewer"), Shown("prevalence", "Prevalence"),
        Shown("ap", "AP", patients="patients_with"),
    )  # fmt: skip
    note = (
        "Sensitivity of boxes and false positives per image without a finding, at the score that validation fixed. "
        f"AP depends on the prevalence (share of images with a finding): compare none between parts. {_INTERVALS}"
    )
    return ReportTable.of("subgroups", "Parts of the split", columns, rows, shown=shown, note=note, **more)


def readers_table(runs: Sequence[EvaluatedRun], **more: Any) -> ReportTable:
    """Readers against each other, and each run's detector against them at the score that validation fixed."""
    columns = (
        *EVALUATED, Column("who", "a reader, the other readers, or the detector"),
        Column("reference", "whose boxes are looked for"), _SCORE,
        Column("images", "images that both have read", "images"), Column("patients", "patients of these", "patients"),
        Column("patients_with", "those with a box that is looked for", "patients"),
        Column("boxes", "boxes that are looked for, once for each pair of readings", "boxes"),
        *bounded_columns("sensitivity", "share of the boxes that are found"),
        *bounded_columns("false_positives", "boxes that find none, per image and pair of readings"),
        *bounded_columns("f1", "harmonic mean of sensitivity and precision"), Column("_why", "why no score is fixed"),
        Column("_brief", "whether it is displayed: single pairs of many readers are not"),
    )  # fmt: skip
    rows: list[Row] = [
        (*run.head, one.who, one.reference, found.score if one.who == DETECTOR else None, one.images, one.patients,
         one.sensitivity.patients, one.boxes,
         *bounded(one.sensitivity), *bounded(one.false_positives), *bounded(one.f1),
         clip(found.why, 160) or None, one.who in (DETECTOR, OTHERS) or len(found.figures) <= _MOST_PAIRS)
        for run in runs
        if (found := run.stats.readers) is not None
        for one in found.figures
    ]  # fmt: skip
    shown = (
        _RUN, Shown("reference", "Boxes of", "text"), Shown("who", "Looked for by", "text", below="_why"),
        Shown("images", "Images", "whole"), Shown("sensitivity", "Sensitivity", patients="patients_with"),
        Shown("false_positives", "False positives per image", "number", patients="patients"),
        Shown("f1", "F1", patients="patients_with"),
    )  # fmt: skip
    merged = dict.fromkeys(merged_words(run.stats.readers.merged) for run in runs if run.stats.readers is not None)
    note = " ".join((
        "On images that both have read; the detector at the score that validation fixed, on those of several readings.",
        *merged, _INTERVALS,
    ))  # fmt: skip
    title = "Readers against each other"
    return ReportTable.of("readers", title, columns, rows, shown=shown, note=note, **({"brief": "_brief"} | more))


#: The tables of a run's detections, in the order in which they are shown.
DETECTIONS: tuple[Callable[..., ReportTable], ...] = (
    thresholds_table, froc_table, confusion_table, reliability_table, detected_table, boxes_table, image_scores_table,
    errors_table, masks_table, coco_table, controls_table, missingness_table, subgroups_table,
    readers_table,
)  # fmt: skip


def run_tables(member: MemberFrame, ablation: AblationFrame, statistics: Statistics) -> tuple[ReportTable, ...]:
    """The tables below a run: checkpoints, findings, and those of its detections; only those with rows."""
    runs = evaluated([member], ablation, statistics)
    found = (
        checkpoints_table([member], ablation),
        findings_table([member], ablation, statistics),
        *(make(runs) for make in DETECTIONS),
    )
    found = (*found[:2], *(replace(table, title=f"{table.title} on test") for table in found[2:]), external_table(runs))
    return tuple(table.without("_run") for table in found if table.rows)


def _several_readings(cohort: Cohort) -> bool:
    """Whether some image has more than one."""
    return any(len(split.images_by_readings) > 2 for split in cohort.splits)


def _characteristics(cohort: Cohort, split: SplitCohort) -> Iterator[tuple[Any, ...]]:
    """Name, level of a category, and count of a split; of a number its median and quartiles."""
    yield from (("Images", "", split.images), ("Patients", "", split.patients), ("Boxes", "", split.boxes))
    if _several_readings(cohort):
        yield from (("Readings", "", split.readings), ("Readers", "", split.readers))
        images = dict(enumerate(split.images_by_readings))
        words = ("Images without a reading", "Images of one reading")
        for number in range(max(len(one.images_by_readings) for one in cohort.splits)):
            if any(one.images_by_readings[number:][:1] not in ((), (0,)) for one in cohort.splits):
                yield words[number] if number < 2 else f"Images of {number} readings", "", images.get(number, 0)
    yield from (("Patients with", *of) for of in zip(cohort.labels, split.patients_with, strict=True))
    for name, unit, (*quartiles, missing) in zip(cohort.numeric, cohort.units, split.numbers, strict=True):
        if missing < split.samples:
            yield f"{name}{f' [{unit}]' if unit else ''}, median (quartiles)", "", *quartiles
        if missing:
            yield f"{name}, not known (images)", "", missing
    for name, values, counts in zip(cohort.categorical, cohort.values, split.levels, strict=True):
        yield from ((name, *of) for of in zip((*values, "not known"), counts, strict=True))


def _acquired(found: Acquired | None) -> Iterator[tuple[Any, ...]]:
    """Name, level and count of where and when images were taken; of years the first, the last and None."""
    if found is None:
        return
    for name, counts in (("Site", found.sites), ("Scanner", found.scanners), ("View", found.views)):
        yield from ((name, level or "not known", count) for level, count in counts)
    if found.first is not None:
        yield "Years", "", None, found.first, found.last
    if found.shifted:
        yield "Date shifted by the source (images)", "", found.shifted
    if found.undated and (found.shifted or found.first is not None):
        yield "Date not known (images)", "", found.undated


_FLOW_COUNTS = ("patients", "images", "readings", "boxes")


def flow_table(
    section: AblationSection, cohorts: Mapping[CohortKey, Cohort], flows: Mapping[CohortKey, Flow]
) -> ReportTable:
    """What the source has, what was left out of it and why, and what stays in each split, of each data set."""
    columns = (
        Column("data", "name of the data set"), Column("step", "source, left out, data set, or a split"),
        Column("reason", "why it was left out"), *(Column(name, "how many") for name in _FLOW_COUNTS),
        Column("_step", "both in words"),
    )  # fmt: skip
    runs = {cohort_key(member.run.record): member.run.record for member in section.frame.members}
    rows: list[Row] = []
    for key, record in runs.items():
        flow, cohort = flows.get(key), cohorts.get(key)
        if flow is None or not flow.excluded:
            continue
        kept = [flow.patients, flow.images, flow.readings]
        source = [in_source(flow.excluded, *of) for of in zip(_FLOW_COUNTS, kept, strict=False)]
        boxes = sum(split.boxes for split in cohort.splits) if cohort is not None else None
        found = [("source", "", *source, None, "In the source")]
        found += [
            ("left out", one.reason, *(getattr(one, name) for name in _FLOW_COUNTS), f"Default: {one.reason}")
            for one in flow.excluded
        ]
        found += [("data set", "", *kept, boxes, "In the data set")]
        found += [
            (one.split, "", one.patients, one.images, one.readings, one.boxes, _split_words(one.split))
            for one in (cohort.splits if cohort is not None else ())
        ]
        rows += [(record.dataset_name, step, reason or None, *rest) for step, reason, *rest in found]
    used = [name for n, name in enumerate(_FLOW_COUNTS, 3) if any(row[n] for row in rows)]
    shown = (Shown("_step", "", "text"), *(Shown(name, name.capitalize(), "whole") for name in used))
    note = (
        "Left out are the patients, images and readings of which nothing stays after the step, and the boxes on images "
        "that stay; – is not known."
    )
    return ReportTable.of(
        file_stem(section.frame.record.name, "flow"), "From the source to the splits", columns, rows, shown=shown,
        note=note, section="data" if len(runs) > 1 else "", subject=clip(section.title, 120),
    )  # fmt: skip


def _split_words(split: str) -> str:
    words = {"train": "Training", "val": "Validation", "test": "Test"}
    return words.get(split, split.capitalize())


def cohort_table(
    section: AblationSection, cohorts: Mapping[CohortKey, Cohort], flows: Mapping[CohortKey, Flow]
) -> ReportTable:
    """Who was studied: sizes, findings, readers, clinical columns, sites and years of each split of each data set."""
    columns = (
        Column("data", "name of the data set"), Column("characteristic", "what was counted"),
        Column("level", "of a finding or a category"), Column("split", "train, val or test"),
        Column("value", "how many, or the median"), Column("low", "lower quartile"), Column("high", "upper quartile"),
        Column("_cell", "in words"), Column("_row", "both in words"), Column("_split", "the split in words"),
    )  # fmt: skip
    rows: list[Row] = []
    runs = {cohort_key(member.run.record): member.run.record for member in section.frame.members}
    for key, record in runs.items():
        cohort = cohorts.get(key)
        taken = dict(flows[key].acquired) if key in flows else {}
        for split in cohort.splits if cohort is not None else ():
            found = (*_characteristics(cohort, split), *_acquired(taken.get(split.split)))  # type: ignore[arg-type]
            for name, level, value, *ends in found:
                low, high = ends if ends else (None, None)
                text = f"{value:.4g} ({low:.4g} to {high:.4g})" if ends and value is not None else ""
                text = text or (f"{low} to {high}" if ends else whole(int(value)))
                text += f" ({value / split.patients:.0%})".replace("%", " %") if level and split.patients else ""
                cells = (record.dataset_name, name, level or None, split.split, value, low, high)
                rows.append((*cells, text, f"{name}: {level}" if level else name, _split_words(split.split)))
    shown = (Shown("_row", "Characteristic", "text"), Shown("_cell", "", "whole"))
    note = "Patients with a finding or a category in per cent of the split's; clinical numbers over its images."
    several = [key for key in runs if key in cohorts and _several_readings(cohorts[key])]
    if several:
        unnamed = not any(split.readers for key in several for split in cohorts[key].splits)
        note += " No reader is named: each name is of one reading." if unnamed else ""
        if any(key[1] == UNIFIED for key in several):
            note += " The boxes of all readings of an image are its reference: what two readers drew is there twice."
    return ReportTable.of(
        file_stem(section.frame.record.name, "cohort"), "Who was studied", columns, rows, shown=shown, note=note,
        across="_split", section="data" if len(runs) > 1 else "", subject=clip(section.title, 120),
    )  # fmt: skip


def studied_tables(section: AblationSection, model: ReportModel) -> tuple[ReportTable, ...]:
    """Who was studied, and how their images came from the source into the splits, where that is known."""
    flow = flow_table(section, model.cohorts, model.flows)
    return (*((flow,) if flow.rows else ()), cohort_table(section, model.cohorts, model.flows))


def ablation_tables(section: AblationSection, statistics: Statistics) -> Iterator[ReportTable]:
    """Every table of an ablation, as it becomes a file."""
    frame, name, subject = section.frame, section.frame.record.name, clip(section.title, 120)
    for number in range(len(section.comparisons)):
        yield from pair_tables(section, number, statistics)
    if (benefit := benefit_table(section, statistics)).rows:
        yield benefit
    if (trials := trials_table(section)).rows:
        yield trials
    yield refused_table(section)
    yield documented_table(section)
    yield parameters_table(section)
    yield runs_table([frame], file_stem(name, "runs"), "Runs", subject=subject)
    yield best_epochs_table(section)
    if (checkpoints := checkpoints_table(frame.members, frame, subject=subject)).frame["epoch"].notna().any():
        yield checkpoints
    yield findings_table(frame.members, frame, statistics, subject=subject)
    yield from threshold_tables(section, statistics)
    yield missing_by_arm_table(section, statistics)
    runs = evaluated(frame.members, frame, statistics)
    for make in DETECTIONS[1:]:
        table = make(runs, subject=subject)
        brief = "_brief" if make in (froc_table, masks_table) else ""
        yield replace(table, name=file_stem(name, table.name), title=f"{table.title} on test", brief=brief)
    external = external_table(runs, subject=subject)
    yield replace(external, name=file_stem(name, external.name))


def all_tables(model: ReportModel) -> Iterator[ReportTable]:
    """Every table of ``model`` that has rows: for each ablation, for all runs, and for every epoch."""
    for ablation in model.ablations:
        tables = (*studied_tables(ablation, model), *ablation_tables(ablation, model.statistics))
        yield from (table for table in tables if table.rows)
    if model.against is not None:
        yield from (table for table in against_tables(model.against) if table.rows)
    if model.logbook is not None:
        yield from (log_table(log) for log in model.logbook.logs)
    if len(model.ablations) > 1:
        yield all_runs_table(model)
    if any(section.run.epochs for section in model.runs):
        yield epochs_table(model)
