"""Intervals, tests and verdicts: of the pairs that ``mmad compare`` asks for, and of a whole report.

What cannot be computed for a report (no data set, no detections, a store that is open for reading only) is left out
with one line why; a report never fails for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmad.analysis.cache import cached_together
from mmad.analysis.cached_statistics import (
    AgreementOptions,
    Diagnosis,
    MaskFigures,
    Profile,
    agreement_of,
    folded_sample_of,
    over_each_fold,
    pair_statistics,
    run_statistics,
    sample_of,
)
from mmad.analysis.clinical_table import late_fusion
from mmad.analysis.comparison import (
    ComparedRun,
    Comparison,
    DataFile,
    ExternalDifference,
    MeasuredRun,
    NotComparable,
    PairStatistics,
    ReaderDifference,
    compare,
    compare_stored,
    registered_of,
    trials_of,
)
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    EvaluationTarget,
    TargetPairs,
    evaluation_target,
    fold_of,
    protocol_of,
    setting_of,
)
from mmad.analysis.external import ExternalRun, Recorded, external_pairs, external_runs, recorded_external
from mmad.analysis.input_controls import Control, cached_controls, controls_by_run
from mmad.analysis.prefetch import PrefetchTask, pair_task, prefetching, run_task
from mmad.analysis.report_frame import AblationFrame, MemberFrame, ReportFrame, RunFrame
from mmad.analysis.run_readers import KIND as READERS
from mmad.analysis.run_readers import PAIR_KIND as READER_DIFFERENCES
from mmad.analysis.run_readers import PairReaders, RunReaders, cached_compared_readers, cached_readers, compared_readers
from mmad.analysis.run_subgroups import KIND as SUBGROUPS
from mmad.analysis.run_subgroups import PAIR_KIND as INTERACTIONS
from mmad.analysis.run_subgroups import (
    RunSubgroups,
    cached_interactions,
    cached_subgroups,
    columns_of,
    interactions_of,
    subgroups_of,
)
from mmad.base.errors import EvaluationError, MmadError
from mmad.base.records import AblationRecord, CheckpointKind, GroundTruth, OnProgress, RunRecord, Split
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.folds import shared_training
from mmad.evaluation.differences import (
    Difference,
    FamilyPair,
    FoldedPair,
    FoldedSample,
    Goal,
    MeanDifference,
    PairSample,
    differences,
    folded_mean_difference,
    mean_difference,
    on_common_patients,
)
from mmad.evaluation.operating_points import RecallCurve
from mmad.store.lookup import FoundRun, find_seeds, named_ablation, results_under
from mmad.store.store import Store

#: Runs and pairs left to compute that are worth another process.
LONG = 12
#: So much computed at first says that not all was cached.
FEW = 4
_NOT_CACHED = "not computed yet, and the database is open for reading only"


def compare_arms(
    store: Store,
    detections: DetectionStore,
    reference: str,
    other: str,
    options: EvaluationOptions | None = None,
    same: AgreementOptions | None = None,
    by: Sequence[str] = (),
    *,
    by_reader: bool = False,
) -> Comparison:
    """Compare what two names mean (see ``find_seeds``), over the seeds that both have finished.

    Raises:
        StoreError: a name that means no run.
        EvaluationError: runs that are not finished, share no seed, or cannot be compared; ``by`` that parts nothing,
            and with ``by_reader`` a split of fewer than two readers.
    """
    options = options or EvaluationOptions()
    meant = [find_seeds(store, name) for name in (reference, other)]
    file = _file_of(store, [run for side in meant for run in side])
    sides = [[_compared(store, run, file, options, detections.data) for run in side] for side in meant]
    found = compare(
        *sides,
        names=(reference, other),
        file=file,
        kind=options.checkpoint,
        split=options.split,
        by_seed=len(sides[0]) > 1 or len(sides[1]) > 1,
    )
    if isinstance(found, NotComparable):
        raise found.error()
    if not found.pairs:
        raise found.unfinished().error()
    first = sides[0][0]
    name = "" if first.member is None else first.member.setting
    if found.folds and first.member is not None:
        name = setting_of(first.member, first.run)
    found = replace(found, setting=name)
    measured = _measured(store, detections, found, options, same)
    measured = _with_parts(store, detections, found, measured, options, by, by_reader)
    family: list[Comparison] = []
    if file is not None:
        found, family = _pairs_beside(store, file.name, found, options, detections.data)
    if found.registration is None:  # a part of what was registered, or two ablations' runs
        names = {member.ablation for side in meant for run in side for member in run.members}
        found = replace(found, registration=registered_of(store, [a for a in store.ablations() if a.name in names]))
    beside = [(one, _sampled(store, detections, one, options, by_reader=by_reader)) for one in family]
    (settled, *_) = _as_family([(found, measured), *beside], options)
    return replace(found, statistics=settled)


def _pairs_beside(
    store: Store, ablation: str, found: Comparison, options: EvaluationOptions, data: Path | None
) -> tuple[Comparison, list[Comparison]]:
    """The comparison with what the ablation knows of it (late runs, registration), and the ablation's other pairs.

    Only where the ablation compares these two itself, over as many folds: a verdict does not depend on who asks.
    """
    runs = [(a.run.key, b.run.key) for a, b in found.pairs]
    every = [one for one in compare_stored(store, ablation, options, data) if isinstance(one, Comparison) and one.pairs]
    turned = [(b, a) for a, b in runs]
    same = [
        n
        for n, one in enumerate(every)
        if one.folds == found.folds and [(a.run.key, b.run.key) for a, b in one.pairs] in (runs, turned)
    ]
    if not same:
        return found, []
    own = every.pop(same[0])
    registration = own.registration
    if registration is not None and [(b.run.key, a.run.key) for a, b in own.pairs] == runs:  # asked the other way round
        asked = registration.hypothesis
        turned_goal = "difference" if asked.goal == "non-inferiority" else asked.goal
        asked = asked.model_copy(update={"compare": asked.compare[::-1], "goal": turned_goal})
        registration = replace(registration, hypothesis=asked)
    return replace(found, late=own.late, looks=own.looks, registration=registration), every


def _sampled(
    store: Store,
    detections: DetectionStore,
    comparison: Comparison,
    options: EvaluationOptions,
    *,
    by_reader: bool = False,
) -> PairStatistics:
    """What the family of a pair needs of another one; what cannot be had is left out, and why."""
    try:
        pairs = comparison_targets(store, comparison, options)
        of = folded_sample_of if comparison.folds else sample_of
        found = PairStatistics(sample=of(store, detections, pairs, options, comparison.by_design))
    except MmadError as error:
        return PairStatistics(why=str(error))
    with contextlib.suppress(MmadError):  # the pair that was asked for says it
        return _with_readers(store, detections, comparison, found, options) if by_reader else found
    return found


def _with_readers(
    store: Store,
    detections: DetectionStore,
    comparison: Comparison,
    found: PairStatistics,
    options: EvaluationOptions,
    known: PairReaders | None = None,
    pairs: TargetPairs | None = None,
) -> PairStatistics:
    """The statistics with a sample under each reader; the differences are those of a family.

    Args:
        known: the readers, where they were read before; ``pairs`` likewise.

    Raises:
        EvaluationError: a split of fewer than two readers.
    """
    pairs = pairs or comparison_targets(store, comparison, options)
    asked = known or compared_readers(store, detections, pairs)
    of = folded_sample_of if comparison.folds else sample_of
    each = []
    for reader, left_out in asked.readers:
        own = [(replace(a, reader=reader), replace(b, reader=reader)) for a, b in pairs]
        try:
            each.append(ReaderDifference(reader, left_out, of(store, detections, own, options, comparison.by_design)))
        except MmadError as error:
            each.append(ReaderDifference(reader, left_out, why=str(error)))
    return replace(found, by_reader=tuple(each), merged=asked.merged)


def compare_ablation(
    store: Store,
    detections: DetectionStore,
    ablation: str,
    options: EvaluationOptions | None = None,
    progress: OnProgress = lambda done, whole: None,
    same: AgreementOptions | None = None,
    by: Sequence[str] = (),
    *,
    by_reader: bool = False,
) -> tuple[list[Comparison], list[NotComparable]]:
    """Every pair of arms that the ablation compares, setting by setting, as one family.

    Raises:
        StoreError: no such ablation.
        EvaluationError: no pair can be compared, or as of ``compare_arms``.
    """
    options = options or EvaluationOptions()
    ablation = named_ablation(store, ablation)
    pairs = compare_stored(store, ablation, options, detections.data)
    done: list[tuple[Comparison, PairStatistics]] = []
    refused: list[NotComparable] = []
    for number, found in enumerate(pairs):
        progress(number, len(pairs))
        if isinstance(found, NotComparable):
            refused.append(found)
            continue
        if not found.pairs:
            refused.append(found.unfinished())
            continue
        try:
            measured = _measured(store, detections, found, options, same)
        except EvaluationError as error:
            who = (found.ablation, found.setting, found.reference, found.other)
            refused.append(NotComparable(*who, str(error), ""))
        else:
            done.append((found, _with_parts(store, detections, found, measured, options, by, by_reader)))
    progress(len(pairs), len(pairs))
    if not done:
        what, hint = "nothing can be compared: it has no pair of arms", None
        if refused:
            what, hint = refused[0].error().what, refused[0].hint
        raise EvaluationError(what, where=f"ablation {ablation}", hint=hint)
    together = zip(done, _as_family(done, options, _late_fusion(store, detections, options)), strict=True)
    return [replace(one, statistics=found) for (one, _), found in together], refused


def finished_pairs(
    store: Store, detections: DetectionStore, ablation: str, options: EvaluationOptions | None = None
) -> list[Comparison | NotComparable]:
    """The same for the end of ``mmad ablate``: pairs that are not finished or cannot be measured stay in, too."""
    options = options or EvaluationOptions()
    pairs = compare_stored(store, ablation, options, detections.data)
    known = [one for one in pairs if isinstance(one, Comparison) and one.pairs]
    measured = [(one, _sampled(store, detections, one, options)) for one in known]
    family = _as_family(measured, options, _late_fusion(store, detections, options))
    settled = dict(zip(map(id, known), family, strict=True))
    return [
        replace(one, statistics=settled[id(one)]) if isinstance(one, Comparison) and id(one) in settled else one
        for one in pairs
    ]


def _compared(
    store: Store, found: FoundRun, file: AblationRecord | None, options: EvaluationOptions, data: Path | None
) -> ComparedRun:
    """The run as the member of ``file`` that it answers; without a file, as the first it answers."""
    run = found.run
    of_file = [m for m in found.members if file is not None and m.ablation == file.name]
    member = next(iter(of_file or found.members), None)
    protocol = protocol_of(run, member, options)
    rows = store.checkpoints(run.key), store.evaluations(run.key), store.epoch_records(run.key)
    results = results_under(protocol.model_dump(mode="json"), run, *rows)
    versions = store.latest_versions([run.key]).get(run.key, {})
    trials = next((trials_of(one) for one in store.ablations() if member and one.name == member.ablation), 0)
    return ComparedRun(run, member, protocol, results, DataFile.of(data or run.dataset_path), versions, trials)


def _file_of(store: Store, runs: Sequence[FoundRun]) -> AblationRecord | None:
    """The first ablation that all runs are of, whatever others they answer; None where they have none in common."""
    names = frozenset.intersection(*(frozenset(m.ablation for m in run.members) for run in runs))
    return next((a for a in store.ablations() if a.name in names), None)


def _measured(
    store: Store,
    detections: DetectionStore,
    comparison: Comparison,
    options: EvaluationOptions,
    same: AgreementOptions | None,
) -> PairStatistics:
    """The statistics of a comparison by itself.

    Where arms differ by design their images or true boxes may be others, too: then there is no interval, and why.
    """
    pairs = comparison_targets(store, comparison, options)
    found, design = PairStatistics(), comparison.by_design
    try:
        for part in pair_statistics(store, detections, pairs, options, design, folded=bool(comparison.folds)):
            found = replace(found, **part)
        found = replace(found, agreement=agreement_of(store, detections, pairs, same, design))
        found = replace(found, external=_external(store, detections, comparison, pairs, options))
    except EvaluationError as error:
        if not design or found.other is None:
            raise
        found = replace(found, why=str(error))
    return found


def _with_parts(
    store: Store,
    detections: DetectionStore,
    comparison: Comparison,
    found: PairStatistics,
    options: EvaluationOptions,
    by: Sequence[str],
    by_reader: bool,
) -> PairStatistics:
    """The statistics with the parts of the columns ``by``, and under each reader.

    EvaluationError for columns that part nothing, or folds; and for a split of fewer than two readers.
    """
    if not (by or by_reader) or found.why:
        return found
    pairs = comparison_targets(store, comparison, options)
    found = replace(found, interactions=interactions_of(store, detections, pairs, by, comparison.by_design))
    return _with_readers(store, detections, comparison, found, options, pairs=pairs) if by_reader else found


def _external(
    store: Store,
    detections: DetectionStore,
    comparison: Comparison,
    pairs: TargetPairs,
    options: EvaluationOptions,
    known: Recorded | None = None,
) -> tuple[ExternalDifference, ...]:
    """The comparison on every external data set that its runs were evaluated on; ``known`` where it was read before."""
    if options.split != "test":
        return ()
    found = []
    for there in external_pairs(store, detections, pairs, recorded_external(store) if known is None else known):
        outside = there[0][0].outside
        assert outside is not None
        stats, difference = PairStatistics(), None
        try:
            for part in pair_statistics(store, detections, there, options, comparison.by_design):
                stats = replace(stats, **part)
            sample = stats.sample
            assert isinstance(sample, PairSample)
            if comparison.folds:
                numbers = [None if (fold := fold_of(a.run)) is None else fold.number for a, _ in there]
                difference = on_common_patients(sample, numbers, shared_training(comparison.folds))
            else:
                pair = _family_pair(comparison, stats)
                assert isinstance(pair, FamilyPair)
                alone = [replace(pair, goal=None, looks=None)]
                (difference,) = differences(alone, resamples=options.resamples, seed=options.seed)
        except MmadError as error:
            stats = replace(stats, why=str(error))
        found.append(
            ExternalDifference(outside.name, outside.data, stats.reference, stats.other, difference, stats.why)
        )
    return tuple(found)


def comparison_targets(
    store: Store, comparison: Comparison, options: EvaluationOptions, known: Mapping[str, RunFrame] | None = None
) -> list[tuple[EvaluationTarget, EvaluationTarget]]:
    """The checkpoints that are compared, (reference, other) of each seed.

    Args:
        known: runs by key whose rows were read before.
    """
    options, known = replace(options, checkpoint=comparison.kind), known or {}

    def target(one: ComparedRun) -> EvaluationTarget:
        run = FoundRun(one.run, () if one.member is None else (one.member,))
        read = known.get(one.run.key)
        if read is None:
            return evaluation_target(store, run, options)
        return evaluation_target(store, run, options, checkpoints=read.checkpoints, evaluations=read.evaluations)

    return [(target(a), target(b)) for a, b in comparison.pairs]


#: Cheap late fusion of the reference against the other arm, or why there is none.
_LateFusion = Callable[[Comparison], PairSample | FoldedSample | str]


def _as_family(
    found: Sequence[tuple[Comparison, PairStatistics]], options: EvaluationOptions, late: _LateFusion | None = None
) -> list[PairStatistics]:
    """The statistics with the difference of each pair as one of them all, where it has a sample.

    ``late`` is asked once for every arm that is compared with permuted records: of its first pair without records.
    """
    places, family, settled = _settled(found, options)
    permuted: dict[tuple[str, str], dict[int, int]] = {}  # setting and arm → permutation → its first place in family
    for n, (one, _) in enumerate(found[n] for n in places):
        if one.records == ("permuted", "true"):
            permuted.setdefault((one.setting, one.other), {}).setdefault(one.permutation, n)
    groups = [list(one.values()) for one in permuted.values()]
    means = {places[n]: _mean_difference(family, group) for group in groups for n in group}
    lates: dict[int, MeanDifference | str] = {}
    who = [(one.setting, one.other, one.records[0]) for one, _ in (found[n] for n in places)]
    for setting, arm in permuted:
        if late is not None and (setting, arm, "none") in who:
            n = who.index((setting, arm, "none"))
            sample = late(found[places[n]][0])
            lates[places[n]] = sample if isinstance(sample, str) else _mean_difference(family, [n], sample)
    under: dict[str, dict[int, Difference]] = {}
    for reader in dict.fromkeys(one.reader for _, stats in found for one in stats.by_reader):
        under[reader] = _settled([(one, _of_reader(stats, reader)) for one, stats in found], options)[2]
    return [
        replace(
            stats,
            difference=settled.get(n),
            permutations=means.get(n),
            late_fusion=lates.get(n),
            by_reader=tuple(replace(one, difference=under[one.reader].get(n)) for one in stats.by_reader),
        )
        for n, (_, stats) in enumerate(found)
    ]


def _of_reader(stats: PairStatistics, reader: str) -> PairStatistics:
    return PairStatistics(sample=next((one.sample for one in stats.by_reader if one.reader == reader), None))


def _settled(
    found: Sequence[tuple[Comparison, PairStatistics]], options: EvaluationOptions
) -> tuple[list[int], list[FamilyPair | FoldedPair], dict[int, Difference]]:
    """The places that have a sample, these as a family, and the difference at each place."""
    places = [n for n, (_, stats) in enumerate(found) if stats.sample is not None]
    family = [_family_pair(*found[n]) for n in places]
    known = differences(family, resamples=options.resamples, seed=options.seed)
    return places, family, dict(zip(places, known, strict=True))


def _late_fusion(
    store: Store, detections: DetectionStore, options: EvaluationOptions, known: Mapping[str, RunFrame] | None = None
) -> _LateFusion | None:
    """What ``_as_family`` asks for, of kept detections; ``known`` as for ``comparison_targets``.

    None on validation, whose detections late fusion is fitted on.
    """
    if options.split != "test":
        return None

    def of(comparison: Comparison) -> PairSample | FoldedSample | str:
        try:
            pairs = comparison_targets(store, comparison, options, known)
            if comparison.folds:
                return over_each_fold(pairs, lambda part: late_fusion(store, detections, part, options))
            return late_fusion(store, detections, pairs, options)
        except MmadError as error:
            return str(error)

    return of


def _mean_difference(
    family: Sequence[FamilyPair | FoldedPair], places: Sequence[int], sample: PairSample | FoldedSample | None = None
) -> MeanDifference:
    """Of the pairs at ``places`` of a family, which are of one arm: all over folds, or none of them.

    ``sample`` stands in place of the one pair's.
    """
    if isinstance(sample, FoldedSample):
        return folded_mean_difference([sample])
    folded = [one.sample for one in (family[n] for n in places) if isinstance(one, FoldedPair)]
    if folded:
        return folded_mean_difference(folded)
    plain = {n: one for n, one in enumerate(family) if isinstance(one, FamilyPair)}
    return mean_difference(list(plain.values()), [list(plain).index(n) for n in places], sample)


def _family_pair(comparison: Comparison, stats: PairStatistics) -> FamilyPair | FoldedPair:
    assert stats.sample is not None
    reference, other = (tuple(pair[side].run.key for pair in comparison.pairs) for side in (0, 1))
    asked = comparison.registered
    goal = None if asked is None else Goal(asked.goal, asked.margin or 0.0, asked.alpha)
    if isinstance(stats.sample, FoldedSample):
        return FoldedPair(stats.sample, goal)
    return FamilyPair(
        stats.sample, reference, other, tuple(a.seed for a, _ in comparison.pairs), goal, comparison.looks
    )


# The statistics of a report: of every run, and of every pair of arms.


@dataclass(frozen=True)
class RunStatistics:
    """One run as a member asked for it, on the test split. ``why``: what keeps some of it from being computed."""

    kind: CheckpointKind
    measured: MeasuredRun | None = None
    profile: Profile | None = None
    curve: RecallCurve | None = None
    controls: tuple[Control, ...] = ()
    why: str = ""
    masks: MaskFigures | None = None
    diagnosis: Diagnosis | None = None
    external: tuple[ExternalRun, ...] = ()
    subgroups: tuple[RunSubgroups, ...] = ()
    readers: RunReaders | None = None


PairKey = tuple[str, str, str, str]
RunKey = tuple[str, EvaluationProtocol]


def pair_key(one: Comparison) -> PairKey:
    """By what ``Statistics`` knows a comparison."""
    return one.ablation, one.setting, one.reference, one.other


@dataclass(frozen=True)
class Statistics:
    """What is known of every pair and every run; empty where the report has no store to ask."""

    pairs: Mapping[PairKey, PairStatistics] = field(default_factory=dict)
    runs: Mapping[RunKey, RunStatistics] = field(default_factory=dict)

    def pair(self, comparison: Comparison) -> PairStatistics:
        """Of a comparison; an empty one where nothing was asked."""
        return self.pairs.get(pair_key(comparison), PairStatistics())

    def run(self, member: MemberFrame) -> RunStatistics | None:
        """Of the run of ``member`` under the member's protocol."""
        return self.runs.get((member.run.key, member.protocol))


