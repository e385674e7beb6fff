"""``mmad ablate``: train what ablation files ask for, then say who won."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.base.formatting import short_key
from mmad.base.paths import StorePaths, without_password
from mmad.cli.options import (
    DEFAULT_DB,
    AddressOption,
    CheckpointEveryOption,
    DatabaseOption,
    DataOption,
    DeviceOption,
    EngineOption,
    IsolateOption,
    JsonOption,
    MaxHoursOption,
    OnFinishOption,
    OnlyOption,
    PerGpuOption,
    PriorityOption,
    SetOption,
    SlurmOption,
    TensorboardOption,
    WeightsDirOption,
    WeightsOption,
    load_with_data,
    print_json,
    progress_bar,
    runs_per_gpu,
)

if TYPE_CHECKING:
    from mmad.analysis.comparison import CheckpointPair
    from mmad.cli.options import ChosenData
    from mmad.config.runs import Ablation, RunSpec
    from mmad.data.audit.findings import AuditIssue
    from mmad.data.dataset import DataSet
    from mmad.scheduler.devices import Slots
    from mmad.scheduler.executors.base import Executor
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import Submission


# How ``mmad ablate`` ends: what it prints of its runs and pairs, and what it does then.


def conclude(ablations: Sequence[Ablation], db: str, summary: Summary, as_json: bool) -> int:
    """Prints how it ended and who won; the exit code."""
    from mmad.analysis.comparison import checkpoint_pairs
    from mmad.scheduler.submit import asked_for
    from mmad.store.store import Store

    with Store.open(db, create=False) as store:
        records = {record.name: record for record in store.ablations()}
        compared = {a.name: _of_settings(checkpoint_pairs(store, records[a.name]), a) for a in ablations}
        errors = {run.key: run.error for run in store.run_records()}
    asked = asked_for(ablations, db)
    if as_json:
        runs = [{**_row(one), "error": errors.get(one.key)} for one in asked]
        every = [asdict(pair) for group in compared.values() for pair in group]
        print_json({"runs": runs, "pairs": every, "stopped": summary.stopped, "exit_code": summary.exit_code})
    else:
        _tell(summary, asked, compared, db)
    for failure in summary.failed:
        log = StorePaths(db).run(failure.job.key).log
        where = "" if "(log: " in failure.error or not log.exists() else f" (log: {log})"
        print(f"mmad: {failure.job.label} failed: {failure.error}{where}", file=sys.stderr)
    return summary.exit_code


def _of_settings(every: Sequence[CheckpointPair], ablation: Ablation) -> list[CheckpointPair]:
    """The pairs of the settings that were asked for."""
    settings = {member.setting for member in ablation.members}
    return [pair for pair in every if pair.setting in settings]


def _tell(summary: Summary, asked: Sequence[Submission], compared: dict[str, list[CheckpointPair]], db: str) -> None:
    from mmad.analysis.comparison import verdict_lines

    total = len({one.key for one in asked})
    done = len({one.key for one in asked if not one.waits})
    stopped = summary.exit_code == 130
    trained = sum(map(len, (summary.finished, summary.failed, summary.interrupted, summary.halted)))
    if not trained and not summary.stopped:
        typer.echo(f"nothing to do: {_runs(total)} finished already")
    else:
        failed = f", {len(summary.failed)} failed" if summary.failed else ""
        typer.echo(f"{done} of {_runs(total)} finished{failed}")
    for name, group in compared.items():
        for line in verdict_lines(group, whole=not stopped):
            typer.echo(f"{name} / {line}" if len(compared) > 1 else line)
    if summary.halted:
        typer.echo(f"{_runs(len(summary.halted))} stopped by hand: mmad requeue takes them up again")
    if stopped:
        typer.echo(f"interrupted; go on where it stopped with: {said()}")
    elif done:
        option = f" --db {shlex.quote(without_password(db))}" if db != DEFAULT_DB else ""
        typer.echo(f"write the report with: mmad report --html{option}")


def show_dry(asked: Sequence[Submission], as_json: bool) -> None:
    if as_json:
        print_json({"runs": [{**_row(one), "would_run": _would_run(one)} for one in asked]})
        return
    waiting = list(dict.fromkeys(one.key for one in asked if _would_run(one)))
    seen: set[str] = set()
    for one in asked:
        member = one.member
        again = " (the same run as above)" if one.key in seen else ""
        seen.add(one.key)
        action = "would train" if _would_run(one) else "would leave alone" if one.waits else "done already"
        epochs = f"{member.run.protocol.epochs} epoch{'s' * (member.run.protocol.epochs > 1)}"
        standing = f" ({one.status})" if one.status not in ("queued", "finished") else ""
        key = short_key(one.key) + ("*" if member.run.provisional else "")
        typer.echo(
            f"{key}  {action}: {member.ablation} · {member.setting} · {member.arm} · seed {member.seed}, "
            f"{epochs}{standing}{again}"
        )
    if any(one.member.run.provisional for one in asked):
        typer.echo("* the data set is not there yet: the key will change once it is")
    typer.echo(f"{_runs(len(waiting))} would be trained; nothing was written")


def _would_run(one: Submission) -> bool:
    """One that was stopped by hand waits for ``mmad requeue``."""
    return one.waits and one.status != "stopped"


def _row(one: Submission) -> dict[str, Any]:
    member = one.member
    return {
        "key": one.key,
        "ablation": member.ablation,
        "setting": member.setting,
        "arm": member.arm,
        "seed": member.seed,
        "replicate": member.replicate,
        "status": one.status,
    }


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def said() -> str:
    """What the user typed, without the password of a database's URL: it is shown, and kept with each run."""
    return shlex.join(["mmad", *(without_password(word) for word in sys.argv[1:])])


