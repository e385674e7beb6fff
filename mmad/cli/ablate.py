"""``mmad ablate``: train what ablation files ask for, then say who won."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.audit import audit_data, keep_warnings
from mmad.cli.common import (
    DEFAULT_DB,
    DatabaseOption,
    DataOption,
    JsonOption,
    SetOption,
    WeightsDirOption,
    WeightsOption,
    load_with_data,
    progress_bar,
)
from mmad.cli.outcome import conclude, finish, said, show_dry
from mmad.cli.queue_options import (
    AddressOption,
    CheckpointEveryOption,
    DeviceOption,
    EngineOption,
    IsolateOption,
    MaxHoursOption,
    OnFinishOption,
    OnlyOption,
    PerGpuOption,
    PriorityOption,
    SlurmOption,
    TensorboardOption,
    runs_per_gpu,
)

if TYPE_CHECKING:
    from mmad.cli.audit import Warnings
    from mmad.cli.common import ChosenData
    from mmad.data.dataset import DataSet
    from mmad.queue.engine import Engine
    from mmad.queue.jobs import Summary
    from mmad.queue.scheduler import Options
    from mmad.queue.slots import Slots
    from mmad.spec.runs import Ablation, RunSpec

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ablation files (TOML).")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would run, and touch nothing.")]


def register(app: typer.Typer) -> None:
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

        Exit code: 0 all finished, 1 a run failed, 2 something to mend before anything runs, 130 interrupted.
        """
        from mmad.queue.engines import engine_slots, make_engine
        from mmad.queue.scheduler import Options
        from mmad.queue.submission import asked_for, check_weights, halved, narrowed, require_named
        from mmad.queue.tensorboard import require_tensorboard

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
    from mmad.store.gateway import Store

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
    from mmad.spec.consistency import TIMM

    if not on_gpu and any(run.setup.mixed_precision for run in runs):
        raise SpecError(
            "mixed_precision = true needs a CUDA device", mend="set mixed_precision = false, or use --device cuda"
        )
    for setup in {run.key: run.setup for run in runs if run.setup.image_backbone.startswith(TIMM)}.values():
        from mmad.detector import parameter_counts

        parameter_counts(setup, columns=ClinicalColumns())  # those of the data set were looked at when it was loaded


def _check_data(loaded: Sequence[tuple[Ablation, ChosenData]], waiting: Container[str]) -> None:
    """Refuses data sets that are there and that nothing can be trained on, where something waits for them."""
    for dataset, _ in _data_of(loaded, waiting):
        from mmad.data.readiness import require_trainable

        require_trainable(dataset)


def _prepare_data(loaded: Sequence[tuple[Ablation, ChosenData]], waiting: Container[str]) -> None:
    """Decodes what the waiting runs will read: a damaged image stops the command, not its runs one by one."""
    for dataset, sizes in _data_of(loaded, waiting):
        from mmad.data.readiness import prepare_images

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
    engine: Engine | None,
) -> Summary:
    from mmad.queue.jobs import Summary
    from mmad.queue.scheduler import work_off
    from mmad.queue.submission import queue_up
    from mmad.queue.view import choose_view

    jobs = queue_up(ablations, db, only=only, priority=priority)
    if not jobs:
        return Summary((), (), ())
    keep_warnings(db, ablations, known)
    view = choose_view(sys.stderr if as_json else sys.stdout)
    return work_off(db, jobs, slots, view, options, engine=engine)
