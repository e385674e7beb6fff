"""What the documented log printed for a run, beside what was measured here."""

from __future__ import annotations

from dataclasses import dataclass

from mmad.base.errors import SpecError
from mmad.documented.entries import Result, entry
from mmad.report.frames import AblationFrame, MemberFrame, Outcome

_KINDS = {"best_ap": "best AP", "best_ar": "best AR", "final": "final", "unlabelled": "unlabelled"}


@dataclass(frozen=True)
class Mirrored:
    """A member, the entry it mirrors, and one checkpoint of both; ``checkpoint`` is the log's word for it."""

    member: MemberFrame
    entry: str
    checkpoint: str
    documented: Result
    measured: Outcome | None

    @property
    def figures(self) -> tuple[tuple[float, float | None], ...]:
        """(documented, measured) test AP, validation AP, test AR, validation AR."""
        names = ("test_ap", "val_ap", "test_ar", "val_ar")
        return tuple((getattr(self.documented, n), getattr(self.measured, n, None)) for n in names)


def mirrored(ablation: AblationFrame) -> tuple[Mirrored, ...]:
    """Every member that mirrors an entry with printed results, in the file's order.

    The checkpoint is the best-AP one where the entry prints it and the run kept it, else the final one, else
    the one that the entry leaves unlabelled beside the one that stands for the run.
    """
    return tuple(found for member in ablation.members if (found := _mirrored(member)) is not None)


def _mirrored(member: MemberFrame) -> Mirrored | None:
    if not member.record.documented:
        return None
    try:
        results = entry(member.record.documented).results
    except SpecError:
        return None  # an entry that this program does not know
    kept = {kind: outcome for kind in ("best_ap", "final") if (outcome := member.outcome(kind)) is not None}
    kinds = [kind for kind in ("best_ap", "final") if kind in results]
    kind = next((k for k in kinds if k in kept), kinds[0] if kinds else next(iter(results), None))
    if kind is None:
        return None
    measured = member.alone if kind == "unlabelled" else kept.get(kind)
    return Mirrored(member, member.record.documented, _KINDS.get(kind, kind), results[kind], measured)
