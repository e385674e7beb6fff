"""The figure of one arm over the folds of its cross-validation, from what was recorded while its runs trained."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from mmad.analysis.comparison import FOLDS
from mmad.analysis.evaluation_target import fold_of, setting_of
from mmad.base.formatting import interval, plural
from mmad.base.json_values import picked
from mmad.config.protocol import Fold
from mmad.data.folds import held_out_ratio
from mmad.evaluation.cross_validation import over_folds
from mmad.evaluation.resampling import Interval
from mmad.store.lookup import CheckpointFigures, MemberSummary


@dataclass(frozen=True)
class ArmOverFolds:
    """Test AP and AR of an arm: the mean over its finished folds, seeds averaged in each; no figures before any is.

    ``of`` folds were asked for; each finished one has ``seeds``, and some have more where they are ``uneven``. The
    figures are of best-AP checkpoints, of final ones (``final``) where a run kept none. ``keys`` are the arm's runs.
    """

    ablation: str
    setting: str
    arm: str
    done: int
    of: int
    seeds: int
    uneven: bool
    final: bool
    ap: Interval | None
    ar: Interval | None
    keys: frozenset[str]

    @property
    def sentence(self) -> str:
        """The figure, or how many folds are finished."""
        head = f"{self.setting}, {self.arm}: {self.done} of {self.of} folds are finished"
        if self.ap is None or self.done < self.of:
            return head
        whose = " of the final checkpoints" if self.final else ""
        seeds = f", {'at least ' if self.uneven else ''}{plural(self.seeds, 'seed')} each"
        return f"{self.setting}, {self.arm}: test AP{whose} {interval(self.ap)} over {self.of} folds{seeds}"

    @property
    def plain(self) -> dict[str, object]:
        """As a program sees it."""
        return picked(self, "done", "of", "seeds", "ap", "ar", "sentence") | {"note": FOLDS}


def arms_over_folds(summaries: Iterable[MemberSummary]) -> list[ArmOverFolds]:
    """Of every arm of ``summaries`` that is cross-validated, setting by setting; empty without folds."""
    groups: dict[tuple[str, str, str], dict[Fold, list[MemberSummary]]] = {}
    for one in summaries:
        if (fold := fold_of(one.run)) is not None:
            name = (one.member.ablation, setting_of(one.member, one.run), one.member.arm)
            groups.setdefault(name, {}).setdefault(fold, []).append(one)
    return [_arm(name, folds) for name, folds in groups.items()]


def _arm(name: tuple[str, str, str], folds: dict[Fold, list[MemberSummary]]) -> ArmOverFolds:
    members = [one for several in folds.values() for one in several]
    finished = [one for one in members if one.run.status == "finished"]
    final = any(one.results.best_ap is None for one in finished)
    done: list[list[CheckpointFigures]] = []
    for several in folds.values():
        shown = [one.results.final if final else one.results.best_ap for one in several if one in finished]
        if found := [one for one in shown if one is not None]:
            done.append(found)
    fold = next(iter(folds))

    def over(figure: str) -> Interval | None:
        values = [[getattr(one, figure) for one in seeds] for seeds in done]
        if not values or any(value is None for seeds in values for value in seeds):
            return None
        return over_folds([statistics.fmean(seeds) for seeds in values], held_out_ratio(fold.of))

    counts = [len(seeds) for seeds in done] or [0]
    seeds, uneven = min(counts), min(counts) < max(counts)
    keys = frozenset(one.run.key for one in members)
    return ArmOverFolds(*name, len(done), fold.of, seeds, uneven, final, over("test_ap"), over("test_ar"), keys)
