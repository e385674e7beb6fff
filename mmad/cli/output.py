"""What the commands that read the database share: opening it, and showing it to people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mmad.analysis.comparison import Conditions, MeasuredRun
from mmad.analysis.metrics import MaskFigures, Profile
from mmad.analysis.targets import EvaluationTarget
from mmad.base.formatting import decimal, interval, plural, signed
from mmad.evaluation.coco_summary import CocoSet
from mmad.evaluation.operating_points import gaps
from mmad.report.tables import bounds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mmad.detector.cost import DetectorCost
    from mmad.store.lookup import CheckpointFigures
    from mmad.store.store import Store


#: Width where no terminal sets one: nothing is cut off.
WIDE = 10_000


def open_store(database: str) -> Store:
    """The store of ``database`` for reading; an older one is upgraded first. StoreError when it is missing."""
    from mmad.store.migrate import OlderSchema
    from mmad.store.store import Store

    try:
        return Store.open(database, create=False, read_only=True)
    except OlderSchema:
        Store.open(database, create=False).close()
        return Store.open(database, create=False, read_only=True)


def console() -> Console:
    """A console as wide as the terminal, or wide enough for anything."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)


def section(out: Console, title: str, *lines: str | Text) -> None:
    """A titled block: a panel on a terminal, plain lines elsewhere; nothing when there are no lines."""
    from rich.panel import Panel
    from rich.text import Text

    if not lines:
        return
    if out.is_terminal:
        out.print(Panel(Text("\n").join([_text(line) for line in lines]), title=Text(title), title_align="left"))
        return
    out.print(Text(title))
    for line in lines:
        out.print(Text("  ").append_text(_text(line)), soft_wrap=True)
    out.print()


def _text(line: str | Text) -> Text:
    from rich.text import Text

    return Text(line) if isinstance(line, str) else line


def status_text(status: str) -> Text:
    from rich.text import Text

    from mmad.scheduler.progress import RANK

    return Text(status, style=RANK.get(status, ""))


def figure(value: float | None) -> str:
    """Four decimals; a dash for what was not measured."""
    return "–" if value is None else f"{value:.4f}"


def result_line(name: str, result: CheckpointFigures | None) -> str:
    """One kept checkpoint in one line."""
    if result is None:
        return f"{name}: –"
    return (
        f"{name}: epoch {result.epoch}, val AP {figure(result.val_ap)} AR {figure(result.val_ar)}, "
        f"test AP {figure(result.test_ap)} AR {figure(result.test_ar)}"
    )


def file_line(path: Path) -> str:
    """A file's path, with a word when it is gone."""
    return path.as_posix() if path.exists() else f"{path.as_posix()} (not there)"


# The tables of ``mmad eval``.


@dataclass(frozen=True)
class Evaluated:
    """One run under one protocol, with all that was asked about it."""

    target: EvaluationTarget
    measured: MeasuredRun
    profile: Profile
    coco: CocoSet | None
    masks: MaskFigures | None = None


def print_evaluated(done: Sequence[Evaluated], *, per_class: bool) -> None:
    """Tables of what was evaluated alike; never two protocols in one."""
    out = console()
    for title in dict.fromkeys(protocol_line(e.target) for e in done):
        group = [e for e in done if protocol_line(e.target) == title]
        _print_group(out, title, group, per_class)


def protocol_line(target: EvaluationTarget) -> str:
    """Split, checkpoint and protocol in words."""
    return conditions_line(Conditions.of(target.run, target.protocol, target.checkpoint.kind, split=target.split))


def conditions_line(found: Conditions) -> str:
    """The same of a comparison."""
    return (
        f"{found.split}, {found.checkpoint}, {found.overlap} ≥ {found.threshold:g}, "
        f"{found.max_detections} detections per image, {found.proposals} proposals"
    )


