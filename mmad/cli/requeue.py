"""``mmad requeue``: runs that were stopped, interrupted or left behind, into the queue again."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.cli.choosing import AblationOption, AllOption, RunsArgument, choose, labels
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.queue_options import HIGHEST, LOWEST

HELP = """Queue stopped and interrupted runs again, and those whose process is gone; change priorities.

RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it. A run that a living process
trains is left to it, unless --force takes it away: that process then leaves it at its next heartbeat, and what it
would still record is refused.

--json prints {"queued": [keys]}.
"""


def requeue(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority",
            metavar="N",
            min=LOWEST,
            max=HIGHEST,
            help="Have them trained before lower ones (0).",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Take runs away from living processes too.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.gateway import Store

    with Store.open(db, create=False) as store:
        keys = choose(store, runs, ablation, every)
        queued = store.requeue(keys, ("stopped", "interrupted", "claimed", "running"))
        if force:
            queued += store.take_away(keys)
        if priority is not None:
            store.prioritise(keys, priority)
        names = labels(store, queued)
    if as_json:
        print_json({"queued": list(queued)})
        return
    for key in queued:
        typer.echo(f"{names[key]}: queued")
    if priority is not None:
        typer.echo(f"priority {priority} for {len(keys)} run{'s' * (len(keys) != 1)}")
    if queued:
        typer.echo("train them with mmad ablate FILE")
    elif priority is None:
        typer.echo("nothing to queue: none of them was stopped, interrupted or left behind")


def register(app: typer.Typer) -> None:
    """Adds ``mmad requeue`` to ``app``."""
    app.command("requeue", help=HELP)(requeue)
