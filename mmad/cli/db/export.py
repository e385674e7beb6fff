"""``mmad db export``: every table as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.db.words import counted


def register(app: typer.Typer) -> None:
    @app.command("export")
    def export(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into; made where it is missing.")],
        form: Annotated[str, typer.Option("--format", metavar="csv|parquet", help="Form of the files.")] = "csv",
        db: DatabaseOption = DEFAULT_DB,
        json: JsonOption = False,
    ) -> None:
        """Write every table to a CSV or Parquet file.

        Tables and views, DIR/NAME.csv or .parquet, all as they are at one moment. In CSV an empty cell is NULL, a
        moment is ISO 8601 in UTC and a truth true or false. Parquet has the columns' own types and needs pyarrow. A
        file that is there already is never written over.

        --json prints {"folder", "format", "tables": [{name, file, rows}]}.
        """
        from mmad.base.errors import StoreError
        from mmad.cli.reading import open_store
        from mmad.spec.nearest import did_you_mean
        from mmad.store.export import FORMATS, export_tables

        chosen = next((known for known in FORMATS if known == form), None)
        if chosen is None:
            raise StoreError(f"unknown form {form!r}", where="--format", mend=did_you_mean(form, FORMATS))
        with open_store(db) as store, progress_bar("writing the tables") as progress:
            written = export_tables(store, folder, chosen, progress)
        if json:
            tables = [{"name": one.name, "file": one.file.as_posix(), "rows": one.rows} for one in written]
            print_json({"folder": folder.as_posix(), "format": chosen, "tables": tables})
            return
        for one in written:
            typer.echo(f"{one.file}: {counted(one.rows, 'row')}")
