"""``mmad runs``: the members of every ablation with their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmad.cli.common import DEFAULT_DB, DatabaseOption, JsonOption, print_json
from mmad.cli.reading import console, figure, open_store, status_text

if TYPE_CHECKING:
    from rich.table import Table

    from mmad.store.results import MemberSummary

HELP = """List the members of every ablation with their results.

A member is ablation x setting x arm x seed; members with equal content share one run. AP and AR are those
of the best-AP checkpoint under the protocol the member asked for.

--json prints a list, one object per member: key, ablation, setting, arm, seed, replicate, documented (the
log's entry it mirrors, or null), status (queued, running, finished, failed, interrupted), epoch (the last
committed one), epochs (how many were asked for), error (or null), and best_ap, best_ar, final: each null
or {epoch, val_ap, val_ar, test_ap, test_ar}, a figure null where it was not measured.
"""


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
    out.print(_table(summaries))
    for summary in summaries:
        if summary.run.error:
            out.print(f"{summary.path}: {summary.run.error}", style="red", soft_wrap=True)


def _table(summaries: list[MemberSummary]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("ablation", "setting", "arm"):
        table.add_column(name, overflow="fold")
    for name in ("seed", "status", "epoch", "best epoch", "val AP", "val AR", "test AP", "test AR"):
        table.add_column(name, no_wrap=True, justify="left" if name == "status" else "right")
    table.add_column("run", no_wrap=True)
    for summary in summaries:
        member, best = summary.member, summary.results.best_ap
        table.add_row(
            member.ablation,
            member.setting,
            member.arm,
            str(member.seed) if member.replicate == 1 else f"{member.seed}/{member.replicate}",
            status_text(summary.run.status),
            f"{summary.run.epochs_done}/{summary.epochs}",
            str(best.epoch) if best else "–",
            *(
                figure(value)
                for value in ((best.val_ap, best.val_ar, best.test_ap, best.test_ar) if best else [None] * 4)
            ),
            summary.run.key[:12],
        )
    return table


def register(app: typer.Typer) -> None:
    """Adds ``mmad runs`` to ``app``."""
    app.command("runs", help=HELP)(runs)
