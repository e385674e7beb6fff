"""``mmad ablate``: train what ablation files ask for, then say what came out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mmad.api.loading import load_with_data, on_data, read_anew
from mmad.api.training import check_ablations, due, known_memory, run_ablations
from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.json_values import picked
from mmad.base.paths import StorePaths, command_line
from mmad.cli.options import (
    DEFAULT_DB,
    AddressOption,
    CheckpointEveryOption,
    DatabaseOption,
    DataOption,
    DetachOption,
    DeviceOption,
    ExecutorOption,
    GroupedCommand,
    IsolateOption,
    JobsOption,
    JsonOption,
    MaxHoursOption,
    OnFinishOption,
    OnlyOption,
    PerGpuOption,
    PriorityOption,
    SetOption,
    SlurmOption,
    TemplateOption,
    TensorboardOption,
    WeightsDirOption,
    WeightsOption,
    database_words,
    runs_per_gpu,
)
from mmad.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from mmad.analysis.comparison import Comparison, NotComparable
    from mmad.config.runs import Ablation
    from mmad.scheduler.jobs import Summary
    from mmad.scheduler.submit import Submission

#: The exit code of who interrupts.
INTERRUPTED = 130
#: Seconds between two looks at a command that begins in the background.
_LOOK = 0.1

# How ``mmad ablate`` ends: what it prints of its runs and pairs, and what it does then.


def conclude(
    ablations: Sequence[Ablation], db: str, summary: Summary, as_json: bool, external: str | None = None
) -> int:
    """Prints how it ended and the verdicts; the exit code. Whoever interrupts is not kept waiting for verdicts.

    Args:
        external: the device on which finished runs are evaluated on external data sets first; None for not here.
    """
    from mmad.analysis.comparison import compare_stored
    from mmad.analysis.evaluation_target import DetectionStore
    from mmad.analysis.verdicts import finished_pairs
    from mmad.api.results import evaluate_external
    from mmad.config.runs import TRIALS
    from mmad.scheduler.submit import asked_for
    from mmad.store.store import Store

    with Store.open(db, create=False) as store:
        detections = DetectionStore()
        problems: list[MmadError] = []
        if external is not None and summary.exit_code != INTERRUPTED:
            for one in ablations:
                if one.name.endswith(TRIALS):
                    continue
                try:
                    problems += evaluate_external(store, detections, one.name, external, progress_bar)
                except MmadError as error:
                    problems.append(error)
        compared = {
            a.name: _of_settings(
                compare_stored(store, a.name)
                if summary.exit_code == INTERRUPTED
                else finished_pairs(store, detections, a.name),
                a,
            )
            for a in ablations
        }
        errors = {run.key: run.error for run in store.run_records()}
    asked = asked_for(ablations, db)
    if as_json:
        runs = [{**_row(one), "error": errors.get(one.key)} for one in asked]
        print_json({"runs": runs, **_pairs(compared), "stopped": summary.cancelled, "exit_code": summary.exit_code})
    else:
        _print_end(summary, asked, compared, db)
    for failure in summary.failed:
        log = StorePaths(db).run(failure.job.key).log
        where = "" if "(log: " in failure.error or not log.exists() else f" (log: {log})"
        print(f"mmad: {failure.job.label} failed: {failure.error}{where}", file=sys.stderr)
    for problem in problems:
        print(f"mmad: not evaluated on external data: {problem}", file=sys.stderr)
    return summary.exit_code or (2 if problems else 0)


def _of_settings(every: Sequence[Comparison | NotComparable], ablation: Ablation) -> list[Comparison | NotComparable]:
    """The pairs of the settings that were asked for."""
    settings = {member.whole_setting for member in ablation.members}
    return [one for one in every if one.setting in settings]


def _pairs(compared: Mapping[str, Sequence[Comparison | NotComparable]]) -> dict[str, Any]:
    from mmad.analysis.comparison import NotComparable
    from mmad.analysis.evaluation_json import plain_ablation_pairs, plain_refusal, plain_verdicts

    found = [one for group in compared.values() for one in group]
    refused = [one for one in found if isinstance(one, NotComparable)]
    pairs = [one for one in found if not isinstance(one, NotComparable)]
    return {
        "pairs": plain_ablation_pairs(pairs),
        "verdicts": plain_verdicts(pairs),
        "refused": [{"ablation": one.ablation, **plain_refusal(one)} for one in refused],
    }


def _print_end(
    summary: Summary,
    asked: Sequence[Submission],
    compared: Mapping[str, Sequence[Comparison | NotComparable]],
    db: str,
) -> None:
    from mmad.analysis.comparison import NotComparable, benefits, line_of

    total = len({one.key for one in asked})
    done = len({one.key for one in asked if not one.waits})
    stopped = summary.exit_code == INTERRUPTED
    trained = sum(map(len, (summary.finished, summary.failed, summary.interrupted, summary.stopped)))
    if not trained and not summary.cancelled:
        typer.echo(f"nothing to do: {_runs(total)} finished already")
    else:
        failed = f", {len(summary.failed)} failed" if summary.failed else ""
        typer.echo(f"{done} of {_runs(total)} finished{failed}")
    for name, group in compared.items():
        for line in (line_of(one) for one in group if isinstance(one, NotComparable) or not stopped):
            typer.echo(f"{name} / {line}" if len(compared) > 1 else line)
        for benefit in benefits(one for one in group if not isinstance(one, NotComparable)):
            typer.echo(f"{name} / {benefit.line}" if len(compared) > 1 else benefit.line)
    if summary.stopped:
        typer.echo(f"{_runs(len(summary.stopped))} stopped by hand: mmad requeue takes them up again")
    if stopped:
        typer.echo(f"interrupted; resume it with: {_typed()}")
    elif done:
        typer.echo(f"write the report with: mmad report --html{database_words(db)}")


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
        status = f" ({one.status})" if one.status not in ("queued", "finished") else ""
        key = short_key(one.key) + ("*" if member.run.provisional else "")
        typer.echo(
            f"{key}  {action}: {member.ablation} · {member.setting} · {member.arm} · seed {member.seed}, "
            f"{epochs}{status}{again}"
        )
    if any(one.member.run.provisional for one in asked):
        typer.echo("* the data set or the weights are not there yet: the key will change once they are")
    typer.echo(f"{_runs(len(waiting))} would be trained; nothing was written")


def _would_run(one: Submission) -> bool:
    """One that was stopped by hand waits for ``mmad requeue``."""
    return one.waits and one.status != "stopped"


def _row(one: Submission) -> dict[str, Any]:
    member = picked(one.member, "ablation", "setting", "arm", "seed", "replicate")
    return {"key": one.key, **member, "status": one.status}


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _typed() -> str:
    """What the user typed, without its secrets: it is shown, and recorded with each run."""
    return command_line(["mmad", *sys.argv[1:]])


def finish(command: str, summary: Summary, db: str, ablations: Sequence[Ablation]) -> None:
    """Runs the user's command when all is over; its failure is a line and changes nothing else."""
    from mmad.scheduler.submit import run_hook

    warning = run_hook(command, summary, database=db, ablations=[ablation.name for ablation in ablations])
    if warning is not None:
        print(f"mmad: {warning}", file=sys.stderr)


