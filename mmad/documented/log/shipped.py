"""The 101 entries that mmad ships, in the form of a log that was read: facts alone, no words and line numbers."""

from __future__ import annotations

from mmad.documented.entries import Entry, entries
from mmad.documented.log.model import Checkpoint, FigureGroup, LogEntry, LogFigure, Losses, SetupPrint

#: The name of the shipped log; no other may have it.
NAME = "documented"


def shipped_entries() -> tuple[LogEntry, ...]:
    """All shipped entries, in the order of print."""
    return tuple(_log_entry(entry) for entry in entries())


def _log_entry(entry: Entry) -> LogEntry:
    own = (entry.heading,) if entry.heading else ()
    figures = tuple(LogFigure(key=f.key, printed=f.printed, value=f.value, equals=f.equals) for f in entry.figures)
    raw = ", ".join(f"{f.key}={f.printed}" if f.key else f.printed for f in figures)
    weights = dict(entry.loss_weights)
    return LogEntry(
        id=entry.id,
        line=0,
        line_end=0,
        heading=entry.heading,
        sections=(*entry.sections, *own),
        setup=SetupPrint(form="printed", line=0, fields=dict(entry.printed)) if entry.printed else None,
        inferred=dict(entry.inferred),
        params=dict(entry.params),
        results={kind: Checkpoint(**vars(result)) for kind, result in entry.results.items()},
        figures=(FigureGroup(raw=f"({raw})", line=0, figures=figures),) if figures else (),
        losses=Losses(weights=weights, scope="entry", line=0) if weights else None,
    )
