"""How sure a report's figures are: intervals, verdicts, thresholds and controls, from what the store keeps.

Whatever cannot be told (no data set, no detections, a store that is open for reading only) is left out with one
line why; a report never fails for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmad.analysis.cache import cached_together
from mmad.analysis.comparison import PairRow, comparison_tables
from mmad.analysis.controls import Control, controls_by_run, controls_of_judged
from mmad.analysis.frames import AblationFrame, MemberFrame, ReportFrame
from mmad.analysis.metrics import MaskFigures, MeasuredRun, Profile, pair_statistics, run_statistics
from mmad.analysis.prefetch import PrefetchRequest, Work, prefetching
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget, evaluation_target
from mmad.base.errors import EvaluationError, MmadError
from mmad.base.multiple_testing import holm
from mmad.base.records import CheckpointKind, GroundTruth, RunRecord
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.evaluation.bootstrap import Difference
from mmad.evaluation.operating_points import RecallCurve
from mmad.store.lookup import FoundRun
from mmad.store.store import Store

#: Runs and pairs still to be looked into that are worth another process.
LONG = 12
#: So much computed at first says that not all was kept.
FEW = 4
_NOT_KEPT = "not computed yet, and the database is open for reading only"


@dataclass(frozen=True)
class PairStatistics:
    """One row of a comparison; ``p_holm`` is adjusted over the ablation's pairs. ``why``: nothing could be told."""

    reference: MeasuredRun | None = None
    other: MeasuredRun | None = None
    difference: Difference | None = None
    p_holm: float = float("nan")
    why: str = ""


@dataclass(frozen=True)
class RunStatistics:
    """One run as a member asked for it, on the test split. ``why``: what keeps some of it from being told."""

    kind: CheckpointKind
    measured: MeasuredRun | None = None
    profile: Profile | None = None
    curve: RecallCurve | None = None
    controls: tuple[Control, ...] = ()
    why: str = ""
    masks: MaskFigures | None = None


PairKey = tuple[str, str, str, str, CheckpointKind]
RunKey = tuple[str, EvaluationProtocol]


@dataclass(frozen=True)
class Statistics:
    """What is known of every pair and every run; empty where the report has no store to ask."""

    pairs: Mapping[PairKey, PairStatistics] = field(default_factory=dict)
    runs: Mapping[RunKey, RunStatistics] = field(default_factory=dict)

    def pair(self, ablation: AblationFrame, reference: str, other: str, row: PairRow) -> PairStatistics:
        """Of one row of a comparison; an empty one where nothing was asked."""
        return self.pairs.get((ablation.record.name, row.setting, reference, other, row.kind), PairStatistics())

    def run(self, member: MemberFrame) -> RunStatistics | None:
        """Of the run of ``member`` under the member's protocol."""
        return self.runs.get((member.run.key, member.judged))