def start_in_background(db: str) -> NoReturn:
    """Begins this command in the background, and waits until its runs are handed out, or it has ended.

    What it prints until then is printed here; Ctrl-C leaves it to itself.
    """
    from mmad.scheduler.detached import Background
    from mmad.scheduler.run_log import Tail

    background = Background(db)
    process = background.start(sys.argv[1:])
    with Tail(background.paths) as tail, contextlib.suppress(KeyboardInterrupt):
        while True:
            over = process.poll() is not None
            for piece in tail.read():
                sys.stderr.write(piece)
            if over:
                raise typer.Exit(process.returncode if process.returncode >= 0 else 1)
            found = background.read()
            if found is not None and found.owner.pid == process.pid and found.training:
                break
            time.sleep(_LOOK)
    typer.echo(f"process {process.pid} works in the background; its log: {background.paths.log}")
    typer.echo(
        f"follow it with mmad attach{database_words(db)}, stop it with mmad stop --scheduler{database_words(db)}"
    )
    raise typer.Exit


def _warn_of_background(db: str) -> None:
    """Says that a command of this database works in the background, on the same devices."""
    from mmad.scheduler.detached import Background

    background = Background(db)
    found = background.read()
    if found is not None and background.alive(found):
        line = f"process {found.owner.pid} works in the background too (mmad attach): both share the devices"
        print(f"mmad: warning: {line}", file=sys.stderr)


FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE", help="Ablation files (TOML).")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would run, and touch nothing.")]


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
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    slurm: SlurmOption = None,
    template: TemplateOption = None,
    jobs: JobsOption = None,
    detach: DetachOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train every run of FILE... that is not finished, and say how the arms differ.

    Runs train in worker processes, one on each GPU (--per-gpu: several), or side by side on the CPU. Ctrl-C stops
    them after their present step; the same command resumes there. A run that fails stops no other.
    With --executor ray or slurm they train on a cluster, with --executor command by any shell command, such as ssh.
    With --detach they train in the background: mmad attach follows them, mmad stop --scheduler stops them. On this
    machine finished runs are then evaluated on the file's [[external]] data sets.

    Exit code: 0 all finished, 1 a run failed, 2 something to fix before anything runs, 130 interrupted.
    """
    from mmad.scheduler.detached import in_background, recorded
    from mmad.scheduler.executors.factory import ExecutorChoice
    from mmad.scheduler.progress import choose_view
    from mmad.scheduler.scheduler import Options
    from mmad.scheduler.submit import halved, narrowed
    from mmad.scheduler.tensorboard import require_tensorboard

    folder = in_background() if detach else None
    if detach and folder is None:
        for option, given in (("--dry-run", dry_run), ("--json", as_json)):
            if given:
                raise MmadError("has no effect with --detach", where=option, hint="leave one of them out")
        start_in_background(db)
    if not (detach or dry_run):
        _warn_of_background(db)
    plain = contextlib.nullcontext(choose_view(sys.stderr if as_json else sys.stdout))
    with plain if folder is None else recorded(folder, _typed()) as view:
        shared = runs_per_gpu(per_gpu)
        choice = ExecutorChoice(executor, device, shared, address, tuple(slurm or ()), template, jobs)
        slots = choice.slots(lambda: known_memory(db), dry=dry_run)
        if tensorboard:
            require_tensorboard()

        def check() -> list[Submission]:
            return check_ablations(loaded, db, only=words, weights_dir=weights_dir, slots=slots)

        words = tuple(only or ())
        loaded = [
            load_with_data(file, data=data, overrides=overrides or (), weights=weights, weights_dir=weights_dir)
            for file in files
        ]
        loaded = loaded if dry_run else read_anew(loaded)
        asked = check()
        if dry_run:
            show_dry(asked, as_json)
            return
        if any(one.member.run.provisional for one in asked):
            loaded = [on_data(one, data, create=True, progress_bar=progress_bar) for one, _ in loaded]
            check()
        options = Options(
            weights_dir=weights_dir,
            command_line=_typed(),
            isolate=isolate,
            max_hours=max_hours,
            checkpoint_every=checkpoint_every,
            tensorboard=tensorboard,
            halve=halved,
        )
        summary = run_ablations(
            loaded,
            db,
            slots,
            options,
            view,
            choice=choice,
            only=words,
            priority=priority,
            progress_bar=progress_bar,
            warn=lambda line: print(f"mmad: warning: {line}", file=sys.stderr),
        )
        everything = [ablation for ablation, _ in due(loaded, db)]
        here = device if executor == "local" else None
        code = conclude([narrowed(ablation, words) for ablation in everything], db, summary, as_json, here)
        if on_finish is not None:
            finish(on_finish, summary, db, everything)
        raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    app.command("ablate", cls=GroupedCommand)(ablate)