def new_table(*heads: str, left: int = 1) -> Table:
    """A table whose first ``left`` columns are words and whose others are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if position < left else "right", overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """A row of plain words, none of them markup."""
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))


def show(out: Console, title: str, table: Table) -> None:
    """The table below its title, which may be longer than the table is wide."""
    from rich.text import Text

    out.print(Text(title, style="bold"), soft_wrap=True)
    out.print(table)


def heads_of(target: Sequence[EvaluationTarget]) -> list[str]:
    """Short names that still tell the runs apart: the arm, else arm and seed, else the whole path."""
    for parts in (slice(2, 3), slice(2, None), slice(1, 3), slice(1, None)):
        names = ["/".join(one.name.split("/")[parts]) or one.name for one in target]
        if len(set(names)) == len(names):
            return names
    return [one.name for one in target]


def _print_group(out: Console, title: str, group: Sequence[Evaluated], per_class: bool) -> None:
    names = heads_of([e.target for e in group])
    size = group[0].measured
    words = f"{plural(size.images, 'image')} of {plural(size.patients, 'patient')}"
    show(out, f"{title} ({words})", _head_table(group))
    show(out, "AP by score threshold (gap to the first) [95 %]", _gap_table(names, group))
    show(out, "Operating points", _operating_table(names, group))
    show(out, "FROC: sensitivity by false positives per image [95 %]", _froc_table(names, group, per_class))
    for name, e in zip(names, group, strict=True):
        score = e.profile.rows[-1].score
        show(out, f"{name}: true (rows) against detected, score ≥ {score:g}", _confusion_table(e.profile))
    if per_class:
        show(out, "Findings", _class_table(names, group))
    if group[0].coco is not None:
        show(out, "COCO", _coco_table(names, [e.coco for e in group if e.coco is not None]))
    drawn = [(name, e.masks) for name, e in zip(names, group, strict=True) if e.masks is not None]
    if drawn:
        show(out, "Masks", _mask_table(drawn, per_class))
        if group[0].coco is not None:
            show(out, "COCO, masks", _coco_table([name for name, _ in drawn], [m.coco for _, m in drawn]))


def _head_table(group: Sequence[Evaluated]) -> Table:
    table = new_table("run", "epoch", "AP [95 %]", "AR [95 %]", "FROC [95 %]", "ECE")
    for e in group:
        found, profile = e.measured.estimate, e.profile
        figures = (interval(found.ap), interval(found.ar), interval(profile.froc_band.score))
        error = decimal(profile.calibration.error)
        add_row(table, e.target.name, str(e.target.checkpoint.epoch), *figures, error)
    return table


def _gap_table(names: Sequence[str], group: Sequence[Evaluated]) -> Table:
    """The documented log's threshold gap: AP by score threshold, and its gap to the first row."""
    table = new_table("score ≥", *names)
    for place, point in enumerate(group[0].profile.rows):
        add_row(table, f"{point.score:g}", *(_gap_cell(e.profile, place) for e in group))
    return table


def _gap_cell(profile: Profile, place: int) -> str:
    """The AP and its interval; from the second row on the AP and its gap, with the gap's interval."""
    rows, band = profile.rows, profile.bands[place]
    ap = decimal(rows[place].ap, 4)
    if not place:
        return f"{ap} {bounds(band.ap)}".rstrip()
    return f"{ap} ({signed(gaps(rows)[place], 4)} {bounds(band.gap, sign=True)}".rstrip() + ")"


def _operating_table(names: Sequence[str], group: Sequence[Evaluated]) -> Table:
    heads = ("AR", "precision [95 %]", "recall [95 %]", "F1 [95 %]", "detections per image")
    table = new_table("run", "score ≥", *heads)
    for name, e in zip(names, group, strict=True):
        for p, band in zip(e.profile.rows, e.profile.bands, strict=True):
            figures = map(interval, (band.precision, band.recall, band.f1))
            add_row(table, name, f"{p.score:g}", decimal(p.ar), *figures, decimal(p.per_image, 2))
    return table


