"""``mmad logs``: what a run's worker printed, logged and warned."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.clock import seconds
from mmad.cli.common import DEFAULT_DB, DatabaseOption
from mmad.cli.reading import open_store

if TYPE_CHECKING:
    from mmad.queue.tail import Tail
    from mmad.store.gateway import Store

HELP = """Print the log of one run: everything its worker printed, logged and warned, the traceback of a crash too.

RUN is the beginning of a run's key, or ablation/setting/arm, followed by /seed (and /replicate) where that
alone is more than one run. A long log is kept in several files, which are printed as one.

With -f the log is followed until the run is over; Ctrl-C ends that too, and stops no run.
"""
#: Seconds between two looks at the log, and at whether its run is over.
_LOOK, _ASK = 0.2, 1.0


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")],
    db: DatabaseOption = DEFAULT_DB,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on printing until the run is over.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("-n", "--lines", min=0, metavar="LINES", help="Only the last LINES lines.", show_default=False),
    ] = None,
) -> None:
    from mmad.base.errors import MmadError
    from mmad.queue.tail import Tail
    from mmad.store.find import find_run

    with open_store(db) as store:
        record = find_run(store, run).run
        paths = store.run_paths(record.key)
        if not paths.logs() and not (follow and _open(store, record.key)):
            status = f"no log of this run is here (it is {record.status})"
            mend = "it begins with the training: mmad logs -f waits for it" if _open(store, record.key) else None
            raise MmadError(status, where=paths.log, mend=mend or "look on the machine that trained it")
        with Tail(paths, lines) as tail, contextlib.suppress(KeyboardInterrupt):
            _print(tail)
            if follow:
                _follow(tail, store, record.key)


def _follow(tail: Tail, store: Store, key: str) -> None:
    asked = seconds()
    while True:
        time.sleep(_LOOK)
        _print(tail)
        if seconds() - asked < _ASK:
            continue
        asked = seconds()
        if not _open(store, key):
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
    from mmad.store.standing import OVER

    return store.run(key).status not in OVER


def register(app: typer.Typer) -> None:
    """Adds ``mmad logs`` to ``app``."""
    app.command("logs", help=HELP)(logs)
