"""What the commands about logs share: the logs of the database, and how an entry is named and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmad.documented.log.collection import Library
    from mmad.documented.log.model import Checkpoint, Log, LogEntry

EntryArgument = Annotated[
    str, typer.Argument(metavar="ENTRY", help="An entry such as e030, or LOG/e030 of an imported log.")
]


def imported_logs(database: str) -> list[Log]:
    """The logs that were imported into ``database``; none where there is no such file."""
    from mmad.base.paths import StorePaths
    from mmad.cli.reading import open_store
    from mmad.documented.log.collection import log_of

    file = StorePaths(database).file
    if file is not None and not file.exists():
        return []
    with open_store(database) as store:
        records = store.logs()
    return [log_of(record.name, record.content, record.entries) for record in records]


def library(database: str) -> Library:
    """The entries of the shipped log and of those in ``database``."""
    from mmad.documented.log.collection import Library

    return Library.of(imported_logs(database))


def heading_of(entry: LogEntry) -> str:
    """The entry's heading without figures, or the one it stands below in brackets."""
    from mmad.documented.log.headings import named

    if entry.heading:
        return named(entry.heading)
    return f"({named(entry.sections[-1])})" if entry.sections else ""


def setup_text(fields: Mapping[str, Any]) -> str:
    """Fields as the log prints them."""
    return f"ModelSetup({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def result_text(kind: str, result: Checkpoint) -> str:
    """One checkpoint in one line."""
    name = {"best_ap": "best AP", "best_ar": "best AR"}.get(kind, kind)
    return (
        f"{name}: epoch {result.epoch}, val AP {result.val_ap:.4f} AR {result.val_ar:.4f}, "
        f"test AP {result.test_ap:.4f} AR {result.test_ar:.4f}"
    )
