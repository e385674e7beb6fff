"""``mmad report --watch``: the report written again whenever something new is recorded."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from mmad.cli.judging import open_to_keep
from mmad.cli.report_said import lines, plain

if TYPE_CHECKING:
    from mmad.base.errors import MmadError
    from mmad.cli.report_wanted import Wanted
    from mmad.report.build import Report


def watch_report(
    database: str,
    wanted: Wanted,
    *,
    every: float,
    until_done: bool,
    as_json: bool,
    shown: Callable[[Report], None] | None,
) -> None:
    """Write the report until the queue is done or Ctrl-C; either leaves a page that is still.

    Args:
        shown: opens the first report.
    """
    from mmad.base.clock import now, seconds
    from mmad.report.watch import settle, watch

    reports: list[Report] = []

    with open_to_keep(database) as store:

        def build(more: bool) -> None:
            begun = seconds()
            written = wanted.write(store, every=every if more else None)
            if as_json:
                typer.echo(json.dumps(plain(written), ensure_ascii=False))
            else:
                took = seconds() - begun
                typer.echo(f"{now().astimezone():%H:%M:%S} {'; '.join(lines(written))} ({took:.1f} s)")
            sys.stdout.flush()
            if shown is not None and not reports:
                shown(written)
            reports[:] = [written]

        try:
            watch(store, build, every=every, ablations=wanted.ablations, until_done=until_done, failed=_say)
        finally:
            if wanted.html is not None:
                with contextlib.suppress(OSError):
                    settle(wanted.html)


def _say(error: MmadError) -> None:
    print(f"mmad: {error}", file=sys.stderr, flush=True)
