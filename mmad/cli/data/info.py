"""``mmad data info``: check a data set and count what it holds."""

from __future__ import annotations

from typing import Any

import typer

from mmad.cli.common import JsonOption, print_json
from mmad.cli.data.common import FolderArgument


def register(data: typer.Typer) -> None:
    @data.command("info")
    def info(
        folder: FolderArgument,
        as_json: JsonOption = False,
    ) -> None:
        """Check a data set and count what it holds."""
        from dataclasses import asdict

        from mmad.data.dataset import load_dataset
        from mmad.data.summary import summarise

        summary = summarise(load_dataset(folder))
        if as_json:
            print_json(_json(asdict(summary)))
            return
        typer.echo(f"{summary.name} ({summary.path}), licence: {summary.licence}")
        typer.echo(f"fingerprint {summary.fingerprint[:16]}, split by {summary.split_policy or 'unknown'}")
        for split in summary.splits:
            typer.echo(f"{split.split:5}  {split.studies} studies of {split.patients} patients, {split.boxes} boxes")
            for label, count, studies in split.labels:
                typer.echo(f"       {label}: {count} boxes in {studies} studies")
        whole = sum(split.studies for split in summary.splits)
        for column in summary.columns:
            kind = f"[{column.unit}]" if column.low is not None else "/".join(column.values)
            outside = f", {column.outside} outside {column.low:g} to {column.high:g}" if column.outside else ""
            typer.echo(f"column {column.name} {kind}: {column.present} of {whole} have a value{outside}")


def _json(summary: dict[str, Any]) -> dict[str, Any]:
    """The stable form: splits by name, and in each the labels by name."""
    splits = {}
    for split in summary["splits"]:
        labels = {label: {"boxes": boxes, "studies": studies} for label, boxes, studies in split["labels"]}
        counts = {key: split[key] for key in ("studies", "patients", "boxes")}
        splits[split["split"]] = {**counts, "labels": labels}
    return {**summary, "splits": splits}
