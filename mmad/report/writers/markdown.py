"""The report as Markdown with its charts as SVG files beside it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote

from mmad.analysis.overfitting import onset_of, onset_words
from mmad.analysis.report_frame import AblationFrame
from mmad.analysis.verdicts import Statistics
from mmad.base.formatting import clean, clip, duration, moment, plural, short_key
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.figures import (
    WIDE,
    FigureFile,
    ReportFigure,
    arms_figure,
    describe_forest,
    forest_figure,
    run_figure,
)
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
from mmad.report.run_blocks import heading_figures, log_block
from mmad.report.sections import AblationSection, ReportModel, RunSection
from mmad.report.table_model import ReportTable
from mmad.report.tables import (
    against_tables,
    benefit_table,
    best_epochs_table,
    documented_table,
    gap_view,
    missing_by_arm_table,
    pair_tables,
    parameters_table,
    protocol_words,
    reasons,
    run_tables,
    statistics_rows,
    studied_tables,
    threshold_tables,
    trials_table,
)
from mmad.report.writers.tables import as_markdown, escape
from mmad.store.notes import Note

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
    lines += [
        "## Results",
        "",
        f"{model.lead} A difference is the second arm minus the "
        "first, seed by seed; of several seeds the mean ± the sample standard deviation is given.",
        "",
    ]
    for ablation in model.ablations:
        lines += _results(ablation, charts_folder, charts, model)
    if model.against is not None:
        lines += ["## What changed", "", escape(model.against.sentence), ""]
        lines += _tables(table for table in against_tables(model.against) if list(table.grid.rows))
    if model.attention:
        lines += ["## Not finished", "", *_attention(model), ""]
    lines += ["## What the marks mean", "", *(f"- **{escape(b.text)}**: {escape(b.meaning)}" for b in model.legend), ""]
    for ablation in model.ablations:
        lines += [f"## {escape(clip(ablation.title, 200))}", ""]
        lines += _arms(ablation, charts_folder, charts, model.statistics)
        points = map(gap_view, threshold_tables(ablation, model.statistics))
        described = (*studied_tables(ablation, model), parameters_table(ablation))
        missing = missing_by_arm_table(ablation, model.statistics)
        lines += _tables((*described, best_epochs_table(ablation), *points, missing))
        lines += picture_lines(ablation, model.pictures, charts_folder, pictures)
        for section in ablation.runs:
            lines += _run(section, ablation.frame, charts_folder, charts, model)
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
    drawn = f"{model.synthetic}. " if model.synthetic else ""
    return (
        f"{plural(len(model.ablations), 'ablation')}, {plural(len(model.runs), 'run')}: {counted}. {drawn}"
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


def _tables(found: Iterable[ReportTable]) -> list[str]:
    return [line for table in found if table.rows for line in as_markdown(table)]


def _notes(found: Iterable[Note]) -> list[str]:
    """A line for each note."""
    return [f"> {escape(note.line)} ({moment(note.moment)})\n" for note in found]


def _results(ablation: AblationSection, folder: str, charts: list[ReportFigure], model: ReportModel) -> list[str]:
    statistics = model.statistics
    lines = [f"### {escape(clip(ablation.title, 160))}", ""]
    if ablation.frame.record.description:
        lines += [escape(clip(ablation.frame.record.description, 1200)), ""]
    lines += _notes(model.notes.of_ablation(ablation.frame.record.name))
    if forest := forest_figure(ablation, statistics):
        lines += _shown(forest, f"Differences in test AP: {escape(clip(describe_forest(forest), 600))}", folder, charts)
    parts = zip(ablation.comparisons, ablation.headlines, ablation.badges, strict=True)
    for number, (comparison, headline, badges) in enumerate(parts):
        marks = " · ".join(escape(b.text) for b in badges)
        design = f"{comparison.design[:1].upper()}{comparison.design[1:]}." if comparison.design else ""
        lines += [f"**{escape(headline)}** {escape(design)}".rstrip(), ""]
        lines += [escape(clip(comparison.shared, 1200)), ""] if comparison.shared else []
        lines += [marks, ""]
        pairs, *more = pair_tables(ablation, number, statistics)
        said = len(comparison.rows) == 1  # by the headline
        lines += _tables((replace(pairs, footnotes=()) if said else pairs, *more))
        known = [stats for _, stats in statistics_rows(statistics, comparison)]
        if why := reasons(known):
            some = " for some rows" if any(stats.difference for stats in known) else ""
            lines += [f"No interval{some}: {escape(why)}", ""]
    lines += _tables((benefit_table(ablation, statistics), trials_table(ablation), documented_table(ablation)))
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


def _arms(ablation: AblationSection, folder: str, charts: list[ReportFigure], statistics: Statistics) -> list[str]:
    """The arms of every setting overlaid."""
    lines = []
    for setting in ablation.frame.settings:
        if figure := arms_figure(ablation, setting, statistics):
            lines += _shown(figure, f"The arms of {escape(clip(setting, 80))} overlaid", folder, charts)
    return lines


def _run(
    section: RunSection, ablation: AblationFrame, folder: str, charts: list[ReportFigure], model: ReportModel
) -> list[str]:
    statistics = model.statistics
    run, record, member = section.run, section.run.record, section.member
    lines = [
        f'<a id="{section.anchor}"></a>',
        "",
        f"### {escape(section.title)} {escape(heading_figures(member))}",
        "",
        f"{record.status}, {record.epochs_done} of {plural(run.epochs_asked, 'epoch')}, {duration(run.seconds or 0)}, "
        f"data {escape(clip(record.dataset_name, 80))}, key {escape(short_key(record.key))}. "
        + " · ".join(escape(b.text) for b in section.badges),
        "",
    ]
    lines += _notes(model.notes.of_run(record.key))
    if record.error:
        lines += [*fenced(clean(record.error[:4000])), ""]
    lines += [f"- {escape(clip(warning, 400))}" for warning in run.warnings[:20]]
    lines += [""] if run.warnings else []
    for shown in section.blocks:
        lines += [f"Evaluated by {escape(protocol_words(shown.protocol))}.", ""]
        lines += _tables(run_tables(shown, ablation, statistics))
        if (stats := statistics.run(shown)) is not None and stats.why:
            lines += [f"Some figures are missing: {escape(clip(stats.why, 300))}", ""]
    if curves := run_figure(section):
        lines += _shown(curves, "Curves of this run by epoch", folder, charts)
    if (turned := onset_of(run)) is not None:
        lines += [f"Overfitting: {onset_words(turned)}.", ""]
    for shown in section.blocks:
        lines += [*fenced(clean(log_block(shown))), ""]
    return [*lines, *_facts(section), ""]


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
