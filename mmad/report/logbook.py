"""The entries of experiment logs as a section of the report: what each prints, and what was measured beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmad.base.errors import SpecError
from mmad.documented.log.collection import Library, log_of
from mmad.documented.log.headings import named
from mmad.documented.log.model import RESULTS, Checkpoint, LogEntry
from mmad.documented.log.shipped import NAME
from mmad.report.badges import Badge, judged_badges
from mmad.report.frames import MemberFrame, Outcome
from mmad.report.pairs import conditions
from mmad.report.story import AblationStory, Story, member_title
from mmad.report.tables import file_stem
from mmad.report.words import clip
from mmad.store.log_rows import LogRecord

_KINDS = {"best_ap": "Best AP", "best_ar": "Best AR", "final": "Final", "unlabelled": "Unlabelled"}
_FIGURES = ("val_ap", "val_ar", "test_ap", "test_ar")


@dataclass(frozen=True)
class Beside:
    """One checkpoint of a run beside the one that an entry prints; (measured, measured less documented) figures."""

    anchor: str
    title: str
    epoch: int
    figures: tuple[tuple[float | None, float | None], ...]
    badges: tuple[Badge, ...]


@dataclass(frozen=True)
class Printed:
    """One checkpoint as an entry prints it, and what was measured of its kind."""

    kind: str
    epoch: int
    figures: tuple[float, ...]
    measured: tuple[Beside, ...]


@dataclass(frozen=True)
class Page:
    """One entry. ``runs`` counts the report's runs that mirror it, ``others`` names those without such a checkpoint."""

    anchor: str
    id: str
    heading: str
    below: str
    figures: str
    setup: str
    inferred: str
    losses: str
    params: tuple[tuple[str, int], ...]
    results: tuple[Printed, ...]
    notes: tuple[str, ...]
    runs: int
    others: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Chapter:
    """One log with its entries, in the order of print."""

    name: str
    pages: tuple[Page, ...]


@dataclass(frozen=True)
class Logbook:
    """Every log; ``anchors`` leads from the name by which members mirror an entry to where it stands."""

    chapters: tuple[Chapter, ...]
    anchors: dict[str, str]

    @property
    def entries(self) -> int:
        return sum(len(chapter.pages) for chapter in self.chapters)


Mirror = tuple[MemberFrame, AblationStory]


def logbook_of(story: Story, records: Sequence[LogRecord], wanted: bool | None = None) -> Logbook | None:
    """The entries of the shipped log and of the imported ``records``, with the runs of ``story`` beside them.

    Args:
        wanted: whether to show them; None where a member mirrors an entry or a log was imported.
    """
    if wanted is False:
        return None
    documented = {m.record.documented for a in story.ablations for m in a.frame.members if m.record.documented}
    if not (wanted or documented or records):
        return None
    library = Library.of(log_of(record.name, record.content, record.entries) for record in records)
    names = {name: at for name in sorted(documented) if (at := _find(library, name)) is not None}
    if not (wanted or names or records):
        return None
    mirrors: dict[tuple[str, str], list[Mirror]] = {}
    for ablation in story.ablations:
        for member in ablation.frame.members:
            if (at := names.get(member.record.documented or "")) is not None:
                mirrors.setdefault(at, []).append((member, ablation))
    chapters = tuple(
        Chapter(log, tuple(_page(log, entry, mirrors.get((log, entry.id), ()), story.anchors) for entry in entries))
        for log, entries in library.logs.items()
    )
    return Logbook(chapters, {name: anchor_of(*at) for name, at in names.items()})


def _find(library: Library, name: str) -> tuple[str, str] | None:
    try:
        found = library.find(name)
    except SpecError:
        return None  # an entry that this program does not know
    return found.log, found.entry.id


def anchor_of(log: str, id: str) -> str:
    """``log-e030`` of the shipped log, ``log-NAME--e030`` of another; its own for every entry."""
    stem = file_stem(id, "").removesuffix("--")
    return f"log-{stem}" if log == NAME else f"log-{file_stem(log, stem)}"


def _page(log: str, entry: LogEntry, mirrors: Sequence[Mirror], anchors: dict[str, str]) -> Page:
    heading, below = _headings(entry)
    kinds = [*(k for k in RESULTS if k in entry.results), *(k for k in entry.results if k not in RESULTS)]
    results = tuple(_printed(kind, entry.results[kind], mirrors, anchors) for kind in kinds)
    shown = {b.anchor for printed in results for b in printed.measured}
    runs = {m.run.key: (m, a) for m, a in mirrors}
    return Page(
        anchor=anchor_of(log, entry.id),
        id=entry.id,
        heading=heading,
        below=below,
        figures=" ".join(group.raw for group in entry.figures),
        setup=f"ModelSetup({_fields(entry.fields)})" if entry.setup else "",
        inferred=_fields(entry.inferred),
        losses=", ".join(f"{name} {factor}" for name, factor in entry.losses.weights.items()) if entry.losses else "",
        params=tuple(entry.params.items()),
        results=results,
        notes=tuple(note.text for note in entry.notes),
        runs=len(runs),
        others=tuple(
            (anchors[key], _title(m, a), m.run.record.status)
            for key, (m, a) in runs.items()
            if anchors[key] not in shown
        ),
    )


def _headings(entry: LogEntry) -> tuple[str, str]:
    """The entry's heading without figures, or that above it in brackets; and the headings it stands below."""
    above = [named(text) for text in entry.sections]
    if entry.heading:
        return named(entry.heading), " › ".join(above[:-1])
    return (f"({above[-1]})" if above else ""), " › ".join(above[:-1])


def _fields(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


def _title(member: MemberFrame, ablation: AblationStory) -> str:
    seeds = len({m.record.seed for m in ablation.frame.members}) > 1
    return f"{clip(member.record.ablation, 40)}: {member_title(member, seeds=seeds)}"


def _printed(kind: str, result: Checkpoint, mirrors: Iterable[Mirror], anchors: dict[str, str]) -> Printed:
    documented = tuple(getattr(result, name) for name in _FIGURES)
    measured = []
    for member, ablation in mirrors:
        outcome = _outcome(member, kind)
        if outcome is not None:
            values = [getattr(outcome, name) for name in _FIGURES]
            less = [None if v is None else v - d for v, d in zip(values, documented, strict=True)]
            measured.append(
                Beside(
                    anchors[member.run.key],
                    _title(member, ablation),
                    outcome.epoch,
                    tuple(zip(values, less, strict=True)),
                    _badges(member, outcome),
                )
            )
    return Printed(_KINDS.get(kind, clip(kind, 40)), result.epoch, documented, tuple(measured))


def _outcome(member: MemberFrame, kind: str) -> Outcome | None:
    """The run's checkpoint of the entry's kind; beside one without a label the one that stands for the run."""
    if kind == "unlabelled":
        return member.alone
    return next((o for _, o in member.outcomes if o is not None and o.kind == kind), None)


def _badges(member: MemberFrame, outcome: Outcome) -> tuple[Badge, ...]:
    """Overlap, proposals and whatever lifts or weakens the figures."""
    found = judged_badges(conditions(member), outcome.kind)
    return tuple(b for n, b in enumerate(found) if n in (0, 2) or b.tone == "caution")
