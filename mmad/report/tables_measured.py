"""The tables of what a run's detections are worth: score thresholds, findings, confusion, reliability, controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmad.evaluation.thresholds import FROC_RATES
from mmad.report.certainty import Certainty, SureRun
from mmad.report.evidence import froc_rows, gap_tables
from mmad.report.frames import ClassFigures, MemberFrame, Outcome
from mmad.report.story import AblationStory
from mmad.report.tables import FRACTION, JUDGED, MEMBER, Column, Printed, Row, Table, each, file_stem, of_judged
from mmad.report.tables import of_member as member_cells
from mmad.report.tables_pairs import bounded, bounded_columns, titled
from mmad.report.verdicts import alteration_words, interval, meaning
from mmad.report.words import DASH, clip, decimal, signed

_CHECKPOINT = Column("checkpoint", "which checkpoint was judged")
_SCORE = Column("score", "least score of the detections that count", FRACTION)


def threshold_tables(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """Test AP by score threshold, one table per protocol and kind of checkpoint."""
    frame = story.frame
    names = ("ap", "ar", "precision", "recall", "f1")
    words = {"ap": "AP", "ar": "AR", "f1": "F1"}
    columns = (
        *MEMBER, _CHECKPOINT, *JUDGED, _SCORE,
        *bounded_columns("test_ap_gap", "test AP less that of the first score"),
        *(column for name in names for column in bounded_columns(f"test_{name}", f"test {words.get(name, name)}")),
        Column("detections_per_image", "detections of an image on average", "detections"),
    )  # fmt: skip
    for n, gap in enumerate(gap_tables(certainty, frame), start=1):
        rows: list[Row] = [
            (*member_cells(c.member), gap.kind, *of_judged(c.member), r.score, c.gaps[i],
             *bounded(b.gap)[1:], *(x for name in names for x in (getattr(r, name), *bounded(getattr(b, name))[1:])),
             r.per_image)
            for c in gap.columns
            for i, (r, b) in enumerate(zip(c.rows, c.bands, strict=True))
        ]  # fmt: skip
        heads = ("Run", *(f"≥ {score:g}" for score in gap.scores))
        printed = tuple(
            (titled(c.member, frame),
             *(f"{decimal(r.ap)}{f' ({signed(c.gaps[i])})' if i else ''} {c.bounds(i)}".rstrip()
               for i, r in enumerate(c.rows)))
            for c in gap.columns
        )  # fmt: skip
        judged = gap.first.judged
        said = (
            f"{'Final' if gap.kind == 'final' else 'Best-AP'} checkpoints by "
            f"{'IoBB' if judged.overlap == 'iobb' else 'IoU'} ≥ {judged.threshold:g}, "
            f"{judged.proposals.replace('_', ' ')} proposals; in parentheses the gap to the first column. "
            "In brackets: 95 % intervals, of the gap where there is one."
        )
        title = f"{clip(story.title, 120)}: test AP of the detections with at least a score"
        yield Table(
            file_stem(frame.record.name, f"thresholds-{n}"), title, columns, rows, Printed(heads, printed, note=said)
        )


def findings_table(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """AP and AR of each finding, of every kept checkpoint on validation and test."""
    frame = story.frame

    def cells(member: MemberFrame) -> Iterable[Row]:
        for _, outcome in member.outcomes:
            if outcome is not None:
                yield from _by_split(outcome, certainty.run(member), of_judged(member))

    rows = each(frame.members, cells)
    if not rows:
        return
    columns = (
        *MEMBER, _CHECKPOINT, Column("epoch", "its epoch", "epoch, from 1"), *JUDGED,
        Column("split", "val or test"), Column("finding", "the finding"),
        *bounded_columns("ap", "AP of the finding"), *bounded_columns("ar", "AR of the finding"),
    )  # fmt: skip
    heads = ("Run", "Finding", "Val AP", "Val AR", "Test AP", "Test AR")
    printed = tuple(
        (titled(m, frame), clip(label, 60), *figures)
        for m in frame.members
        if m.alone is not None
        for label, *figures in _printed_findings(m.alone, certainty.run(m))
    )
    title = f"{clip(story.title, 120)}: by finding"
    note = "Best-AP checkpoints, or final ones without them; in brackets 95 % intervals."
    yield Table(file_stem(frame.record.name, "findings"), title, columns, rows, Printed(heads, printed, 2, note))


def _within(outcome: Outcome, sure: SureRun | None) -> dict[str, tuple[Row, Row]]:
    """The test intervals of AP and AR by finding, as far as they are of this checkpoint."""
    if sure is None or sure.measured is None or sure.kind != outcome.kind:
        return {}
    return {label: (bounded(ap)[1:], bounded(ar)[1:]) for label, ap, ar in sure.measured.estimate.per_class}


def _by_split(outcome: Outcome, sure: SureRun | None, judged: Row) -> Iterable[Row]:
    within = _within(outcome, sure)
    splits: Sequence[tuple[str, ClassFigures]] = (("val", outcome.val_classes), ("test", outcome.test_classes))
    for split, classes in splits:
        for label, ap, ar in classes:
            none: Row = (None, None)
            of_ap, of_ar = within.get(label, (none, none)) if split == "test" else (none, none)
            yield (outcome.kind, outcome.epoch, *judged, split, label, ap, *of_ap, ar, *of_ar)


def _printed_findings(outcome: Outcome, sure: SureRun | None) -> Iterable[tuple[str, ...]]:
    val = {label: (ap, ar) for label, ap, ar in outcome.val_classes}
    test = {label: (ap, ar) for label, ap, ar in outcome.test_classes}
    each_ = sure.measured.estimate.per_class if sure and sure.measured and sure.kind == outcome.kind else ()
    within = {label: (interval(ap), interval(ar)) for label, ap, ar in each_}
    for label in dict.fromkeys([*val, *test]):
        plain = tuple(map(decimal, test.get(label, (None, None))))
        shown = tuple(w if w != DASH else p for w, p in zip(within.get(label, plain), plain, strict=True))
        yield (label, *map(decimal, val.get(label, (None, None))), *shown)


def _profiles(story: AblationStory, certainty: Certainty) -> Iterable[tuple[MemberFrame, SureRun]]:
    for member in story.frame.members:
        sure = certainty.run(member)
        if sure is not None:
            yield member, sure


def confusion_table(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """Confusion and reliability of every run's scores in long form, and what its controls lose."""
    name, title = story.frame.record.name, clip(story.title, 120)
    told = list(_profiles(story, certainty))
    profiled = [(m, s, s.profile) for m, s in told if s.profile is not None]
    counts: list[Row] = [
        (*member_cells(m), s.kind, *of_judged(m), p.rows[-1].score, true, called, int(p.confusion.counts[i, j]))
        for m, s, p in profiled
        for i, true in enumerate([*p.confusion.labels, "nothing there"])
        for j, called in enumerate([*p.confusion.labels, "missed"])
        if (i, j) != (len(p.confusion.labels),) * 2
    ]
    if counts:
        columns = (
            *MEMBER, _CHECKPOINT, *JUDGED, _SCORE, Column("true", "the true finding"),
            Column("called", "what was detected there"), Column("count", "how often, on test", "findings"),
        )  # fmt: skip
        yield Table(file_stem(name, "confusion"), f"{title}: confusion", columns, counts)
    bins: list[Row] = [
        (*member_cells(m), s.kind, *of_judged(m), *row)
        for m, s, p in profiled
        for row in zip(
            p.calibration.edges, p.calibration.edges[1:], p.calibration.score, p.calibration.hits, p.calibration.count,
            strict=False,
        )
        if row[-1]
    ]  # fmt: skip
    if bins:
        edges = (
            *MEMBER, _CHECKPOINT, *JUDGED, Column("score_from", "lower end of the bin", FRACTION),
            Column("score_to", "upper end of the bin", FRACTION), Column("mean_score", "mean score in it", FRACTION),
            Column("share_right", "share of its detections that are right", FRACTION),
            Column("detections", "detections in it, on test", "detections"),
        )  # fmt: skip
        yield Table(file_stem(name, "reliability"), f"{title}: reliability of the scores", edges, bins)


