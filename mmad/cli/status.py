"""``mmad status``: how far the queued runs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.reading import console, open_store, section

if TYPE_CHECKING:
    from rich.table import Table

    from mmad.store.standing import AblationStanding, RunningStanding, Standing

HELP = """Show how far the queued runs are: counts by status, what runs now, what failed.

--json prints {"ablations": [{ablation, title, members, queued, claimed, running, finished, failed,
interrupted, stopped}],
"running": [{key, ablation, setting, arm, seed, replicate, documented, status, epoch, epochs,
seconds_per_epoch, seconds_left, val_ap, best_val_ap, host, pid, device, alive}], "failed": [{key, ablation,
setting, arm, seed, replicate, documented, error}]}. Counts are of members. epoch is the last committed one,
val_ap its; seconds are null until an epoch is measured; alive is false when the process is known to be gone:
mmad ablate then goes on with the run.
"""
#: Columns of a terminal below which the counts are lines instead of a table.
NARROW = 80
#: Statuses that have a column only where a run is there, and how many failures people are shown.
RARE = ("claimed", "stopped")
SHOWN = 30


def status(
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.plain import plain_standing
    from mmad.store.standing import run_name, standing

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
    failed = [f"{run_name(run)}: {run.cause}" for run in now.failed[:SHOWN]]
    rest = len(now.failed) - len(failed)
    section(out, "Failed", *failed, *([f"… and {rest:,} more: mmad runs lists them all"] if rest else []))


def _table(now: Standing) -> Table:
    from rich import box
    from rich.table import Table

    from mmad.store.standing import STATUSES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ablation", overflow="fold")
    met = [any(ablation.counts[i] for ablation in now.ablations) for i in range(len(STATUSES))]
    shown = [i for i, name in enumerate(STATUSES) if met[i] or name not in RARE]
    for name in (*(STATUSES[i] for i in shown), "members"):
        table.add_column(name, no_wrap=True, justify="right")
    for ablation in now.ablations:
        counts = (f"{ablation.counts[i]:,}" if ablation.counts[i] else "·" for i in shown)
        table.add_row(ablation.ablation, *counts, f"{ablation.members:,}")
    return table


def _counts_line(ablation: AblationStanding) -> str:
    from mmad.queue.wording import counted
    from mmad.store.standing import STATUSES

    return f"{ablation.ablation}: {counted(dict(zip(STATUSES, ablation.counts, strict=True)))}"


def _running_line(run: RunningStanding) -> str:
    from mmad.queue.wording import duration
    from mmad.store.standing import run_name

    words = [f"{run_name(run)}: epoch {run.epoch} of {run.epochs} done"]
    if not run.alive:
        return f"{words[0]}, but its process is gone: mmad ablate goes on with it"
    if run.seconds_per_epoch is not None and run.seconds_left is not None:
        words.append(f"{run.seconds_per_epoch:.1f} s per epoch, {duration(run.seconds_left)} left")
    if run.owner is not None:
        words.append(f"process {run.owner.pid} on {run.owner.host}")
    return ", ".join(words)


def register(app: typer.Typer) -> None:
    """Adds ``mmad status`` to ``app``."""
    app.command("status", help=HELP)(status)
