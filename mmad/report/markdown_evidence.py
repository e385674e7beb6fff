"""How sure the figures are, as Markdown: the same tables as in the page."""

from __future__ import annotations

from collections.abc import Sequence

from mmad.evaluation.interval import Interval
from mmad.report.analysis import Measured
from mmad.report.certainty import Certainty, SureRun
from mmad.report.evidence import (
    GapColumn,
    bounds,
    by_finding,
    by_finding_pair,
    filled_bins,
    froc_rows,
    gap_tables,
    reasons,
    sure_rows,
    turns,
    verdict_words,
)
from mmad.report.frames import AblationFrame, MemberFrame
from mmad.report.markdown_words import escape, table
from mmad.report.mirrored import mirrored
from mmad.report.onset import onset_words
from mmad.report.pairs import Comparison
from mmad.report.story import AblationStory, member_title
from mmad.report.verdicts import alteration_words, interval, meaning, p_value
from mmad.report.words import DASH, clip, decimal, signed

_MOST_ROWS = 200


def _named(member: MemberFrame, ablation: AblationFrame) -> str:
    return escape(member_title(member, seeds=len({m.record.seed for m in ablation.members}) > 1))


def verdict_lines(ablation: AblationStory, comparison: Comparison, certainty: Certainty) -> list[str]:
    """Intervals, verdict and tests of a comparison, and one line on what is missing."""
    known = sure_rows(certainty, ablation.frame, comparison)
    a, b = escape(clip(comparison.reference, 40)), escape(clip(comparison.other, 40))
    head = ["Setting", f"Test AP {a}", f"Test AP {b}", "difference", f"Test AR {a}", f"Test AR {b}", "difference"]
    rows = []
    for row, sure in known:
        if sure.difference is None:
            continue
        cells = [escape(clip(row.setting, 80))]
        for measure in ("ap", "ar"):
            cells += [_side(side, measure) for side in (sure.reference, sure.other)]
            cells.append(escape(interval(getattr(sure.difference, measure), sign=True)))
        tests = [p_value(sure.difference.p), p_value(sure.p_holm)]
        rows.append([*cells, escape(verdict_words(sure)), *map(escape, tests)])
    lines = []
    if rows:
        seeds = any(sure.difference is not None and sure.difference.seeds > 1 for _, sure in known)
        test = "a test over patients and seeds" if seeds else "permutation test over patients"
        said = f"In brackets: 95 % intervals. p: {test}; Holm: adjusted over the pairs of this ablation."
        lines += [said, "", *table([*head, "Verdict", "p", "Holm"], rows), ""]
    why = reasons(sure for _, sure in known)
    return [*lines, f"No interval{' for some rows' if rows else ''}: {escape(why)}", ""] if why else lines


def _side(side: Measured | None, measure: str) -> str:
    return DASH if side is None else escape(interval(getattr(side.estimate, measure)))


def mirrored_lines(ablation: AblationStory) -> list[str]:
    """Documented figures beside the measured ones."""
    found = mirrored(ablation.frame)
    if not found:
        return []
    head = ["Run", "Entry", "Checkpoint"]
    for name in ("Test AP", "Val AP", "Test AR", "Val AR"):
        head += [f"{name} documented", "measured"]
    rows = [
        [
            _named(row.member, ablation.frame), escape(clip(row.entry, 20)), row.checkpoint,
            *(decimal(value) for both in row.figures for value in both),
        ]
        for row in found[:_MOST_ROWS]
    ]  # fmt: skip
    said = "Documented beside measured. The log's figures were won on its own data and under its protocol of the time."
    return [said, "", *table(head, rows, numbers_from=3), ""]


def evidence_lines(ablation: AblationStory, certainty: Certainty) -> list[str]:
    """Best epochs and overfitting, the threshold gap, and AP by finding."""
    frame = ablation.frame
    lines = []
    if found := turns(frame):
        head = ["Run", "Best AP at", "Best AR at", "Lowest validation loss at", "Overfitting"]
        lines += table(
            head,
            (
                [
                    _named(row.member, frame),
                    *(DASH if n is None else str(n) for n in (row.best_ap, row.best_ar, row.lowest_loss)),
                    onset_words(row.onset),
                ]
                for row in found
            ),
        )
        lines.append("")
    for gap in gap_tables(certainty, frame):
        head = ["Test AP, score", *(_named(column.member, frame) for column in gap.columns)]
        rows = []
        for n, score in enumerate(gap.scores):
            rows.append([f"≥ {score:g}", *(_gap(column, n) for column in gap.columns)])
        lines += [*table(head, rows), ""]
    for comparison in ablation.comparisons:
        lines += _findings(ablation, comparison, certainty)
    return lines


