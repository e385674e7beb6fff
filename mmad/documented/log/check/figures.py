"""Rules about the figures of headings against the printed results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmad.documented.log.check.slip import Slip
from mmad.documented.log.model import FIGURES, Checkpoint, FigureGroup, LogEntry, LogFigure

#: What a key promises, where it promises one result.
_PROMISED = {"v": "final.val_ap", "t": "final.test_ap", "best_v": "best_ap.val_ap", "best_t": "best_ap.test_ap"}
#: Results this near are what a figure with a wrong digit may mean.
_NEAR = 0.0101


def figure_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Figures that no result equals, that are another entry's, or that are not what they seem to be."""
    owners = _owners(entries)
    for entry in entries:
        if not entry.results:
            continue
        for group in entry.figures:
            yield from _unequal(entry, group, owners)
            yield from _other_result(entry, group)
            yield from _mixed(entry, group)


def _owners(entries: Sequence[LogEntry]) -> dict[str, list[str]]:
    """The entries that print a result, by its four digits."""
    owners: dict[str, list[str]] = {}
    for entry in entries:
        for digits in {f"{getattr(result, m):.4f}" for result in entry.results.values() for m in FIGURES}:
            owners.setdefault(digits, []).append(entry.id)
    return owners


def _unequal(entry: LogEntry, group: FigureGroup, owners: dict[str, list[str]]) -> Iterator[Slip]:
    wrong = [figure for figure in group.figures if not figure.equals]
    source = _source(wrong, owners)
    if source is not None:
        copied = ", ".join(figure.printed for figure in wrong)
        what = f"heading figures {copied} equal no result of its own: they are those of {source}"
        yield Slip("figure-copied", entry.id, what, others=(source,), line=group.line or None)
    for figure in wrong:
        hint = "" if source else _nearest(figure, entry.results)
        what = f"heading figure {_name(figure)} equals no result{hint}"
        yield Slip("figure-unequal", entry.id, what, line=group.line or None)


def _source(wrong: Sequence[LogFigure], owners: dict[str, list[str]]) -> str | None:
    """The first entry whose results hold all figures of ``wrong``; one figure alone may be chance."""
    if len(wrong) < 2:
        return None
    first, *others = ([*owners.get(f"{figure.value:.4f}", ())] for figure in wrong)
    rest = [set(ids) for ids in others]
    return next((id for id in first if all(id in ids for ids in rest)), None)


def _nearest(figure: LogFigure, results: dict[str, Checkpoint]) -> str:
    values = [(f"{kind}.{m}", getattr(result, m)) for kind, result in results.items() for m in FIGURES]
    alike = [(_digits(value, figure.value), abs(value - figure.value), name, value) for name, value in values]
    differing, gap, name, value = min(alike)
    if gap > _NEAR and differing > 1:
        return ""
    return f"; {name} is {value:.4f}"


def _digits(one: float, other: float) -> int:
    """In how many of four digits two figures differ; a pair of exchanged ones counts once."""
    a, b = f"{one:.4f}", f"{other:.4f}"
    return 1 if sorted(a) == sorted(b) else sum(x != y for x, y in zip(a, b, strict=False))


def _other_result(entry: LogEntry, group: FigureGroup) -> Iterator[Slip]:
    for figure in group.figures:
        promised = _PROMISED.get(figure.key or "")
        if promised and figure.equals and promised not in figure.equals:
            what = f"heading figure {_name(figure)} is {figure.equals[0]}, not {promised}"
            yield Slip("figure-key", entry.id, what, line=group.line or None)
    bare = [figure for figure in group.figures if figure.key is None and figure.equals]
    kinds = [{name.partition(".")[0] for name in figure.equals} for figure in bare]
    if bare and all("best_ap" not in found for found in kinds):
        what = f"heading figures {group.raw} are not of the best AP: {', '.join(f.equals[0] for f in bare)}"
        yield Slip("figure-source", entry.id, what, "note", line=group.line or None)


def _mixed(entry: LogEntry, group: FigureGroup) -> Iterator[Slip]:
    """A validation and a test figure of different checkpoints."""
    bare = [figure for figure in group.figures if figure.key is None and figure.equals]
    kinds = [{name.partition(".")[0] for name in figure.equals} for figure in bare]
    splits = [{name.partition(".")[2].partition("_")[0] for name in figure.equals} for figure in bare]
    if len(bare) == 2 and not kinds[0] & kinds[1] and splits[0].isdisjoint(splits[1]):
        what = f"heading figures {group.raw} are of two checkpoints: {bare[0].equals[0]} and {bare[1].equals[0]}"
        yield Slip("figure-mixed", entry.id, what, line=group.line or None)


def _name(figure: LogFigure) -> str:
    return f"{figure.key}={figure.printed}" if figure.key else figure.printed
