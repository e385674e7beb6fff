"""The report as one HTML file: no network, everything escaped, charts inline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mmad.report import evidence, pictures_html, words
from mmad.report.charts import PALETTE
from mmad.report.curves import SPLIT_LINES, weight_lines
from mmad.report.drawing import Drawing
from mmad.report.frames import AblationFrame, MemberFrame, RunFrame
from mmad.report.logform import heading_figures, log_block
from mmad.report.mirrored import mirrored
from mmad.report.onset import onset_of, onset_words
from mmad.report.pairs import Comparison, PairRow
from mmad.report.setup_toml import setup_toml
from mmad.report.story import Story, member_title
from mmad.report.verdicts import alteration_words, meaning
from mmad.report.views import Links, View, linked, whole

_STYLES = ("style.css", "content.css", "form.css", "pictures.css")
_SCRIPTS = ("script.js", "tables.js", "hover.js")
_DASH_ARRAYS = {"solid": "none", "dashed": "6 2.2", "dotted": "1.6 2"}


@dataclass(frozen=True)
class Key:
    """One line of a legend: its name, colour and dashes."""

    name: str
    colour: int
    dashes: str


@dataclass(frozen=True)
class Strip:
    """Where the arms' test AP stand on a line from 0 to 100 (seeds small, means large)."""

    reference: float | None
    other: float | None
    reference_seeds: tuple[float, ...]
    other_seeds: tuple[float, ...]


def render_html(story: Story, progress: Callable[[int, int], None] | None = None) -> str:
    """The whole report as one page. ``progress`` hears how many of how many run sections' charts are drawn."""
    view = whole(story)
    return _render(story, view, Links(view.file, view.file, {}), Drawing(len(story.runs), progress))


def render_pages(
    story: Story, overview: str, folder: str, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[str, str]]:
    """The report as linked pages: those of the ablations in ``folder``, last the overview; (file, page) of each.

    A page of an ablation bears no time: it changes only where what it tells does.

    Args:
        overview: the overview's file name; ``folder`` stands beside it.
    """
    views, links = linked(story, overview, folder)
    drawing = Drawing(len(story.runs), progress)
    for view in views:
        yield view.file, _render(story, view, links.of(view.file), drawing)


def _render(story: Story, view: View, link: Links, drawing: Drawing) -> str:
    log = ("log.css", "log.js") if story.logbook is not None and view.overview else ()
    style, script = ("".join(map(_template, names)) for names in (_STYLES + log[:1], _SCRIPTS + log[1:]))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            story=story,
            view=view,
            link=link,
            drawing=drawing,
            style=Markup(style + pictures_html.toggles(story.pictures)),
            script=Markup(script),
            script_hash=digest,
            palette=PALETTE,
            run_keys=run_keys,
            arm_keys=arm_keys,
            strips=strips,
            heading_figures=heading_figures,
            log_block=log_block,
            version=version("mmad"),
            zip=zip,
        )
    )


def named(member: MemberFrame, ablation: AblationFrame) -> str:
    """A member's title as the ablation's runs bear it."""
    return member_title(member, seeds=len({m.record.seed for m in ablation.members}) > 1)


#: What the templates ask beside the story.
_EVIDENCE: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        evidence.by_finding,
        evidence.by_finding_pair,
        evidence.filled_bins,
        evidence.froc_rows,
        evidence.gap_tables,
        evidence.reasons,
        evidence.settled,
        evidence.sure_rows,
        evidence.tests,
        evidence.tone,
        evidence.turns,
        evidence.verdict_words,
        alteration_words,
        meaning,
        mirrored,
        named,
        setup_toml,
        onset_of,
        onset_words,
    )
}


def run_keys(run: RunFrame) -> list[Key]:
    """The legend of a run's curves: the splits, and what of its own a panel draws."""
    lines = [*SPLIT_LINES.values(), *((s.name, s.colour, s.style) for s in weight_lines(run))]
    return [Key(name, colour, _DASH_ARRAYS[style]) for name, colour, style in lines]


def arm_keys(arms: tuple[str, ...]) -> list[Key]:
    """The legend of the overlaid curves."""
    return [Key(arm, n % len(PALETTE), list(_DASH_ARRAYS.values())[n % 3]) for n, arm in enumerate(arms)]


def strips(comparison: Comparison) -> tuple[float, float, list[Strip]]:
    """The common scale (low, high) of a comparison's test AP, and every row's place on it."""
    means = [f.mean for row in comparison.rows for f in (row.test_ap.reference, row.test_ap.other) if f]
    single = [v for row in comparison.rows for side in _seeds(row) for v in side]
    if not means:
        return 0.0, 1.0, [Strip(None, None, (), ()) for _ in comparison.rows]
    low, high = min(means + single), max(means + single)
    low, high = max(0.0, int(low * 20) / 20), min(1.0, (int(high * 20) + 1) / 20)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for row in comparison.rows:
        left, right = _seeds(row)
        a, b = row.test_ap.reference, row.test_ap.other
        rows.append(
            Strip(
                place(a.mean) if a else None,
                place(b.mean) if b else None,
                tuple(map(place, left)),
                tuple(map(place, right)),
            )
        )
    return low, high, rows


def _seeds(row: PairRow) -> tuple[list[float], list[float]]:
    if len(row.seeds) < 2:
        return [], []
    left, right = (
        [
            outcome.test_ap
            for m in arm
            if m.record.seed in row.seeds and (outcome := m.outcome(row.kind)) and outcome.test_ap is not None
        ]
        for arm in (row.reference, row.other)
    )
    return left, right


@cache
def _template(name: str) -> str:
    return (files("mmad.report") / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: words.clean(value) if type(value) is str else value,
    )
    for name in ("decimal", "signed", "direction", "spread", "whole", "moment", "duration", "size", "clip", "plural"):
        environment.filters[name] = getattr(words, name)
    environment.filters["bounds"] = evidence.bounds
    environment.globals.update(_EVIDENCE | pictures_html.ASKED)
    return environment
