"""The report as Markdown with its charts as SVG files beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from mmad.report.certainty import Certainty
from mmad.report.charts import Chart, standalone_svg
from mmad.report.curves import OVERLAP_NAMES, overlay_panels, overlay_tops, run_chart
from mmad.report.evidence import settled
from mmad.report.frames import MemberFrame
from mmad.report.logform import heading_figures, log_block
from mmad.report.markdown_evidence import evidence_lines, measured_lines, mirrored_lines, verdict_lines
from mmad.report.markdown_words import escape, table
from mmad.report.onset import onset_of, onset_words
from mmad.report.pairs import Comparison, Contrast, Figure
from mmad.report.pictures_markdown import picture_lines
from mmad.report.story import AblationStory, RunStory, Story
from mmad.report.sure_curves import sure_panels
from mmad.report.words import clean, clip, decimal, duration, moment, plural, signed, spread, whole


@dataclass(frozen=True)
class MarkdownReport:
    """The text, and what it shows: charts as (file name, SVG), pictures as (file name, JPEG)."""

    text: str
    charts: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, bytes], ...] = ()


def render_markdown(story: Story, charts_folder: str) -> MarkdownReport:
    """The same report in Markdown; charts are referred to in ``charts_folder`` beside it."""
    charts: list[tuple[str, str]] = []
    pictures: list[tuple[str, bytes]] = []
    lines = ["# Ablation report", "", _summary(story), ""]
    if story.attention:
        lines += ["## Not finished", "", *_attention(story), ""]
    lines += [
        "## Results",
        "",
        f"{story.lead} A difference is the second arm less the "
        "first, seed by seed; of several seeds the mean ± the sample standard deviation is given.",
        "",
    ]
    for ablation in story.ablations:
        lines += _results(ablation, story.certainty)
    lines += ["## What the marks mean", "", *(f"- **{escape(b.text)}**: {escape(b.meaning)}" for b in story.legend), ""]
    for ablation in story.ablations:
        lines += [f"## {escape(clip(ablation.title, 200))}", ""]
        if ablation.count_rows:
            lines += [*_counts(ablation), ""]
        lines += _arms(ablation, charts_folder, charts, story.certainty)
        lines += evidence_lines(ablation, story.certainty)
        lines += picture_lines(ablation, story.pictures, charts_folder, pictures)
        for told in ablation.runs:
            lines += _run(told, charts_folder, charts, story.certainty)
    return MarkdownReport(clean("\n".join(lines).rstrip() + "\n"), tuple(charts), tuple(pictures))


def fenced(text: str) -> list[str]:
    """Text as it stands, in a fence longer than any within it."""
    longest = max((len(m) for m in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.splitlines(), fence]


def _summary(story: Story) -> str:
    counted = ", ".join(f"{count} {status}" for status, count in story.statuses)
    return (
        f"{plural(len(story.ablations), 'ablation')}, {plural(len(story.runs), 'run')}: {counted}. "
        f"{moment(story.created)}, from {escape(clip(story.database, 200))}."
    )


def _attention(story: Story) -> list[str]:
    lines = []
    for told in story.attention:
        run = told.run
        line = (
            f"- **{run.record.status}**: [{escape(told.title)}](#{told.anchor}), "
            f"{run.record.epochs_done} of {plural(run.epochs_asked, 'epoch')}"
        )
        lines.append(line + (f": {escape(clip(run.record.error, 300))}" if run.record.error else ""))
    return lines


def _results(ablation: AblationStory, certainty: Certainty) -> list[str]:
    lines = [f"### {escape(clip(ablation.title, 160))}", ""]
    if ablation.frame.record.description:
        lines += [escape(clip(ablation.frame.record.description, 1200)), ""]
    for comparison, headline, badges in zip(ablation.comparisons, ablation.headlines, ablation.badges, strict=True):
        marks = " · ".join(escape(b.text) for b in badges)
        said = settled(certainty, ablation.frame, comparison)
        lines += [f"**{escape(headline)}** {escape(said)}".rstrip(), "", marks, "", *_pairs(comparison), ""]
        lines += verdict_lines(ablation, comparison, certainty)
    lines += mirrored_lines(ablation)
    if ablation.audit:
        lines += [f"{plural(len(ablation.audit), 'audit warning')} on the data:", ""]
        lines += [*(f"- {escape(clip(line, 400))}" for line in ablation.audit[:30]), ""]
    for refusal in ablation.refusals:
        lines += [
            f"Not compared: {escape(clip(refusal.setting, 80))}, {escape(clip(refusal.other, 60))} against "
            f"{escape(clip(refusal.reference, 60))}: not won under equal conditions "
            f"({escape(clip(refusal.reason, 300))}).",
            "",
        ]
    return lines


def _pairs(comparison: Comparison) -> list[str]:
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
        rows.append([*cells, whole(row.reference_count), whole(row.other_count)])
    return table(head, rows)


def _contrast(contrast: Contrast) -> list[str]:
    difference = contrast.difference
    shown = f"**{signed(difference.mean if difference else None)}** {spread(difference)}".strip()
    return [_mean(contrast.reference), _mean(contrast.other), shown]


def _mean(figure: Figure | None) -> str:
    return f"{decimal(figure.mean if figure else None)} {spread(figure)}".strip()


def _counts(ablation: AblationStory) -> list[str]:
    head = ["Arm", "Settings", *(escape(m.rsplit(".", 1)[-1]) for m in ablation.modules)]
    rows = [
        [escape(clip(row.arm, 60)), escape(clip(", ".join(row.settings), 160)), *map(whole, row.counts)]
        for row in ablation.count_rows
    ]
    return table(head, rows, numbers_from=2)


def _arms(ablation: AblationStory, folder: str, charts: list[tuple[str, str]], certainty: Certainty) -> list[str]:
    """The arms of every setting over one another, where there is more to draw than the runs' own curves."""
    lines = []
    tops = overlay_tops(ablation.frame)
    for n, setting in enumerate(ablation.frame.settings, start=1):
        if sure := sure_panels(ablation.frame, setting, certainty):
            panels = (*overlay_panels(ablation.frame, setting, tops), *sure)
            name = f"{ablation.anchor}-{n}.svg"
            charts.append((name, standalone_svg(Chart(panels, columns=3, legend=True))))
            said = f"The arms of {escape(clip(setting, 80))} over one another"
            lines += [f"![{said}]({quote(folder)}/{quote(name)})", ""]
    return lines


