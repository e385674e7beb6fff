"""``mmad db backup``: a copy of the database's file while runs are trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.db.words import counted


def register(app: typer.Typer) -> None:
    @app.command("backup")
    def backup(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; must not be there yet.")],
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """Copy the database to FILE while runs are trained.

        SQLite's own online copy of one moment, checked before it counts. Checkpoints and detections are files beside
        the database and are not in it. A server's database is backed up with pg_dump, or with mmad db copy URL FILE.

        --json prints {"database", "file", "size" (bytes), "runs", "epochs"}.
        """
        from mmad.store.backup import back_up_database

        with progress_bar("") as progress:
            made = back_up_database(db, file, progress)
        if json:
            print_json(asdict(made) | {"file": made.file.as_posix()})
            return
        held = f"{counted(made.runs, 'run')}, {counted(made.epochs, 'epoch')}"
        typer.echo(f"{made.file}: {counted(made.size, 'byte')}, {held} of {made.database}")
        typer.echo("checkpoints and detections are not in it: they stand as files in the runs' folder")
