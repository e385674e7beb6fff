"""``mmad data``: make, import, check and look at data sets. One file per command."""

from __future__ import annotations

import typer

from mmad.cli.data import cache, import_csv, info, phantom, reflacx


def register(app: typer.Typer) -> None:
    data = typer.Typer(help="Make, import and check data sets.", rich_markup_mode=None, no_args_is_help=True)
    importing = typer.Typer(
        help="Turn a folder of another form into a data set.", rich_markup_mode=None, no_args_is_help=True
    )
    phantom.register(data)
    data.add_typer(importing, name="import")
    import_csv.register(importing)
    reflacx.register(data)
    info.register(data)
    cache.register(data)
    app.add_typer(data, name="data")
