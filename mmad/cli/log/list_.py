"""``mmad log list``: the entries of every log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.log.common import heading_of, library

if TYPE_CHECKING:
    from mmad.documented.log.model import LogEntry


def register(app: typer.Typer) -> None:
    @app.command("list")
    def list_(
        log: Annotated[
            str | None, typer.Option("--log", metavar="LOG", help="Only this log.", show_default=False)
        ] = None,
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """List the entries of the log that mmad ships, called "documented", and of every imported one.

        --json prints one object per entry: log, id, heading, sections, fields and params (how many are printed) and
        best_ap ({epoch, val_ap, val_ar, test_ap, test_ar}, or null).
        """
        from mmad.base.errors import SpecError
        from mmad.spec.nearest import did_you_mean

        logs = library(db).logs
        if log is not None and log not in logs:
            raise SpecError(f"there is no log {log!r}", where="--log", mend=did_you_mean(log, list(logs)))
        chosen = [(name, entry) for name, entries in logs.items() if log in (None, name) for entry in entries]
        if json:
            print_json([_plain(name, entry) for name, entry in chosen])
            return
        for name, entry in chosen:
            typer.echo(_line(name if len(logs) > 1 else "", entry))


def _plain(log: str, entry: LogEntry) -> dict[str, Any]:
    best = entry.results.get("best_ap")
    names = ("epoch", "val_ap", "val_ar", "test_ap", "test_ar")
    return {
        "log": log,
        "id": entry.id,
        "heading": heading_of(entry),
        "sections": list(entry.sections),
        "fields": len(entry.fields),
        "params": len(entry.params),
        "best_ap": {name: getattr(best, name) for name in names} if best else None,
    }


def _line(log: str, entry: LogEntry) -> str:
    best = entry.results.get("best_ap")
    figures = f"val {best.val_ap:.4f} test {best.test_ap:.4f}" if best else "–"
    count = f"{entry.params['model']:,}" if "model" in entry.params else "–"
    place = f"{log}/{entry.id}" if log else entry.id
    return f"{place}  {figures:<22}  {count:>11}  {heading_of(entry)}".rstrip()
