"""The report as Markdown with its charts as SVG files beside it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mmad.analysis.comparison import ComparisonTable, MeasuredRun, PairedMeans, SeedMean, spread
from mmad.analysis.frames import AblationFrame, MemberFrame
from mmad.analysis.input_controls import alteration_words, meaning
from mmad.analysis.overfitting import onset_of, onset_words
from mmad.analysis.statistics import RunStatistics, Statistics
from mmad.base.formatting import (
    DASH,
    clean,
    clip,
    decimal,
    duration,
    interval,
    moment,
    p_value,
    plural,
    short_key,
    signed,
    whole,
)
from mmad.evaluation.intervals import Interval
from mmad.report.figures import (
    OVERLAP_NAMES,
    WIDE,
    FigureFile,
    ReportFigure,
    arms_figure,
    describe_forest,
    forest_figure,
    run_figure,
)
from mmad.report.model import AblationSection, ReportModel, RunSection, member_title, mirrored
from mmad.report.picture_drawing import (
    ap_contribution_words,
    differs,
    drawn_and_counted,
    has_more_settings,
    net_hits_words,
    panels_of,
    raster,
)
from mmad.report.pictures import AblationPictures, PairPictures, Pictures, StudyPicture
from mmad.report.rendering import FigureRenderer
from mmad.report.tables import (
    GapColumn,
    best_epochs,
    bounds,
    by_finding,
    by_finding_pair,
    filled_bins,
    froc_rows,
    gap_tables,
    parameters,
    reasons,
    statistics_rows,
    verdict_summary,
    verdict_words,
)
from mmad.report.text import heading_figures, log_block

# Foreign text and tables in Markdown.


def escape(text: str) -> str:
    """Foreign text as plain text on one line: no markup, no HTML, no cell border."""
    line = " ".join(clean(text).split())
    return re.sub(
        r"([\\`*_{}\[\]()#+|~$!-])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> list[str]:
    """A table whose columns from ``numbers_from`` on are right-aligned. Cells are already escaped."""
    rule = ["---" if n < numbers_from else "---:" for n in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


# Intervals, verdicts and tables as in the page.

_MOST_ROWS = 200


def _named(member: MemberFrame, ablation: AblationFrame) -> str:
    return escape(member_title(member, ablation))


def verdict_lines(comparison: ComparisonTable, statistics: Statistics) -> list[str]:
    """Intervals, verdicts and tests of a comparison, and one line on what is missing."""
    known = statistics_rows(statistics, comparison)
    a, b = escape(clip(comparison.reference, 40)), escape(clip(comparison.other, 40))
    head = ["Setting", f"Test AP {a}", f"Test AP {b}", "difference", f"Test AR {a}", f"Test AR {b}", "difference"]
    rows = []
    for row, stats in known:
        if stats.difference is None:
            continue
        cells = [escape(clip(row.setting, 80))]
        for measure in ("ap", "ar"):
            cells += [_side(side, measure) for side in (stats.reference, stats.other)]
            cells.append(escape(interval(getattr(stats.difference, measure), sign=True)))
        tests = [p_value(stats.difference.p), p_value(stats.p_holm)]
        rows.append([*cells, escape(verdict_words(stats)), *map(escape, tests)])
    lines = []
    if rows:
        seeds = any(stats.difference is not None and stats.difference.seeds > 1 for _, stats in known)
        test = "a test over patients and seeds" if seeds else "permutation test over patients"
        said = f"In brackets: 95 % intervals. p: {test}; Holm: adjusted over the pairs of this ablation."
        lines += [said, "", *table([*head, "Verdict", "p", "Holm"], rows), ""]
    why = reasons(stats for _, stats in known)
    return [*lines, f"No interval{' for some rows' if rows else ''}: {escape(why)}", ""] if why else lines


def _side(side: MeasuredRun | None, measure: str) -> str:
    return DASH if side is None else escape(interval(getattr(side.estimate, measure)))


def mirrored_lines(ablation: AblationSection) -> list[str]:
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
    said = "The log's figures were obtained on its own data and under its protocol of the time."
    return [f"Documented beside measured. {said}", "", *table(head, rows, numbers_from=3), ""]


def table_lines(ablation: AblationSection, statistics: Statistics) -> list[str]:
    """Best epochs and overfitting, the threshold gap, and AP by finding."""
    frame = ablation.frame
    lines = []
    if found := best_epochs(frame):
        head = ["Run", "Best AP at", "Best AR at", "Lowest validation loss at", "Overfitting"]
        lines += table(
            head,
            (
                [
                    _named(row.member, frame),
                    *(DASH if n is None else str(n) for n in (row.best_ap, row.best_ar, row.lowest_loss)),
                    onset_words(row.onset, len(row.member.run.epochs)),
                ]
                for row in found
            ),
        )
        lines.append("")
    for gap in gap_tables(statistics, frame):
        head = ["Test AP, score", *(_named(column.member, frame) for column in gap.columns)]
        rows = []
        for n, score in enumerate(gap.scores):
            rows.append([f"≥ {score:g}", *(_gap(column, n) for column in gap.columns)])
        lines += [*table(head, rows), ""]
    for comparison in ablation.comparisons:
        lines += _findings(comparison, statistics)
    return lines


def _gap(column: GapColumn, place: int) -> str:
    ap, within = decimal(column.rows[place].ap), escape(column.bounds(place))
    return f"{ap} ({signed(column.gaps[place])} {within}".rstrip() + ")" if place else f"{ap} {within}".rstrip()


def _findings(comparison: ComparisonTable, statistics: Statistics) -> list[str]:
    head = ["Setting", "Finding", *(f"Test AP {escape(clip(x, 40))}" for x in (comparison.reference, comparison.other))]
    rows = []
    for row, stats in statistics_rows(statistics, comparison):
        for finding in by_finding_pair(stats):
            both = (interval(finding.reference), interval(finding.other), interval(finding.difference, sign=True))
            rows.append([escape(clip(row.setting, 80)), escape(clip(finding.label, 60)), *map(escape, both)])
    return [*table([*head, "difference"], rows, numbers_from=2), ""] if rows else []


def measured_lines(member: MemberFrame, statistics: Statistics) -> list[str]:
    """AP and AR of each finding, operating points, confusion, reliability and controls of one run."""
    stats, lines = statistics.run(member), []
    if member.alone is not None and (found := by_finding(member.alone, stats)):
        head = ["Finding", "Val AP", "Val AR", "Test AP", "Test AR"]
        rows = [
            [escape(clip(label, 60)), decimal(val_ap), decimal(val_ar),
             _bounded(test_ap, ap), _bounded(test_ar, ar)]
            for label, val_ap, val_ar, test_ap, test_ar, ap, ar in found
        ]  # fmt: skip
        lines += [*table(head, rows), ""]
    if stats is None:
        return lines
    lines += _profile(stats) + _masks(stats) + _controls(stats)
    return [*lines, f"Some figures are missing: {escape(clip(stats.why, 300))}", ""] if stats.why else lines


def _bounded(value: float | None, within: str) -> str:
    return f"{decimal(value)} {escape(within)}".rstrip()


def _profile(stats: RunStatistics) -> list[str]:
    if stats.profile is None:
        return []
    head = ["Score", "AP", "AR", "Precision", "Recall", "F1", "Detections per image"]
    rows = []
    for r, band in zip(stats.profile.rows, stats.profile.bands, strict=True):
        figures = (band.ap, band.ar, band.precision, band.recall, band.f1)
        rows.append([f"≥ {r.score:g}", *(escape(interval(v)) for v in figures), decimal(r.per_image, 2)])
    lines = [*table(head, rows), "", *_froc(stats, stats.profile.froc.rates)]
    confusion = stats.profile.confusion
    labels = [escape(clip(label, 40)) for label in confusion.labels]
    head = [f"True (score ≥ {stats.profile.rows[-1].score:g})", *labels, "missed"]
    counts = [[str(n) for n in row] for row in confusion.counts.tolist()]
    counts[-1][-1] = DASH
    named = zip([*labels, "nothing there"], counts, strict=True)
    lines += [*table(head, ([label, *row] for label, row in named)), ""]
    bins = [[score, decimal(mean), decimal(hits), str(n)] for score, mean, hits, n in filled_bins(stats)]
    error = decimal(stats.profile.calibration.error)
    head = [f"Reliability (expected error {error})", "Mean score", "Share right", "Detections"]
    return [*lines, *table(head, bins), ""] if bins else lines


def _froc(stats: RunStatistics, rates: Sequence[float]) -> list[str]:
    head = ["Sensitivity by false positives per image", *(f"{rate:g}" for rate in rates), "Mean"]
    rows = [
        [escape(clip(label, 60)), *(escape(interval(value)) for value in (*sensitivity, score))]
        for label, score, sensitivity in froc_rows(stats)
    ]
    return [*table(head, rows), ""]


def _masks(stats: RunStatistics) -> list[str]:
    if stats.masks is None:
        return []
    found = stats.masks.estimate
    rows = [
        [escape(clip(label, 60)), escape(interval(ap)), escape(interval(ar))]
        for label, ap, ar in (("all findings", found.ap, found.ar), *found.per_class)
    ]
    coco = [[escape(name), decimal(value)] for name, value in stats.masks.coco.figures.items()]
    return [*table(["Masks", "Test AP", "Test AR"], rows), "", *table(["Masks, COCO", "Test"], coco), ""]


def _controls(stats: RunStatistics) -> list[str]:
    if not stats.controls:
        return []
    rows = [
        [escape(clip(alteration_words(c.alteration), 80)), decimal(c.drop.after), _lost(c.drop.ap), escape(meaning(c))]
        for c in stats.controls
    ]
    return [*table(["Altered", "AP left", "AP lost", "It says"], rows), ""]


def _lost(value: Interval) -> str:
    return f"{signed(value.value)} {escape(bounds(value, sign=True))}".rstrip()


# Pictures: one file for each study beside the charts, with its words in the text.


def picture_lines(
    ablation: AblationSection, pictures: Pictures, folder: str, files: list[tuple[str, bytes]]
) -> list[str]:
    """The pictures of an ablation; the images they show in ``folder`` are added to ``files`` as (name, JPEG)."""
    found, lines = pictures.of(ablation.frame), []
    if found.shown:
        lines += ["### Pictures: where the arms differ most", ""]
    if found.labels:
        legend = ", ".join(f"{n} {escape(clip(label, 60))}" for n, label in enumerate(found.labels, 1))
        lines += [
            "The studies on which the arms' hits minus false alarms differ most: \\+2 is two more for the second arm. "
            f"Solid: true, or rightly found; dashed: false alarm; dotted: missed. {legend}.",
            "",
        ]
    for number, pair in enumerate(found.shown, 1):
        lines += _pair(pair, found, f"{ablation.anchor}-pair-{number}", folder, files)
    for note in found.notes:
        lines += [escape(note.text) + (f" `{note.command}`" if note.command else ""), ""]
    return lines


def _pair(
    pair: PairPictures, found: AblationPictures, name: str, folder: str, files: list[tuple[str, bytes]]
) -> list[str]:
    setting = f": {escape(clip(pair.setting, 120))}" if has_more_settings(found) else ""
    lines = [f"**{escape(clip(pair.other, 60))} against {escape(clip(pair.reference, 60))}{setting}**", ""]
    if pair.why:
        lines += [f"No pictures: {escape(clip(pair.why, 400))}.", ""]
    if pair.studies:
        lines += [escape(drawn_and_counted(pair)), ""]
    for number, picture in enumerate(pair.studies, 1):
        lines += _study(picture, pair, found, f"{name}-{number}.jpg", folder, files)
    return lines


def _study(
    picture: StudyPicture,
    pair: PairPictures,
    found: AblationPictures,
    name: str,
    folder: str,
    files: list[tuple[str, bytes]],
) -> list[str]:
    source = f" Source: {escape(clip(picture.source, 160))}." if picture.source else ""
    study = escape(clip(picture.study, 120))
    said = f"{escape(differs(picture, pair))} {escape(ap_contribution_words(picture, pair))}{source}"
    lines = [f"Study **{study}**, {escape(net_hits_words(picture, pair))}. {said}", ""]
    if not picture.image:
        return [*lines, f"No picture: {escape(clip(picture.note, 300))}.", ""]
    views = panels_of(picture, pair)
    files.append((name, raster(found.images[picture.image], views)))
    words = "; ".join(f"{view.title}: {view.summary}" for view in views)
    return [*lines, f"![Study {study}. {escape(words)}]({quote(folder)}/{quote(name)})", ""]


@dataclass(frozen=True)
class MarkdownReport:
    """The text and its files: charts as (file name, SVG), pictures as (file name, JPEG)."""

    text: str
    charts: tuple[tuple[str, bytes], ...]
    pictures: tuple[tuple[str, bytes], ...] = ()


def render_markdown(model: ReportModel, charts_folder: str, renderer: FigureRenderer | None = None) -> MarkdownReport:
    """The same report in Markdown; its charts, drawn by ``renderer``, go into ``charts_folder`` beside it."""
    charts: list[ReportFigure] = []
    pictures: list[tuple[str, bytes]] = []
    lines = ["# Ablation report", "", _summary(model), ""]
    if model.attention:
        lines += ["## Not finished", "", *_attention(model), ""]
    lines += [
        "## Results",
        "",
        f"{model.lead} A difference is the second arm minus the "
        "first, seed by seed; of several seeds the mean ± the sample standard deviation is given.",
        "",
    ]
    for ablation in model.ablations:
        lines += _results(ablation, charts_folder, charts, model.statistics)
    lines += ["## What the marks mean", "", *(f"- **{escape(b.text)}**: {escape(b.meaning)}" for b in model.legend), ""]
    for ablation in model.ablations:
        lines += [f"## {escape(clip(ablation.title, 200))}", ""]
        if ablation.count_rows:
            lines += [*_counts(ablation), ""]
        lines += _arms(ablation, charts_folder, charts, model.statistics)
        lines += table_lines(ablation, model.statistics)
        lines += picture_lines(ablation, model.pictures, charts_folder, pictures)
        for section in ablation.runs:
            lines += _run(section, charts_folder, charts, model.statistics)
    with contextlib.nullcontext(renderer) if renderer is not None else FigureRenderer() as drawing:
        files = list(drawing.files([FigureFile(figure, "svg", WIDE) for figure in charts]))
    names = [f"{figure.name}.svg" for figure in charts]
    text = clean("\n".join(lines).rstrip() + "\n")
    return MarkdownReport(text, tuple(zip(names, files, strict=True)), tuple(pictures))


def _shown(figure: ReportFigure, words: str, folder: str, charts: list[ReportFigure]) -> list[str]:
    """The line that shows a figure, which is added to ``charts``."""
    charts.append(figure)
    return [f"![{words}]({quote(folder)}/{quote(figure.name)}.svg)", ""]


def fenced(text: str) -> list[str]:
    """Unchanged text in a fence that is longer than any fence in it."""
    longest = max((len(m) for m in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.splitlines(), fence]


def _summary(model: ReportModel) -> str:
    counted = ", ".join(f"{count} {status}" for status, count in model.statuses)
    return (
        f"{plural(len(model.ablations), 'ablation')}, {plural(len(model.runs), 'run')}: {counted}. "
        f"{moment(model.created)}, from {escape(clip(model.database, 200))}."
    )


def _attention(model: ReportModel) -> list[str]:
    lines = []
    for section in model.attention:
        run = section.run
        line = (
            f"- **{run.record.status}**: [{escape(section.title)}](#{section.anchor}), "
            f"{run.record.epochs_done} of {plural(run.epochs_asked, 'epoch')}"
        )
        lines.append(line + (f": {escape(clip(run.record.error, 300))}" if run.record.error else ""))
    return lines


def _results(ablation: AblationSection, folder: str, charts: list[ReportFigure], statistics: Statistics) -> list[str]:
    lines = [f"### {escape(clip(ablation.title, 160))}", ""]
    if ablation.frame.record.description:
        lines += [escape(clip(ablation.frame.record.description, 1200)), ""]
    if forest := forest_figure(ablation, statistics):
        lines += _shown(forest, f"Differences in test AP: {escape(clip(describe_forest(forest), 600))}", folder, charts)
    for comparison, headline, badges in zip(ablation.comparisons, ablation.headlines, ablation.badges, strict=True):
        marks = " · ".join(escape(b.text) for b in badges)
        design = f"{comparison.design[:1].upper()}{comparison.design[1:]}." if comparison.design else ""
        said = " ".join(escape(words) for words in (verdict_summary(statistics, comparison), design) if words)
        lines += [f"**{escape(headline)}** {said}".rstrip(), "", marks, "", *_pairs(ablation.frame, comparison), ""]
        lines += verdict_lines(comparison, statistics)
    lines += mirrored_lines(ablation)
    if ablation.audit:
        lines += [f"{plural(len(ablation.audit), 'audit warning')} on the data:", ""]
        lines += [*(f"- {escape(clip(line, 400))}" for line in ablation.audit[:30]), ""]
    for refusal in ablation.refusals:
        lines += [
            f"{escape(clip(refusal.setting, 80))}: {escape(clip(refusal.reference, 60))} and "
            f"{escape(clip(refusal.other, 60))} cannot be compared: {escape(clip(refusal.reason, 300))}.",
            "",
        ]
    return lines


def _pairs(frame: AblationFrame, comparison: ComparisonTable) -> list[str]:
    a, b = escape(clip(comparison.reference, 40)), escape(clip(comparison.other, 40))
    head = ["Setting"]
    for measure in ("Test AP", "Val AP", "Test AR", "Val AR"):
        head += [f"{measure} {a}", f"{measure} {b}", "difference"]
    head += [f"Parameters {a}", f"Parameters {b}"]
    rows = []
    for row in comparison.rows:
        name = escape(clip(row.setting, 80))
        if len(row.seeds) > 1:
            name += f" ({len(row.seeds)} seeds)"
        if row.note:
            name += f" ({escape(clip(row.note, 160))})"
        cells = [name]
        for contrast in (row.test_ap, row.val_ap, row.test_ar, row.val_ar):
            cells += _contrast(contrast)
        rows.append([*cells, *map(whole, parameters(frame, row))])
    return table(head, rows)


def _contrast(contrast: PairedMeans) -> list[str]:
    difference = contrast.difference
    shown = f"**{signed(difference.mean if difference else None)}** {spread(difference)}".strip()
    return [_mean(contrast.reference), _mean(contrast.other), shown]


def _mean(figure: SeedMean | None) -> str:
    return f"{decimal(figure.mean if figure else None)} {spread(figure)}".strip()


def _counts(ablation: AblationSection) -> list[str]:
    head = ["Arm", "Settings", *(escape(m.rsplit(".", 1)[-1]) for m in ablation.modules)]
    rows = [
        [escape(clip(row.arm, 60)), escape(clip(", ".join(row.settings), 160)), *map(whole, row.counts)]
        for row in ablation.count_rows
    ]
    return table(head, rows, numbers_from=2)


def _arms(ablation: AblationSection, folder: str, charts: list[ReportFigure], statistics: Statistics) -> list[str]:
    """The arms of every setting overlaid."""
    lines = []
    for setting in ablation.frame.settings:
        if figure := arms_figure(ablation, setting, statistics):
            lines += _shown(figure, f"The arms of {escape(clip(setting, 80))} overlaid", folder, charts)
    return lines


def _run(section: RunSection, folder: str, charts: list[ReportFigure], statistics: Statistics) -> list[str]:
    run, record, member = section.run, section.run.record, section.member
    lines = [
        f'<a id="{section.anchor}"></a>',
        "",
        f"### {escape(section.title)} {escape(heading_figures(member))}",
        "",
        f"{record.status}, {record.epochs_done} of {plural(run.epochs_asked, 'epoch')}, {duration(section.seconds)}, "
        f"data {escape(clip(record.dataset_name, 80))}, key {escape(short_key(record.key))}. "
        + " · ".join(escape(b.text) for b in section.badges),
        "",
    ]
    if record.error:
        lines += [*fenced(clean(record.error[:4000])), ""]
    lines += [f"- {escape(clip(warning, 400))}" for warning in run.warnings[:20]]
    lines += [""] if run.warnings else []
    for shown in section.blocks:
        lines += [*_outcomes(shown), "", *measured_lines(shown, statistics)]
    if curves := run_figure(section):
        lines += _shown(curves, "Curves of this run by epoch", folder, charts)
    if (turned := onset_of(run)) is not None:
        lines += [f"Overfitting: {onset_words(turned)}.", ""]
    for shown in section.blocks:
        lines += [*fenced(clean(log_block(shown))), ""]
    return [*lines, *_facts(section), ""]


def _outcomes(member: MemberFrame) -> list[str]:
    protocol = member.protocol
    overlap = OVERLAP_NAMES.get(protocol.overlap, protocol.overlap)
    head = [
        f"{overlap} ≥ {protocol.threshold:g}, {protocol.proposals.replace('_', ' ')} proposals",
        "Epoch", "Val AP", "Val AR", "Test AP", "Test AR",
    ]  # fmt: skip
    rows = []
    for name, outcome in member.outcomes:
        if outcome is not None:
            figures = (outcome.val_ap, outcome.val_ar, outcome.test_ap, outcome.test_ar)
            rows.append([name, str(outcome.epoch), *(decimal(v, 4) for v in figures)])
    return table(head, rows)


def _facts(section: RunSection) -> list[str]:
    record, member = section.run.record, section.member.record
    facts = [
        f"- Data set: {escape(clip(record.dataset_name, 120))}, "
        f"fingerprint {escape(record.dataset_fingerprint) or 'none: provisional'}",
        f"- Key: {escape(record.key)}",
    ]
    if member.overrides:
        facts.append(f"- Changed by hand: {escape(clip(', '.join(member.overrides), 600))}")
    if member.inferred:
        facts.append(f"- Inferred fields: {escape(clip(', '.join(member.inferred), 600))}")
    for place in section.run.environments:
        versions = ", ".join(f"{name} {number}" for name, number in place.versions.items())
        state = "" if place.git_dirty is None else " with uncommitted changes" if place.git_dirty else ", clean"
        facts.append(
            f"- After epoch {place.from_epoch}, {moment(place.started)}: "
            f"{escape(clip(place.host, 80)) + ', ' if place.host else ''}"
            f"{escape(clip(place.device, 80))}, {plural(place.threads, 'thread')}, "
            f"Python {escape(clip(place.python, 40))}, {escape(clip(versions, 300))}, "
            f"commit {escape(clip(place.git_commit or 'none', 12))}{state}"
            + (f", command {escape(clip(place.command, 600))}" if place.command else "")
        )
    return facts
