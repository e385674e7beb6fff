"""How sure a report's figures are: intervals, verdicts, thresholds and controls, from what the store keeps.

Whatever cannot be told (no data set, no detections, a store that is open for reading only) is left out with one
line why; a report never fails for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmad.base.errors import EvaluationError, MmadError
from mmad.base.records import CheckpointKind, GroundTruth, RunRecord
from mmad.data.dataset import DataSet
from mmad.evaluation.intervals import Difference, holm
from mmad.evaluation.recall_curve import RecallCurve, recall_curve
from mmad.report.analysis import Measured, Profile, difference_of, estimate_of, profile_of, subject_of
from mmad.report.controls import Control
from mmad.report.frames import AblationFrame, MemberFrame, ReportFrame
from mmad.report.judged import Archive, How, Judged, judge
from mmad.report.keeping import kept
from mmad.report.kept_controls import controls_by_run, controls_of_judged
from mmad.report.pairs import PairRow, compare
from mmad.spec.protocol import EvaluationProtocol
from mmad.store.find import Found
from mmad.store.gateway import Store

#: Score thresholds of the documented log's gap table.
SCORES = (0.05, 0.1, 0.3)
_NOT_KEPT = "not computed yet, and the database is open for reading only"


@dataclass(frozen=True)
class SurePair:
    """One row of a comparison; ``p_holm`` is adjusted over the ablation's pairs. ``why``: nothing could be told."""

    reference: Measured | None = None
    other: Measured | None = None
    difference: Difference | None = None
    p_holm: float = float("nan")
    why: str = ""


@dataclass(frozen=True)
class SureRun:
    """One run as a member asked for it, on the test split. ``why``: what keeps some of it from being told."""

    kind: CheckpointKind
    measured: Measured | None = None
    profile: Profile | None = None
    curve: RecallCurve | None = None
    controls: tuple[Control, ...] = ()
    why: str = ""


PairKey = tuple[str, str, str, str, CheckpointKind]
RunKey = tuple[str, EvaluationProtocol]


@dataclass(frozen=True)
class Certainty:
    """What is known of every pair and every run; empty where the report has no store to ask."""

    pairs: Mapping[PairKey, SurePair] = field(default_factory=dict)
    runs: Mapping[RunKey, SureRun] = field(default_factory=dict)

    def pair(self, ablation: AblationFrame, reference: str, other: str, row: PairRow) -> SurePair:
        """Of one row of a comparison; an empty one where nothing was asked."""
        return self.pairs.get((ablation.record.name, row.setting, reference, other, row.kind), SurePair())

    def run(self, member: MemberFrame) -> SureRun | None:
        """Of the run of ``member`` under the member's protocol."""
        return self.runs.get((member.run.key, member.judged))


def look_into(
    frame: ReportFrame,
    store: Store,
    *,
    data: Path | None = None,
    how: How | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Certainty:
    """Everything that can be told of ``frame``; what was computed before is read, the rest computed and kept.

    Args:
        data: where the data set lies now; None where the runs say.
        how: of it resamples and seed.
        progress: hears how many of how many runs and pairs are looked into.
    """
    looking = _Looking(store, data, how or How())
    rows = {a.record.name: list(_rows(a)) for a in frame.ablations}
    members = {(m.run.key, m.judged): m for a in frame.ablations for m in a.members if m.run.finished}
    whole, done = len(members) + sum(map(len, rows.values())), 0
    runs: dict[RunKey, SureRun] = {}
    for key, member in members.items():
        progress(done, whole)
        runs[key] = looking.run(member)
        done += 1
    pairs: dict[PairKey, SurePair] = {}
    for found in rows.values():
        told: dict[PairKey, SurePair] = {}
        for pair, row in found:
            progress(done, whole)
            told[pair] = looking.pair(row)
            done += 1
        pairs |= _adjusted(told)
    if whole:
        progress(whole, whole)
    return Certainty(pairs, runs)


def _rows(ablation: AblationFrame) -> Iterable[tuple[PairKey, PairRow]]:
    for comparison in compare(ablation)[0]:
        for row in comparison.rows:
            if row.seeds:
                yield (ablation.record.name, row.setting, comparison.reference, comparison.other, row.kind), row


def _adjusted(told: Mapping[PairKey, SurePair]) -> dict[PairKey, SurePair]:
    tested = {key: sure.difference.p for key, sure in told.items() if sure.difference is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: replace(sure, p_holm=adjusted.get(key, sure.p_holm)) for key, sure in told.items()}


class _Looking:
    """Asks the store for one run or pair after another."""

    def __init__(self, store: Store, data: Path | None, how: How) -> None:
        self._store, self._how = store, how
        self._archive = KeptAlone(data) if store.read_only else Patient(data)
        self._controls = controls_by_run(store)
        self._judged: dict[tuple[RunKey, CheckpointKind], Judged] = {}

    def _judge(self, member: MemberFrame, kind: CheckpointKind) -> Judged:
        key = ((member.run.key, member.judged), kind)
        if key not in self._judged:
            found = Found(member.run.record, (member.record,))
            self._judged[key] = judge(self._store, found, replace(self._how, checkpoint=kind))
        return self._judged[key]

    def run(self, member: MemberFrame) -> SureRun:
        alone = member.alone
        if alone is None:
            return SureRun("best_ap", why="it kept no checkpoint")
        try:
            judged = self._judge(member, alone.kind)
        except MmadError as error:
            return SureRun(alone.kind, why=str(error))
        sure = SureRun(alone.kind, controls=controls_of_judged(self._controls, judged))
        try:
            sure = replace(sure, measured=estimate_of(self._store, self._archive, [judged], self._how))
            sure = replace(sure, profile=profile_of(self._store, self._archive, judged, SCORES, self._how))
            return replace(sure, curve=curve_of(self._store, self._archive, judged))
        except MmadError as error:
            return replace(sure, why=str(error))

    def pair(self, row: PairRow) -> SurePair:
        if any(a.run.key == b.run.key for a, b in row.pairs):
            return SurePair(why="both arms are answered by one run")
        sure = SurePair()
        try:
            pairs = [(self._judge(a, row.kind), self._judge(b, row.kind)) for a, b in row.pairs]
            ask = (self._store, self._archive)
            sure = replace(sure, difference=difference_of(*ask, pairs, self._how))
            sure = replace(sure, reference=estimate_of(*ask, [a for a, _ in pairs], self._how))
            return replace(sure, other=estimate_of(*ask, [b for _, b in pairs], self._how))
        except MmadError as error:
            return replace(sure, why=str(error))


def curve_of(store: Store, archive: Archive, judged: Judged) -> RecallCurve:
    """Precision by recall, kept like every analysis. Raises as ``analysis.estimate_of``."""
    subject = subject_of("precision", [judged])
    return kept(store, "precision", subject, RecallCurve, lambda: recall_curve(archive.matched(judged)))


class Patient(Archive):
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


class KeptAlone(Archive):
    """An archive that refuses: what was not kept is not computed."""

    def truth(self, judged: Judged) -> GroundTruth:
        raise EvaluationError(_NOT_KEPT, mend="make the report where it can be written")
