"""``mmad plan``: what an ablation file expands to, what is done, what would run and how long it would take."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.errors import SpecError, WeightsError
from mmad.base.paths import StorePaths
from mmad.base.records import SPLITS
from mmad.cli.options import (
    DEFAULT_DB,
    DatabaseOption,
    DataOption,
    JsonOption,
    SetOption,
    WeightsDirOption,
    WeightsOption,
    duration,
    load_with_data,
    make_console,
    print_json,
    resolve_data,
)

if TYPE_CHECKING:
    from mmad.base.records import ClinicalColumns, EpochRecord, ParameterCount, RunRecord
    from mmad.cli.options import ChosenData
    from mmad.config.estimate import Estimator, Sizes
    from mmad.config.runs import Ablation, Member
    from mmad.config.setup import ModelSetup
    from mmad.data.dataset import DataSet
    from mmad.detector.cost import DetectorCost


#: What the table says where the store says something shorter.
_WORDS = {"new": "would run", "finished": "done", "queued": "would run (queued)", "interrupted": "would go on"}
_SHORT_KEY = 10


@dataclass(frozen=True)
class Row:
    """One member with what is known about its run."""

    member: Member
    key: str
    status: str
    shared_with: int | None
    seconds: float | None
    counts: tuple[ParameterCount, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the run still costs time (a shared one is counted with its first member)."""
        return self.status != "finished" and self.shared_with is None


@dataclass(frozen=True)
class Plan:
    """One file's members and data set."""

    ablation: Ablation
    data: ChosenData
    rows: tuple[Row, ...]
    missing: Mapping[str, int]


def _register_plan(app: typer.Typer) -> None:
    @app.command("plan")
    def plan(
        files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ablation files.")],
        data: DataOption = None,
        db: DatabaseOption = DEFAULT_DB,
        overrides: SetOption = None,
        weights: WeightsOption = None,
        weights_dir: WeightsDirOption = None,
        trials: Annotated[
            str | None,
            typer.Option(
                "--trials",
                metavar="PATH|URL",
                help="A database of runs tried with steps_per_epoch: tells the time of runs like none recorded.",
                show_default=False,
            ),
        ] = None,
        params: Annotated[bool, typer.Option("--params", help="Add parameter counts (loads torch).")] = False,
        json: JsonOption = False,
    ) -> None:
        """Show the members of ablation files: keys, what is done, what would run, for how long.

        Nothing is written. Missing weights are named and do not fail the plan.

        --json prints {"runs": [{key, ablation, setting, arm, seed, documented, status, setup, protocol, …}],
        "provisional", "missing_weights", "estimate_seconds"}; status is new, queued, running, finished,
        failed or interrupted.
        """
        loaded = [load_with_data(file, data=data, overrides=overrides or (), weights=weights) for file in files]
        recorded, estimator = _recorded(db, trials)
        plans = [_plan(ablation, chosen, recorded, estimator, weights_dir, params) for ablation, chosen in loaded]
        if json:
            print_json(_as_json(plans, params))
            return
        for one in plans:
            _print_table(one, params)
        _print_total(plans)


def _recorded(db: str, trials: str | None) -> tuple[Mapping[str, RunRecord], Estimator]:
    """What the databases say about runs, without making one."""
    from mmad.config.estimate import Estimator, Trials

    runs, epochs = _epochs(db)
    tried = None if trials is None else Trials(*_epochs(trials))
    return {run.key: run for run in runs}, Estimator(runs, epochs, tried)


def _epochs(db: str) -> tuple[Sequence[RunRecord], Mapping[str, Sequence[EpochRecord]]]:
    file = StorePaths(db).file
    if file is not None and not file.exists():
        return (), {}
    from mmad.store.store import Store

    with Store.open(db, read_only=True) as store:
        runs = store.runs()
        return runs, store.all_epochs([run.key for run in runs])


def _sizes(data: ChosenData) -> Sizes | None:
    from mmad.config.estimate import Sizes

    found = data.dataset
    return None if found is None else Sizes(*(len(found.split(split)) for split in SPLITS))


