"""``mmad log import``: an experiment log into the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json

if TYPE_CHECKING:
    from mmad.documented.log.model import Log
    from mmad.store.log_rows import Imported

_LONGEST = 100


def register(app: typer.Typer) -> None:
    @app.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="A log: Markdown, such as a README.md.")],
        name: Annotated[
            str | None,
            typer.Option("--name", metavar="NAME", help="The log's name; left out: the file's.", show_default=False),
        ] = None,
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """Read an experiment log in the documented log's form and keep its entries in the database.

        Setups (constructor, commented-out, repr), parameter counts, checkpoints, headings with figures, loss weights,
        tables and remarks are read in any order; lines that are not understood are listed with their numbers.
        The same file again takes its own place.

        --json prints {"log": NAME, "state": "new", "path": …, "sha256": …, "lines": …, "entries": […], "unread": […],
        …}: every entry as it was read.
        """
        from mmad.base.errors import SpecError
        from mmad.documented.log.collection import plain_log
        from mmad.documented.log.reader import read_log_file
        from mmad.documented.log.shipped import NAME
        from mmad.store.gateway import Store

        log = read_log_file(file, name)
        if not log.name.strip() or "/" in log.name or len(log.name) > _LONGEST or not log.name.isprintable():
            raise SpecError(f"a log cannot be called {log.name!r}", where=file, mend="give another with --name")
        if log.name == NAME:
            raise SpecError(f"{NAME} is the log that mmad ships", where=file, mend="give another name with --name")
        content, entries = plain_log(log)
        with Store.open(db) as store:
            done = store.put_log(log.name, str(file.resolve()), log.sha256, content, entries)
            where = store.where
        if json:
            first = {"log": done.name, "state": done.state, "path": str(file)}
            print_json({**first, **{n: v for n, v in content.items() if n != "name"}, "entries": entries})
        else:
            _write(log, done, where)


def _write(log: Log, done: Imported, where: str) -> None:
    states = {"new": "imported", "changed": "imported anew", "same": "already there, unchanged"}
    typer.echo(f"{done.name}: {len(log.entries)} entries {states[done.state]} ({where})")
    counted = (
        ("with a setup", sum(bool(entry.setup) for entry in log.entries)),
        ("with parameter counts", sum(bool(entry.params) for entry in log.entries)),
        ("with results", sum(bool(entry.results) for entry in log.entries)),
        ("with loss weights", sum(bool(entry.losses) for entry in log.entries)),
        ("with figures in the heading", sum(bool(entry.figures) for entry in log.entries)),
    )
    typer.echo("  " + ", ".join(f"{number} {what}" for what, number in counted))
    typer.echo(f"  beside them {len(log.remarks)} remarks, {len(log.tables)} tables, {len(log.prose)} paragraphs")
    lines = len(log.unread)
    typer.echo(f"  {lines or 'no'} line{'s' * (lines != 1)} not understood{':' * bool(lines)}")
    for note in log.unread:
        typer.echo(f"    {note.line}: {note.text[:_LONGEST]}")
