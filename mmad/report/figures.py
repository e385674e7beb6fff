"""Which figures a report shows, as data: the curves of a run, the arms of a setting overlaid, the forest plot.

``mmad.report.figure_drawing`` draws them with matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, median
from typing import Literal, NamedTuple

from mmad.analysis.comparison import Comparison
from mmad.analysis.report_frame import AblationFrame, MemberFrame, RunFrame
from mmad.analysis.verdicts import RunStatistics, Statistics
from mmad.base.formatting import clip, level_words, plural, signed
from mmad.base.paths import file_stem
from mmad.base.records import KEPT_KINDS, SPLITS, CheckpointKind, Split
from mmad.evaluation.resampling import LEVEL
from mmad.report.badges import OVERLAP_NAMES
from mmad.report.sections import AblationSection, LogView, ReportModel, RunSection

Style = Literal["solid", "dashed", "dotted"]
#: The x axis of a panel: epochs, a share from 0 to 1, or false positives per image (on a logarithmic scale).
Across = Literal["epoch", "share", "rate"]

STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted")
#: Of more epochs than this a line shows means of equally many, and a band their range.
MOST_EPOCHS = 300
#: From the median upwards, a value so many times the one below it is no part of the curve: an exploding epoch.
_JUMP = 5.0
#: Widths of a file in mm: two columns of a journal, and one.
WIDE, NARROW = 174.0, 85.0


@dataclass(frozen=True)
class Series:
    """One line. None is not measured, NaN or infinity measured so; both leave a gap, and the panel says the latter.

    Args:
        colour: counts through the palette.
        seed: of a line that is one of several seeds, drawn thin; empty for what represents an arm, or stands alone.
        dots: values of ``x`` that are marked on the line.
        band: the lower and upper ends of the shaded interval at each of ``x``; NaN where there is none.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    colour: int = 0
    style: Style = "solid"
    seed: str = ""
    dots: tuple[float, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        marks: epochs with an upright line.
        y_range: the ends of the y axis, equal where panels are compared; values beyond it are marked at its edge.
        steps: values hold for a whole epoch.
        diagonal: draw the line on which y equals x.
    """

    title: str
    series: tuple[Series, ...]
    x_label: str = "Epoch"
    y_label: str = ""
    marks: tuple[int, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    across: Across = "epoch"
    steps: bool = False
    diagonal: bool = False


@dataclass(frozen=True)
class CurveFigure:
    """Panels that share their lines; ``log_panels`` show losses again on a logarithmic axis.

    ``name`` is unique in a report: letters, digits, dots and hyphens.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    log_panels: tuple[Panel, ...] = ()

    @property
    def keys(self) -> tuple[Series, ...]:
        """The legend: the first line of each name that is no single seed of several."""
        found: dict[str, Series] = {}
        for series in (series for panel in self.panels for series in panel.series if not series.seed):
            found.setdefault(series.name, series)
        return tuple(found.values())

    @property
    def seeds(self) -> tuple[str, ...]:
        """The seeds that are drawn one by one."""
        return tuple(dict.fromkeys(s.seed for panel in self.panels for s in panel.series if s.seed))


@dataclass(frozen=True)
class ForestRow:
    """One setting: the difference by the compared checkpoints, its interval, and by the other checkpoints.

    Args:
        label: the setting, and the level of the interval where that is not 95 %.
        low, high: NaN without an interval; ``level`` is that of the interval.
        others: (kind, difference), None where not every run kept one.
        patients: of the test split; None without an interval.
        note: what stands in place of a difference.
        settled: whether the verdict is higher or lower.
    """

    label: str
    value: float | None
    low: float
    high: float
    others: tuple[tuple[CheckpointKind, float | None], ...]
    seeds: int
    patients: int | None
    note: str = ""
    settled: bool = False
    level: float = LEVEL


@dataclass(frozen=True)
class ForestGroup:
    """A pair of arms: other minus reference, by checkpoints of one kind."""

    reference: str
    other: str
    kind: CheckpointKind
    rows: tuple[ForestRow, ...]

    @property
    def levels(self) -> set[float]:
        """Of the intervals that there are."""
        return {row.level for row in self.rows if not math.isnan(row.low)} or {LEVEL}


@dataclass(frozen=True)
class ForestFigure:
    """The differences in test AP of an ablation, a row for each setting of each pair of arms."""

    name: str
    title: str
    groups: tuple[ForestGroup, ...]


@dataclass(frozen=True)
class EntryPoint:
    """An entry of a log at its place from 1: the test AP that it prints, and those that runs measured."""

    place: int
    id: str
    kind: str
    value: float
    measured: tuple[float, ...]


@dataclass(frozen=True)
class EntriesFigure:
    """The test AP of a log's entries in the order of print.

    Args:
        kinds: what the entries' marks stand for, in the order of the legend.
        entries: how many entries the log has, also those that print no result.
        inflated: the first and last place of the entries with true boxes among the proposals; None where none is.
    """

    name: str
    title: str
    points: tuple[EntryPoint, ...]
    kinds: tuple[str, ...]
    entries: int
    inflated: tuple[int, int] | None


ReportFigure = CurveFigure | ForestFigure | EntriesFigure
FigureFormat = Literal["pdf", "svg", "png"]


@dataclass(frozen=True)
class FigureFile:
    """A figure as a file of its own: its form, and its width in mm."""

    figure: ReportFigure
    form: FigureFormat
    width: float


#: What is drawn: a figure for a page, or a file.
FigureTask = ReportFigure | FigureFile


# Words about a figure: what its axes leave out, and what it says to a reader who cannot see it.


def notes(panel: Panel) -> tuple[str, ...]:
    """What the panel cannot show: NaN, infinite values, and values beyond the axis, with their epochs."""
    found = []
    odd = sorted({x for s in panel.series for x, v in zip(s.x, s.y, strict=True) if v is not None and v != v})
    if odd and panel.across == "epoch":
        found.append(f"NaN at {_epochs(odd)}")
    beyond = [
        (v, x) for s in panel.series for x, v in zip(s.x, s.y, strict=True) if v is not None and _beyond(v, panel)
    ]
    if beyond:
        value, at = max(beyond)
        where = f" (epoch {at:g})" if panel.across == "epoch" else ""
        found.append(f"{plural(len(beyond), 'value')} above the axis, up to {_size(value)}{where}")
    return tuple(found)


def _size(value: float) -> str:
    return "infinity" if value == math.inf else f"{value:.3g}"


def _beyond(value: float, panel: Panel) -> bool:
    return value == math.inf or (panel.y_range is not None and value > panel.y_range[1])


def _epochs(found: Sequence[float]) -> str:
    """``epochs 3 to 5, 9``; at most four stretches."""
    stretches: list[list[int]] = []
    for epoch in map(int, found):
        if stretches and epoch == stretches[-1][1] + 1:
            stretches[-1][1] = epoch
        else:
            stretches.append([epoch, epoch])
    words = [str(a) if a == b else f"{a} to {b}" for a, b in stretches]
    more = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return f"{'epoch' if len(found) == 1 else 'epochs'} {', '.join(words[:4])}{more}"


def describe(panel: Panel) -> str:
    """A panel in words: each line's last value and its extreme, and what it cannot show."""
    parts = []
    where = "epoch " if panel.across == "epoch" else ""
    for series in panel.series:
        points = [(x, v) for x, v in zip(series.x, series.y, strict=True) if v is not None and math.isfinite(v)]
        if not points or series.seed:
            continue
        pick = min if "oss" in panel.title else max
        at, extreme = pick(points, key=lambda p: p[1])
        word = "lowest" if pick is min else "highest"
        last = points[-1]
        parts.append(f"{series.name} {word} {extreme:.4g} at {where}{at:g}, {last[1]:.4g} at {where}{last[0]:g}")
    said = f"{panel.title}{' by epoch' if where else ''}. " + ("; ".join(parts) + "." if parts else "No values.")
    return " ".join([said, *(f"{note}." for note in notes(panel))])


def describe_forest(figure: ForestFigure) -> str:
    """The forest plot in words, a sentence for each row."""
    parts = [
        f"{clip(row.label, 80)}, {clip(group.other, 60)} minus {clip(group.reference, 60)}: {said(row)}"
        for group in figure.groups
        for row in group.rows
    ]
    return "; ".join(parts) + "."


def describe_entries(figure: EntriesFigure) -> str:
    """The chart of a log in words: of each kind how many entries, and the highest."""
    parts = []
    for kind in figure.kinds:
        points = [point for point in figure.points if point.kind == kind]
        top = max(points, key=lambda point: point.value)
        parts.append(f"{kind}: {plural(len(points), 'entry', 'entries')}, highest {top.value:.4f} ({top.id})")
    count = sum(len(point.measured) for point in figure.points)
    return "; ".join([*parts, plural(count, "measured run")]) + "."


def said(row: ForestRow) -> str:
    """``+0.048 [−0.012, +0.101]``, or the note."""
    if row.value is None:
        return row.note
    within = "" if math.isnan(row.low) else f" [{signed(row.low)}, {signed(row.high)}]"
    return f"{signed(row.value)}{within}"


# The curves of one run: training, validation, test.

#: Colour and line style differ, so that either alone distinguishes the splits.
SPLIT_LINES: dict[Split, tuple[str, int, Style]] = {
    "train": ("training", 2, "dotted"),
    "val": ("validation", 0, "solid"),
    "test": ("test", 1, "dashed"),
}
_COMPONENT_TITLES = {
    "loss_classifier": "Loss: classifier",
    "loss_box_reg": "Loss: box regression",
    "loss_objectness": "Loss: objectness",
    "loss_rpn_box_reg": "Loss: RPN box regression",
    "loss_mask": "Loss: mask",
}
#: The learned w of the loss components, distinct from one another and from every other line of a run.
_WEIGHTS: tuple[tuple[str, str, int, Style], ...] = (
    ("weight_loss_classifier", "w classifier", 4, "solid"),
    ("weight_loss_box_reg", "w box regression", 5, "dashed"),
    ("weight_loss_objectness", "w objectness", 6, "dotted"),
    ("weight_loss_rpn_box_reg", "w RPN box regression", 7, "solid"),
    ("weight_loss_mask", "w mask", 3, "dashed"),
)


def run_figure(section: RunSection) -> CurveFigure | None:
    """Losses by component, AP, AR, learning rate and learned loss weights over the epochs of one run."""
    run, member = section.run, section.member
    panels = run_panels(run, member.protocol.overlap, member.best_ap.epoch if member.best_ap else None)
    if not panels:
        return None
    return CurveFigure(section.anchor, section.title, panels, _on_log_axes(panels[:1]))


def run_panels(run: RunFrame, overlap: str, best_epoch: int | None) -> tuple[Panel, ...]:
    """The panels of a run; ``best_epoch`` gets an upright line."""
    marks = () if best_epoch is None else (best_epoch,)
    epochs = [e.epoch for e in run.epochs]

    def panel(title: str, *lines: Series, y_label: str = "Loss") -> Panel:
        return _epoch_panel(title, lines, y_label=y_label, marks=marks)

    panels = [_cut(panel("Loss: total", *_splits(run, "loss")))]
    for name, title in _COMPONENT_TITLES.items():
        panels.append(_cut(panel(title, *_splits(run, name))))
    for what in ("", "_mask"):
        for figure in ("ap", "ar"):
            label = f"{figure.upper()}{' of masks' if what else ''} ({OVERLAP_NAMES.get(overlap, overlap)})"
            panels.append(panel(label, *_splits(run, f"{figure}{what}_{overlap}"), y_label=figure.upper()))
    rate = Series("learning rate", tuple(epochs), tuple(e.lr for e in run.epochs), colour=3)
    panels.append(Panel("Learning rate", (rate,), y_label="Learning rate", log=True, steps=True))
    panels.append(_cut(panel("Loss: as minimised", *_splits(run, "objective"))))
    panels.append(panel("Learned loss weights", *weight_lines(run), y_label="Weight w"))
    return tuple(p for p in panels if any(v is not None for s in p.series for v in s.y))


def weight_lines(run: RunFrame) -> tuple[Series, ...]:
    """The learned w of each loss component by epoch; empty where the weights are fixed."""
    epochs = tuple(e.epoch for e in run.epochs)
    return tuple(
        Series(label, epochs, run.curves["train", name], colour, style)
        for name, label, colour, style in _WEIGHTS
        if ("train", name) in run.curves
    )


def _splits(run: RunFrame, name: str) -> tuple[Series, ...]:
    epochs = tuple(e.epoch for e in run.epochs)
    lines = []
    for split in SPLITS:
        label, colour, style = SPLIT_LINES[split]
        if (split, name) in run.curves:
            lines.append(Series(label, epochs, run.curves[split, name], colour, style))
    return tuple(lines)


def _epoch_panel(
    title: str,
    series: Sequence[Series],
    *,
    y_label: str,
    marks: tuple[int, ...] = (),
    y_range: tuple[float, float] | None = None,
) -> Panel:
    """A panel over epochs, many of them in means of equally many."""
    longest = max((len(s.x) for s in series), default=0)
    size = math.ceil(longest / (MOST_EPOCHS // 2)) if longest > MOST_EPOCHS else 1
    label = "Epoch" if size == 1 else f"Epoch (means of {size}, their range shaded)"
    lines = tuple(series) if size == 1 else tuple(_in_means(one, size) for one in series if not one.seed)
    return Panel(title, lines, x_label=label, y_label=y_label, marks=marks, y_range=y_range)


def _in_means(series: Series, size: int) -> Series:
    """Means of ``size`` epochs; NaN where one of them is, the range as a band unless there is one."""
    x, y, band = [], [], []
    for start in range(0, len(series.x), size):
        here = slice(start, start + size)
        known = [v for v in series.y[here] if v is not None]
        value = fmean(known) if known else None
        x.append(series.x[min(start + size // 2, len(series.x) - 1)])
        y.append(value)
        band.append((min(known), max(known)) if value is not None and math.isfinite(value) else (math.nan, math.nan))
    return replace(series, x=tuple(x), y=tuple(y), band=tuple(band), dots=())


def _cut(panel: Panel) -> Panel:
    """The panel with an axis that an exploding epoch does not stretch until nothing else is visible."""
    values = [v for s in panel.series for v in s.y if v is not None and math.isfinite(v)]
    top = robust_top(values)
    return replace(panel, y_range=(0.0, top)) if values and min(values) >= 0 and max(values) > top else panel


def robust_top(values: Sequence[float]) -> float:
    """An upper end for an axis: a little above the highest value that no exploding epoch reached.

    From the median upwards, values count until one is five times the one before it.
    """
    ordered = sorted(v for v in values if math.isfinite(v))
    if not ordered:
        return 1.0
    middle = median(ordered)
    top = middle
    for value in ordered:
        if value > top:
            if top > 0 and value > _JUMP * top:
                break
            top = value
    return 1.06 * top if top > 0 else 1.0


def _on_log_axes(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """The panels again on logarithmic axes, as far as they have values above 0."""
    return tuple(
        replace(p, title=f"{p.title}, logarithmic", log=True, y_range=None)
        for p in panels
        if any(v is not None and v > 0 for s in p.series for v in s.y)
    )


# The arms of one setting overlaid: the mean over seeds with their range, single seeds thin.

_OVERLAID: tuple[tuple[str, Split, str], ...] = (
    ("Training loss", "train", "loss"),
    ("Validation loss", "val", "loss"),
    ("Validation AP", "val", "ap"),
    ("Test AP", "test", "ap"),
)


def arms_figure(section: AblationSection, setting: str, statistics: Statistics) -> CurveFigure | None:
    """The arms of a setting: their losses and AP by epoch, and on test FROC, precision, reliability and thresholds."""
    frame = section.frame
    losses = overlay_panels(frame, setting)
    panels = (*losses, *statistics_panels(frame, setting, statistics))
    if not panels:
        return None
    name = f"{section.anchor}-{frame.settings.index(setting) + 1}"
    on_log = _on_log_axes([panel for panel in losses if panel.y_label == "Loss"])
    return CurveFigure(name, setting, panels, on_log)


def overlay_panels(ablation: AblationFrame, setting: str) -> tuple[Panel, ...]:
    """Losses and AP by epoch, with a dot at each best validation AP.

    Loss axes are equal to one another and across the settings of the ablation, AP axes likewise. The AP of arms
    evaluated under another overlap than the first is left out.
    """
    overlap = ablation.members[0].protocol.overlap
    panels = []
    for title, split, measure in _OVERLAID:
        name = measure if measure == "loss" else f"{measure}_{overlap}"
        lines = [
            line
            for n, arm in enumerate(ablation.arms)
            for line in _arm_lines(ablation.of(setting, arm), arm, n, split, name, overlap)
        ]
        if lines:
            label = "Loss" if measure == "loss" else f"AP ({OVERLAP_NAMES.get(overlap, overlap)})"
            panels.append(_epoch_panel(title, lines, y_label=label, y_range=(0, _top(ablation, name))))
    return tuple(panels)


def _top(ablation: AblationFrame, name: str) -> float:
    """The upper end of the axis of a measure, equal for every split that is shown and every setting."""
    splits = [split for _, split, measure in _OVERLAID if name.startswith(measure)]
    curves = [m.run.curves.get((split, name), ()) for m in ablation.members for split in splits]
    values = [v for curve in curves for v in curve if v is not None and math.isfinite(v)]
    return robust_top(values) if name == "loss" else 1.06 * max(values, default=0.0) or 1.0


def _arm_lines(
    members: Sequence[MemberFrame], arm: str, colour: int, split: Split, name: str, overlap: str
) -> list[Series]:
    lines = []
    for member in members:
        values = member.run.curves.get((split, name))
        if values is not None and (name == "loss" or member.protocol.overlap == overlap):
            best = () if member.best_ap is None else (member.best_ap.epoch,)
            epochs = tuple(e.epoch for e in member.run.epochs)
            lines.append(Series(arm, epochs, values, colour, STYLES[colour % 3], _seed(member), best))
    return _with_mean(lines)


def _seed(member: MemberFrame) -> str:
    replicate, fold = member.record.replicate, member.compared.fold
    words = f"{member.record.seed}{f', replicate {replicate}' if replicate > 1 else ''}"
    return words if fold is None else f"{words}, {fold}"


def _with_mean(seeds: Sequence[Series]) -> list[Series]:
    """The seeds of an arm and their mean, with a band from the lowest to the highest of them; one alone is itself."""
    if len(seeds) < 2:
        return [replace(one, seed="") for one in seeds]
    by_place = list(zip(*(zip(one.x, one.y, strict=True) for one in seeds), strict=False))
    x, y, band = [], [], []
    for points in by_place:
        known = [v for _, v in points if v is not None and math.isfinite(v)]
        whole = len(known) == len(seeds)
        x.append(fmean(at for at, _ in points))
        y.append(fmean(known) if whole else None)
        band.append((min(known), max(known)) if whole else (math.nan, math.nan))
    thin = [replace(one, band=()) for one in seeds]
    return [*thin, replace(seeds[0], x=tuple(x), y=tuple(y), band=tuple(band), seed="", dots=())]


# On test, of the compared checkpoints: FROC, precision by recall, reliability and thresholds of the arms of a setting.


class _Points(NamedTuple):
    """A line and, where there is one, the interval around each point."""

    x: tuple[float, ...] = ()
    y: tuple[float | None, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


Line = Callable[[RunStatistics], _Points]


def statistics_panels(ablation: AblationFrame, setting: str, statistics: Statistics) -> tuple[Panel, ...]:
    """Four panels on the test split, and one for each way in which clinical values were made to miss.

    Arms have the colours of the other curves.

    The band of several seeds is their range, that of one seed the 95 % interval over the patients. Runs evaluated
    under another protocol, or with another kind of checkpoint, than the setting's first are left out.
    """
    sensitivity = Panel("FROC", (), "False positives per image", "Sensitivity", y_range=(0, 1), across="rate")
    precision = Panel("Precision by recall", (), "Recall", "Precision", y_range=(0, 1), across="share")
    reliability = Panel(
        "Reliability of the scores", (), "Mean score", "Share right", y_range=(0, 1), across="share", diagonal=True
    )
    thresholds = Panel("AP by score threshold", (), "Only detections with at least this score", "AP", across="share")
    asked: tuple[tuple[Panel, Line], ...] = (
        (sensitivity, _froc),
        (precision, _precision),
        (reliability, _reliability),
        (thresholds, _thresholds),
        *(
            (Panel(title, (), "Share that is missing", "AP lost", across="share"), partial(_missing, mechanism))
            for mechanism, title in _MISSING.items()
        ),
    )
    panels = []
    for panel, line in asked:
        series = _series(ablation, setting, statistics, line)
        if series:
            panels.append(replace(panel, series=series))
    return tuple(panels)


def _series(ablation: AblationFrame, setting: str, statistics: Statistics, line: Line) -> tuple[Series, ...]:
    found: list[Series] = []
    first = None
    for n, arm in enumerate(ablation.arms):
        seeds = []
        for member in ablation.of(setting, arm):
            stats = statistics.run(member)
            if stats is None:
                continue
            first = first or (member.protocol, stats.kind)
            x, y, band = line(stats)
            if not x or (member.protocol, stats.kind) != first:
                continue
            dots = x if line not in (_froc, _precision, _reliability) else ()
            seeds.append(Series(arm, x, y, n, STYLES[n % 3], _seed(member), dots, band))
        found += _with_mean(seeds)
    return tuple(found)


def _froc(stats: RunStatistics) -> _Points:
    if stats.profile is None:
        return _Points()
    ends = tuple((value.low, value.high) for value in stats.profile.froc_band.sensitivity)
    return _Points(stats.profile.froc.rates, stats.profile.froc.sensitivity, ends)


def _precision(stats: RunStatistics) -> _Points:
    return _Points() if stats.curve is None else _Points(stats.curve.recall, stats.curve.precision)


def _reliability(stats: RunStatistics) -> _Points:
    """Every bin of scores has its place, so that seeds meet; one without a detection has no point."""
    if stats.profile is None:
        return _Points()
    found = stats.profile.calibration
    known = [math.isfinite(s) and math.isfinite(h) for s, h in zip(found.score, found.hits, strict=True)]
    middles = [(a + b) / 2 for a, b in zip(found.edges, found.edges[1:], strict=False)]
    x = tuple(s if k else m for s, k, m in zip(found.score, known, middles, strict=True))
    return (
        _Points(x, tuple(h if k else None for h, k in zip(found.hits, known, strict=True))) if any(known) else _Points()
    )


def _thresholds(stats: RunStatistics) -> _Points:
    if stats.profile is None or len(stats.profile.rows) < 2:
        return _Points()
    rows, ends = stats.profile.rows, tuple((b.ap.low, b.ap.high) for b in stats.profile.bands)
    return _Points(tuple(r.score for r in rows), tuple(r.ap for r in rows), ends)


#: The heads of the panels on missing clinical values.
_MISSING = {
    "random": "Values missing by chance",
    "column": "Missing by another column",
    "view": "Missing by the view",
    "value": "Missing by their value",
    "columns": "Columns missing",
    "records": "Records missing",
}


def _missing(mechanism: str, stats: RunStatistics) -> _Points:
    """What the AP loses by the share that is missing, nothing where nothing is."""
    found = [c for c in stats.controls if (c.alteration.kind, c.alteration.name) == ("missing", mechanism)]
    if not found:
        return _Points()
    lost = [c.drop.ap for c in found]
    x, y = (0.0, *(c.alteration.share for c in found)), (0.0, *(ap.value for ap in lost))
    return _Points(x, y, ((0.0, 0.0), *((ap.low, ap.high) for ap in lost)))


# The forest plot: a row for each setting.


def forest_figure(section: AblationSection, statistics: Statistics) -> ForestFigure | None:
    """The differences in test AP of all settings and pairs, in the file's order; None where nothing is compared."""
    groups = tuple(
        ForestGroup(table.reference, table.other, table.kind, tuple(_forest_row(row, statistics) for row in table.rows))
        for table in section.comparisons
    )
    if not any(row.value is not None for group in groups for row in group.rows):
        return None
    return ForestFigure(f"{section.anchor}-forest", section.title, groups)


def _forest_row(row: Comparison, statistics: Statistics) -> ForestRow:
    found = statistics.pair(row).difference
    mean = row.test_ap.difference
    value = mean.mean if mean else found.ap.value if found else None
    others = tuple((kind, row.by_checkpoint.get(kind)) for kind in KEPT_KINDS if kind != row.kind)
    low, high = (found.ap.low, found.ap.high) if found else (math.nan, math.nan)
    note = "" if value is not None else row.note or "not measured"
    patients = found.patients if found else None
    settled = replace(row, statistics=statistics.pair(row)).verdict in ("higher", "lower") if row.pairs else False
    level = found.level if found else LEVEL
    label = row.setting if level == LEVEL else f"{row.setting} ({level_words(level)})"
    return ForestRow(label, value, low, high, others, len(row.seeds), patients, note, settled, level)


def section_figures(section: AblationSection, statistics: Statistics) -> Iterator[ReportFigure]:
    """Every figure of an ablation, in the order of a report."""
    found: list[ReportFigure | None] = [forest_figure(section, statistics)]
    found += [arms_figure(section, setting, statistics) for setting in section.frame.settings]
    found += [run_figure(run) for run in section.runs]
    yield from (figure for figure in found if figure is not None)


# The chart of a log.


def entries_figure(log: LogView) -> EntriesFigure | None:
    """The test AP that a log's entries print, and what was measured; None where no entry prints a result."""
    points, inflated = [], []
    for place, one in enumerate(log.entries, 1):
        if one.proposals == "with_ground_truth":
            inflated.append(place)
        if (printed := one.represented) is not None and math.isfinite(printed.test_ap):
            kind = f"{one.arm}, era {one.era}" if one.era else one.arm or "setup not printed"
            found = (run.by_name["test_ap"][0] for run in printed.measured)
            measured = tuple(value for value in found if value is not None and math.isfinite(value))
            points.append(EntryPoint(place, one.id, kind, printed.test_ap, measured))
    if not points:
        return None
    kinds = tuple(sorted({point.kind for point in points}))
    span = (inflated[0], inflated[-1]) if inflated else None
    title = "Test AP of the log's entries" if log.shipped else f"Test AP of the entries of {clip(log.name, 80)}"
    return EntriesFigure(file_stem(log.name, "log"), title, tuple(points), kinds, len(log.entries), span)


def log_figures(model: ReportModel) -> Iterator[EntriesFigure]:
    """The charts of the experiment logs of a report."""
    for log in model.logbook.logs if model.logbook is not None else ():
        if (entries := entries_figure(log)) is not None:
            yield entries


def report_figures(model: ReportModel) -> Iterator[ReportFigure]:
    """Every figure of a report, in its order."""
    for section in model.ablations:
        yield from section_figures(section, model.statistics)
    yield from log_figures(model)
