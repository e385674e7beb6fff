"""``mmad ablate``: train what ablation files ask for, then say who won."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from mmad.cli.audit import Warnings
    from mmad.cli.common import ChosenData
    from mmad.data.dataset import DataSet
    from mmad.queue.jobs import Summary
    from mmad.queue.submission import Asked
    from mmad.queue.verdicts import Pair
    from mmad.spec.runs import Ablation, RunSpec

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ablation files (TOML).")]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to train; auto takes every GPU found.")
]
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
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Train every run of FILE... that is not finished, and say which arm won.

        Runs train in processes of their own, one on each GPU, or side by side on the CPU. Ctrl-C stops them after
        their present step; the same command goes on at the last committed epoch. A run that fails stops no other.

        Exit code: 0 all finished, 1 a run failed, 2 something to mend before anything runs, 130 interrupted.
        """
        from mmad.queue.slots import find_slots
        from mmad.queue.submission import asked_for, check_weights

        slots = find_slots(device)

        def load(create: bool) -> list[tuple[Ablation, ChosenData]]:
            words = overrides or ()
            return [load_with_data(file, data=data, overrides=words, weights=weights, create=create) for file in files]

        loaded = load(create=False)
        asked = asked_for([ablation for ablation, _ in loaded], db)
        waiting = {one.member.run.key for one in asked if one.waits}
        check_weights([one.member for one in asked if one.waits], weights_dir)
        _check_networks([one.member.run for one in asked if one.waits], on_gpu=slots.on_gpu)
        _check_data(loaded, waiting)
        if dry_run:
            _show_dry(asked, as_json)
            return
        if any(one.member.run.provisional for one in asked):
            loaded = load(create=True)
            waiting = {one.member.run.key for one in asked_for([ablation for ablation, _ in loaded], db) if one.waits}
            _check_data(loaded, waiting)
        known = audit_data(dataset for dataset, _ in _data_of(loaded, waiting))
        _prepare_data(loaded, waiting)
        ablations = [ablation for ablation, _ in loaded]
        summary = _train(ablations, db, slots, weights_dir, known, as_json)
        code = _conclude(ablations, db, summary, as_json)
        raise typer.Exit(code)


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
    ablations: Sequence[Ablation], db: str, slots: Any, weights_dir: Path | None, known: Warnings, as_json: bool
) -> Summary:
    from mmad.queue.jobs import Summary
    from mmad.queue.scheduler import Options, work_off
    from mmad.queue.submission import queue_up
    from mmad.queue.view import choose_view

    jobs = queue_up(ablations, db)
    if not jobs:
        return Summary((), (), ())
    keep_warnings(db, ablations, known)
    view = choose_view(sys.stderr if as_json else sys.stdout)
    return work_off(db, jobs, slots, view, Options(weights_dir=weights_dir, said=_said()))


def _conclude(ablations: Sequence[Ablation], db: str, summary: Summary, as_json: bool) -> int:
    """Prints how it ended and who won; the exit code."""
    from mmad.queue.submission import asked_for
    from mmad.queue.verdicts import pairs
    from mmad.store.gateway import Store

    with Store.open(db, create=False) as store:
        records = {record.name: record for record in store.ablations()}
        compared = {a.name: pairs(store, records[a.name]) for a in ablations}
        errors = {run.key: run.error for run in store.runs()}
    asked = asked_for(ablations, db)
    if as_json:
        runs = [{**_row(one), "error": errors.get(one.member.run.key)} for one in asked]
        every = [asdict(pair) for group in compared.values() for pair in group]
        print_json({"runs": runs, "pairs": every, "stopped": summary.stopped, "exit_code": summary.exit_code})
    else:
        _tell(summary, asked, compared, db)
    for failure in summary.failed:
        print(f"mmad: {failure.job.label} failed: {failure.error}", file=sys.stderr)
    return summary.exit_code


def _tell(summary: Summary, asked: Sequence[Asked], compared: dict[str, list[Pair]], db: str) -> None:
    from mmad.queue.verdicts import verdict_lines

    total = len({one.member.run.key for one in asked})
    done = len({one.member.run.key for one in asked if not one.waits})
    stopped = summary.exit_code == 130
    trained = len(summary.finished) + len(summary.failed) + len(summary.interrupted)
    if not trained and not summary.stopped:
        typer.echo(f"nothing to do: {_runs(total)} finished already")
    else:
        failed = f", {len(summary.failed)} failed" if summary.failed else ""
        typer.echo(f"{done} of {_runs(total)} finished{failed}")
    for name, group in compared.items():
        for line in verdict_lines(group, whole=not stopped):
            typer.echo(f"{name} / {line}" if len(compared) > 1 else line)
    if stopped:
        typer.echo(f"interrupted; go on at the last committed epochs with: {_said()}")
    elif done:
        option = f" --db {shlex.quote(_without_password(db))}" if db != DEFAULT_DB else ""
        typer.echo(f"write the report with: mmad report --html{option}")


def _show_dry(asked: Sequence[Asked], as_json: bool) -> None:
    if as_json:
        print_json({"runs": [{**_row(one), "would_run": one.waits} for one in asked]})
        return
    waiting = list(dict.fromkeys(one.member.run.key for one in asked if one.waits))
    seen: set[str] = set()
    for one in asked:
        member = one.member
        again = " (the same run as above)" if member.run.key in seen else ""
        seen.add(member.run.key)
        action = "would train" if one.waits else "done already"
        epochs = f"{member.run.protocol.epochs} epoch{'s' * (member.run.protocol.epochs > 1)}"
        standing = f" ({one.status})" if one.status not in ("queued", "finished") else ""
        key = member.run.key[:12] + ("*" if member.run.provisional else "")
        typer.echo(
            f"{key}  {action}: {member.ablation} · {member.setting} · {member.arm} · seed {member.seed}, "
            f"{epochs}{standing}{again}"
        )
    if any(one.member.run.provisional for one in asked):
        typer.echo("* the data set is not there yet: the key will change once it is")
    typer.echo(f"{_runs(len(waiting))} would be trained; nothing was written")


def _row(one: Asked) -> dict[str, Any]:
    member = one.member
    return {
        "key": member.run.key,
        "ablation": member.ablation,
        "setting": member.setting,
        "arm": member.arm,
        "seed": member.seed,
        "replicate": member.replicate,
        "status": one.status,
    }


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _said() -> str:
    """What the user typed, without the password of a database's URL: it is shown, and kept with each run."""
    return shlex.join(["mmad", *(_without_password(word) for word in sys.argv[1:])])


def _without_password(word: str) -> str:
    """A word without the password of a URL in it."""
    return re.sub(r"(\w://[^:/@]*):[^@]*@", r"\1:***@", word)