def _froc_table(names: Sequence[str], group: Sequence[Evaluated], per_class: bool) -> Table:
    """One row per rate; with ``per_class`` then one per finding, its mean over the rates."""
    table = new_table("false positives per image", *names)
    bands = [e.profile.froc_band for e in group]
    for place, rate in enumerate(group[0].profile.froc.rates):
        add_row(table, f"{rate:g}", *(interval(band.sensitivity[place]) for band in bands))
    if per_class:
        for k, finding in enumerate(bands[0].per_class):
            add_row(table, f"mean, {finding.label}", *(interval(band.per_class[k].score) for band in bands))
    return table


def _confusion_table(profile: Profile) -> Table:
    labels = profile.confusion.labels
    table = new_table("", *labels, "missed")
    for label, row in zip((*labels, "nothing there"), profile.confusion.counts.tolist(), strict=True):
        add_row(table, label, *map(str, row))
    return table


def _class_table(names: Sequence[str], group: Sequence[Evaluated]) -> Table:
    heads = [f"{name}: {figure}" for name in names for figure in ("AP [95 %]", "AR [95 %]")]
    table = new_table("finding", *heads)
    for k, (label, _, _) in enumerate(group[0].measured.estimate.per_class):
        found = [e.measured.estimate.per_class[k] for e in group]
        add_row(table, label, *(interval(value) for _, ap, ar in found for value in (ap, ar)))
    return table


def _mask_table(drawn: Sequence[tuple[str, MaskFigures]], per_class: bool) -> Table:
    """AP and AR of masks; with ``per_class`` of each finding, too."""
    table = new_table("run", "finding", "AP [95 %]", "AR [95 %]", left=2)
    for name, masks in drawn:
        found = masks.estimate
        add_row(table, name, "all", interval(found.ap), interval(found.ar))
        for label, ap, ar in found.per_class if per_class else ():
            add_row(table, name, label, interval(ap), interval(ar))
    return table


def _coco_table(names: Sequence[str], found: Sequence[CocoSet]) -> Table:
    table = new_table("figure", *names)
    for figure in found[0].figures:
        add_row(table, figure, *(decimal(coco.figures[figure]) for coco in found))
    return table


# What a detector costs, as a table and in a line.


_PARTS = {"backbone": "backbone", "clinical": "clinical branch", "rpn": "RPN", "heads": "heads"}


def cost_table(cost: DetectorCost) -> Table:
    """Module by module: parameters, multiply-adds, activations."""
    title = f"one image in evaluation, {cost.proposals:,} proposals"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("module")
    for head in ("parameters", "trainable", "share", "FLOPs (multiply-adds)", "activations"):
        table.add_column(head, justify="right")
    whole = cost.modules[0].parameters
    for row in cost.modules:
        if row.module.startswith(tuple(f"{name}." for name in cost.idle)):
            continue
        depth = row.module.count(".")
        table.add_row(
            "  " * depth + row.module.rpartition(".")[2] + (" (idle)" if row.module in cost.idle else ""),
            f"{row.parameters:,}",
            f"{row.trainable:,}",
            f"{row.parameters / whole:.1%}",
            _amount(row.flops),
            _amount(row.activations),
        )
    return table


def cost_lines(cost: DetectorCost, *, chosen: bool) -> list[str]:
    """A line per idle module, and the multiply-adds of every part.

    Args:
        cost: of one detector.
        chosen: whether the number of proposals was asked for, or is the setup's.
    """
    sizes = {row.module: row.parameters for row in cost.modules}
    idle = [f"idle: {name} is counted ({sizes[name]:,} parameters), but nothing uses it" for name in cost.idle]
    parts = ", ".join(f"{words} {_amount(cost.flops[part])}" for part, words in _PARTS.items() if cost.flops[part])
    why = "--proposals" if chosen else "rpn_post_nms_top_n_test, the most an evaluation hands on"
    masks = f" and the masks of {cost.masks} detections" if cost.masks else ""
    return [*idle, f"multiply-adds per image: {parts} for {cost.proposals:,} proposals ({why}){masks}"]


def _amount(number: int) -> str:
    """``number`` in three digits and its thousands: 71.6 M."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, f" {larger}"
    return f"{value:.3g}{unit}"
