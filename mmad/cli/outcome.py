"""How ``mmad ablate`` ends: what it prints of its runs and pairs, and what it does then."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from mmad.base.paths import StorePaths
from mmad.cli.common import DEFAULT_DB, print_json

if TYPE_CHECKING:
    from mmad.queue.jobs import Summary
    from mmad.queue.submission import Asked
    from mmad.queue.verdicts import Pair
    from mmad.spec.runs import Ablation


def conclude(ablations: Sequence[Ablation], db: str, summary: Summary, as_json: bool) -> int:
    """Prints how it ended and who won; the exit code."""
    from mmad.queue.submission import asked_for
    from mmad.queue.verdicts import pairs
    from mmad.store.gateway import Store

    with Store.open(db, create=False) as store:
        records = {record.name: record for record in store.ablations()}
        compared = {a.name: _of_settings(pairs(store, records[a.name]), a) for a in ablations}
        errors = {run.key: run.error for run in store.runs()}
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


def _of_settings(every: Sequence[Pair], ablation: Ablation) -> list[Pair]:
    """The pairs of the settings that were asked for."""
    settings = {member.setting for member in ablation.members}
    return [pair for pair in every if pair.setting in settings]


def _tell(summary: Summary, asked: Sequence[Asked], compared: dict[str, list[Pair]], db: str) -> None:
    from mmad.queue.verdicts import verdict_lines

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
        option = f" --db {shlex.quote(_without_password(db))}" if db != DEFAULT_DB else ""
        typer.echo(f"write the report with: mmad report --html{option}")


def show_dry(asked: Sequence[Asked], as_json: bool) -> None:
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
        key = one.key[:12] + ("*" if member.run.provisional else "")
        typer.echo(
            f"{key}  {action}: {member.ablation} · {member.setting} · {member.arm} · seed {member.seed}, "
            f"{epochs}{standing}{again}"
        )
    if any(one.member.run.provisional for one in asked):
        typer.echo("* the data set is not there yet: the key will change once it is")
    typer.echo(f"{_runs(len(waiting))} would be trained; nothing was written")


def _would_run(one: Asked) -> bool:
    """One that was stopped by hand waits for ``mmad requeue``."""
    return one.waits and one.status != "stopped"


def _row(one: Asked) -> dict[str, Any]:
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
    return shlex.join(["mmad", *(_without_password(word) for word in sys.argv[1:])])


def _without_password(word: str) -> str:
    """A word without the password of a URL in it."""
    return re.sub(r"(\w://[^:/@]*):[^@]*@", r"\1:***@", word)


def finish(command: str, summary: Summary, db: str, ablations: Sequence[Ablation]) -> None:
    """Runs the user's command when all is over; its failure is a line and changes nothing else."""
    from mmad.queue.hook import run_hook

    warning = run_hook(command, summary, database=db, ablations=[ablation.name for ablation in ablations])
    if warning is not None:
        print(f"mmad: {warning}", file=sys.stderr)