def _run(told: RunStory, folder: str, charts: list[tuple[str, str]], certainty: Certainty) -> list[str]:
    run, record, member = told.run, told.run.record, told.member
    lines = [
        f'<a id="{told.anchor}"></a>',
        "",
        f"### {escape(told.title)} {escape(heading_figures(member))}",
        "",
        f"{record.status}, {record.epochs_done} of {plural(run.epochs_asked, 'epoch')}, {duration(told.seconds)}, "
        f"data {escape(clip(record.dataset_name, 80))}, key {escape(record.key[:12])}. "
        + " · ".join(escape(b.text) for b in told.badges),
        "",
    ]
    if record.error:
        lines += [*fenced(clean(record.error[:4000])), ""]
    lines += [f"- {escape(clip(warning, 400))}" for warning in run.warnings[:20]]
    lines += [""] if run.warnings else []
    for shown in told.blocks:
        lines += [*_outcomes(shown), "", *measured_lines(shown, certainty)]
    if run.epochs:
        chart = run_chart(run, member.judged.overlap, member.best_ap.epoch if member.best_ap else None)
        name = f"{told.anchor}.svg"
        charts.append((name, standalone_svg(chart)))
        lines += [f"![Curves of this run by epoch]({quote(folder)}/{quote(name)})", ""]
    if (turned := onset_of(run)) is not None:
        lines += [f"Overfitting {onset_words(turned)}.", ""]
    for shown in told.blocks:
        lines += [*fenced(clean(log_block(shown))), ""]
    return [*lines, *_facts(told), ""]


def _outcomes(member: MemberFrame) -> list[str]:
    judged = member.judged
    overlap = OVERLAP_NAMES.get(judged.overlap, judged.overlap)
    head = [
        f"{overlap} ≥ {judged.threshold:g}, {judged.proposals.replace('_', ' ')} proposals",
        "Epoch", "Val AP", "Val AR", "Test AP", "Test AR",
    ]  # fmt: skip
    rows = []
    for name, outcome in member.outcomes:
        if outcome is not None:
            figures = (outcome.val_ap, outcome.val_ar, outcome.test_ap, outcome.test_ar)
            rows.append([name, str(outcome.epoch), *(decimal(v, 4) for v in figures)])
    return table(head, rows)


def _facts(told: RunStory) -> list[str]:
    record, member = told.run.record, told.member.record
    facts = [
        f"- Data set: {escape(clip(record.dataset_name, 120))}, "
        f"fingerprint {escape(record.dataset_fingerprint) or 'none: provisional'}",
        f"- Key: {escape(record.key)}",
    ]
    if member.overrides:
        facts.append(f"- Changed by hand: {escape(clip(', '.join(member.overrides), 600))}")
    if member.inferred:
        facts.append(f"- Inferred fields: {escape(clip(', '.join(member.inferred), 600))}")
    for place in told.run.environments:
        versions = ", ".join(f"{name} {number}" for name, number in place.versions.items())
        state = "" if place.git_dirty is None else " with uncommitted changes" if place.git_dirty else ", clean"
        facts.append(
            f"- After epoch {place.from_epoch}, {moment(place.started)}: {escape(clip(place.host, 80))}, "
            f"{escape(clip(place.device, 80))}, {plural(place.threads, 'thread')}, "
            f"Python {escape(clip(place.python, 40))}, {escape(clip(versions, 300))}, "
            f"commit {escape(clip(place.git_commit or 'none', 12))}{state}, command {escape(clip(place.command, 600))}"
        )
    return facts
