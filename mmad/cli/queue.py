"""``mmad status``, ``watch``, ``output``, ``attach``, ``stop``, ``retry``, ``requeue`` and ``prune``."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.api.results import open_store
from mmad.base.clock import seconds
from mmad.base.errors import MmadError
from mmad.base.formatting import duration, moment, size
from mmad.cli.options import (
    DEFAULT_DB,
    HIGHEST,
    LOWEST,
    AblationOption,
    AllOption,
    DatabaseOption,
    JsonOption,
    RunsArgument,
    choose,
    labels,
    refuse_idle,
)
from mmad.cli.output import console, print_json, section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.table import Table

    from mmad.scheduler.detached import Background, Detached
    from mmad.scheduler.run_log import Tail
    from mmad.store.run_status import AblationStatus, RunningRun, StoreStatus
    from mmad.store.store import Store

#: Columns of a terminal below which the counts are lines instead of a table.
NARROW = 80
#: Statuses that have a column only where a run has them, and how many failures people are shown.
RARE = ("claimed", "stopped")
SHOWN = 30
#: Seconds between two looks at the log, and at whether its run is over.
_LOOK, _ASK = 0.2, 1.0


def status(
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Show how far the queued runs are: counts by status, what runs now, what failed.

    --json prints {"ablations": [{ablation, title, members, queued, claimed, running, finished, failed,
    interrupted, stopped}],
    "running": [{key, ablation, setting, arm, seed, replicate, documented, status, epoch, epochs,
    seconds_per_epoch, seconds_left, val_ap, best_val_ap, host, pid, device, started, alive}], "failed": [{key,
    ablation, setting, arm, seed, replicate, documented, error}]}. Counts are of members. epoch is the last committed
    one, val_ap its; seconds are null until an epoch is measured; alive is false when the process is known to be gone:
    mmad ablate then resumes the run.
    """
    from mmad.store.run_json import status_json
    from mmad.store.run_status import run_name

    with open_store(db, read_only=True) as store:
        now = store.status()
    if as_json:
        print_json(status_json(now))
        return
    out = console()
    if not now.ablations:
        out.print("no run yet: queue some with mmad ablate FILE")
        return
    if out.width < NARROW:
        for ablation in now.ablations:
            out.print(_counts_line(ablation))
    else:
        out.print(_table(now, out.width))
    section(out, "Running", *[_running_line(run) for run in now.running])
    failed = [f"{run_name(run)}: {run.cause}" for run in now.failed[:SHOWN]]
    rest = len(now.failed) - len(failed)
    section(out, "Failed", *failed, *([f"… and {rest:,} more: mmad runs lists them all"] if rest else []))


def _table(now: StoreStatus, width: int) -> Table:
    from mmad.base.terminal import TerminalColumn, fitted_table
    from mmad.store.run_status import STATUSES

    met = [any(ablation.counts[i] for ablation in now.ablations) for i in range(len(STATUSES))]
    shown = [i for i, name in enumerate(STATUSES) if met[i] or name not in RARE]
    columns = [TerminalColumn("ablation", wraps=True)]
    columns += [TerminalColumn(STATUSES[i], right=True, yields=0 if met[i] else 1) for i in shown]
    rows = [
        [one.ablation, *(f"{one.counts[i]:,}" if one.counts[i] else "·" for i in shown), f"{one.members:,}"]
        for one in now.ablations
    ]
    return fitted_table([*columns, TerminalColumn("members", right=True)], rows, width)


def _counts_line(ablation: AblationStatus) -> str:
    from mmad.scheduler.progress import counted
    from mmad.store.run_status import STATUSES

    return f"{ablation.ablation}: {counted(dict(zip(STATUSES, ablation.counts, strict=True)))}"


def _running_line(run: RunningRun) -> str:
    from mmad.store.run_status import run_name

    words = [f"{run_name(run)}: epoch {run.epoch} of {run.epochs} done"]
    if not run.alive and run.silent_since is None:
        return f"{words[0]}, but its process is gone: mmad ablate resumes it"
    if run.seconds_per_epoch is not None and run.seconds_left is not None:
        words.append(f"{run.seconds_per_epoch:.1f} s per epoch, {duration(run.seconds_left)} left")
    if run.owner is not None:
        words.append(f"process {run.owner.pid} on {run.owner.host}")
    if run.silent_since is not None:
        words.append(f"silent since {moment(run.silent_since)}")
    return ", ".join(words)