def froc_table(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """Sensitivity by false positives per image, over all findings together and of each."""
    frame = story.frame
    told = [(m, s, froc_rows(s)) for m, s in _profiles(story, certainty) if s.profile is not None]
    if not told:
        return
    columns = (
        *MEMBER, _CHECKPOINT, *JUDGED, Column("finding", "the finding, or all findings together"),
        Column("false_positives_per_image", "the rate; empty of the score, the mean over the rates", "detections"),
        *bounded_columns("sensitivity", "share of the findings that are found at this rate"),
    )  # fmt: skip
    rows: list[Row] = [
        (*member_cells(m), s.kind, *of_judged(m), label, rate, *bounded(value))
        for m, s, found in told
        for label, score, each_rate in found
        for rate, value in ((None, score), *zip(FROC_RATES, each_rate, strict=True))
    ]
    printed = tuple(
        (titled(m, frame), interval(score), *(decimal(value.value) for value in each_rate))
        for m, _, found in told
        for label, score, each_rate in found[:1]
    )
    heads = ("Run", "Score", *(f"{rate:g}" for rate in FROC_RATES))
    note = "Sensitivity over all findings by false positives per image, and its mean (score) with a 95 % interval."
    title = f"{clip(story.title, 120)}: FROC on test"
    yield Table(file_stem(frame.record.name, "froc"), title, columns, rows, Printed(heads, printed, note=note))


def controls_table(story: AblationStory, certainty: Certainty) -> Iterable[Table]:
    """What the test AP loses when an input is made useless."""
    found = [(m, s, c) for m, s in _profiles(story, certainty) for c in s.controls]
    if not found:
        return
    columns = (
        *MEMBER, _CHECKPOINT, *JUDGED, Column("altered", "column, records or image"),
        Column("column", "the clinical column that was shuffled"),
        Column("ap_before", "test AP as it is", FRACTION), Column("ap_after", "test AP altered", FRACTION),
        *bounded_columns("ap_lost", "test AP lost"), *bounded_columns("ar_lost", "test AR lost"),
        Column("repeats", "how often it was altered anew", "repeats"), Column("meaning", "what it says"),
    )  # fmt: skip
    rows: list[Row] = [
        (*member_cells(m), s.kind, *of_judged(m), c.alteration.kind, c.alteration.name or None, c.drop.before,
         c.drop.after, *bounded(c.drop.ap), *bounded(c.drop.ar), c.drop.repeats, meaning(c))
        for m, s, c in found
    ]  # fmt: skip
    printed = tuple(
        (titled(m, story.frame), clip(alteration_words(c.alteration), 60), decimal(c.drop.after),
         interval(c.drop.ap, sign=True))
        for m, _, c in found
    )  # fmt: skip
    heads = ("Run", "Altered", "AP left", "AP lost")
    title = f"{clip(story.title, 120)}: controls"
    yield Table(file_stem(story.frame.record.name, "controls"), title, columns, rows, Printed(heads, printed, 2))