def _plan(
    ablation: Ablation,
    data: ChosenData,
    recorded: Mapping[str, RunRecord],
    estimator: Estimator,
    weights_dir: Path | None,
    params: bool,
) -> Plan:
    rows: list[Row] = []
    first: dict[str, int] = {}
    sizes = _sizes(data)
    for position, member in enumerate(ablation.members):
        key = member.run.key
        run = recorded.get(key)
        shared = first.setdefault(key, position)
        rows.append(
            Row(
                member=member,
                key=key,
                status="new" if run is None else run.status,
                shared_with=shared if shared != position else None,
                seconds=estimator.seconds(member.run, 0 if run is None else run.epochs_done, sizes),
                counts=_counts(member, data) if params else (),
            )
        )
    return Plan(ablation, data, tuple(rows), _missing_weights(rows, weights_dir))


def _counts(member: Member, data: ChosenData) -> tuple[ParameterCount, ...]:

    return counts_of(member.run.setup, data.dataset)


def _missing_weights(rows: Iterable[Row], weights_dir: Path | None) -> dict[str, int]:
    """Weights files that open runs need and that are not here, with how many runs need each."""
    from mmad.config.weights import find_weights, weights_file

    missing: dict[str, int] = {}
    for row in rows:
        run = row.member.run
        if row.open and run.protocol.weights_hash and find_weights(run.setup.image_backbone, weights_dir) is None:
            name = weights_file(run.setup.image_backbone)
            missing[name] = missing.get(name, 0) + 1
    return missing


def _as_json(plans: Sequence[Plan], params: bool) -> dict[str, Any]:
    rows = [row for plan in plans for row in plan.rows]
    missing: dict[str, int] = {}
    for plan in plans:
        for name, number in plan.missing.items():
            missing[name] = missing.get(name, 0) + number
    return {
        "runs": [_row_json(row, params) for row in rows],
        "provisional": any(row.member.run.provisional for row in rows),
        "missing_weights": missing,
        "estimate_seconds": _total(rows),
    }


def _row_json(row: Row, params: bool) -> dict[str, Any]:
    member, run = row.member, row.member.run
    content = {
        "key": row.key,
        "ablation": member.ablation,
        "setting": member.setting,
        "arm": member.arm,
        "seed": member.seed,
        "replicate": member.replicate,
        "documented": member.documented,
        "status": row.status,
        "provisional": run.provisional,
        "estimate_seconds": row.seconds if row.status != "finished" else 0.0,
        "inferred": member.inferred,
        "overrides": member.overrides,
        "setup": run.setup.model_dump(mode="json"),
        "protocol": run.content()["protocol"] | member.evaluation.model_dump(mode="json"),
    }
    return content | ({"params": {count.module: count.count for count in row.counts}} if params else {})


def _total(rows: Iterable[Row]) -> float | None:
    """Seconds of all open runs one after the other; None as soon as one is unknown."""
    seconds = {row.key: row.seconds for row in rows if row.open}
    known = [value for value in seconds.values() if value is not None]
    return sum(known, 0.0) if len(known) == len(seconds) else None