def _gap(column: GapColumn, place: int) -> str:
    ap, within = decimal(column.rows[place].ap), escape(column.bounds(place))
    return f"{ap} ({signed(column.gaps[place])} {within}".rstrip() + ")" if place else f"{ap} {within}".rstrip()


def _findings(ablation: AblationStory, comparison: Comparison, certainty: Certainty) -> list[str]:
    head = ["Setting", "Finding", *(f"Test AP {escape(clip(x, 40))}" for x in (comparison.reference, comparison.other))]
    rows = []
    for row, sure in sure_rows(certainty, ablation.frame, comparison):
        for finding in by_finding_pair(sure):
            both = (interval(finding.reference), interval(finding.other), interval(finding.difference, sign=True))
            rows.append([escape(clip(row.setting, 80)), escape(clip(finding.label, 60)), *map(escape, both)])
    return [*table([*head, "difference"], rows, numbers_from=2), ""] if rows else []


def measured_lines(member: MemberFrame, certainty: Certainty) -> list[str]:
    """AP and AR of each finding, operating points, confusion, reliability and controls of one run."""
    sure, lines = certainty.run(member), []
    if member.alone is not None and (found := by_finding(member.alone, sure)):
        head = ["Finding", "Val AP", "Val AR", "Test AP", "Test AR"]
        rows = [
            [escape(clip(label, 60)), decimal(val_ap), decimal(val_ar),
             _bounded(test_ap, ap), _bounded(test_ar, ar)]
            for label, val_ap, val_ar, test_ap, test_ar, ap, ar in found
        ]  # fmt: skip
        lines += [*table(head, rows), ""]
    if sure is None:
        return lines
    lines += _profile(sure) + _masks(sure) + _controls(sure)
    return [*lines, f"Not all could be told: {escape(clip(sure.why, 300))}", ""] if sure.why else lines


def _bounded(value: float | None, within: str) -> str:
    return f"{decimal(value)} {escape(within)}".rstrip()


def _profile(sure: SureRun) -> list[str]:
    if sure.profile is None:
        return []
    head = ["Score", "AP", "AR", "Precision", "Recall", "F1", "Detections per image"]
    rows = []
    for r, band in zip(sure.profile.rows, sure.profile.bands, strict=True):
        figures = (band.ap, band.ar, band.precision, band.recall, band.f1)
        rows.append([f"≥ {r.score:g}", *(escape(interval(v)) for v in figures), decimal(r.per_image, 2)])
    lines = [*table(head, rows), "", *_froc(sure, sure.profile.froc.rates)]
    confusion = sure.profile.confusion
    labels = [escape(clip(label, 40)) for label in confusion.labels]
    head = [f"True (score ≥ {sure.profile.rows[-1].score:g})", *labels, "missed"]
    counts = [[str(n) for n in row] for row in confusion.counts.tolist()]
    counts[-1][-1] = DASH
    named = zip([*labels, "nothing there"], counts, strict=True)
    lines += [*table(head, ([label, *row] for label, row in named)), ""]
    bins = [[score, decimal(mean), decimal(hits), str(n)] for score, mean, hits, n in filled_bins(sure)]
    error = decimal(sure.profile.calibration.error)
    head = [f"Reliability (expected error {error})", "Mean score", "Share right", "Detections"]
    return [*lines, *table(head, bins), ""] if bins else lines


def _froc(sure: SureRun, rates: Sequence[float]) -> list[str]:
    head = ["Sensitivity by false positives per image", *(f"{rate:g}" for rate in rates), "Mean"]
    rows = [
        [escape(clip(label, 60)), *(escape(interval(value)) for value in (*sensitivity, score))]
        for label, score, sensitivity in froc_rows(sure)
    ]
    return [*table(head, rows), ""]


def _masks(sure: SureRun) -> list[str]:
    if sure.masks is None:
        return []
    found = sure.masks.estimate
    rows = [
        [escape(clip(label, 60)), escape(interval(ap)), escape(interval(ar))]
        for label, ap, ar in (("all findings", found.ap, found.ar), *found.per_class)
    ]
    coco = [[escape(name), decimal(value)] for name, value in sure.masks.coco.figures.items()]
    return [*table(["Masks", "Test AP", "Test AR"], rows), "", *table(["Masks, COCO", "Test"], coco), ""]


def _controls(sure: SureRun) -> list[str]:
    if not sure.controls:
        return []
    rows = [
        [escape(clip(alteration_words(c.alteration), 80)), decimal(c.drop.after), _lost(c.drop.ap), escape(meaning(c))]
        for c in sure.controls
    ]
    return [*table(["Altered", "AP left", "AP lost", "It says"], rows), ""]


def _lost(value: Interval) -> str:
    return f"{signed(value.value)} {escape(bounds(value, sign=True))}".rstrip()
