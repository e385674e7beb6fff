"""``mmad retry``: failed runs into the queue again."""

from __future__ import annotations

import typer

from mmad.cli.choosing import AblationOption, AllOption, RunsArgument, choose, labels
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json

HELP = """Queue failed runs again: a mmad ablate that works on them, or the next one, goes on at their last epoch.

RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it.

--json prints {"queued": [keys]}.
"""


def retry(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.gateway import Store

    with Store.open(db, create=False) as store:
        queued = store.requeue(choose(store, runs, ablation, every), ("failed",))
        names = labels(store, queued)
    if as_json:
        print_json({"queued": list(queued)})
        return
    for key in queued:
        typer.echo(f"{names[key]}: queued")
    typer.echo("train them with mmad ablate FILE" if queued else "nothing to retry: none of them failed")


def register(app: typer.Typer) -> None:
    """Adds ``mmad retry`` to ``app``."""
    app.command("retry", help=HELP)(retry)
