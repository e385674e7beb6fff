"""The tables that set two things beside one another: arms, arms by finding, and documented with measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields

from mmad.evaluation.interval import Interval
from mmad.report.certainty import Certainty, SurePair
from mmad.report.evidence import bounds, by_finding_pair, sure_rows, verdict_words
from mmad.report.frames import AblationFrame, MemberFrame
from mmad.report.mirrored import mirrored
from mmad.report.pairs import Comparison, Conditions, Contrast, Figure, PairRow, conditions
from mmad.report.story import AblationStory, member_title
from mmad.report.tables import FRACTION, JUDGED, MEMBER, Cell, Column, Printed, Row, Table, file_stem, of_judged
from mmad.report.tables import of_member as member_cells
from mmad.report.verdicts import interval, p_value
from mmad.report.words import clip, decimal, signed, spread, whole

_MEASURES = (("test_ap", "test AP"), ("test_ar", "test AR"), ("val_ap", "validation AP"), ("val_ar", "validation AR"))
_INTERVAL = "of the 95 % interval over patients and seeds"
_PAIR = (
    Column("ablation", "name of the ablation's file"),
    Column("setting", "setting of the ablation"),
    Column("reference", "first arm of the pair"),
    Column("other", "second arm of the pair"),
    Column("seeds", "seeds that both arms have finished", "seeds"),
)


def titled(member: MemberFrame, ablation: AblationFrame) -> str:
    """A member's title as its ablation's runs bear it."""
    return member_title(member, seeds=len({m.record.seed for m in ablation.members}) > 1)


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


def pair_tables(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """One table for every pair of arms and protocol, and the findings below it."""
    frame = story.frame
    for n, comparison in enumerate(story.comparisons, start=1):
        known = sure_rows(certainty, frame, comparison)
        marks = "; ".join(badge.text for badge in story.badges[n - 1])
        ends = f"{clip(comparison.other, 60)} against {clip(comparison.reference, 60)}"
        head = f"{clip(story.title, 120)}: {ends}"
        under = f"On {clip(comparison.conditions.data, 80)}: {marks}."
        yield Table(
            file_stem(frame.record.name, f"pairs-{n}"),
            head,
            _pair_columns(),
            [_pair_cells(frame, comparison, row, sure) for row, sure in known],
            _printed_pairs(comparison, known, under),
        )
        if rows := [
            (*_ends(frame, comparison, row), f.label, *bounded(f.reference), *bounded(f.other), *bounded(f.difference))
            for row, sure in known
            for f in by_finding_pair(sure)
        ]:
            yield Table(
                file_stem(frame.record.name, f"findings-pairs-{n}"),
                f"{head}: test AP by finding",
                (
                    *_PAIR,
                    Column("finding", "the finding"),
                    *bounded_columns("test_ap_reference", "test AP of the first arm"),
                    *bounded_columns("test_ap_other", "test AP of the second arm"),
                    *bounded_columns("test_ap_difference", "second arm less first"),
                ),
                rows,
                _printed_findings(comparison, known, under),
            )


def _ends(frame: AblationFrame, comparison: Comparison, row: PairRow) -> Row:
    return (frame.record.name, row.setting, comparison.reference, comparison.other, len(row.seeds))


def _pair_columns() -> tuple[Column, ...]:
    columns = [*_PAIR]
    for name, words in _MEASURES:
        for side, whose in (("reference", "first arm"), ("other", "second arm"), ("difference", "second less first")):
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
        Column("p_patients", "permutation test over patients, for these very networks", "probability"),
        Column("p_holm", "p adjusted (Holm) over the pairs of this ablation", "probability"),
        Column("seed_share", "part of the difference's variance that lies between seeds", FRACTION),
        Column("parameters_reference", "parameters of the first arm's detector", "parameters"),
        Column("parameters_other", "parameters of the second arm's detector", "parameters"),
        Column("checkpoint", "which checkpoints are compared"),
        *(Column(f.name, f"equal in both arms: {f.name.replace('_', ' ')}") for f in fields(Conditions)),
        Column("note", "seeds that are missing"),
        Column("no_interval", "why there is no interval"),
    ]
    return tuple(columns)


def _pair_cells(frame: AblationFrame, comparison: Comparison, row: PairRow, sure: SurePair) -> Row:
    cells: list[Cell] = [*_ends(frame, comparison, row)]
    for name, _ in _MEASURES:
        contrast: Contrast = getattr(row, name)
        within = _intervals(sure, name)
        for side in ("reference", "other", "difference"):
            figure: Figure | None = getattr(contrast, side)
            cells += [figure.mean if figure else None, figure.sd if figure else None]
            if name.startswith("test"):
                cells += bounded(within[side])[1:]
    told = sure.difference
    under = conditions(row.reference[0])
    return (
        *cells,
        told.verdict if told else None,
        verdict_words(sure) or None,
        _known(told.p if told else None),
        _known(told.p_patients if told else None),
        _known(sure.p_holm),
        _known(told.seed_share if told else None),
        row.reference_count,
        row.other_count,
        row.kind,
        *(getattr(under, f.name) for f in fields(Conditions)),
        row.note or None,
        sure.why or None,
    )


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _intervals(sure: SurePair, name: str) -> dict[str, Interval | None]:
    measure = name.rsplit("_", 1)[-1]
    reference, other = (getattr(s.estimate, measure) if s else None for s in (sure.reference, sure.other))
    return {"reference": reference, "other": other, "difference": getattr(sure.difference, measure, None)}


def _printed_pairs(comparison: Comparison, known: list[tuple[PairRow, SurePair]], under: str) -> Printed:
    told = any(sure.difference is not None for _, sure in known)
    heads = ["Setting", "On test", clip(comparison.reference, 30), clip(comparison.other, 30), "Difference"]
    heads += ["Verdict", "p", "Holm"] if told else []
    rows = []
    for row, sure in known:
        name = f"{clip(row.setting, 60)} ({len(row.seeds)} seeds)" if len(row.seeds) > 1 else clip(row.setting, 60)
        difference = sure.difference
        tests = (difference.verdict, p_value(difference.p), p_value(sure.p_holm)) if difference else ("",) * 3
        rows.append((name, "AP", *_three(row.test_ap, sure, "test_ap"), *(tests if told else ())))
        rows.append(("", "AR", *_three(row.test_ar, sure, "test_ar"), *(("",) * 3 if told else ())))
    said = [under]
    if told:
        seeds = any(sure.difference is not None and sure.difference.seeds > 1 for _, sure in known)
        test = "a test over patients and seeds" if seeds else "permutation test over patients"
        said.append(f"In brackets: 95 % intervals. p: {test}; Holm: adjusted over the pairs of this ablation.")
    if (counts := comparison.counts) is not None:
        reference, other = counts
        said.append(f"{heads[3]}: {whole(other)} parameters, {heads[2]}: {whole(reference)}.")
    return Printed(tuple(heads), tuple(rows), 2, " ".join(said))


def _three(contrast: Contrast, sure: SurePair, name: str) -> tuple[str, str, str]:
    """Reference, other and difference: each a mean with its interval, or with its deviation where there is none."""
    within = _intervals(sure, name)

    def cell(side: str) -> str:
        figure: Figure | None = getattr(contrast, side)
        of_side = within[side]
        form = signed if side == "difference" else decimal
        value = figure.mean if figure else of_side.value if of_side else None
        beside = bounds(of_side, sign=side == "difference") or spread(figure)
        return f"{form(value)} {beside}".rstrip()

    return cell("reference"), cell("other"), cell("difference")


def _printed_findings(comparison: Comparison, known: list[tuple[PairRow, SurePair]], under: str) -> Printed:
    heads = ("Setting", "Finding", clip(comparison.reference, 30), clip(comparison.other, 30), "Difference")
    rows = tuple(
        (clip(row.setting, 60), clip(f.label, 60), interval(f.reference), interval(f.other),
         interval(f.difference, sign=True))
        for row, sure in known
        for f in by_finding_pair(sure)
    )  # fmt: skip
    return Printed(heads, rows, 2, f"{under} In brackets: 95 % intervals; findings are not tested one by one.")


def refused_table(story: AblationStory) -> Iterable[Table]:
    """Pairs that were not won under equal conditions."""
    if story.refusals:
        name = story.frame.record.name
        yield Table(
            file_stem(name, "not-compared"),
            f"{clip(story.title, 120)}: not compared",
            (*_PAIR[:4], Column("reason", "what differs between the arms: first / second")),
            [(name, r.setting, r.reference, r.other, r.reason) for r in story.refusals],
        )


def documented_table(story: AblationStory) -> Iterable[Table]:
    """What the documented log prints beside what was measured here."""
    found = mirrored(story.frame)
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
        (*member_cells(m.member), m.entry, m.checkpoint, *(x for both in m.figures for x in both), *of_judged(m.member))
        for m in found
    ]
    heads = ("Run", "Entry", "Checkpoint", *("doc.", "meas.") * 4)
    groups = (("", 3), *((word, 2) for word in ("Test AP", "Val AP", "Test AR", "Val AR")))
    printed = tuple(
        (titled(m.member, story.frame), m.entry, m.checkpoint, *(decimal(x) for both in m.figures for x in both))
        for m in found
    )
    note = "The log's figures were won on its own data and under its protocol of the time."
    yield Table(
        file_stem(story.frame.record.name, "documented"),
        f"{clip(story.title, 120)}: documented beside measured",
        (*columns, *JUDGED),
        rows,
        Printed(heads, printed, 3, note, groups),
    )