def watch(
    context: typer.Context,
    db: DatabaseOption = DEFAULT_DB,
    ablation: Annotated[
        str | None, typer.Option("--ablation", metavar="NAME", help="Only the runs of this ablation.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="NAME", help="Only what this machine trains.")] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="Seconds between updates.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame as plain text, and end.")] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when no run is queued or trained any more.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a queue, whichever process or machine trains it: epochs, val AP, time left, GPUs and CPUs.

    Where several machines train more runs than there are lines, there is one line for each machine, those with trouble
    first, and --host shows one machine's runs.

    The time left is estimated from the epochs measured, for as many runs at once as train now. CPU, RAM and GPUs are
    those of this machine. q or Ctrl-C ends the watching, and stops no run.

    --json prints {"moment", "ablation", "counts" (status: runs), "runs", "over", "places", "seconds_left",
    "running": as mmad status, with cpu (percent of a core), memory (bytes) and gpu (its index) of local workers,
    "failed" and "next": the first ones, "gpus": [{index, name, percent, used, total}]}.
    """
    from mmad.scheduler.dashboard import Dashboard, console, draw, knows_letters, show, snapshot_json
    from mmad.store.lookup import named_ablation

    if once or as_json:
        refuse_idle(context, "leave it out: one frame is printed", "interval", "until_done")
    with open_store(db, read_only=True) as store:
        if ablation is not None:
            ablation = named_ablation(store, ablation)
        dashboard = Dashboard(store, ablation, host=host)
        if as_json:
            print_json(snapshot_json(dashboard.snapshot(settle=True), ablation))
        elif once:
            out = console(sys.stdout)
            plain = not knows_letters(sys.stdout)
            out.print(draw(dashboard.snapshot(settle=True), out.width, plain=plain))
        else:
            show(dashboard, sys.stdout, interval, until_done=until_done)


def output(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")],
    db: DatabaseOption = DEFAULT_DB,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing until the run is over.")] = False,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, metavar="LINES", help="Only the last LINES lines.")
    ] = None,
) -> None:
    """Print what the worker of one run printed, logged and warned, the traceback of a crash too.

    RUN is the beginning of a run's key, or ablation/setting/arm, followed by /seed (and /replicate) where that
    alone is more than one run. A long log is kept in several files, which are printed as one.

    With -f the log is followed until the run is over; Ctrl-C ends that too, and stops no run.
    """
    from mmad.scheduler.run_log import Tail
    from mmad.store.lookup import find_run

    with open_store(db, read_only=True) as store:
        record = find_run(store, run).run
        paths = store.run_paths(record.key)
        if not paths.logs() and not (follow and _open(store, record.key)):
            status = f"no log of this run is here (it is {record.status})"
            hint = "it begins with the training: mmad output -f waits for it" if _open(store, record.key) else None
            raise MmadError(status, where=paths.log, hint=hint or "look on the machine that trained it")
        with Tail(paths, lines) as tail, contextlib.suppress(KeyboardInterrupt):
            _print(tail)
            if follow:
                _follow(tail, lambda: _open(store, record.key))


def attach(
    db: DatabaseOption = DEFAULT_DB,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, metavar="LINES", help="Begin with the last LINES lines.")
    ] = 20,
) -> None:
    """Follow the mmad ablate --detach of this database and machine, until it ends; Ctrl-C leaves it running.

    Of one that has ended, what it printed last is printed again. One that was killed, as by a reboot, is named with the
    command that resumes it. mmad watch shows the runs themselves, from any machine.

    Exit code: that of the command, 2 when it was killed.
    """
    from mmad.scheduler.detached import Background
    from mmad.scheduler.run_log import Tail

    background = Background(db)
    found = _in_background(background)
    if works := background.alive(found):
        line = f"process {found.owner.pid} since {moment(found.began)}; Ctrl-C leaves it running: {found.command}"
        print(line, file=sys.stderr)
    with Tail(background.paths, lines) as tail:
        try:
            _print(tail)
            if works:
                _follow(tail, lambda: background.alive(found))
        except KeyboardInterrupt:
            return
    found = _in_background(background)
    if found.code is None:
        raise MmadError(
            f"process {found.owner.pid}, begun {moment(found.began)}, was killed",
            where=found.owner.host,
            hint=f"resume it with: cd {shlex.quote(found.folder)} && {found.command}",
        )
    print(f"process {found.owner.pid} ended {moment(found.ended)} with exit code {found.code}", file=sys.stderr)
    raise typer.Exit(found.code)


def _in_background(background: Background) -> Detached:
    """The latest command in the background; refused where there was none on this host."""
    if (found := background.read()) is not None:
        return found
    others = background.hosts()
    hint = f"look on {', '.join(others)}" if others else "mmad ablate FILE --detach starts one"
    raise MmadError("no mmad ablate of this database trains in the background here", hint=hint)


def _follow(tail: Tail, grows: Callable[[], bool]) -> None:
    asked = seconds()
    while True:
        time.sleep(_LOOK)
        _print(tail)
        if seconds() - asked < _ASK:
            continue
        asked = seconds()
        if not grows():
            time.sleep(_LOOK)  # its worker's last words
            _print(tail)
            _print(tail)
            return


def _print(tail: Tail) -> None:
    for piece in tail.read():
        sys.stdout.write(piece)
    sys.stdout.flush()


def _open(store: Store, key: str) -> bool:
    """Whether the run waits or is trained, so that its log may grow."""
    from mmad.store.run_status import OVER

    return store.run(key).status not in OVER


def stop(
    context: typer.Context,
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    scheduler: Annotated[
        bool, typer.Option("--scheduler", help="The mmad ablate --detach of this machine, as by Ctrl-C.")
    ] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Stop runs, here or elsewhere: waiting ones at once, training ones after their present step.

    RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it. A stopped run keeps its epochs
    and checkpoints; mmad ablate leaves it alone until mmad requeue queues it again.

    --scheduler interrupts what mmad ablate --detach began: its runs stop after their present step, with a checkpoint
    there, and the same command resumes them. A second call ends it at once.

    --json prints {"stopped": [keys that waited], "asked": [keys that are being trained]}.
    """
    from mmad.base.records import HELD
    from mmad.store.store import Store

    if scheduler:
        if runs:
            raise MmadError("names runs, and --scheduler is a command", where=runs[0], hint="leave one of them out")
        refuse_idle(context, "--scheduler stops the command with all its runs", "ablation", "every", "as_json")
        _stop_scheduler(db)
        return
    with Store.open(db, create=False) as store:
        keys = choose(store, runs, ablation, every)
        before = store.stop(keys)
        after = {key: status for key, (status, _, _) in store.statuses(list(before)).items()}
        asked = [key for key in before if after[key] in HELD]
        stopped = [key for key in before if after[key] == "stopped"]
        closing = _unknown_owners(store, asked) if before else ["nothing to stop: none of these runs waits or trains"]
        _print_changed(store, {"stopped": stopped, "asked": asked}, as_json, *closing)


def _stop_scheduler(db: str) -> None:
    from mmad.scheduler.detached import Background

    background = Background(db)
    found = _in_background(background)
    if not background.alive(found):
        how = "was killed" if found.code is None else f"ended {moment(found.ended)}"
        typer.echo(f"nothing to stop: process {found.owner.pid} {how}")
        return
    if not background.interrupt(found):
        raise MmadError(
            f"process {found.owner.pid} cannot be reached from here",
            where=found.owner.host,
            hint="stop it as its user, in its container; mmad stop --all stops all runs from anywhere",
        )
    typer.echo(f"process {found.owner.pid}: asked to stop after the present step of its runs; mmad attach follows it")


def retry(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Queue failed runs again: the mmad ablate that trains now, or the next one, resumes them at their last epoch.

    RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it.

    --json prints {"queued": [keys]}.
    """
    from mmad.store.store import Store

    with Store.open(db, create=False) as store:
        queued = store.requeue(choose(store, runs, ablation, every), ("failed",))
        closing = "train them with mmad ablate FILE" if queued else "nothing to retry: none of them failed"
        _print_changed(store, {"queued": queued}, as_json, closing)


def requeue(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority", metavar="N", min=LOWEST, max=HIGHEST, help="Have them trained before lower ones (0)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Take runs away from living processes too.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Queue stopped and interrupted runs again, and those whose process is gone; change priorities.

    RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it. A run that a living process
    trains is left to it, unless --force takes it away: that process then leaves it at its next heartbeat, and what it
    would still record is refused.

    --json prints {"queued": [keys]}.
    """
    from mmad.store.store import Store

    with Store.open(db, create=False) as store:
        keys = choose(store, runs, ablation, every)
        queued = store.requeue(keys, ("stopped", "interrupted", "claimed", "running"))
        if force:
            queued += store.take_away(keys)
        if priority is not None:
            store.prioritise(keys, priority)
        closing = _unknown_owners(store, keys)
        if priority is not None:
            closing.append(f"priority {priority} for {len(keys)} run{'s' * (len(keys) != 1)}")
        if queued:
            closing.append("train them with mmad ablate FILE")
        elif priority is None and not closing:
            closing.append("nothing to queue: none of these runs was stopped, interrupted or lost its process")
        _print_changed(store, {"queued": queued}, as_json, *closing)


def _unknown_owners(store: Store, keys: Sequence[str]) -> list[str]:
    """A line for each of ``keys`` whose process cannot be asked whether it lives, as on another machine."""
    from mmad.base.formatting import short_key

    return [
        f"{short_key(key)} is left to process {owner.pid} on {owner.host}, which cannot be asked from here; "
        "if it is gone, mmad requeue --force takes the run away"
        for key, owner in store.owners().items()
        if key in keys and owner.alive is None
    ]


def _print_changed(store: Store, changed: Mapping[str, Sequence[str]], as_json: bool, *closing: str) -> None:
    """What a command did to runs: their keys as JSON, or a line for each of them, and those of ``closing``."""
    if as_json:
        print_json({change: list(keys) for change, keys in changed.items()})
        return
    names = labels(store, [key for keys in changed.values() for key in keys])
    for change, keys in changed.items():
        for key in keys:
            typer.echo(f"{names[key]}: {'asked to stop after its present step' if change == 'asked' else change}")
    for line in closing:
        typer.echo(line)


def prune(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    keep: Annotated[
        str, typer.Option("--keep", metavar="KINDS", help="Checkpoints that finished runs keep.")
    ] = "best_ap,best_ar,final",
    orphans: Annotated[bool, typer.Option("--orphans", help="Also runs that the database does not hold.")] = False,
    unasked: Annotated[bool, typer.Option("--unasked", help="Also whole runs that no member asks for.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Delete checkpoints that nothing needs any more. Without --yes it only lists them.

    RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it; without any it is all runs.
    Finished runs keep the checkpoints of --keep; detections, from which every figure is computed, stay in any case.
    A run that is not finished keeps all that it resumes from. Checkpoints of epochs that the database does not hold
    (set aside when a run began anew) go; with --orphans also the folders of runs it does not hold. With --unasked
    runs go that no member asks for and nobody trains, with all that was recorded of them; those that an unfinished
    run continues stay.

    --json prints {"files": [{path, key, size, reason}], "size": bytes, "deleted": true or false}.
    """
    from mmad.store.maintenance import KEPT, delete, find_surplus
    from mmad.store.store import Store

    kinds = [word.strip() for word in keep.split(",") if word.strip()]
    if unknown := [kind for kind in kinds if kind not in KEPT]:
        raise MmadError(f"no kind of checkpoint {unknown[0]!r}", where="--keep", hint=f"give some of {', '.join(KEPT)}")
    with open_store(db, read_only=True) as store:
        keys = choose(store, runs, ablation, every or not (runs or ablation))
        kept = [kind for kind in KEPT if kind in kinds]
        found = find_surplus(store, set(keys), keep=kept, orphans=orphans, unasked=unasked)
        names = labels(store, sorted({one.key for one in found}))
    whole = sum(one.size for one in found)
    if yes:
        # written to only where rows go too: on a full disk a database cannot even be opened for writing
        with Store.open(db, create=False, read_only=not any(one.whole_run for one in found)) as store:
            delete(store, found)
    if as_json:
        files = [{"path": str(o.path), "key": o.key, "size": o.size, "reason": o.reason} for o in found]
        print_json({"files": files, "size": whole, "deleted": yes})
        return
    for one in found:
        typer.echo(f"{names[one.key]}: {one.path.name}, {size(one.size)}, {one.reason}")
    count = f"{len(found)} file{'s' * (len(found) != 1)} or folders, {size(whole)}"
    if not found:
        typer.echo("nothing to delete")
    else:
        typer.echo(f"deleted {count}" if yes else f"{count}; nothing was deleted: --yes does")
    more = ["--keep final deletes the best checkpoints too"] if len(kinds) > 1 and "final" in kinds else []
    more += [] if orphans else ["--orphans deletes the folders of runs that the database does not hold"]
    if more:
        typer.echo(f"for more room: {'; '.join(more)}")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    for command in (status, watch, output, attach, stop, retry, requeue, prune):
        app.command(command.__name__)(command)