def compute_statistics(
    frame: ReportFrame,
    store: Store,
    *,
    data: Path | None = None,
    options: EvaluationOptions | None = None,
    progress: OnProgress = lambda done, whole: None,
    detections: DetectionStore | None = None,
    helped: bool = False,
    by: Sequence[str] = (),
) -> Statistics:
    """Everything that can be computed of ``frame``; what is cached is read, the rest computed and cached.

    Args:
        data: where the data set lies now; None where the runs say.
        options: of these resamples and seed.
        progress: hears how many of how many runs and pairs are done.
        detections: of ``detections_of``, where several frames of one store are asked for.
        helped: whether helpers compute this ahead already (``helpers_for``).
        by: columns whose parts of the split are asked for, where a data set has them; of others what is cached.
    """
    options = options or EvaluationOptions()
    builder = _StatisticsBuilder(frame, store, detections or detections_of(store, data), options, helped, by)
    work = list(_work(frame))
    runs: dict[RunKey, RunStatistics] = {}
    pairs: dict[PairKey, PairStatistics] = {}
    compared: dict[PairKey, Comparison] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(cached_together(store))
        for done, one in enumerate(work):
            progress(done, len(work))
            if isinstance(one, MemberFrame):
                runs[one.run.key, one.protocol] = builder.run(one)
            else:
                compared[pair_key(one)] = one
                pairs[pair_key(one)] = builder.pair(one)
            if builder.begins_to_compute and len(work) - done > LONG:
                stack.enter_context(prefetching(store, data, options, _requests(work[done:])))
    if work:
        progress(len(work), len(work))
    late = builder.late_fusion()
    for name in dict.fromkeys(key[0] for key in pairs):
        keys = [key for key in pairs if key[0] == name]
        pairs |= zip(keys, _as_family([(compared[key], pairs[key]) for key in keys], options, late), strict=True)
    return Statistics(pairs, runs)


