"""``mmad db copy``: a database into another one, of either kind."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import JsonOption, print_json, progress_bar
from mmad.cli.db.words import counted

if TYPE_CHECKING:
    from mmad.store.copy import Copied


def register(app: typer.Typer) -> None:
    @app.command("copy")
    def copy(
        source: Annotated[str, typer.Argument(metavar="FROM", help="An SQLite file or a URL; only read.")],
        target: Annotated[str, typer.Argument(metavar="TO", help="An SQLite file or a URL; empty, or not there yet.")],
        files: Annotated[
            bool, typer.Option("--files", help="Copy checkpoints, detections and logs of the runs too.")
        ] = False,
        json: JsonOption = False,
    ) -> None:
        """Copy every table of FROM into the empty TO.

        A file to a PostgreSQL server, back, or between two of a kind. All rows arrive in one transaction, counted and
        compared by check sums, or none does. Refused while runs are running. Checkpoints, detections and logs are
        files beside the database: --files copies them too; without it the copy has every figure, but its runs cannot
        be judged anew or gone on with.

        --json prints {"source", "target", "tables": [{name, rows, checksum}], "source_files", "target_files",
        "files": null or {copied, size (bytes), there}}.
        """
        from mmad.store.copy import copy_database

        with progress_bar("copying the rows") as progress:
            copied = copy_database(source, target, files=files, progress=progress)
        if json:
            places = {"source_files": copied.source_files.as_posix(), "target_files": copied.target_files.as_posix()}
            print_json(asdict(copied) | places)
        else:
            _write(copied)


def _write(copied: Copied) -> None:
    for table in copied.tables:
        if table.rows:
            typer.echo(f"  {table.name}: {counted(table.rows, 'row')}, checksum {table.checksum[:12]}")
    typer.echo(f"{copied.target}: {counted(copied.rows, 'row')} of {copied.source}, counts and check sums equal")
    if copied.source_files.resolve() == copied.target_files.resolve():
        typer.echo(f"both find the runs' files in {copied.source_files}")
    elif copied.files is None:
        typer.echo(
            f"checkpoints, detections and logs stayed in {copied.source_files}: copy them with --files, or name that "
            f"folder as MMAD_RUNS; the copy looks for them in {copied.target_files}"
        )
    else:
        there = f", {copied.files.there} were there already" if copied.files.there else ""
        size = f"{counted(copied.files.copied, 'file')}, {counted(copied.files.size, 'byte')}"
        typer.echo(f"{copied.target_files}: {size}{there}")
