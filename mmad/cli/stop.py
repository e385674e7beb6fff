"""``mmad stop``: runs that are to train no further."""

from __future__ import annotations

import typer

from mmad.cli.choosing import AblationOption, AllOption, RunsArgument, choose, labels
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json

HELP = """Stop runs, whoever trains them: those that wait at once, the others after their present step.

RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it. A stopped run keeps its epochs
and checkpoints; mmad ablate leaves it alone until mmad requeue takes it up again.

--json prints {"stopped": [keys that waited], "asked": [keys that are being trained]}.
"""


def stop(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.base.records import HELD
    from mmad.store.gateway import Store

    with Store.open(db, create=False) as store:
        keys = choose(store, runs, ablation, every)
        before = store.stop(keys)
        after = {key: status for key, (status, _, _) in store.statuses(list(before)).items()}
        names = labels(store, list(before))
    asked = [key for key in before if after[key] in HELD]
    stopped = [key for key in before if after[key] == "stopped"]
    if as_json:
        print_json({"stopped": stopped, "asked": asked})
        return
    for key in stopped:
        typer.echo(f"{names[key]}: stopped")
    for key in asked:
        typer.echo(f"{names[key]}: asked to stop after its present step")
    if not before:
        typer.echo("nothing to stop: none of them waits or is trained")


def register(app: typer.Typer) -> None:
    """Adds ``mmad stop`` to ``app``."""
    app.command("stop", help=HELP)(stop)