def _work(frame: ReportFrame) -> Iterator[MemberFrame | Comparison]:
    """Every finished run once, then the pairs of its ablation, so that the matches they share are still in memory."""
    seen = set()
    for ablation in frame.ablations:
        for member in ablation.members:
            if member.run.finished and (member.run.key, member.protocol) not in seen:
                seen.add((member.run.key, member.protocol))
                yield member
        yield from finished_comparisons(ablation)


def finished_comparisons(ablation: AblationFrame) -> list[Comparison]:
    """The comparisons of an ablation that have a finished pair."""
    return [one for one in ablation.comparisons if isinstance(one, Comparison) and one.pairs]


@contextlib.contextmanager
def helpers_for(
    frames: Sequence[ReportFrame], store: Store, *, data: Path | None = None, options: EvaluationOptions | None = None
) -> Iterator[None]:
    """Lets other processes begin with the last of ``frames`` while the block runs; their epochs are not needed."""
    requests = _requests([one for frame in frames for one in _work(frame)])
    if store.read_only or len(requests) <= LONG:
        yield
        return
    with prefetching(store, data, options or EvaluationOptions(), requests):
        yield


def _requests(work: Sequence[MemberFrame | Comparison]) -> list[PrefetchTask]:
    return [asked for one in work if (asked := _request(one)) is not None]


