"""``mmad prune``: disk space back from checkpoints that nothing needs any more."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.base.errors import MmadError
from mmad.cli.choosing import AblationOption, AllOption, RunsArgument, choose, labels
from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json

HELP = """Delete checkpoints that nothing needs any more. Without --yes it only lists them.

RUN is the beginning of a key, or ablation/setting/arm, which means every seed of it; without any it is all runs.
Finished runs keep the checkpoints of --keep; kept detections, from which every figure is computed, stay in any case.
A run that is not finished keeps all that it goes on from. Checkpoints of epochs that the database does not hold
(set aside when a run began anew) go; with --orphans also the folders of runs it does not hold.

--json prints {"files": [{path, key, size, reason}], "size": bytes, "deleted": true or false}.
"""


def prune(
    runs: RunsArgument = None,
    ablation: AblationOption = None,
    every: AllOption = False,
    keep: Annotated[
        str, typer.Option("--keep", metavar="KINDS", help="Checkpoints that finished runs keep.")
    ] = "best_ap,best_ar,final",
    orphans: Annotated[bool, typer.Option("--orphans", help="Also runs that the database does not hold.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is listed.")] = False,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.queue.wording import size as size_words
    from mmad.store.gateway import Store
    from mmad.store.prune import KEPT, delete, find_surplus

    kinds = [word.strip() for word in keep.split(",") if word.strip()]
    if unknown := [kind for kind in kinds if kind not in KEPT]:
        raise MmadError(f"no kind of checkpoint {unknown[0]!r}", where="--keep", mend=f"give some of {', '.join(KEPT)}")
    with Store.open(db, create=False) as store:
        keys = choose(store, runs, ablation, every or not (runs or ablation))
        found = find_surplus(store, set(keys), keep=[kind for kind in KEPT if kind in kinds], orphans=orphans)
        names = labels(store, sorted({one.key for one in found}))
    size = sum(one.size for one in found)
    if yes:
        delete(found)
    if as_json:
        files = [{"path": str(o.path), "key": o.key, "size": o.size, "reason": o.reason} for o in found]
        print_json({"files": files, "size": size, "deleted": yes})
        return
    for one in found:
        typer.echo(f"{names[one.key]}: {one.path.name}, {size_words(one.size)}, {one.reason}")
    count = f"{len(found)} file{'s' * (len(found) != 1)} or folders, {size_words(size)}"
    if not found:
        typer.echo("nothing to delete")
    else:
        typer.echo(f"deleted {count}" if yes else f"{count}; nothing was deleted: --yes does")


def register(app: typer.Typer) -> None:
    """Adds ``mmad prune`` to ``app``."""
    app.command("prune", help=HELP)(prune)