def _print_table(plan: Plan, params: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    ablation = plan.ablation
    table = Table(title=Text(f"{ablation.name}: {ablation.title}"), title_justify="left", title_style="bold")
    for head in ("#", "setting", "arm", "seed", "log", "key", *(("parameters",) if params else ()), "status", "time"):
        numeric = head in ("#", "seed", "parameters", "time")
        table.add_column(head, justify="right" if numeric else "left", no_wrap=head in ("key", "#"), overflow="fold")
    for position, row in enumerate(plan.rows):
        member = row.member
        status = _WORDS.get(row.status, row.status)
        if row.shared_with is not None:
            status = f"{'done' if row.status == 'finished' else 'shared'} with #{row.shared_with + 1}"
        cells = [
            str(position + 1),
            member.setting,
            member.arm,
            str(member.seed) + (f" (repeat {member.replicate})" if member.replicate > 1 else ""),
            member.documented or "–",
            row.key[:_SHORT_KEY] + ("?" if member.run.provisional else ""),
            *([f"{row.counts[0].count:,}"] if params else []),
            status,
            duration(row.seconds) if row.open else "–",
        ]
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for note in _notes(plan):
        print(note, file=sys.stderr)


def _notes(plan: Plan) -> list[str]:
    from mmad.config.checks import map_sides, shrunken

    notes = [] if plan.data.note is None else [plan.data.note]
    setups = {row.key: row.member.run.setup.stock() for row in plan.rows if row.open}
    warned = [said for setup in setups.values() if (said := shrunken(setup, map_sides(setup))) is not None]
    notes += [f"{_number(warned.count(said), 'run')}: {said}" for said in dict.fromkeys(warned)]
    for name, number in plan.missing.items():
        notes.append(
            f"missing weights: {name}, needed by {_number(number, 'run')}; fetch them with "
            "`mmad weights --fetch`, name their folder with --weights-dir, or train from scratch with --weights none"
        )
    return notes


def _print_total(plans: Sequence[Plan]) -> None:
    rows = [row for plan in plans for row in plan.rows]
    runs = {row.key: row for row in rows if row.shared_with is None}
    waiting = [row for row in runs.values() if row.open]
    known = [row.seconds for row in waiting if row.seconds is not None]
    time = f"about {duration(sum(known))} one after the other" if known else "time unknown: none like them yet"
    if 0 < len(known) < len(waiting):
        time += f" for {len(known)} of them, none like the others yet"
    words = f"{len(waiting)} to run, {time}" if waiting else "all done"
    print(f"{_number(len(rows), 'member')}, {_number(len(runs), 'run')}: {words}")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# ``mmad params``: what a setup's detector is made of and costs, and whether the log's counts are met.


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


def _register_params(app: typer.Typer) -> None:
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
            raise SpecError(f"--entry {entry}: there is a FILE too", hint=f"leave out --entry or {file}")
        if json and proposals is not None and not cost:
            raise SpecError("--proposals: --json tells parameters alone", hint="add --cost, or leave out --proposals")
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
    from mmad.config.load import load_setup

    return load_setup(overrides)


def _of_entry(entry: str, overrides: list[str]) -> ModelSetup:
    from mmad import experiment_log
    from mmad.config.ablation_file import parse_override, split_fields

    values = {name: value for word in overrides for name, value in parse_override(word).values.items()}
    return experiment_log.setup_of(experiment_log.entry(entry), split_fields(values)[0])


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
) -> Iterator[CountedSetup]:
    """A block per setup; equal architectures are counted once."""
    from mmad.config.checks import architecture

    known: dict[str, CountedSetup] = {}
    for name, setup in named.items():
        same = architecture(setup)
        if same not in known:
            cost = _cost_of(setup, dataset, proposals) if costs else None
            known[same] = CountedSetup(name, counts_of(setup, dataset), cost)
        yield replace(known[same], name=name)


def _plain(block: CountedSetup) -> dict[str, Any]:
    cost = block.cost
    assert cost is not None
    return {
        "params": block.params,
        "idle": list(cost.idle),
        "flops": dict(cost.flops),
        "activations": dict(cost.activations),
        "proposals": cost.proposals,
    }


def _write(blocks: list[CountedSetup], *, table: bool, chosen: bool) -> None:
    """Each block in the log's form, then the table (of several only if asked for), idle modules and the cost."""
    from mmad.cli.output import cost_lines, cost_table

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
            raise SpecError(f"{word}: does not go with --documented", hint=_ALONE)


def _compare(json: bool) -> int:
    """Compare the documented log's counts: 0 when all are met, else 1."""
    from mmad.detector import parameter_counts
    from mmad.experiment_log import compare_counts

    found = compare_counts(lambda setup: {c.module: c.count for c in parameter_counts(setup)})
    for difference in found.differences:
        typer.echo(str(difference), err=json)
    if json:
        print_json(found.counted)
    else:
        typer.echo(f"{found.equal} of {found.printed} printed numbers equal")
    return 1 if found.differences else 0


# ``mmad weights``: which pretrained weights are needed, which are here, and fetching them.


