"""``mmad watch``: a queue at work, looked at from any process or machine that reads its database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.reading import open_store

if TYPE_CHECKING:
    from mmad.queue.watching import Watch

HELP = """Watch a queue at work, whichever process or machine trains it: epochs, val AP, time left, GPUs and CPUs.

The time left is that of the epochs measured, for as many runs at once as train now. CPU, RAM and GPUs are
those of this machine. The database is only read. q or Ctrl-C ends the watching, and stops no run.

--json prints {"moment", "ablation", "counts" (status: runs), "runs", "over", "places", "seconds_left",
"running": as mmad status, with cpu (percent of a core), memory (bytes) and gpu (its index) of local workers,
"failed" and "next": the first ones, "gpus": [{index, name, percent, used, total}]}.
"""


def watch(
    db: DatabaseOption = DEFAULT_DB,
    ablation: Annotated[
        str | None, typer.Option("--ablation", metavar="NAME", help="Only the runs of this ablation.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame as plain text, and end.")] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when no run is queued or trained any more.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    from mmad.queue.watching import Watch, plain_look
    from mmad.store.results import check_ablation

    with open_store(db) as store:
        if ablation is not None:
            check_ablation(store, ablation)
        watching = Watch(store, ablation)
        if as_json:
            print_json(plain_look(watching.look(settle=True), ablation))
        elif once:
            _print_once(watching)
        else:
            _show(watching, interval, until_done)


def _print_once(watching: Watch) -> None:
    from mmad.queue.frame import draw
    from mmad.queue.watching import console, knows_letters

    out = console(sys.stdout)
    out.print(draw(watching.look(settle=True), out.width, plain=not knows_letters(sys.stdout)))


def _show(watching: Watch, interval: float, until_done: bool) -> None:
    from mmad.queue.watching import show

    show(watching, sys.stdout, interval, until_done=until_done)


def register(app: typer.Typer) -> None:
    """Adds ``mmad watch`` to ``app``."""
    app.command("watch", help=HELP)(watch)
