"""``mmad params``: what a setup's detector is made of and costs, and whether the log's counts are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.errors import SpecError
from mmad.cli.common import DataOption, JsonOption, SetOption, load_with_data, make_console, print_json, resolve_data

if TYPE_CHECKING:
    from mmad.base.records import ClinicalColumns, ParameterCount
    from mmad.data.dataset import DataSet
    from mmad.detector.cost import DetectorCost
    from mmad.spec.setup import ModelSetup

_ALONE = "leave it out: the log's own setups are counted, with its labels and columns"


@dataclass(frozen=True)
class Block:
    """One setup: its counts in the log's form, and its cost where that was asked for."""

    name: str
    counts: tuple[ParameterCount, ...]
    cost: DetectorCost | None

    @property
    def params(self) -> dict[str, int]:
        """Module → parameters, in the log's order."""
        return {count.module: count.count for count in self.counts}


def register(app: typer.Typer) -> None:
    @app.command("params")
    def params(
        context: typer.Context,
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An ablation file.")] = None,
        entry: Annotated[
            str | None,
            typer.Option(
                "--entry", metavar="ID", help="An entry of the documented log, such as e030.", show_default=False
            ),
        ] = None,
        overrides: SetOption = None,
        data: DataOption = None,
        documented: Annotated[
            bool, typer.Option("--documented", help="Compare with every number the documented log prints.")
        ] = False,
        cost: Annotated[
            bool, typer.Option("--cost", help="With FILE the table of each member; with --json the cost too.")
        ] = False,
        proposals: Annotated[
            int | None,
            typer.Option(
                "--proposals",
                min=1,
                max=100_000,
                metavar="N",
                help="Boxes that the heads' cost is told for; left out: the setup's rpn_post_nms_top_n_test.",
                show_default=False,
            ),
        ] = None,
        json: JsonOption = False,
    ) -> None:
        """Count parameters in the documented log's form, and multiply-adds and activations by module.

        Without FILE: of the default setup, or of --entry, with --set. Labels and clinical columns are those of
        --data or of FILE's data set; without one the documented log's (five findings, nine numbers and gender).

        --documented counts every entry that prints counts, compares number by number and exits with 1 if any differs.

        --json prints {"model": 1040729, "model.backbone": …} where there is one setup, else
        {"SETTING / ARM": {"model": …}}, members of equal counts under their own names; with --cost
        {"params": {"model": …}, "idle": […], "flops": {…}, "activations": {…}, "proposals": 1000}; with --documented
        {"e002": {"model": …}}, what was counted where the log prints a number.
        """
        if documented:
            _refuse_beside_documented(context)
            raise typer.Exit(_compare(json))
        if file and entry is not None:
            raise SpecError(f"--entry {entry}: there is a FILE too", mend=f"leave out --entry or {file}")
        if json and proposals is not None and not cost:
            raise SpecError("--proposals: --json tells parameters alone", mend="add --cost, or leave out --proposals")
        named, dataset = _setups(file, entry, overrides or [], data)
        blocks = _blocks(named, dataset, proposals, cost or not json)
        if json:
            plain = {block.name: _plain(block) if cost else block.params for block in blocks}
            print_json(next(iter(plain.values())) if len(plain) == 1 else plain)
            return
        _write(list(blocks), table=cost, chosen=proposals is not None)


def _setups(
    file: Path | None, entry: str | None, overrides: list[str], data: str | None
) -> tuple[dict[str, ModelSetup], DataSet | None]:
    """The setups by name, and the data set that was named."""
    if file:
        ablation, chosen = load_with_data(file, data=data, overrides=overrides)
        setups = {f"{member.setting} / {member.arm}": member.run.setup for member in ablation.members}
        return setups, chosen.dataset
    setup = _of_entry(entry, overrides) if entry is not None else _of_words(overrides)
    return {setup.name: setup}, resolve_data(data).dataset if data else None


def _of_words(overrides: list[str]) -> ModelSetup:
    from mmad.spec.load import load_setup

    return load_setup(overrides)