def finish(command: str, summary: Summary, db: str, ablations: Sequence[Ablation]) -> None:
    """Runs the user's command when all is over; its failure is a line and changes nothing else."""
    from mmad.scheduler.submit import run_hook

    warning = run_hook(command, summary, database=db, ablations=[ablation.name for ablation in ablations])
    if warning is not None:
        print(f"mmad: {warning}", file=sys.stderr)


# The audit of data sets before a training: errors refuse it, warnings are said and kept with the runs.


#: Fingerprint of a data set → what its audit warns of.
Warnings = Mapping[str, tuple["AuditIssue", ...]]


def audit_data(datasets: Iterable[DataSet]) -> Warnings:
    """What is to be known of each data set; a line for each kind of warning on stderr. Raises DataError for an error.

    An audit is made once for a data set's content and remembered in the cache.
    """
    from mmad.data.audit.run import remembered_audit, require_sound

    warnings: dict[str, tuple[AuditIssue, ...]] = {}
    for dataset in datasets:
        fingerprint = dataset.fingerprint()
        if fingerprint in warnings:
            continue
        with progress_bar(f"checking {len(dataset.studies)} studies of {dataset.root}") as progress:
            audit = remembered_audit(dataset, progress)
        require_sound(dataset, audit)
        warnings[fingerprint] = audit.warnings
        for line in _lines(audit.warnings):
            print(f"mmad: warning: {dataset.root}: {line}", file=sys.stderr)
    return warnings


def _lines(warnings: Iterable[AuditIssue]) -> list[str]:
    """One line per code: its first finding, and how many more there are."""
    groups: dict[str, list[AuditIssue]] = {}
    for found in warnings:
        groups.setdefault(found.code, []).append(found)
    return [
        f"{code}: {group[0].what}" + (f" (and {len(group) - 1} more like it)" if len(group) > 1 else "")
        for code, group in groups.items()
    ]


def keep_warnings(db: str, ablations: Iterable[Ablation], warnings: Warnings) -> None:
    """Keeps each data set's warnings with the recorded runs that train on it, once."""
    from mmad.store.store import Store

    wanted = {member.run.key for ablation in ablations for member in ablation.members}
    with Store.open(db) as store:
        runs = {run.key: run.dataset_fingerprint for run in store.run_records() if run.key in wanted}
        lines = {key: [found.line for found in warnings.get(print_, ())] for key, print_ in runs.items()}
        known = store.all_warnings([key for key in runs if lines[key]])
        for key, kept in known.items():
            for line in lines[key]:
                if line not in kept:
                    store.add_warning(key, line)


FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ablation files (TOML).")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would run, and touch nothing.")]


