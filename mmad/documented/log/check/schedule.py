"""Rules about checkpoints: their order, what "best" means, and when a run may stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmad.documented.log.check.slip import Slip
from mmad.documented.log.headings import SAME
from mmad.documented.log.model import LogEntry

#: Runs that end in a multiple of this many epochs may have ended as planned.
_ROUND = 50


def schedule_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Checkpoints that contradict each other or the schedule."""
    for entry in entries:
        yield from _order(entry)
        yield from _best(entry)
        yield from _stop(entry)


def _order(entry: LogEntry) -> Iterator[Slip]:
    final = entry.results.get("final")
    for kind, result in entry.results.items():
        if final is not None and result.epoch > final.epoch:
            what = f"{kind} is of epoch {result.epoch}, after the final epoch {final.epoch}"
            yield Slip("epoch-order", entry.id, what, line=result.line or None)
        elif final is not None and result.epoch < final.epoch and result.stamp > final.stamp:
            what = f"{kind} (epoch {result.epoch}) was saved after the final epoch {final.epoch}"
            yield Slip("epoch-order", entry.id, what, line=result.line or None)


def _best(entry: LogEntry) -> Iterator[Slip]:
    """A best checkpoint that another of the entry surpasses; with a full stop the last epoch is not compared."""
    stops = bool(entry.fields.get("reduceLROnPlateau_full_stop"))
    for kind, figure in (("best_ap", "val_ap"), ("best_ar", "val_ar")):
        best = entry.results.get(kind)
        if best is None:
            continue
        for other, result in entry.results.items():
            more = getattr(result, figure) - getattr(best, figure)
            if more > SAME and not (other == "final" and stops):
                what = f"{kind}.{figure} is {getattr(best, figure):.4f}, {other} has {getattr(result, figure):.4f}"
                yield Slip("not-best", entry.id, what, line=best.line or None)


def _stop(entry: LogEntry) -> Iterator[Slip]:
    """Early stops: never before patience + 2; after a plateau of val AP, patience + 1 or + 2 behind its best epoch."""
    patience, final = entry.fields.get("reduceLROnPlateau_patience"), entry.results.get("final")
    stops = entry.fields.get("reduceLROnPlateau_full_stop") and entry.fields.get("lr_scheduler") == "ReduceLROnPlateau"
    if not stops or not isinstance(patience, int) or final is None or final.epoch % _ROUND == 0:
        return
    if final.epoch < patience + 2:
        what = f"final epoch {final.epoch} cannot be an early stop with patience {patience}"
        yield Slip("stop-impossible", entry.id, what, line=final.line or None)
        return
    best = entry.results.get("best_ap")
    if best is not None and final.epoch - best.epoch not in (patience + 1, patience + 2):
        what = (
            f"final epoch {final.epoch} is impossible for a plateau of val AP (best in epoch {best.epoch}, patience "
            f"{patience}); of val loss its best epoch is {final.epoch - patience - 1}"
        )
        yield Slip("stop-not-by-ap", entry.id, what, "note", line=final.line or None)
