"""``mmad data cache``: what decoded images are kept, and clearing them."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.cli.common import JsonOption, print_json


def register(data: typer.Typer) -> None:
    @data.command("cache")
    def cache(
        clear: Annotated[
            bool, typer.Option("--clear", help="Remove them; they are decoded again when needed.")
        ] = False,
        as_json: JsonOption = False,
    ) -> None:
        """List the decoded images that are kept between runs, or remove them."""
        from dataclasses import asdict

        from mmad.data.cache_contents import cache_contents, clear_cache

        found = clear_cache() if clear else cache_contents()
        if as_json:
            entries = [{**asdict(entry), "built": entry.built.isoformat()} for entry in found.entries]
            print_json({"path": found.path, "size": found.size, "cleared": clear, "entries": entries})
            return
        for entry in found.entries:
            what = f"{entry.images} images of {entry.image_size} px" if entry.images else "unfinished or outdated"
            typer.echo(f"{_mebibytes(entry.size):>12}  {entry.built:%Y-%m-%d %H:%M} UTC  {what}  {entry.file[:28]}…")
        files = f"{len(found.entries)} file{'s' * (len(found.entries) != 1)}"
        typer.echo(f"{found.path}: {files}, {_mebibytes(found.size)}{' removed' if clear else ''}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