def compute_statistics(
    frame: ReportFrame,
    store: Store,
    *,
    data: Path | None = None,
    how: EvaluationOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Statistics:
    """Everything that can be told of ``frame``; what was computed before is read, the rest computed and kept.

    Args:
        data: where the data set lies now; None where the runs say.
        how: of it resamples and seed.
        progress: hears how many of how many runs and pairs are looked into.
    """
    how = how or EvaluationOptions()
    looking = _StatisticsBuilder(store, data, how)
    work = list(_work(frame))
    runs: dict[RunKey, RunStatistics] = {}
    pairs: dict[PairKey, PairStatistics] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(cached_together(store))
        for done, one in enumerate(work):
            progress(done, len(work))
            if isinstance(one, MemberFrame):
                runs[one.run.key, one.judged] = looking.run(one)
            else:
                pairs[one[0]] = looking.pair(one[1])
            if looking.begins_to_compute and len(work) - done > LONG:
                stack.enter_context(prefetching(store, data, how, [w for one in work[done:] if (w := _asked(one))]))
    if work:
        progress(len(work), len(work))
    told = {a.record.name: {k: s for k, s in pairs.items() if k[0] == a.record.name} for a in frame.ablations}
    return Statistics({key: sure for found in told.values() for key, sure in _adjusted(found).items()}, runs)


def _work(frame: ReportFrame) -> Iterator[MemberFrame | tuple[PairKey, PairRow]]:
    """Every finished run once, then the pairs of its ablation, so that what they share is still at hand."""
    seen = set()
    for ablation in frame.ablations:
        for member in ablation.members:
            if member.run.finished and (member.run.key, member.judged) not in seen:
                seen.add((member.run.key, member.judged))
                yield member
        yield from _rows(ablation)


def _asked(one: MemberFrame | tuple[PairKey, PairRow]) -> Work | None:
    """What is asked, as a helper understands it; None where nothing can be told."""
    if isinstance(one, MemberFrame):
        return None if one.alone is None else PrefetchRequest(one.record, one.alone.kind)
    row = one[1]
    if any(a.run.key == b.run.key for a, b in row.pairs):
        return None
    return tuple((PrefetchRequest(a.record, row.kind), PrefetchRequest(b.record, row.kind)) for a, b in row.pairs)


def _rows(ablation: AblationFrame) -> Iterable[tuple[PairKey, PairRow]]:
    for comparison in comparison_tables(ablation)[0]:
        for row in comparison.rows:
            if row.seeds:
                yield (ablation.record.name, row.setting, comparison.reference, comparison.other, row.kind), row


def _adjusted(told: Mapping[PairKey, PairStatistics]) -> dict[PairKey, PairStatistics]:
    tested = {key: sure.difference.p for key, sure in told.items() if sure.difference is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: replace(sure, p_holm=adjusted.get(key, sure.p_holm)) for key, sure in told.items()}


class _StatisticsBuilder:
    """Asks the store for one run or pair after another."""

    def __init__(self, store: Store, data: Path | None, how: EvaluationOptions) -> None:
        self._store, self._how = store, how
        self._archive = CacheOnlyStore(data) if store.read_only else FailureCachingStore(data)
        self._controls = controls_by_run(store)
        self._judged: dict[tuple[RunKey, CheckpointKind], EvaluationTarget] = {}
        self._helped = False

    def _judge(self, member: MemberFrame, kind: CheckpointKind) -> EvaluationTarget:
        key = ((member.run.key, member.judged), kind)
        if key not in self._judged:
            found = FoundRun(member.run.record, (member.record,))
            how, known = replace(self._how, checkpoint=kind), member.run
            self._judged[key] = evaluation_target(
                self._store, found, how, checkpoints=known.checkpoints, evaluations=known.evaluations
            )
        return self._judged[key]

    def run(self, member: MemberFrame) -> RunStatistics:
        alone = member.alone
        if alone is None:
            return RunStatistics("best_ap", why="it kept no checkpoint")
        try:
            judged = self._judge(member, alone.kind)
        except MmadError as error:
            return RunStatistics(alone.kind, why=str(error))
        sure = RunStatistics(alone.kind, controls=controls_of_judged(self._controls, judged))
        try:
            for figure in run_statistics(self._store, self._archive, judged, self._how):
                sure = replace(sure, **figure)
        except MmadError as error:
            sure = replace(sure, why=str(error))
        return sure

    def pair(self, row: PairRow) -> PairStatistics:
        if any(a.run.key == b.run.key for a, b in row.pairs):
            return PairStatistics(why="both arms are answered by one run")
        sure = PairStatistics()
        try:
            pairs = [(self._judge(a, row.kind), self._judge(b, row.kind)) for a, b in row.pairs]
            for figure in pair_statistics(self._store, self._archive, pairs, self._how):
                sure = replace(sure, **figure)
        except MmadError as error:
            sure = replace(sure, why=str(error))
        return sure

    @property
    def begins_to_compute(self) -> bool:
        """Once: whether so much was not kept that it shows."""
        if self._helped or self._store.read_only or self._archive.computed < FEW:
            return False
        self._helped = True
        return True


class FailureCachingStore(DetectionStore):
    """An archive that looks for a missing or changed data set once, and remembers in what words it failed."""

    def __init__(self, data: Path | None = None) -> None:
        super().__init__(data)
        self._failed: dict[tuple[str, str], MmadError] = {}

    def dataset(self, run: RunRecord) -> DataSet:
        key = (run.dataset_path, run.dataset_fingerprint)
        if key in self._failed:
            raise self._failed[key]
        try:
            return super().dataset(run)
        except MmadError as error:
            self._failed[key] = error
            raise


class CacheOnlyStore(DetectionStore):
    """An archive that refuses: what was not kept is not computed."""

    def truth(self, judged: EvaluationTarget) -> GroundTruth:
        raise EvaluationError(_NOT_KEPT, hint="make the report where it can be written")
