"""``mmad params``: what a setup's detector is made of and costs, and whether the log's counts are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.api.loading import load_with_data, resolve_data
from mmad.base.errors import SpecError
from mmad.cli.options import DataOption, JsonOption, SetOption
from mmad.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from mmad.base.records import ClinicalColumns, ParameterCount
    from mmad.config.setup import ModelSetup
    from mmad.data.dataset import DataSet
    from mmad.detector.cost import DetectorCost

_ALONE = "leave it out: the log's own setups are counted, with its labels and columns"


@dataclass(frozen=True)
class CountedSetup:
    """One setup: its counts in the log's form, and its cost where that was asked for."""

    name: str
    counts: tuple[ParameterCount, ...]
    cost: DetectorCost | None

    @property
    def params(self) -> dict[str, int]:
        """Module → parameters, in the log's order."""
        return {count.module: count.count for count in self.counts}


def params(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="An ablation file.")] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="ID", help="An entry of the documented log, such as e030.")
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
            help="Boxes that the heads' cost is counted for; default: the setup's rpn_post_nms_top_n_test.",
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
        raise typer.Exit(_compare_documented(json))
    if file and entry is not None:
        raise SpecError(f"--entry {entry}: there is a FILE too", hint=f"leave out --entry or {file}")
    if json and proposals is not None and not cost:
        raise SpecError("--proposals: --json prints parameters alone", hint="add --cost, or leave out --proposals")
    named, dataset = _setups(file, entry, overrides or [], data)
    blocks = _blocks(named, dataset, proposals, cost or not json)
    if json:
        plain = {block.name: _counts_json(block) if cost else block.params for block in blocks}
        print_json(next(iter(plain.values())) if len(plain) == 1 else plain)
        return
    _print_counts(list(blocks), table=cost, chosen=proposals is not None)


def _setups(
    file: Path | None, entry: str | None, overrides: list[str], data: str | None
) -> tuple[dict[str, ModelSetup], DataSet | None]:
    """The setups by name, and the data set that was named."""
    from mmad.config.load import load_setup

    if file:
        ablation, chosen = load_with_data(file, data=data, overrides=overrides)
        setups = {f"{member.whole_setting} / {member.arm}": member.run.setup for member in ablation.members}
        return setups, chosen.dataset
    setup = load_setup(overrides) if entry is None else _entry_setup(entry, overrides)
    return {setup.name: setup}, resolve_data(data).dataset if data else None


def _entry_setup(entry: str, overrides: list[str]) -> ModelSetup:
    from mmad.config.ablation_file import parse_override, split_fields
    from mmad.experiment_log import shipped

    values = {name: value for word in overrides for name, value in parse_override(word).values.items()}
    return shipped.setup_of(shipped.entry(entry), split_fields(values)[0])


def counts_of(setup: ModelSetup, dataset: DataSet | None) -> tuple[ParameterCount, ...]:
    """The counts of ``setup`` for the labels and columns of ``dataset``, or of the documented log."""
    from mmad.detector.build import parameter_counts

    return parameter_counts(setup, *_inputs(setup, dataset))


def _inputs(setup: ModelSetup, dataset: DataSet | None) -> tuple[int, ClinicalColumns]:
    """How many labels and which columns the detector has: the data set's, or those of the documented log."""
    from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS, ClinicalColumns

    if dataset is not None:
        return len(dataset.labels), dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
    numeric, categorical = setup.clinical_numeric, setup.clinical_categorical
    columns = ClinicalColumns(
        tuple(n for n in DOCUMENTED_COLUMNS.numeric if numeric is None or n in numeric),
        tuple(c for c in DOCUMENTED_COLUMNS.categorical if categorical is None or c[0] in categorical),
    )
    return len(DOCUMENTED_LABELS), columns


def _cost_of(setup: ModelSetup, dataset: DataSet | None, proposals: int | None) -> DetectorCost:
    from mmad.detector.cost import detector_cost

    labels, columns = _inputs(setup, dataset)
    return detector_cost(setup, labels, columns, proposals=proposals)


