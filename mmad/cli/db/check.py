"""``mmad db check``: what is wrong in the database and beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json, progress_bar
from mmad.cli.db.words import counted

if TYPE_CHECKING:
    from mmad.store.check import Checked

#: How many findings with one mend are listed for people.
_SHOWN = 12


def register(app: typer.Typer) -> None:
    @app.command("check")
    def check(
        db: DatabaseOption = DEFAULT_DB,
        deep: Annotated[
            bool, typer.Option("--deep", help="Read every file: SHA-256 of checkpoints, check sums of detections.")
        ] = False,
        json: JsonOption = False,
    ) -> None:
        """Look for what is wrong in the database and beside it.

        Damaged pages, rows that name a row which is not there, a schema that lacks something, runs that nobody trains
        although they say so, missing epochs, and files that are named and not there. Nothing is changed. Exit code 1
        when something was found.

        --json prints {"database", "schema", "tables", "runs", "files", "read", "findings": [{check, where, what,
        mend}]}; check is integrity, schema, references, runs, epochs or files.
        """
        from mmad.store.check import check_database

        with progress_bar("looking at the files" if deep else "") as progress:
            checked = check_database(db, deep=deep, progress=progress)
        if json:
            print_json(asdict(checked))
        else:
            _write(checked)
        if checked.findings:
            raise typer.Exit(1)


def _write(checked: Checked) -> None:
    for mend in dict.fromkeys(finding.mend for finding in checked.findings):
        alike = [finding for finding in checked.findings if finding.mend == mend]
        for finding in alike[:_SHOWN]:
            typer.echo(f"{finding.check}: {finding.where}: {finding.what}")
        if len(alike) > _SHOWN:
            typer.echo(f"  … and {len(alike) - _SHOWN} more, which --json lists")
        typer.echo(f"  → {mend}")
    read = f", {checked.read} of them read" if checked.read else ""
    number = len(checked.findings)
    typer.echo(
        f"{checked.database}: schema {checked.schema}, {counted(checked.tables, 'table')}, "
        f"{counted(checked.runs, 'run')}, {counted(checked.files, 'file')}{read}: "
        f"{counted(number, 'finding') if number else 'all sound'}"
    )