def _register_ablate(app: typer.Typer) -> None:
    @app.command("ablate")
    def ablate(
        files: FilesArgument,
        db: DatabaseOption = DEFAULT_DB,
        data: DataOption = None,
        device: DeviceOption = "auto",
        overrides: SetOption = None,
        weights: WeightsOption = None,
        weights_dir: WeightsDirOption = None,
        only: OnlyOption = None,
        per_gpu: PerGpuOption = "1",
        isolate: IsolateOption = False,
        priority: PriorityOption = None,
        max_hours: MaxHoursOption = None,
        checkpoint_every: CheckpointEveryOption = None,
        tensorboard: TensorboardOption = False,
        on_finish: OnFinishOption = None,
        engine: EngineOption = "local",
        address: AddressOption = None,
        slurm: SlurmOption = None,
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Train every run of FILE... that is not finished, and say which arm won.

        Runs train in worker processes, one on each GPU (--per-gpu: several), or side by side on the CPU. Ctrl-C stops
        them after their present step; the same command goes on from there. A run that fails stops no other.
        With --engine ray or slurm they train on a cluster.

        Exit code: 0 all finished, 1 a run failed, 2 something to fix before anything runs, 130 interrupted.
        """
        from mmad.scheduler.executors.factory import engine_slots, make_engine
        from mmad.scheduler.scheduler import Options
        from mmad.scheduler.submit import asked_for, check_weights, halved, narrowed, require_named
        from mmad.scheduler.tensorboard import require_tensorboard

        cluster = (address, tuple(slurm or ()))
        slots = engine_slots(engine, device, runs_per_gpu(per_gpu), *cluster, needs=lambda: known_needs(db))
        if tensorboard:
            require_tensorboard()

        def load(create: bool) -> list[tuple[Ablation, ChosenData]]:
            words = overrides or ()
            return [load_with_data(file, data=data, overrides=words, weights=weights, create=create) for file in files]

        def chosen(loaded: Sequence[tuple[Ablation, ChosenData]]) -> list[tuple[Ablation, ChosenData]]:
            return [(narrowed(ablation, only or ()), data_of) for ablation, data_of in loaded]

        whole = load(create=False)
        require_named([ablation for ablation, _ in whole], only or ())
        loaded = chosen(whole)
        asked = asked_for([ablation for ablation, _ in loaded], db)
        waiting = {one.member.run.key for one in asked if one.waits}
        check_weights([one.member for one in asked if one.waits], weights_dir)
        _check_networks([one.member.run for one in asked if one.waits], on_gpu=slots.on_gpu)
        _check_data(loaded, waiting)
        if dry_run:
            show_dry(asked, as_json)
            return
        if any(one.member.run.provisional for one in asked):
            whole = load(create=True)
            loaded = chosen(whole)
            waiting = {one.member.run.key for one in asked_for([ablation for ablation, _ in loaded], db) if one.waits}
            _check_data(loaded, waiting)
        known = audit_data(dataset for dataset, _ in _data_of(loaded, waiting))
        _prepare_data(loaded, waiting)
        options = Options(
            weights_dir=weights_dir,
            said=said(),
            isolate=isolate,
            max_hours=max_hours,
            checkpoint_every=checkpoint_every,
            tensorboard=tensorboard,
            halve=halved,
        )
        everything = [ablation for ablation, _ in whole]
        runs = [m.run for ablation, _ in loaded for m in ablation.members if m.run.key in waiting]
        trains = make_engine(engine, db, slots, options, *cluster, runs=runs)
        summary = _train(everything, db, slots, options, known, as_json, tuple(only or ()), priority, trains)
        code = conclude([ablation for ablation, _ in loaded], db, summary, as_json)
        if on_finish is not None:
            finish(on_finish, summary, db, everything)
        raise typer.Exit(code)


def known_needs(db: str) -> dict[tuple[str, str], int]:
    """What the database remembers of the memory that runs need; nothing where there is none yet."""
    from mmad.base.errors import StoreError
    from mmad.base.paths import StorePaths
    from mmad.store.store import Store

    file = StorePaths(db).file
    if file is not None and not file.exists():
        return {}
    try:
        with Store.open(db, create=False) as store:
            return dict(store.memory())
    except StoreError as error:
        if error.what.startswith("is empty"):
            return {}
        raise


def _check_networks(runs: Sequence[RunSpec], *, on_gpu: bool) -> None:
    """Refuses what only the device or timm can tell, before anything is queued."""
    from mmad.base.errors import SpecError
    from mmad.base.records import ClinicalColumns
    from mmad.config.checks import TIMM

    if not on_gpu and any(run.setup.mixed_precision for run in runs):
        raise SpecError(
            "mixed_precision = true needs a CUDA device", hint="set mixed_precision = false, or use --device cuda"
        )
    for setup in {run.key: run.setup for run in runs if run.setup.image_backbone.startswith(TIMM)}.values():
        from mmad.detector import parameter_counts

        parameter_counts(setup, columns=ClinicalColumns())  # those of the data set were looked at when it was loaded


def _check_data(loaded: Sequence[tuple[Ablation, ChosenData]], waiting: Container[str]) -> None:
    """Refuses data sets that are there and that nothing can be trained on, where something waits for them."""
    for dataset, _ in _data_of(loaded, waiting):
        from mmad.data.image_cache import require_trainable

        require_trainable(dataset)


def _prepare_data(loaded: Sequence[tuple[Ablation, ChosenData]], waiting: Container[str]) -> None:
    """Decodes what the waiting runs will read: a damaged image stops the command, not its runs one by one."""
    for dataset, sizes in _data_of(loaded, waiting):
        from mmad.data.image_cache import prepare_images

        with progress_bar(f"reading {len(dataset.studies)} images of {dataset.root}") as progress:
            prepare_images(dataset, sizes, progress)


def _data_of(
    loaded: Sequence[tuple[Ablation, ChosenData]], waiting: Container[str]
) -> Iterator[tuple[DataSet, set[int]]]:
    """Each data set that is there with the sizes of images that the waiting runs on it want."""
    for ablation, chosen in loaded:
        sizes = {member.run.setup.image_size for member in ablation.members if member.run.key in waiting}
        if chosen.dataset is not None and sizes:
            yield chosen.dataset, sizes


def _train(
    ablations: Sequence[Ablation],
    db: str,
    slots: Slots,
    options: Options,
    known: Warnings,
    as_json: bool,
    only: Sequence[str],
    priority: int | None,
    engine: Executor | None,
) -> Summary:
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.progress import choose_view
    from mmad.scheduler.scheduler import run_jobs
    from mmad.scheduler.submit import queue_up

    jobs = queue_up(ablations, db, only=only, priority=priority)
    if not jobs:
        return Summary((), (), ())
    keep_warnings(db, ablations, known)
    view = choose_view(sys.stderr if as_json else sys.stdout)
    return run_jobs(db, jobs, slots, view, options, engine=engine)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    _register_ablate(app)
