"""The tables of ``mmad eval``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmad.cli.reading import console
from mmad.evaluation.coco_set import CocoSet
from mmad.evaluation.thresholds import gaps
from mmad.report.analysis import Measured, Profile
from mmad.report.evidence import bounds
from mmad.report.judged import Judged
from mmad.report.mask_figures import MaskFigures
from mmad.report.verdicts import interval
from mmad.report.words import decimal, plural, signed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Evaluated:
    """One run under one protocol, with all that was asked about it."""

    judged: Judged
    measured: Measured
    profile: Profile
    coco: CocoSet | None
    masks: MaskFigures | None = None


def print_evaluated(done: Sequence[Evaluated], *, per_class: bool) -> None:
    """Tables of what was judged alike; never two protocols in one."""
    out = console()
    for title in dict.fromkeys(protocol_line(e.judged) for e in done):
        group = [e for e in done if protocol_line(e.judged) == title]
        _print_group(out, title, group, per_class)


def protocol_line(judged: Judged) -> str:
    """Split, checkpoint and protocol in words."""
    how = judged.protocol
    return (
        f"{judged.split}, {judged.checkpoint.kind}, {how.overlap} ≥ {how.threshold:g}, "
        f"{how.max_detections} detections per image, {how.proposals} proposals"
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


def heads_of(judged: Sequence[Judged]) -> list[str]:
    """Short names that still tell the runs apart: the arm, else arm and seed, else the whole path."""
    for parts in (slice(2, 3), slice(2, None), slice(1, 3), slice(1, None)):
        names = ["/".join(one.name.split("/")[parts]) or one.name for one in judged]
        if len(set(names)) == len(names):
            return names
    return [one.name for one in judged]


def _print_group(out: Console, title: str, group: Sequence[Evaluated], per_class: bool) -> None:
    names = heads_of([e.judged for e in group])
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
        add_row(table, e.judged.name, str(e.judged.checkpoint.epoch), *figures, error)
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
