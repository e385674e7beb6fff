"""``mmad data``: make, import, check and look at data sets. One file per command."""

from __future__ import annotations

import typer

from mmad.cli.data import cache, check, export_coco, import_coco, import_csv, info, phantom, reflacx, show


def register(app: typer.Typer) -> None:
    data = typer.Typer(help="Make, import and check data sets.", rich_markup_mode=None, no_args_is_help=True)
    importing = typer.Typer(
        help="Turn a folder of another form into a data set.", rich_markup_mode=None, no_args_is_help=True
    )
    exporting = typer.Typer(help="Write a data set in another form.", rich_markup_mode=None, no_args_is_help=True)
    phantom.register(data)
    data.add_typer(importing, name="import")
    import_csv.register(importing)
    import_coco.register(importing)
    reflacx.register(data)
    info.register(data)
    check.register(data)
    show.register(data)
    cache.register(data)
    data.add_typer(exporting, name="export")
    export_coco.register(exporting)
    app.add_typer(data, name="data")
