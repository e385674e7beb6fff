"""``mmad log check``: the slips of a log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.log.common import imported_logs

if TYPE_CHECKING:
    from mmad.documented.log.model import LogEntry


def register(app: typer.Typer) -> None:
    @app.command("check")
    def check(
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A log that need not be imported.")] = None,
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """Find what does not fit together in a log: of FILE, else of every imported one, else of the shipped one.

        Heading figures that no result equals or that are another entry's, names, headings and checkpoints that
        contradict the setup, setups printed twice, fields of an odd type, counts that miss lines or do not add up,
        checkpoints that contradict each other or the schedule; as notes, equal setups with different results.

        --json prints one object per slip: log, rule, level (slip or note), entry, line (null where unknown), what,
        others. Slips are no failure: the exit code is 0.
        """
        from mmad.documented.log.check import check_entries

        logs = _logs(file, db)
        found = [(name, slip) for name, entries in logs.items() for slip in check_entries(entries)]
        if json:
            print_json([{"log": name, **vars(slip)} for name, slip in found])
            return
        for name, entries in logs.items():
            slips = [slip for of, slip in found if of == name]
            notes = sum(slip.level == "note" for slip in slips)
            typer.echo(f"{name}: {len(slips) - notes} slips and {notes} notes in {len(entries)} entries")
            for slip in slips:
                typer.echo(f"  {'note: ' if slip.level == 'note' else ''}{slip}")


def _logs(file: Path | None, database: str) -> dict[str, tuple[LogEntry, ...]]:
    from mmad.documented.log.reader import read_log_file
    from mmad.documented.log.shipped import NAME, shipped_entries

    if file is not None:
        log = read_log_file(file)
        return {log.name: log.entries}
    return {log.name: log.entries for log in imported_logs(database)} or {NAME: shipped_entries()}