def _blocks(
    named: Mapping[str, ModelSetup], dataset: DataSet | None, proposals: int | None, costs: bool
) -> Iterator[CountedSetup]:
    """A block per setup; equal detectors are counted once."""
    known: dict[str, CountedSetup] = {}
    for name, setup in named.items():
        same = setup.part("architecture", "evaluation")
        if same not in known:
            cost = _cost_of(setup, dataset, proposals) if costs else None
            known[same] = CountedSetup(name, counts_of(setup, dataset), cost)
        yield replace(known[same], name=name)


def _counts_json(block: CountedSetup) -> dict[str, Any]:
    cost = block.cost
    assert cost is not None
    return {
        "params": block.params,
        "idle": list(cost.idle),
        "flops": dict(cost.flops),
        "activations": dict(cost.activations),
        "proposals": cost.proposals,
    }


def _print_counts(blocks: list[CountedSetup], *, table: bool, chosen: bool) -> None:
    """Each block in the log's form, then the table (of several only if asked for), idle modules and the cost."""
    for position, block in enumerate(blocks):
        if len(blocks) > 1:
            typer.echo(f"{'' if position == 0 else chr(10)}{block.name}")
        for count in block.counts:
            typer.echo(f"[{count.module}]: {count.count:,}")
        cost = block.cost
        assert cost is not None
        if table or len(blocks) == 1:
            typer.echo()
            console().print(cost_table(cost))
            typer.echo()
        for line in cost_lines(cost, chosen=chosen):
            typer.echo(line)


_PARTS = {"backbone": "backbone", "clinical": "clinical branch", "rpn": "RPN", "heads": "heads"}


def cost_table(cost: DetectorCost) -> Table:
    """Module by module: parameters, multiply-adds, activations."""
    from rich.table import Table

    title = f"one image in evaluation, {cost.proposals:,} proposals"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("module")
    for head in ("parameters", "trainable", "share", "FLOPs (multiply-adds)", "activations"):
        table.add_column(head, justify="right")
    whole = cost.modules[0].parameters
    for row in cost.modules:
        if row.module.startswith(tuple(f"{name}." for name in cost.idle)):
            continue
        depth = row.module.count(".")
        table.add_row(
            "  " * depth + row.module.rpartition(".")[2] + (" (idle)" if row.module in cost.idle else ""),
            f"{row.parameters:,}",
            f"{row.trainable:,}",
            f"{row.parameters / whole:.1%}",
            _amount(row.flops),
            _amount(row.activations),
        )
    return table


def cost_lines(cost: DetectorCost, *, chosen: bool) -> list[str]:
    """A line per idle module, and the multiply-adds of every part.

    Args:
        cost: of one detector.
        chosen: whether the number of proposals was asked for, or is the setup's.
    """
    sizes = {row.module: row.parameters for row in cost.modules}
    idle = [f"idle: {name} is counted ({sizes[name]:,} parameters), but nothing uses it" for name in cost.idle]
    parts = ", ".join(f"{words} {_amount(cost.flops[part])}" for part, words in _PARTS.items() if cost.flops[part])
    why = "--proposals" if chosen else "rpn_post_nms_top_n_test, the most an evaluation hands on"
    masks = f" and the masks of {cost.masks} detections" if cost.masks else ""
    return [*idle, f"multiply-adds per image: {parts} for {cost.proposals:,} proposals ({why}){masks}"]


def _amount(number: int) -> str:
    """``number`` in three digits and its thousands: 71.6 M."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, f" {larger}"
    return f"{value:.3g}{unit}"


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
            raise SpecError(f"{word}: does not go with --documented", hint=_ALONE)


def _compare_documented(json: bool) -> int:
    """Compare the documented log's counts: 0 when all are met, else 1."""
    from mmad.detector.build import parameter_counts
    from mmad.experiment_log.shipped import compare_counts

    found = compare_counts(lambda setup: {c.module: c.count for c in parameter_counts(setup)})
    for difference in found.differences:
        typer.echo(str(difference), err=json)
    if json:
        print_json(found.counted)
    else:
        typer.echo(f"{found.equal} of {found.printed} printed numbers equal")
    return 1 if found.differences else 0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("params")(params)
