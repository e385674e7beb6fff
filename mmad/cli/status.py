"""``mmad status``: how far the queued runs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, duration, print_json
from mmad.cli.reading import console, open_store, section

if TYPE_CHECKING:
    from rich.table import Table

    from mmad.base.records import MemberRecord, RunRecord
    from mmad.store.standing import AblationStanding, RunningStanding, Standing

HELP = """Show how far the queued runs are: counts by status, what runs now, what failed.

--json prints {"ablations": [{ablation, title, members, queued, running, finished, failed, interrupted}],
"running": [{key, ablation, setting, arm, seed, replicate, documented, epoch, epochs, seconds_per_epoch,
seconds_left, host, pid, alive}], "failed": [{key, ablation, setting, arm, seed, replicate, documented,
error}]}. Counts are of members. epoch is the last committed one; seconds are null until an epoch is
measured; alive is false when the process is known to be gone: mmad ablate then goes on with the run.
"""
#: Columns of a terminal below which the counts are lines instead of a table.
NARROW = 80


def status(
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.plain import plain_standing
    from mmad.store.standing import standing

    with open_store(db) as store:
        now = standing(store)
    if as_json:
        print_json(plain_standing(now))
        return
    out = console()
    if not now.ablations:
        out.print("no run yet: queue some with mmad ablate FILE")
        return
    if out.width < NARROW:
        for ablation in now.ablations:
            out.print(_counts_line(ablation))
    else:
        out.print(_table(now))
    section(out, "Running", *[_running_line(run) for run in now.running])
    section(out, "Failed", *[f"{_name(f.run, f.member)}: {f.cause}" for f in now.failed])


def _table(now: Standing) -> Table:
    from rich import box
    from rich.table import Table

    from mmad.store.standing import STATUSES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ablation", overflow="fold")
    for name in (*STATUSES, "members"):
        table.add_column(name, no_wrap=True, justify="right")
    for ablation in now.ablations:
        counts = (str(count) if count else "·" for count in ablation.counts)
        table.add_row(ablation.ablation, *counts, str(ablation.members))
    return table


def _counts_line(ablation: AblationStanding) -> str:
    from mmad.store.standing import STATUSES

    counts = [f"{count} {status}" for status, count in zip(STATUSES, ablation.counts, strict=True) if count]
    return f"{ablation.ablation}: {', '.join(counts)}"


def _running_line(run: RunningStanding) -> str:
    words = [f"{_name(run.run, run.member)}: epoch {run.epoch} of {run.epochs} done"]
    if not run.alive:
        return f"{words[0]}, but its process is gone: mmad ablate goes on with it"
    if run.seconds_per_epoch is not None and run.seconds_left is not None:
        words.append(f"{run.seconds_per_epoch:.1f} s per epoch, {duration(run.seconds_left)} left")
    if run.owner is not None:
        words.append(f"process {run.owner.pid} on {run.owner.host}")
    return ", ".join(words)


def _name(run: RunRecord, member: MemberRecord | None) -> str:
    from mmad.store.results import member_path

    return run.key[:12] if member is None else member_path(member)


def register(app: typer.Typer) -> None:
    """Adds ``mmad status`` to ``app``."""
    app.command("status", help=HELP)(status)
