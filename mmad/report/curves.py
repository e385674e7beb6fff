"""Which curves a report shows: of one run all it measured, of an ablation its arms over one another."""

from __future__ import annotations

from collections.abc import Sequence

from mmad.base.records import LOSS_COMPONENTS, SPLITS, Split
from mmad.report.charts import Chart, Panel, Series, Style
from mmad.report.frames import AblationFrame, MemberFrame, RunFrame

#: Training, validation, test: colour and line differ, so that either alone tells them apart.
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
#: The learned w of the loss components, told apart from one another and from every other line of a run.
_WEIGHTS: tuple[tuple[str, str, int, Style], ...] = (
    ("weight_loss_classifier", "w classifier", 4, "solid"),
    ("weight_loss_box_reg", "w box regression", 5, "dashed"),
    ("weight_loss_objectness", "w objectness", 6, "dotted"),
    ("weight_loss_rpn_box_reg", "w RPN box regression", 7, "solid"),
    ("weight_loss_mask", "w mask", 3, "dashed"),
)
OVERLAP_NAMES = {"iou": "IoU", "iobb": "IoBB"}


def run_panels(run: RunFrame, overlap: str, best_epoch: int | None) -> tuple[Panel, ...]:
    """Losses by component, AP, AR, learning rate and what was learned of loss weights over the epochs of one run."""
    marks = () if best_epoch is None else (best_epoch,)
    panels = [Panel("Loss: total", _splits(run, "loss"), marks)]
    panels += [Panel(title, _splits(run, name), marks) for name, title in _COMPONENT_TITLES.items() if _has(run, name)]
    for figure in ("ap", "ar"):
        title = f"{figure.upper()} ({OVERLAP_NAMES.get(overlap, overlap)})"
        panels.append(Panel(title, _splits(run, f"{figure}_{overlap}"), marks))
    for figure in ("ap", "ar"):
        name = f"{figure}_mask_{overlap}"
        if _has(run, name):
            title = f"{figure.upper()} of masks ({OVERLAP_NAMES.get(overlap, overlap)})"
            panels.append(Panel(title, _splits(run, name), marks))
    rate = Series("learning rate", tuple(e.epoch for e in run.epochs), tuple(e.lr for e in run.epochs), colour=3)
    panels.append(Panel("Learning rate", (rate,), log=True))
    panels.append(Panel("Loss: as minimised", _splits(run, "objective"), marks))
    panels.append(Panel("Learned loss weights", weight_lines(run), marks))
    return tuple(p for p in panels if any(v is not None for s in p.series for v in s.y))


def weight_lines(run: RunFrame) -> tuple[Series, ...]:
    """The learned w of every loss component that has one, by epoch; none where the weights are fixed."""
    epochs = tuple(e.epoch for e in run.epochs)
    return tuple(
        Series(label, epochs, run.curves["train", name], colour, style)
        for name, label, colour, style in _WEIGHTS
        if ("train", name) in run.curves
    )


def _has(run: RunFrame, name: str) -> bool:
    return any(name == known for _, known in run.curves)


def _splits(run: RunFrame, name: str) -> tuple[Series, ...]:
    epochs = tuple(e.epoch for e in run.epochs)
    lines = []
    for split in SPLITS:
        label, colour, style = SPLIT_LINES[split]
        if (split, name) in run.curves:
            lines.append(Series(label, epochs, run.curves[split, name], colour, style))
    return tuple(lines)


def run_chart(run: RunFrame, overlap: str, best_epoch: int | None) -> Chart:
    """All panels of a run on one sheet, for readers that show pictures only as files."""
    return Chart(run_panels(run, overlap, best_epoch), columns=2, legend=True)


_OVERLAID: tuple[tuple[str, Split, str], ...] = (
    ("Validation loss", "val", "loss"),
    ("Validation AP", "val", "ap"),
    ("Test AP", "test", "ap"),
)


def overlay_tops(ablation: AblationFrame) -> tuple[float | None, ...]:
    """The upper end of each overlaid panel's axis, equal across the settings; None where nothing was measured."""
    judged = ablation.members[0].judged.overlap
    tops: list[float | None] = []
    for _, split, measure in _OVERLAID:
        name = measure if measure == "loss" else f"{measure}_{judged}"
        everywhere = [v for m in ablation.members for v in _values(m, split, name)]
        tops.append(_robust_top(everywhere) if everywhere else None)
    return tuple(tops)


def overlay_panels(
    ablation: AblationFrame, setting: str, tops: Sequence[float | None] | None = None
) -> tuple[Panel, ...]:
    """The arms of one setting over one another, a dot at the best validation AP; further seeds of an arm are fainter.

    Axes are equal across the settings of the ablation. Arms judged under another overlap than the first are
    left out of AP, never drawn beside it. ``tops`` are those of ``overlay_tops``, where they are known.
    """
    judged = ablation.members[0].judged.overlap
    panels = []
    for (title, split, measure), top in zip(_OVERLAID, tops or overlay_tops(ablation), strict=True):
        name = measure if measure == "loss" else f"{measure}_{judged}"
        lines = tuple(
            line
            for n, arm in enumerate(ablation.arms)
            for line in _arm_lines(ablation.of(setting, arm), arm, n, split, name, judged)
        )
        if lines:
            panels.append(Panel(title, lines, y_range=None if top is None else (0, top)))
    return tuple(panels)


def _arm_lines(
    members: Sequence[MemberFrame], arm: str, colour: int, split: Split, name: str, overlap: str
) -> list[Series]:
    style: Style = ("solid", "dashed", "dotted")[colour % 3]
    lines = []
    for k, member in enumerate(members):
        values = member.run.curves.get((split, name))
        same = name == "loss" or member.judged.overlap == overlap
        if same and values is not None:
            epochs = tuple(e.epoch for e in member.run.epochs)
            best = () if member.best_ap is None else (member.best_ap.epoch,)
            lines.append(Series(arm, epochs, values, colour, style, faint=k > 0, dots=best))
    return lines


def _values(member: MemberFrame, split: Split, name: str) -> list[float]:
    found = member.run.curves.get((split, name), ())
    return [v for v in found if v is not None and v == v and abs(v) != float("inf")]


def _robust_top(values: list[float]) -> float:
    """An upper end for an axis that one exploding epoch does not stretch until nothing else can be seen."""
    if not values:
        return 1.0
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.98))]
    top = ordered[-1] if ordered[-1] <= 3 * high or high <= 0 else high
    return (top or 1.0) * 1.06


def components(run: RunFrame) -> tuple[str, ...]:
    """The loss components that a run reports, the usual four first."""
    found = dict.fromkeys(name for _, name in run.curves if name.startswith("loss_"))
    return tuple(sorted(found, key=lambda n: (n not in LOSS_COMPONENTS, n)))


def describe(panel: Panel) -> str:
    """A chart in words: each line's last value and its extreme."""
    parts = []
    where = "epoch " if panel.across == "epoch" else ""
    for series in panel.series:
        points = [(x, v) for x, v in zip(series.x, series.y, strict=True) if v is not None and v == v]
        if not points:
            continue
        pick = min if "oss" in panel.title else max
        at, extreme = pick(points, key=lambda p: p[1])
        word = "lowest" if pick is min else "highest"
        last = points[-1]
        parts.append(f"{series.name} {word} {extreme:.4g} at {where}{at:g}, {last[1]:.4g} at {where}{last[0]:g}")
    return f"{panel.title}{' by epoch' if where else ''}. " + ("; ".join(parts) + "." if parts else "No values.")