def _of_entry(entry: str, overrides: list[str]) -> ModelSetup:
    from mmad import documented
    from mmad.spec.parse import parse_override, split_fields

    values = {name: value for word in overrides for name, value in parse_override(word).values.items()}
    return documented.entry(entry).setup(split_fields(values)[0])


def counts_of(setup: ModelSetup, dataset: DataSet | None) -> tuple[ParameterCount, ...]:
    """The counts of ``setup`` for the labels and columns of ``dataset``, or of the documented log."""
    from mmad.detector import parameter_counts

    return parameter_counts(setup, *_reads(setup, dataset))


def _reads(setup: ModelSetup, dataset: DataSet | None) -> tuple[int, ClinicalColumns]:
    """How many labels and which columns the detector has: the data set's, or those of the documented log."""
    from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS
    from mmad.base.records import ClinicalColumns as Columns

    if dataset is not None:
        return len(dataset.labels), dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    numeric, categorical = setup.clinical_numeric, setup.clinical_categorical
    columns = Columns(
        tuple(n for n in DOCUMENTED_COLUMNS.numeric if numeric is None or n in numeric),
        tuple(c for c in DOCUMENTED_COLUMNS.categorical if categorical is None or c[0] in categorical),
    )
    return len(DOCUMENTED_LABELS), columns


def _cost_of(setup: ModelSetup, dataset: DataSet | None, proposals: int | None) -> DetectorCost:
    from mmad.detector.cost import detector_cost

    labels, columns = _reads(setup, dataset)
    return detector_cost(setup, labels, columns, proposals=proposals)


def _blocks(
    named: Mapping[str, ModelSetup], dataset: DataSet | None, proposals: int | None, costs: bool
) -> Iterator[Block]:
    """A block per setup; equal architectures are counted once."""
    from mmad.spec.architecture import architecture

    known: dict[str, Block] = {}
    for name, setup in named.items():
        same = architecture(setup)
        if same not in known:
            cost = _cost_of(setup, dataset, proposals) if costs else None
            known[same] = Block(name, counts_of(setup, dataset), cost)
        yield replace(known[same], name=name)


def _plain(block: Block) -> dict[str, Any]:
    cost = block.cost
    assert cost is not None
    return {
        "params": block.params,
        "idle": list(cost.idle),
        "flops": dict(cost.flops),
        "activations": dict(cost.activations),
        "proposals": cost.proposals,
    }


def _write(blocks: list[Block], *, table: bool, chosen: bool) -> None:
    """Each block in the log's form, then the table (of several only if asked for), idle modules and the cost."""
    from mmad.cli.cost_table import cost_lines, cost_table

    for position, block in enumerate(blocks):
        if len(blocks) > 1:
            typer.echo(f"{'' if position == 0 else chr(10)}{block.name}")
        for count in block.counts:
            typer.echo(f"[{count.module}]: {count.count:,}")
        cost = block.cost
        assert cost is not None
        if table or len(blocks) == 1:
            typer.echo()
            make_console().print(cost_table(cost))
            typer.echo()
        for line in cost_lines(cost, chosen=chosen):
            typer.echo(line)


def _refuse_beside_documented(context: typer.Context) -> None:
    """Nothing that would change what is counted stands beside --documented; variables are not read."""
    for name, word in {
        "file": str(context.params["file"]),
        "entry": "--entry",
        "overrides": "--set",
        "data": "--data",
        "cost": "--cost",
        "proposals": "--proposals",
    }.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise SpecError(f"{word}: does not go with --documented", mend=_ALONE)


def _compare(json: bool) -> int:
    """Compare the documented log's counts: 0 when all are met, else 1."""
    from mmad.detector import parameter_counts
    from mmad.documented import compare_counts

    found = compare_counts(lambda setup: {c.module: c.count for c in parameter_counts(setup)})
    for difference in found.differences:
        typer.echo(str(difference), err=json)
    if json:
        print_json(found.counted)
    else:
        typer.echo(f"{found.equal} of {found.printed} printed numbers equal")
    return 1 if found.differences else 0
