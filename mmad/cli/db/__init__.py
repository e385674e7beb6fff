"""``mmad db``: copy, check, back up, upgrade and export the database. One file per command."""

from __future__ import annotations

import typer

from mmad.cli.db import backup, check, copy, export, upgrade


def register(app: typer.Typer) -> None:
    db = typer.Typer(
        help="Copy, check, back up, upgrade and export the database.", rich_markup_mode=None, no_args_is_help=True
    )
    for part in (check, backup, copy, export, upgrade):
        part.register(db)
    app.add_typer(db, name="db")