def _register_weights(app: typer.Typer) -> None:
    @app.command("weights")
    def weights(
        file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="List only what this file needs.")] = None,
        fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what is missing (loads torch).")] = False,
        weights_dir: WeightsDirOption = None,
        json: JsonOption = False,
    ) -> None:
        """List the ImageNet weights of the backbones and whether they are here; fetch the missing ones.

        They are looked for in --weights-dir, then in torch's own cache, under torchvision's file names (timm's as
        timm-NAME.safetensors); --fetch writes to the first of these. Without FILE torchvision's are listed.

        --json prints [{backbone, file, path}], path null where the file is missing.
        """
        from mmad.config.weights import find_weights, torch_checkpoints

        backbones = _needed(file)
        if weights_dir is not None and fetch:
            _make(weights_dir)
        found = {backbone: find_weights(backbone, weights_dir) for backbone in backbones}
        if fetch and (missing := [backbone for backbone, path in found.items() if path is None]):
            _fetch(missing, weights_dir or torch_checkpoints())
            found = {backbone: find_weights(backbone, weights_dir) for backbone in backbones}
        _print(found, json)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name another folder with --weights-dir"
        raise WeightsError(f"no folder can be made here ({error.strerror})", where=folder, hint=hint) from None


def _needed(file: Path | None) -> tuple[str, ...]:
    """The backbones whose weights ``file`` needs, or all that can be built."""
    from mmad.config.load import load_ablation
    from mmad.config.setup import BACKBONES

    if file is None:
        return BACKBONES
    runs = [member.run for member in load_ablation(file).members]
    return tuple(dict.fromkeys(run.setup.image_backbone for run in runs if run.protocol.weights_hash))


def _print(found: dict[str, Path | None], json: bool) -> None:
    from rich.table import Table

    from mmad.config.weights import weights_file

    if json:
        print_json(
            [
                {"backbone": backbone, "file": weights_file(backbone), "path": None if path is None else str(path)}
                for backbone, path in found.items()
            ]
        )
        return
    if not found:
        typer.echo("no weights are needed: nothing here starts pretrained")
        return
    table = Table("backbone", "file", "where")
    for backbone, path in found.items():
        table.add_row(backbone, weights_file(backbone), "missing" if path is None else str(path.parent))
    make_console().print(table)


def _fetch(backbones: list[str], folder: Path) -> None:
    """Download the weights of ``backbones`` into ``folder``, their hashes checked.

    Raises:
        WeightsError: no connection, or a file that is not what its name says.
    """
    import torch
    from torchvision.models import get_model_weights

    from mmad.config.checks import TIMM
    from mmad.config.weights import WEIGHTS_MODELS, weights_file

    for name, backbone in {weights_file(backbone): backbone for backbone in backbones}.items():
        if backbone.startswith(TIMM):
            _fetch_timm(backbone, folder)
            continue
        url = get_model_weights(WEIGHTS_MODELS[backbone]).IMAGENET1K_V1.url
        typer.echo(f"fetching {name} into {folder} …", err=True)
        try:
            torch.hub.load_state_dict_from_url(
                url, model_dir=str(folder), map_location="cpu", check_hash=True, file_name=name, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{name} could not be fetched ({error})",
                hint=f"connect to the network, or copy the file into {folder} by hand",
            ) from error


def _fetch_timm(backbone: str, folder: Path) -> None:
    from mmad.config.checks import TIMM
    from mmad.config.weights import weights_file
    from mmad.detector.timm_body import save_weights

    file = folder / weights_file(backbone)
    typer.echo(f"fetching {file.name} into {folder} …", err=True)
    try:
        save_weights(backbone.removeprefix(TIMM), file)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{file.name} could not be fetched ({error})",
            hint=f"connect to the network, or copy the file into {folder} by hand",
        ) from error


# ``mmad schema``: the JSON Schema of the ablation file.


def _register_schema(app: typer.Typer) -> None:
    @app.command("schema")
    def schema() -> None:
        """Print the JSON Schema (draft 4) of the ablation file.

        The shipped files name their copy of it in the first line, so that editors with Taplo complete and check them.
        """
        from mmad.config.schema import ablation_schema

        print_json(ablation_schema())


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    _register_plan(app)
    _register_params(app)
    _register_weights(app)
    _register_schema(app)
