"""``mmad log show``: everything an entry prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.log.common import EntryArgument, library, result_text, setup_text
from mmad.cli.reading import console, section

if TYPE_CHECKING:
    from mmad.documented.log.collection import NamedEntry
    from mmad.documented.log.model import LogEntry, Note


def register(app: typer.Typer) -> None:
    @app.command("show")
    def show(entry: EntryArgument, db: DatabaseOption = DEFAULT_DB, json: JsonOption = False) -> None:
        """Show what an entry prints: setup, parameter counts, results, heading figures, loss weights, remarks.

        --json prints the entry as mmad log import --json does, and the name of its log. Of the log that mmad ships
        the facts are known, not its words: notes, images and lines of the program are empty, line numbers are 0.
        """
        found = library(db).find(entry)
        if json:
            print_json({"log": found.log, **found.entry.model_dump(mode="json")})
        else:
            _print(found)


def _print(found: NamedEntry) -> None:
    out, entry = console(), found.entry
    lines = f", lines {entry.line} to {entry.line_end}" if entry.line else ""
    section(out, f"{entry.id} of {found.log}{lines}", *[text.lstrip("# ") for text in entry.sections])
    section(out, "Setup", *_setup(entry))
    section(out, "Loss weights", *_losses(entry))
    section(out, "Parameters", *[f"[{module}]: {count:,}" for module, count in entry.params.items()])
    section(out, "Results", *[result_text(kind, result) for kind, result in entry.results.items()])
    section(out, "Heading figures", *_figures(entry))
    section(out, "Notes", *_notes(entry.notes))
    section(out, "Not understood", *_notes(entry.unread))


def _setup(entry: LogEntry) -> list[str]:
    if entry.setup is None and not entry.inferred:
        return ["none is printed"]
    lines = [setup_text(entry.fields)] if entry.setup else []
    lines += [f"{name}: {text}" for name, text in (entry.setup.comments if entry.setup else {}).items()]
    if entry.setup and entry.setup.commented_out:
        lines.append(f"commented out: {' '.join(entry.setup.commented_out)}")
    if entry.inferred:
        lines.append(f"inferred, not printed: {', '.join(f'{n}={v!r}' for n, v in entry.inferred.items())}")
    return lines + [f"printed too ({other.form}): {setup_text(other.fields)}" for other in entry.other_setups]


def _losses(entry: LogEntry) -> list[str]:
    if entry.losses is None:
        return []
    where = " (for its whole section)" if entry.losses.scope == "section" else ""
    return [", ".join(f"{name} {factor}" for name, factor in entry.losses.weights.items()) + where]


def _figures(entry: LogEntry) -> list[str]:
    return [
        f"{figure.key + '=' if figure.key else ''}{figure.printed}: {', '.join(figure.equals) or 'no result equals it'}"
        for group in entry.figures
        for figure in group.figures
    ]


def _notes(notes: Sequence[Note]) -> list[str]:
    return [f"{note.line}: {note.text}" for note in notes]