def _request(one: MemberFrame | Comparison) -> PrefetchTask | None:
    """The work as a helper process takes it; None where nothing can be computed."""
    if isinstance(one, MemberFrame):
        return None if one.alone is None else run_task(one.record, one.alone.kind)
    return pair_task(one)


class _StatisticsBuilder:
    """Asks the store for one run or pair after another."""

    def __init__(
        self,
        frame: ReportFrame,
        store: Store,
        detections: DetectionStore,
        options: EvaluationOptions,
        helped: bool,
        by: Sequence[str],
    ) -> None:
        self._by = by
        self._store, self._options, self._detections = store, options, detections
        self._controls, self._external = controls_by_run(store), recorded_external(store)
        self._subgroups, self._interactions = store.analyses(SUBGROUPS), store.analyses(INTERACTIONS)
        self._readers, self._compared = store.analyses(READERS), store.analyses(READER_DIFFERENCES)
        self._known = {run.key: run for run in frame.runs}
        self._helped = helped

    def run(self, member: MemberFrame) -> RunStatistics:
        if member.alone is None:
            return RunStatistics("best_ap", why="it kept no checkpoint")
        kind, known = member.alone.kind, member.run
        found = RunStatistics(kind)
        try:
            splits: tuple[Split, Split] = ("test", "val")
            target, validation = (
                evaluation_target(
                    self._store,
                    FoundRun(known.record, (member.record,)),
                    replace(self._options, checkpoint=kind, split=split),
                    checkpoints=known.checkpoints,
                    evaluations=known.evaluations,
                )
                for split in splits
            )
            found = replace(found, controls=cached_controls(self._controls, target))
            found = replace(found, subgroups=cached_subgroups(self._subgroups, target))
            found = replace(found, readers=cached_readers(self._readers, target))
            for part in run_statistics(self._store, self._detections, target, validation):
                found = replace(found, **part)
            external = external_runs(self._store, self._detections, target, validation, self._external)
            found = replace(found, external=external)
            if columns := self._columns(target):
                found = replace(found, subgroups=subgroups_of(self._store, self._detections, target, columns))
        except MmadError as error:
            found = replace(found, why=str(error))
        return found

    def _columns(self, target: EvaluationTarget) -> list[str]:
        """Those asked for that the run's data set has."""
        if not self._by:
            return []
        return [name for name in self._by if name in columns_of(self._detections.dataset(target.run))]

    def pair(self, comparison: Comparison) -> PairStatistics:
        found = PairStatistics()
        try:
            pairs = comparison_targets(self._store, comparison, self._options, self._known)
            design, folded = comparison.by_design, bool(comparison.folds)
            for part in pair_statistics(self._store, self._detections, pairs, self._options, design, folded=folded):
                found = replace(found, **part)
            if not folded:  # each fold has other patients
                found = replace(found, interactions=cached_interactions(self._interactions, pairs))
            if (readers := cached_compared_readers(self._compared, pairs)) is not None:
                of = (comparison, found, self._options, readers, pairs)
                found = _with_readers(self._store, self._detections, *of)
            asked = (comparison, pairs, self._options, self._external)
            found = replace(found, external=_external(self._store, self._detections, *asked))
            if not folded and (columns := self._columns(pairs[0][0])):
                parts = interactions_of(self._store, self._detections, pairs, columns, design)
                found = replace(found, interactions=parts)
        except MmadError as error:
            found = replace(found, why=str(error))
        return found

    def late_fusion(self) -> _LateFusion | None:
        return _late_fusion(self._store, self._detections, self._options, self._known)

    @property
    def begins_to_compute(self) -> bool:
        """Once: whether so much was not cached that it shows."""
        if self._helped or self._store.read_only or self._detections.computed < FEW:
            return False
        self._helped = True
        return True


def detections_of(store: Store, data: Path | None = None) -> DetectionStore:
    """Where a report finds detections and data sets: nothing is computed for a store that cannot cache it."""
    return CacheOnlyStore(data) if store.read_only and not store.left_out else FailureCachingStore(data)


class FailureCachingStore(DetectionStore):
    """Looks for a missing or changed data set once, and remembers how it failed."""

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


class CacheOnlyStore(FailureCachingStore):
    """Refuses: what is not cached is not computed."""

    def truth(self, target: EvaluationTarget) -> GroundTruth:
        raise EvaluationError(_NOT_CACHED, hint="make the report where it can be written")
