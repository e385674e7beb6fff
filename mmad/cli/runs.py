"""``mmad runs``: the members of every ablation with their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.reading import console, figure, open_store, status_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mmad.store.results import MemberSummary

HELP = """List the members of every ablation with their results.

A member is ablation x setting x arm x seed; members with equal content share one run. AP and AR are those
of the best-AP checkpoint under the protocol the member asked for, or, where none was kept, of the final one,
which a * marks.

--json prints a list, one object per member: key, ablation, setting, arm, seed, replicate, documented (the
log's entry it mirrors, or null), status (queued, running, finished, failed, interrupted), epoch (the last
committed one), epochs (how many were asked for), error (or null), and best_ap, best_ar, final: each null
or {epoch, val_ap, val_ar, test_ap, test_ar}, a figure null where it was not measured.
"""
#: The table's columns after setting and arm, and the least width of a terminal that shows them.
COLUMNS = {
    "seed": 70,
    "status": 0,
    "epoch": 60,
    "best epoch": 120,
    "val AP": 0,
    "val AR": 120,
    "test AP": 0,
    "test AR": 120,
    "run": 90,
}


def runs(
    db: DatabaseOption = DEFAULT_DB,
    ablation: Annotated[str | None, typer.Option("--ablation", help="Only the members of this ablation.")] = None,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.plain import plain_summary
    from mmad.store.results import check_ablation, member_summaries

    with open_store(db) as store:
        if ablation is not None:
            check_ablation(store, ablation)
        summaries = member_summaries(store, ablation)
    if as_json:
        print_json([plain_summary(summary) for summary in summaries])
        return
    out = console()
    if not summaries:
        out.print("no run yet: queue some with mmad ablate FILE")
        return
    for name in dict.fromkeys(summary.member.ablation for summary in summaries):
        out.print(_table(name, [s for s in summaries if s.member.ablation == name], out.width))
    if any(_starred(summary) for summary in summaries):
        out.print("* final checkpoints: no best one was kept", soft_wrap=True)
    for summary in summaries:
        if summary.run.error:
            out.print(f"{summary.path}: {summary.run.error}", style="red", soft_wrap=True)


def _table(ablation: str, summaries: list[MemberSummary], width: int) -> Table:
    """The members of one ablation; a narrow terminal gets the columns that matter most."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(ablation), title_justify="left", title_style="bold")
    for name in ("setting", "arm"):
        table.add_column(name, overflow="fold", min_width=8)
    columns = [name for name, least in COLUMNS.items() if width >= least]
    for name in columns:
        table.add_column(name, no_wrap=True, justify="left" if name in ("status", "run") else "right")
    for summary in summaries:
        cells = _cells(summary)
        table.add_row(summary.member.setting, summary.member.arm, *[cells[name] for name in columns])
    return table


def _cells(summary: MemberSummary) -> dict[str, str | Text]:
    member, shown = summary.member, summary.results.best_ap or summary.results.final
    star = "*" if _starred(summary) else ""
    return {
        "seed": str(member.seed) if member.replicate == 1 else f"{member.seed}/{member.replicate}",
        "status": status_text(summary.run.status),
        "epoch": f"{summary.run.epochs_done}/{summary.epochs}",
        "best epoch": f"{shown.epoch}{star}" if shown else "–",
        "val AP": figure(shown.val_ap if shown else None) + star,
        "val AR": figure(shown.val_ar if shown else None) + star,
        "test AP": figure(shown.test_ap if shown else None) + star,
        "test AR": figure(shown.test_ar if shown else None) + star,
        "run": summary.run.key[:12],
    }


def _starred(summary: MemberSummary) -> bool:
    """Whether the figures are the final checkpoint's, for want of a best one."""
    return summary.results.best_ap is None and summary.results.final is not None


def register(app: typer.Typer) -> None:
    """Adds ``mmad runs`` to ``app``."""
    app.command("runs", help=HELP)(runs)
