"""``mmad plan``: what an ablation file expands to, what is done, what would run and how long it would take."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.paths import StorePaths
from mmad.base.records import SPLITS
from mmad.cli.common import (
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
)

if TYPE_CHECKING:
    from mmad.base.records import EpochRecord, ParameterCount, RunRecord
    from mmad.cli.common import ChosenData
    from mmad.spec.estimate import Estimator
    from mmad.spec.runs import Ablation, Member
    from mmad.spec.trials import Sizes

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


def register(app: typer.Typer) -> None:
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
    from mmad.spec.estimate import Estimator
    from mmad.spec.trials import Trials

    runs, epochs = _epochs(db)
    tried = None if trials is None else Trials(*_epochs(trials))
    return {run.key: run for run in runs}, Estimator(runs, epochs, tried)


def _epochs(db: str) -> tuple[Sequence[RunRecord], Mapping[str, Sequence[EpochRecord]]]:
    file = StorePaths(db).file
    if file is not None and not file.exists():
        return (), {}
    from mmad.store.gateway import Store

    with Store.open(db, read_only=True) as store:
        runs = store.runs()
        return runs, store.all_epochs([run.key for run in runs])


def _sizes(data: ChosenData) -> Sizes | None:
    from mmad.spec.trials import Sizes

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
    from mmad.cli.params import counts_of

    return counts_of(member.run.setup, data.dataset)


def _missing_weights(rows: Iterable[Row], weights_dir: Path | None) -> dict[str, int]:
    """Weights files that open runs need and that are not here, with how many runs need each."""
    from mmad.spec.weights import find_weights, weights_file

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
    from mmad.spec.consistency import map_sides, shrunken

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
