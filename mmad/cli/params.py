"""``mmad params``: how many parameters a setup has, module by module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DataOption, JsonOption, SetOption, load_with_data, print_json, resolve_data

if TYPE_CHECKING:
    from mmad.base.records import ParameterCount
    from mmad.data.dataset import DataSet
    from mmad.spec.setup import ModelSetup


def register(app: typer.Typer) -> None:
    @app.command("params")
    def params(
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An ablation file.")] = None,
        overrides: SetOption = None,
        data: DataOption = None,
        json: JsonOption = False,
    ) -> None:
        """Count parameters, whole and by module, in the documented log's form.

        Without FILE: of the default setup with --set. Labels and clinical columns are the documented log's (five
        findings, nine numbers and gender), or those of --data.

        --json prints {"model": 1040729, "model.backbone": …} where there is one setup, else
        {"SETTING / ARM": {"model": …}}, members of equal counts under their own names.
        """
        blocks = _of_file(file, overrides or [], data) if file else _of_words(overrides or [], data)
        if json:
            plain = {name: {c.module: c.count for c in counts} for name, counts in blocks.items()}
            print_json(next(iter(plain.values())) if len(plain) == 1 else plain)
            return
        for position, (name, counts) in enumerate(blocks.items()):
            if len(blocks) > 1:
                typer.echo(f"{'' if position == 0 else chr(10)}{name}")
            for count in counts:
                typer.echo(f"[{count.module}]: {count.count:,}")


def _of_words(overrides: list[str], data: str | None) -> dict[str, tuple[ParameterCount, ...]]:
    from mmad.spec.load import load_setup

    setup = load_setup(overrides)
    dataset = resolve_data(data).dataset if data else None
    return {setup.name: counts_of(setup, dataset)}


def _of_file(file: Path, overrides: list[str], data: str | None) -> dict[str, tuple[ParameterCount, ...]]:
    ablation, chosen = load_with_data(file, data=data, overrides=overrides)
    setups = {f"{member.setting} / {member.arm}": member.run.setup for member in ablation.members}
    return {name: counts_of(setup, chosen.dataset if data else None) for name, setup in setups.items()}


def counts_of(setup: ModelSetup, dataset: DataSet | None) -> tuple[ParameterCount, ...]:
    """The counts of ``setup`` for the labels and columns of ``dataset``, or of the documented log."""
    from mmad.detector import parameter_counts

    if dataset is None:
        return parameter_counts(setup)
    columns = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    return parameter_counts(setup, len(dataset.labels), columns)
