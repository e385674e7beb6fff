"""``mmad log``: read, list, show, compare and check documented experiment logs. One file per command."""

from __future__ import annotations

import typer

from mmad.cli.log import check, diff, import_, list_, show


def register(app: typer.Typer) -> None:
    log = typer.Typer(help="Read, show and check experiment logs.", rich_markup_mode=None, no_args_is_help=True)
    for part in (import_, list_, show, diff, check):
        part.register(log)
    app.add_typer(log, name="log")
