"""May these two be compared, and what came out: one list of conditions, one comparison, one refusal for every output.

The end of ``mmad ablate``, ``mmad compare``, every form of the report and the paper's table ask ``compare``. It reads
no detections; ``mmad.analysis.verdicts`` adds intervals and tests.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from mmad.analysis.evaluation_target import (
    EvaluationOptions,
    EvaluationTarget,
    by_fold,
    fold_of,
    protocol_of,
    setting_of,
)
from mmad.base.errors import DataError, EvaluationError
from mmad.base.formatting import (
    DASH,
    decimal,
    direction,
    interval,
    level_words,
    p_value,
    plural,
    short_key,
    signed,
)
from mmad.base.records import (
    KEPT_KINDS,
    KIND_WORDS,
    AblationRecord,
    CheckpointKind,
    MemberRecord,
    RunRecord,
    Split,
    differing_versions,
)
from mmad.config.ablation_file import ALIASES
from mmad.config.hypothesis import Hypothesis, digest
from mmad.config.protocol import EvaluationProtocol, Fold, TrainingProtocol, without_fold
from mmad.config.runs import TRIAL, TRIALS, file_name
from mmad.config.setup import ModelSetup
from mmad.config.weights import pretraining_data, seen_in_pretraining
from mmad.data.dataset import TOML, UNKNOWN
from mmad.data.phantom import is_phantom
from mmad.data.reader import read_description
from mmad.evaluation.agreement import SharedBoxes
from mmad.evaluation.differences import (
    EFFECTS,
    LEAST_LOOK,
    MOST_SEEDS,
    Decision,
    Difference,
    FoldedSample,
    MeanDifference,
    PairSample,
    plans,
)
from mmad.evaluation.intervals import IntervalEstimate
from mmad.evaluation.resampling import LEVEL, Interval
from mmad.evaluation.subgroups import Interaction
from mmad.store.lookup import CheckpointFigures, MemberResults, epochs_asked, member_summaries
from mmad.store.run_rows import spec_of
from mmad.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

_HINT = "compare runs of one data set under one protocol (--overlap and --proposals choose it)"


class Recipe(int):
    """The recipe that a run was trained under; ``lasting`` is the newest that gives the same results."""

    lasting: int

    @classmethod
    def of(cls, run: RunRecord) -> Recipe:
        found = cls(run.recipe)
        try:
            found.lasting = spec_of(run).lasting_recipe
        except ValidationError:  # a setup that this version does not know
            found.lasting = run.recipe
        return found


@dataclass(frozen=True)
class Conditions:
    """Under what a figure was obtained. Two are compared only if all of it is equal, or differs by design (VARIED_BY).

    ``split_policy`` is None where the data set cannot say it any more: unknown differs from nothing. An arm's setup was
    chosen from ``trials``, 0 where nobody searched: arms that differ in them are compared, and marked.
    """

    overlap: str
    threshold: float
    max_detections: int
    proposals: str
    selection_overlap: str
    selection_proposals: str
    weights: str
    data: str
    fingerprint: str
    split_policy: str | None
    folds: str
    fold: int | None
    recipe: Recipe
    epochs: int
    steps_per_epoch: int | None
    dataset_mode: str
    schedule: str
    split: Split
    checkpoint: CheckpointKind
    trials: int = 0

    @classmethod
    def of(
        cls,
        run: RunRecord,
        protocol: EvaluationProtocol,
        checkpoint: CheckpointKind,
        *,
        split: Split = "test",
        split_policy: str | None = None,
        trials: int = 0,
    ) -> Conditions:
        """The conditions of a run's kept ``checkpoint`` on ``split`` under an evaluation protocol."""
        fold = fold_of(run)
        return cls(
            overlap=protocol.overlap,
            threshold=protocol.threshold,
            max_detections=protocol.max_detections,
            proposals=protocol.proposals,
            selection_overlap=str(run.protocol.get("selection_overlap", "iou")),
            selection_proposals=str(run.protocol.get("selection_proposals", "clean")),
            weights=_weights(run),
            data=run.dataset_name,
            fingerprint=run.dataset_fingerprint or "",
            split_policy=split_policy,
            folds="none" if fold is None else f"{fold.of} (seed {fold.seed})",
            fold=None if fold is None else fold.number,
            recipe=Recipe.of(run),
            epochs=epochs_asked(run),
            steps_per_epoch=run.protocol.get("steps_per_epoch"),
            dataset_mode=str(run.setup.get("dataset_mode", "unified")),
            schedule=_schedule(run.setup),
            split=split,
            checkpoint=checkpoint,
            trials=trials,
        )

    def words(self, other: Conditions | None = None) -> dict[str, str]:
        """Each condition by its name in words; what ``other`` does not share as ``1 / 5``."""
        found = {}
        for name in (f.name for f in fields(self)):
            ours, theirs = (_value(name, getattr(one, name)) for one in (self, other or self))
            if name in ("folds", "fold") and ours == theirs == "none":
                continue
            found[_WORDS.get(name) or name.replace("_", " ")] = ours if ours == theirs else f"{ours} / {theirs}"
        return found

    def differing(self, other: Conditions) -> dict[str, str]:
        """What the two do not share, by its name: ``{"epochs": "epochs 1 / 5"}``."""
        found = {}
        for name in (f.name for f in fields(self)):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours == theirs or (name == "split_policy" and None in (ours, theirs)):
                continue
            if name == "recipe" and ours <= theirs.lasting and theirs <= ours.lasting:
                continue
            if name == "weights" and {ours, theirs} == {"scratch", "none"}:  # both start from random weights
                continue
            found[name] = f"{_WORDS.get(name) or name.replace('_', ' ')} {_value(name, ours)} / {_value(name, theirs)}"
        return found


_WORDS = {"data": "data set", "fingerprint": "data set's fingerprint"}
#: Conditions that may differ by design → the fields by which an ablation file says so, for an arm or a setting.
VARIED_BY: Mapping[str, tuple[str, ...]] = {
    "selection_overlap": ("selection_overlap",),
    "selection_proposals": ("selection_proposals",),
    "weights": ("pretrained", "weights"),
    "epochs": ("epochs",),
    "steps_per_epoch": ("steps_per_epoch",),
    "dataset_mode": ("dataset_mode",),
    "schedule": ("lr_scheduler", "reduceLROnPlateau_full_stop", "reduceLROnPlateau_patience"),
}


def _value(name: str, value: object) -> str:
    if name == "fingerprint":
        return str(value)[:12] or "none"
    if name == "fold":
        return "none" if value is None else str(value)
    return "all" if value is None else str(value)


def _weights(run: RunRecord) -> str:
    """``scratch`` where the setup asks for no pretrained weights, ``none`` where it asks and went without."""
    if not run.setup.get("pretrained", True):
        return "scratch"
    return str(run.protocol.get("weights", "imagenet"))


def _schedule(setup: Mapping[str, Any]) -> str:
    """The schedule of the learning rate, and after how many bad epochs it ends the run."""
    name = setup.get("lr_scheduler")
    if name == "ReduceLROnPlateau" and setup.get("reduceLROnPlateau_full_stop"):
        return f"{name}, full stop after {setup.get('reduceLROnPlateau_patience', 10)}"
    return str(name or "none")


#: What stands for the columns of a data set that is gone.
_ALL_COLUMNS = "all, because the data set is not there"


@dataclass(frozen=True)
class DataFile:
    """What a data set's own file says: how it was split, and when its clinical columns were measured.

    ``numeric`` and ``categorical`` have each column's name and when it was measured; none where the file is ``gone``.
    """

    split_policy: str | None = None
    numeric: tuple[tuple[str, str], ...] = ()
    categorical: tuple[tuple[str, str], ...] = ()
    gone: bool = False

    @classmethod
    def of(cls, folder: str | Path) -> DataFile:
        """The file as it is today, if it is still there to be asked."""
        try:
            found = read_description(Path(folder) / TOML)
        except DataError:
            return cls(gone=True)
        drawn = is_phantom(found.name)  # its values are drawn with the image
        numeric, categorical = (
            tuple((one.name, "with" if drawn else one.measured) for one in kind)
            for kind in (found.numeric, found.categorical)
        )
        return cls(found.split_policy, numeric, categorical)

    def policy_of(self, run: RunRecord) -> str | None:
        """How the patients of ``run`` were split: as its fold, or as the file says."""
        return self.split_policy if fold_of(run) is None else "patient"

    def measured_late(self, run: RunRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns that ``run`` reads and that were measured after the image, and those of which it is unknown."""
        if not run.setup.get("use_clinical"):
            return (), ()
        if self.gone:
            return (), () if is_phantom(run.dataset_name) else (_ALL_COLUMNS,)
        read = []
        for columns, name in ((self.numeric, "clinical_numeric"), (self.categorical, "clinical_categorical")):
            chosen, known = run.setup.get(name), dict(columns)
            read += [(column, known.get(column, UNKNOWN)) for column in (known if chosen is None else chosen)]
        after, unknown = (tuple(c for c, when in read if when == word) for word in ("after", UNKNOWN))
        return after, unknown


def named_fields(ablation: AblationRecord, first: MemberRecord, other: MemberRecord) -> frozenset[str]:
    """Fields in which two members of one file may differ by design.

    Those that the file names for their arms, if these are two, and for their settings (or in the grid), if these are
    two. What was changed on the command line for either is no design of the file's.
    """
    try:
        document = _document(ablation.source)
    except ValueError:
        return frozenset()
    tables: list[Mapping[str, Any]] = []
    if first.arm != other.arm:
        arms = document.get("arms", {})
        tables.append(document.get("tune", {}).get("space", {}))
        tables += [arms.get(member.arm, {}) for member in (first, other)]
    if first.setting != other.setting:
        tables.append(document.get("grid", {}))
        for table in document.get("settings", ()):
            name = table.get("name", "")
            tables += [table for m in (first, other) if m.setting == name or m.setting.startswith(f"{name}, ")]
    changed = {word.partition("=")[0].strip() for member in (first, other) for word in member.overrides}
    return frozenset(ALIASES.get(name, name) for table in tables for name in table) - changed


@functools.lru_cache(maxsize=8)
def _document(source: str) -> dict[str, Any]:
    return tomllib.loads(source)


@dataclass(frozen=True)
class ComparedRun:
    """One run on a side of a comparison: who asked for it, how it is evaluated and what its checkpoints came to."""

    run: RunRecord
    member: MemberRecord | None
    protocol: EvaluationProtocol
    results: MemberResults
    data_file: DataFile = DataFile()
    versions: Mapping[str, str] = field(default_factory=dict)
    trials: int = 0

    @property
    def seed(self) -> tuple[int, int]:
        """Seed and replicate."""
        if self.member is None:
            return int(self.run.protocol.get("seed", 0)), int(self.run.protocol.get("replicate", 1))
        return self.member.seed, self.member.replicate

    @functools.cached_property
    def fold(self) -> Fold | None:
        """The fold it was trained for; None on the data set's own splits."""
        return fold_of(self.run)

    @property
    def finished(self) -> bool:
        return self.run.status == "finished"

    @property
    def without_best(self) -> bool:
        """Whether the run has, or will have, no best-AP checkpoint."""
        if self.finished:
            return self.results.best_ap is None
        return self.run.setup.get("use_early_stop_model") is False

    @property
    def as_asked(self) -> bool:
        """Whether the run is evaluated under the protocol that its member asks for."""
        return self.protocol == protocol_of(self.run, self.member, EvaluationOptions())

    def conditions(self, checkpoint: CheckpointKind, split: Split = "test") -> Conditions:
        return replace(self._conditions, checkpoint=checkpoint, split=split)

    @functools.cached_property
    def _conditions(self) -> Conditions:
        policy = self.data_file.policy_of(self.run)
        return Conditions.of(self.run, self.protocol, "best_ap", split_policy=policy, trials=self.trials)

    def figures(self, checkpoint: CheckpointKind) -> CheckpointFigures | None:
        """The figures of a kept checkpoint; None while the run is not finished."""
        found: dict[str, CheckpointFigures | None] = {
            "best_ap": self.results.best_ap,
            "best_ar": self.results.best_ar,
            "final": self.results.final,
        }
        return found.get(checkpoint) if self.finished else None


@dataclass(frozen=True)
class MeasuredRun:
    """AP and AR with intervals, and what they were measured on.

    ``pooled`` is the AP of the detections of several folds together, which describes; None without folds.
    """

    estimate: IntervalEstimate
    images: int
    patients: int
    pooled: float | None = None


@dataclass(frozen=True)
class PairAgreement:
    """Detections of at least ``score`` that two arms share, and the studies on which they differ most."""

    score: float
    overlap: str
    threshold: float
    shared: tuple[SharedBoxes, ...]  # counts summed over the seeds
    studies: tuple[tuple[str, int], ...]  # hits minus false alarms, other minus reference, largest first


@dataclass(frozen=True)
class ExternalDifference:
    """A comparison on an external data set, of this pair alone and without a verdict; ``why`` it is missing."""

    name: str
    data: str
    reference: MeasuredRun | None = None
    other: MeasuredRun | None = None
    difference: Difference | None = None
    why: str = ""


@dataclass(frozen=True)
class ReaderDifference:
    """A comparison with the boxes of ``reader`` alone as the reference, on the images that they read.

    ``left_out`` counts the images that they did not read; ``sample`` and ``difference`` are None where ``why`` says so.
    """

    reader: str
    left_out: int
    sample: PairSample | FoldedSample | None = None
    difference: Difference | None = None
    why: str = ""


@dataclass(frozen=True)
class PairStatistics:
    """Intervals and tests of a comparison; ``difference`` is as one of all pairs of the ablation, ``sample`` cached.

    ``permutations`` is of an arm against the mean of all arms that read permuted records in its setting, of which this
    pair's reference is one; ``late_fusion`` against cheap late fusion of the reference, or why that is missing. ``why``
    says why something else is.
    """

    reference: MeasuredRun | None = None
    other: MeasuredRun | None = None
    sample: PairSample | FoldedSample | None = None
    difference: Difference | None = None
    agreement: PairAgreement | None = None
    permutations: MeanDifference | None = None
    late_fusion: MeanDifference | str | None = None
    external: tuple[ExternalDifference, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    by_reader: tuple[ReaderDifference, ...] = ()
    merged: int = 0  # images whose several readings are one reference, where readers were asked for
    why: str = ""


@dataclass(frozen=True)
class Registration:
    """What an ablation's file sets out to show, as it was registered when runs were queued.

    Args:
        hypothesis: as it is registered now.
        sha256: of its content.
        created: when that was registered.
        begun: how many runs of the primary pair had an epoch before anything was registered.
        changed: what was changed after they had, as ``margin 0.05 / 0.1``.
        primary: whether the comparison that has this is the primary one.
    """

    hypothesis: Hypothesis
    sha256: str
    created: datetime
    begun: int = 0
    changed: tuple[str, ...] = ()
    primary: bool = False

    @property
    def before_training(self) -> bool:
        return not self.begun and not self.changed

    @property
    def why(self) -> str:
        """Why it confirms nothing; nothing where it was registered before training."""
        if self.begun:
            return f"it was registered when {plural(self.begun, 'run')} of the pair had begun"
        changes = "; ".join(self.changed)
        return f"the hypothesis was changed after training had begun ({changes})" if changes else ""


def registration_of(
    file: AblationRecord, seen: Iterable[MemberRecord], first_epochs: Mapping[str, datetime]
) -> Registration | None:
    """What the file of an ablation registered; None where nothing is, or this version cannot read it.

    Args:
        seen: of ``members_seen``: the pair's among them show its test figures.
        first_epochs: when the first epoch of each run, by key, was committed.
    """
    declared = [one for one in file.registrations if one.content is not None]
    try:
        read = [Hypothesis.model_validate_json(json.dumps(one.content)) for one in declared]
    except ValidationError:
        return None
    if not read:
        return None
    now = read[-1]
    names = ((one, one.setting.partition(TRIAL)[0]) for one in seen if one.arm in now.compare)
    keys = {one.key for one, name in names if now.setting in (name, without_fold(name))}
    began = sorted(first_epochs[key] for key in keys if key in first_epochs)
    dated = zip(declared, read, strict=True)
    before = [hypothesis for one, hypothesis in dated if not began or one.created <= began[0]]
    changed = [] if not before else list(_changes(before[-1].content(), now.content()))
    if declared[-1] is not file.registrations[-1]:
        changed.append("withdrawn")
    if digest(declared[-1].content) != declared[-1].sha256:
        changed.append("its hash is another")
    begun = 0 if before else sum(moment < declared[0].created for moment in began)
    return Registration(now, declared[-1].sha256, declared[-1].created, begun, tuple(changed))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, value in now.items():
        if before[name] != value:
            yield f"{name} {_plain_value(before[name])} / {_plain_value(value)}"


def _plain_value(value: object) -> str:
    if isinstance(value, list):
        return " against ".join(map(str, reversed(value)))
    return "none" if value in (None, "") else str(value)


@dataclass(frozen=True)
class SeedMean:
    """A mean over ``n`` seeds with its sample standard deviation (None for one seed)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class PairedMeans:
    """One measure of both arms over the seeds that both have finished, and the mean paired difference."""

    reference: SeedMean | None
    other: SeedMean | None
    difference: SeedMean | None


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two arms of one setting, seed by seed, by their checkpoints of one kind.

    Args:
        ablation: its name; empty where two runs were named, and ``reference`` and ``other`` are those names.
        sides: the conditions of the reference and of the other arm.
        by_design: what differs between them because the file says so: ``{"epochs": "epochs 1 / 5"}``.
        runs: both runs of every seed and replicate; None where an arm has none.
        note: why fewer seeds count than were asked for, or nothing.
        statistics: None where nothing was asked of the detections.
        primary: the kind of checkpoint that takes a verdict.
        trial: how the runs were cut short (``2 of 100 epochs``), or nothing.
        late: how many of the ablation's runs were queued after its first test figures.
        registration: what the ablation registered; None where it registered nothing.
        looks: seeds of the first and of the last look where seeds are added until the pair is settled.
    """

    ablation: str
    setting: str
    reference: str
    other: str
    kind: CheckpointKind
    sides: tuple[Conditions, Conditions]
    by_design: Mapping[str, str]
    runs: tuple[tuple[ComparedRun | None, ComparedRun | None], ...]
    note: str
    statistics: PairStatistics | None = None
    primary: CheckpointKind = "best_ap"
    trial: str = ""
    late: int = 0
    registration: Registration | None = None
    looks: tuple[int, int] | None = None

    @property
    def registered(self) -> Hypothesis | None:
        """The hypothesis that this comparison decides, if it is the primary one of its ablation."""
        found = self.registration
        return found.hypothesis if found is not None and found.primary else None

    @property
    def effects(self) -> tuple[float, ...]:
        """The differences that plans are made for: the smallest that the file declares, else three."""
        declared = None if self.registration is None else self.registration.hypothesis.smallest_effect
        return EFFECTS if declared is None else (declared,)

    @property
    def names(self) -> tuple[str, str]:
        """Both arms with ablation and setting, as ``mmad compare`` takes them."""
        if not self.ablation:
            return self.reference, self.other
        head = f"{self.ablation}/{self.setting}"
        return f"{head}/{self.reference}", f"{head}/{self.other}"

    @property
    def records(self) -> tuple[str, str]:
        """Which clinical records the reference and the other arm read."""
        reference, other = self.pairs[0]
        return _records(reference.run), _records(other.run)

    @property
    def permutation(self) -> int:
        """Which permutation of the records the reference reads: arms of an equal one repeat nothing."""
        return int(self.pairs[0][0].run.setup.get("clinical_permutation", 0))

    @functools.cached_property
    def pairs(self) -> tuple[tuple[ComparedRun, ComparedRun], ...]:
        """(reference, other) of every seed and replicate that both arms have finished."""
        return tuple((a, b) for a, b in self.runs if a is not None and b is not None and a.finished and b.finished)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the finished pairs; those of several folds once."""
        seeds = (a.seed[0] for a, _ in self.pairs)
        return tuple(dict.fromkeys(seeds)) if self.folds else tuple(seeds)

    @functools.cached_property
    def folds(self) -> int:
        """Over how many folds the arms are compared; 0 on one test split, a single fold's too."""
        found = {one.fold for pair in self.runs for one in pair if one is not None and one.fold is not None}
        return next(iter(found)).of if len(found) > 1 else 0

    @property
    def folds_done(self) -> int:
        """The folds in which both arms have finished a seed."""
        return len(self._by_fold) if self.folds else 0

    @functools.cached_property
    def _by_fold(self) -> list[list[tuple[ComparedRun, ComparedRun]]]:
        """The finished pairs fold by fold; without folds one by one."""
        if not self.folds:
            return [[pair] for pair in self.pairs]
        found: dict[Fold | None, list[tuple[ComparedRun, ComparedRun]]] = {}
        for pair in self.pairs:
            found.setdefault(pair[0].fold, []).append(pair)
        return list(found.values())

    @functools.cached_property
    def val_ap(self) -> PairedMeans:
        return self._over("val_ap")

    @functools.cached_property
    def val_ar(self) -> PairedMeans:
        return self._over("val_ar")

    @functools.cached_property
    def test_ap(self) -> PairedMeans:
        return self._over("test_ap")

    @functools.cached_property
    def test_ar(self) -> PairedMeans:
        return self._over("test_ar")

    def _over(self, measure: str) -> PairedMeans:
        return self._means(self.kind, measure)

    def _means(self, kind: CheckpointKind, measure: str) -> PairedMeans:
        """Over the seeds; over the folds, where there are several, of the means over the seeds in each."""

        def of(one: ComparedRun) -> float | None:
            return getattr(one.figures(kind), measure, None)

        sides: tuple[list[float | None], list[float | None]] = ([], [])
        for pairs in self._by_fold:
            known = [(a, b) for a, b in ((of(a), of(b)) for a, b in pairs) if a is not None and b is not None]
            for side, values in zip(sides, zip(*known, strict=True) if known else ((), ()), strict=True):
                side.append(statistics.fmean(values) if values else None)
        return paired_means(*sides)

    @property
    def design(self) -> str:
        """``differs by design: epochs 1 / 5 (CXR / CXR+Clinical)``, or nothing."""
        return _design("; ".join(self.by_design.values()), self)

    @property
    def difference(self) -> Interval | None:
        """In AP, other minus reference: ``value``, and its interval from ``low`` to ``high``; None without any.

        The interval is of 95 % and holds for all pairs of the ablation together; that of a registered pair is of
        1 − alpha and stands alone.
        """
        found = None if self.statistics is None else self.statistics.difference
        return None if found is None else found.ap

    @property
    def level(self) -> float:
        """Of the interval of ``difference``."""
        found = None if self.statistics is None else self.statistics.difference
        return LEVEL if found is None else found.level

    @property
    def p(self) -> float:
        """Two-sided, adjusted over the pairs of the ablation; below 0.05 where the interval leaves 0 out, else NaN."""
        found = None if self.statistics is None else self.statistics.difference
        return math.nan if found is None else found.p

    @functools.cached_property
    def judgement(self) -> Verdict | None:
        """What may be said; None where nothing was asked of the detections."""
        return verdict_of(self)

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``not settled`` or ``no verdict``; empty where nothing was asked of the detections."""
        return "" if self.judgement is None else self.judgement.word

    @property
    def sentence(self) -> str:
        """The verdict as every output says it."""
        return "" if self.judgement is None else self.judgement.sentence

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of why the verdict is what it is (docs/json.md)."""
        return () if self.judgement is None else self.judgement.reasons

    @functools.cached_property
    def under_readers(self) -> tuple[ReaderVerdict, ...]:
        """The verdict with the boxes of each reader alone as the reference; empty where nobody asked."""
        found = PairStatistics() if self.statistics is None else self.statistics
        return tuple(self._under(one, found.difference) for one in found.by_reader)

    def _under(self, one: ReaderDifference, merged: Difference | None) -> ReaderVerdict:
        found, own = one.difference, replace(self, statistics=PairStatistics(difference=one.difference, why=one.why))
        nothing = found is not None and math.isnan(found.ap.value)
        signs = [direction(each.ap.value) for each in (found, merged) if each is not None and not nothing]
        return ReaderVerdict(
            one.reader,
            one.sample,
            found,
            one.left_out,
            own.verdict,
            signs[0] == signs[1] if len(signs) == 2 else None,
            found is not None and not nothing and own.verdict == self.verdict,
            "nothing to find: drew no box of these images" if nothing else one.why,
        )

    @property
    def readers_line(self) -> str:
        """Under how many readers sign and verdict are the same; nothing where nobody asked."""
        found = self.under_readers
        if not found:
            return ""
        count = plural(len(found), "reader")
        signs, verdicts = sum(bool(one.sign_holds) for one in found), sum(one.verdict_holds for one in found)
        said = "" if self.verdict == "no verdict" else f", the verdict ({self.verdict}) under {verdicts}"
        return f"The sign of the difference is the same under {signs} of {count}{said}."

    @functools.cached_property
    def by_checkpoint(self) -> dict[CheckpointKind, float]:
        """The mean difference in test AP by each kind of checkpoint that all runs have."""
        found = {}
        for kind in KEPT_KINDS:
            means = self._means(kind, "test_ap").difference
            if means is not None and means.n == len(self._by_fold):
                found[kind] = means.mean
        return found

    @property
    def sign_depends(self) -> bool:
        """Whether the sign of the difference depends on which checkpoint is chosen."""
        return {"up", "down"} <= {direction(value) for value in self.by_checkpoint.values()}

    @property
    def versions(self) -> str:
        """What decides bits and differs between the runs of a pair: versions, devices, layouts; it refuses nothing."""
        found = [differing_versions(a.versions, b.versions) for a, b in self.pairs]
        for pair in self.pairs:
            first, second = (one.run.protocol.get("threads", 1) for one in pair)
            found.append(f"threads {first} / {second}" if first != second else "")
        return "; ".join(dict.fromkeys(filter(None, found)))

    @property
    def pretraining(self) -> str:
        """Whether weights were pretrained on the data set, or nobody says on what; nothing where neither is so."""
        seen, unknown = [], []
        for arm, run in ((arm, one.run) for arm, side in self._arms for one in side):
            setup, protocol = run.setup, run.protocol
            weights = _weights(run)
            if weights in ("scratch", "none"):
                continue
            declared = protocol.get("pretrained_on", ())
            known = pretraining_data(str(setup.get("backbone", "")), weights, declared)
            if known is None:
                unknown.append(arm)
            elif found := seen_in_pretraining(known, run.dataset_name):
                seen.append(f"{arm} started from weights pretrained on {found}, which holds images of this data set")
        words, arms = list(dict.fromkeys(seen)), " and ".join(dict.fromkeys(unknown))
        words += [f"what the weights of {arms} were pretrained on is not declared"] if arms else []
        return f"{'; '.join(words)}." if words else ""

    @property
    def _arms(self) -> Iterator[tuple[str, tuple[ComparedRun, ...]]]:
        return zip((self.reference, self.other), zip(*self.pairs, strict=True), strict=False)

    @property
    def timing(self) -> str:
        """Which clinical columns were measured after the image, or nobody knows when; nothing where all are known."""
        found = [one.data_file.measured_late(one.run) for pair in self.pairs for one in pair]
        after, unknown = (tuple(dict.fromkeys(name for each in found for name in each[n])) for n in (0, 1))
        words = [f"Clinical columns measured after the image: {_listed(after)}."] if after else []
        words += [f"Clinical columns measured at an unknown time: {_listed(unknown)}."] if unknown else []
        return " ".join(words)

    @property
    def conditions(self) -> dict[str, str]:
        """Under what both sides are compared, in words; what differs by design as ``1 / 5``."""
        return self.sides[0].words(self.sides[1])

    @property
    def findings(self) -> pd.DataFrame:
        """One row a finding: ``finding``, and the differences in AP and AR with the bounds of their intervals."""
        found = None if self.statistics is None else self.statistics.difference
        return findings_frame(() if found is None else found.per_class)

    def __repr__(self) -> str:
        """One line: both arms, the verdict, the difference and p."""
        figures = "" if self.difference is None else f", AP {interval(self.difference, sign=True)}, p {p_value(self.p)}"
        return f"<{self.names[1]} against {self.names[0]}: {self.verdict or 'not evaluated'}{figures}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return html_rows(
            {
                "comparison": f"{self.names[1]} against {self.names[0]}",
                "verdict": self.verdict,
                "in words": self.sentence,
                f"difference in AP [{level_words(self.level)}]": DASH
                if self.difference is None
                else interval(self.difference, sign=True),
                "p": p_value(self.p),
                **({"folds": f"{self.folds_done} of {self.folds}"} if self.folds else {}),
                "seeds": len(self.seeds),
                **self.conditions,
            }
        )

    def unfinished(self) -> NotComparable:
        """The refusal where no seed is finished in both arms."""
        states = self.note.partition(": ")[2]
        reason = f"no seed that both have finished{f' ({states})' if states else ''}"
        hint = "finish the runs with mmad ablate, or name one finished run of each"
        return NotComparable(self.ablation, self.setting, self.reference, self.other, reason, hint)


@dataclass(frozen=True)
class NotComparable:
    """A pair that cannot be compared, and why."""

    ablation: str
    setting: str
    reference: str
    other: str
    reason: str
    hint: str = _HINT

    def error(self) -> EvaluationError:
        """The refusal, to be raised where nothing else was asked for."""
        what = f"{self.reference} and {self.other} cannot be compared: {self.reason}"
        return EvaluationError(what, where="comparison", hint=self.hint)


def compare(
    reference: Sequence[ComparedRun],
    other: Sequence[ComparedRun],
    *,
    names: tuple[str, str],
    file: AblationRecord | None = None,
    setting: str = "",
    kind: CheckpointKind | None = None,
    split: Split = "test",
    by_seed: bool = True,
) -> Comparison | NotComparable:
    """Whether two arms may be compared, and if so seed by seed.

    Args:
        reference: the runs of one arm, of every seed; ``other`` likewise.
        names: what the arms are called.
        file: the ablation that both are of, which may vary conditions by design; None where they have none in common.
        setting: that both are of, where it is one.
        kind: of the checkpoints; default: best-AP ones where every run keeps one, else final ones for all of them.
        split: on which they are compared.
        by_seed: pair runs of equal seed and replicate; else the first of each, whatever their seeds.
    """
    primary = _primary_kind(file, (*reference, *other))
    kind = kind or primary
    ablation = "" if file is None or not setting else file.name
    who = (ablation, setting, *names)
    for arm, side in zip(names, (reference, other), strict=True):
        for one in side[1:]:
            found = side[0].conditions(kind, split).differing(one.conditions(kind, split))
            found.pop("fold", None)  # pairs are of one fold each
            if found:
                seeds = f"seeds {side[0].seed[0]} and {one.seed[0]} of {arm} differ in {'; '.join(found.values())}"
                return NotComparable(*who, seeds, "train all seeds of an arm alike")
    sides = reference[0].conditions(kind, split), other[0].conditions(kind, split)
    if by_seed and any(len({one.fold for one in side}) > 1 for side in (reference, other)):
        sides = replace(sides[0], fold=None), replace(sides[1], fold=None)  # pairs are of one fold each
    named = _named(file, reference[0], other[0])
    by_design: dict[str, str] = {}
    unequal: dict[str, str] = {}
    for name, words in sides[0].differing(sides[1]).items():
        refused = name != "trials" and named.isdisjoint(VARIED_BY.get(name, ()))
        (unequal if refused else by_design)[name] = words
    if unequal:
        return NotComparable(*who, "; ".join(unequal.values()), _hint_of(unequal))
    runs = _by_seed(reference, other) if by_seed else ((reference[0], other[0]),)
    if same := next((a.run.key for a, b in runs if a is not None and b is not None and a.run.key == b.run.key), None):
        return NotComparable(*who, f"both are one run ({short_key(same)})", "name two runs of different content")
    trial = _trial(file, (*reference, *other))
    return Comparison(*who, kind, sides, by_design, runs, _note(runs), primary=primary, trial=trial)


def _trial(file: AblationRecord | None, runs: Iterable[ComparedRun]) -> str:
    """How a run was cut short: by ``steps_per_epoch``, or by ``--set`` to fewer epochs than the file asks for."""
    for one in runs:
        if (steps := one.run.protocol.get("steps_per_epoch")) is not None:
            return f"{plural(int(steps), 'step')} per epoch"
        overrides = () if one.member is None else one.member.overrides
        if file is not None and any(word.partition("=")[0].strip() == "epochs" for word in overrides):
            try:
                declared = _document(file.source).get("protocol", {}).get("epochs")
            except ValueError:
                continue
            whole = declared if isinstance(declared, int) else TrainingProtocol().epochs
            if (asked := epochs_asked(one.run)) < whole:
                return f"{asked} of {plural(whole, 'epoch')}"
    return ""


def _primary_kind(file: AblationRecord | None, runs: Sequence[ComparedRun]) -> CheckpointKind:
    """The kind that the file registered, where its runs keep one; else as ``compared_kind``."""
    found = compared_kind(runs)
    content = file.registrations[-1].content if file is not None and file.registrations else None
    registered = next((kind for kind in KEPT_KINDS if content is not None and content.get("checkpoint") == kind), found)
    return registered if found == "best_ap" else found


def _named(file: AblationRecord | None, first: ComparedRun, second: ComparedRun) -> frozenset[str]:
    members = first.member, second.member
    if file is None or members[0] is None or members[1] is None:
        return frozenset()
    return named_fields(file, members[0], members[1])


def _hint_of(unequal: Mapping[str, str]) -> str:
    if not unequal.keys() <= VARIED_BY.keys():
        return _HINT
    named = [VARIED_BY[name][0] for name in unequal]
    tables = "arms or settings" if all(name in ModelSetup.model_fields for name in named) else "settings"
    return f"compare {tables} of one ablation file that name {' and '.join(named)}, or train both alike"


def _by_seed(
    reference: Sequence[ComparedRun], other: Sequence[ComparedRun]
) -> tuple[tuple[ComparedRun | None, ComparedRun | None], ...]:
    left, right = ({(one.fold, one.seed): one for one in side} for side in (reference, other))
    return tuple((left.get(seed), right.get(seed)) for seed in dict.fromkeys([*left, *right]))


def compared_kind(runs: Iterable[ComparedRun]) -> CheckpointKind:
    """Best-AP checkpoints if every run has (or will have) one, else final ones for all of them."""
    return "final" if any(one.without_best for one in runs) else "best_ap"


def _note(runs: Sequence[tuple[ComparedRun | None, ComparedRun | None]]) -> str:
    """Why fewer seeds count than were asked for, or nothing."""
    both = sum(a is not None and b is not None and a.finished and b.finished for a, b in runs)
    if both == len(runs):
        return ""
    several = len(runs) > 1
    waiting = [one for pair in zip(*runs, strict=True) for one in pair if one is not None and not one.finished]
    folds = {one.fold for pair in runs for one in pair if one is not None and one.fold is not None}
    in_folds = len(folds) > 1

    def name(one: ComparedRun) -> str:
        fold = f" fold {one.fold.number}" if in_folds and one.fold is not None else ""
        return f"{_arm(one)}{fold}{f' seed {one.seed[0]}' if several else ''}"

    states = [f"{name(one)} {_state(one.run)}" for one in waiting]
    if len(states) > _SHOWN:
        states = [*states[:_SHOWN], f"{len(states) - _SHOWN} more"]
    head = f"{both} of {len(runs)} seeds" if several else "not compared yet"
    if in_folds:
        done = {a.fold for a, b in runs if a is not None and b is not None and a.finished and b.finished}
        head = f"{len(done)} of {next(iter(folds)).of} folds, {both} of {len(runs)} pairs of runs"
    return f"{head}: {'; '.join(states)}" if states else head


#: Unfinished runs that a note names.
_SHOWN = 6


def _arm(one: ComparedRun) -> str:
    return short_key(one.run.key) if one.member is None else one.member.arm


def _state(run: RunRecord) -> str:
    return run.status + (f" at epoch {run.epochs_done} of {epochs_asked(run)}" if run.status != "queued" else "")


def compare_pairs(
    file: AblationRecord,
    runs: Sequence[ComparedRun],
    *,
    kind: CheckpointKind | None = None,
    split: Split = "test",
    first_epochs: Mapping[str, datetime] | None = None,
    seen: Iterable[MemberRecord] = (),
) -> tuple[Comparison | NotComparable, ...]:
    """Every pair of arms that an ablation compares, setting by setting, as far as ``runs`` has both.

    Args:
        runs: of the ablation's members, in their order.
        first_epochs: when the first epoch of each run, by key, was committed.
        seen: members that show test figures of what the file registered (``members_seen``).
    """
    if file.name.endswith(TRIALS):  # of different setups, which a search compares by validation alone
        return ()
    runs = [replace(one, trials=trials_of(file)) for one in runs]
    sides: dict[tuple[str, str], list[ComparedRun]] = {}
    for one in runs:
        if one.member is not None:
            sides.setdefault((setting_of(one.member, one.run), one.member.arm), []).append(one)
    arms = list(dict.fromkeys(arm for _, arm in sides))
    pairs = file.compare or tuple((arms[0], arm) for arm in arms[1:])
    found = [
        compare(left, right, names=pair, file=file, setting=setting, kind=kind, split=split)
        for setting in dict.fromkeys(setting for setting, _ in sides)
        for pair in pairs
        if (left := sides.get((setting, pair[0]))) and (right := sides.get((setting, pair[1])))
    ]
    looks = looks_of(file, runs)
    comparisons = [one for one in found if isinstance(one, Comparison)]
    late = 0 if looks else _late_runs(runs, comparisons, first_epochs or {})
    registration = registration_of(file, seen, first_epochs or {})

    def known(one: Comparison) -> Comparison:
        if registration is None:
            return replace(one, late=late, looks=looks)
        asked = registration.hypothesis
        same = (one.setting, one.reference, one.other, one.kind) == (asked.setting, *asked.compare, one.primary)
        own = file.name == file_name(file.name) and all(run.as_asked for pair in one.pairs for run in pair)
        primary = same and own and split == "test" and "withdrawn" not in registration.changed
        return replace(one, late=late, looks=looks, registration=replace(registration, primary=primary))

    return tuple(known(one) if isinstance(one, Comparison) else one for one in found)


def trials_of(file: AblationRecord) -> int:
    """How many trials each arm's setup was chosen from; 0 where the file has no search, or these are its trials."""
    trials = search_of(file).get("trials")
    return trials if isinstance(trials, int) and not file.name.endswith(TRIALS) else 0


def members_seen(ablations: Iterable[AblationRecord], name: str) -> tuple[MemberRecord, ...]:
    """Who shows test figures of what the file of the ablation ``name`` registered: its own members, and its trials."""
    own = file_name(name)
    return tuple(member for one in ablations if one.name in (own, own + TRIALS) for member in one.members)


def registered_of(store: Store, ablations: Sequence[AblationRecord]) -> Registration | None:
    """What the first of some ``ablations`` that registered anything did: for a comparison that is not its own."""
    everything = store.ablations()
    for file in ablations:
        seen = members_seen(everything, file.name)
        found = registration_of(file, seen, store.first_epochs([one.key for one in seen]))
        if found is not None:
            return found
    return None


def search_of(file: AblationRecord) -> Mapping[str, Any]:
    """The file's ``[tune]`` table, empty where it has none."""
    try:
        found = _document(file.source).get("tune", {})
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def looks_of(file: AblationRecord, runs: Iterable[ComparedRun]) -> tuple[int, int] | None:
    """The seeds of the first and of the last look, where the file adds seeds until pairs are settled."""
    try:
        protocol = _document(file.source).get("protocol", {})
    except ValueError:
        return None
    seeds = protocol.get("seeds") if isinstance(protocol, dict) else None
    words = {word.partition("=")[0].strip() for one in runs if one.member is not None for word in one.member.overrides}
    if not isinstance(seeds, dict) or words & {"seed", "seeds"}:
        return None
    return int(seeds["from"]), int(seeds["to"])


def _late_runs(runs: Iterable[ComparedRun], found: Iterable[Comparison], first_epochs: Mapping[str, datetime]) -> int:
    """How many runs were queued after both arms of some pair had their first test figures."""
    seen = [
        max(first_epochs[a.run.key], first_epochs[b.run.key])
        for one in found
        for a, b in one.runs
        if a is not None and b is not None and a.run.key in first_epochs and b.run.key in first_epochs
    ]
    return len({one.run.key for one in runs if one.run.created > min(seen)}) if seen else 0


def compare_stored(
    store: Store, ablation: str, options: EvaluationOptions | None = None, data: Path | None = None
) -> tuple[Comparison | NotComparable, ...]:
    """Every pair of an ablation by what the store holds of its runs; no detections are read.

    ``data`` is where the data set lies now; None where the runs say.
    """
    options = options or EvaluationOptions()
    ablations = store.ablations()
    (file,) = (a for a in ablations if a.name == ablation)
    found, seen = member_summaries(store, ablation), members_seen(ablations, ablation)
    files = {path: DataFile.of(data or path) for path in {one.run.dataset_path for one in found}}
    versions = store.latest_versions([one.run.key for one in found])
    runs = [
        ComparedRun(
            one.run,
            one.member,
            protocol_of(one.run, one.member, options),
            one.results,
            files[one.run.dataset_path],
            versions.get(one.run.key, {}),
        )
        for one in found
    ]
    first = store.first_epochs(list({one.run.key for one in runs} | {one.key for one in seen}))
    return compare_pairs(file, runs, kind=options.checkpoint, split=options.split, first_epochs=first, seen=seen)


@dataclass(frozen=True)
class ComparisonTable:
    """Comparisons of one pair of arms under the same evaluation, with checkpoints of one kind.

    Conditions of the training that settings may vary (epochs, schedule, data set mode) may differ from row to row.
    """

    rows: tuple[Comparison, ...]

    @property
    def reference(self) -> str:
        return self.rows[0].reference

    @property
    def other(self) -> str:
        return self.rows[0].other

    @property
    def kind(self) -> CheckpointKind:
        return self.rows[0].kind

    @property
    def sides(self) -> tuple[Conditions, Conditions]:
        """The conditions of the first row: of the reference and of the other arm."""
        return self.rows[0].sides

    @property
    def design(self) -> str:
        """As of a comparison, with the settings where not all differ alike."""
        words = {row.setting: "; ".join(row.by_design.values()) for row in self.rows}
        if len(set(words.values())) == 1:
            return self.rows[0].design
        return _design("; ".join(f"{name}: {text}" for name, text in words.items() if text), self)

    @property
    def shared(self) -> str:
        """As ``shared_words``."""
        return " ".join(shared_words(self.rows))

    @property
    def differences(self) -> list[float]:
        """The mean test AP differences that exist."""
        return [row.test_ap.difference.mean for row in self.rows if row.test_ap.difference is not None]


def comparison_tables(
    ablation: AblationRecord, found: Iterable[Comparison | NotComparable]
) -> tuple[ComparisonTable, ...]:
    """The comparisons of an ablation by pair of arms, so that no table mixes two protocols, or best with final."""
    groups: dict[tuple[object, ...], list[Comparison]] = {}
    for one in found:
        if isinstance(one, Comparison):
            groups.setdefault((one.reference, one.other, *map(_table_key, one.sides)), []).append(one)
    order = list(dict.fromkeys((rows[0].reference, rows[0].other) for rows in groups.values()))
    tables = (ComparisonTable(tuple(rows)) for rows in groups.values())
    return tuple(sorted(tables, key=lambda table: order.index((table.reference, table.other))))


def _table_key(conditions: Conditions) -> tuple[object, ...]:
    """What all rows of a table share; whether weights were missing is one of its marks."""
    of_rows = ("epochs", "schedule", "dataset_mode", "weights")
    same = (getattr(conditions, f.name) for f in fields(conditions) if f.name not in of_rows)
    return (conditions.weights == "none", *same)


def require_comparable(targets: Sequence[EvaluationTarget], by_design: Iterable[str] = ()) -> None:
    """EvaluationError naming the difference unless all are evaluated alike, but for conditions named ``by_design``."""
    first = targets[0]
    for other in targets[1:]:
        found = conditions_of(first).differing(conditions_of(other))
        if unequal := {name: words for name, words in found.items() if name not in by_design}:
            raise NotComparable("", "", first.name, other.name, "; ".join(unequal.values()), _hint_of(unequal)).error()


def conditions_of(target: EvaluationTarget) -> Conditions:
    """The conditions of a target; on other data, and of an ensemble of several folds, its fold is none."""
    found = Conditions.of(target.run, target.protocol, target.checkpoint.kind, split=target.split)
    return found if target.outside is None and len(by_fold(target.seeds)) < 2 else replace(found, fold=None)


# Means over seeds.


def paired_means(reference: Sequence[float | None], other: Sequence[float | None]) -> PairedMeans:
    """Means of two paired samples and of their differences; pairs with a missing figure are left out."""
    pairs = [(a, b) for a, b in zip(reference, other, strict=True) if a is not None and b is not None]
    return PairedMeans(
        seed_mean([a for a, _ in pairs]),
        seed_mean([b for _, b in pairs]),
        seed_mean([b - a for a, b in pairs]),
    )


def seed_mean(values: Sequence[float]) -> SeedMean | None:
    """Mean and sample standard deviation; None of nothing or of what is not finite."""
    if not values or not all(math.isfinite(v) for v in values):
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return SeedMean(statistics.fmean(values), sd, len(values))


# What may be said of a comparison: one function for every output.

Word = Literal["higher", "lower", "equivalent", "not inferior", "not settled", "no verdict"]
#: Seeds up to which a verdict says that they are few.
FEW_SEEDS = 4


@dataclass(frozen=True)
class ReaderVerdict:
    """What a comparison says with one reader's boxes as the reference.

    ``left_out`` counts the images that the reader did not read. ``sign_holds`` and ``verdict_holds`` say whether the
    difference has the same sign, and the same verdict, as with the boxes of all readers; ``difference`` is None, the
    sign unknown and no verdict held, where ``why`` says so.
    """

    reader: str
    sample: PairSample | FoldedSample | None
    difference: Difference | None
    left_out: int
    verdict: str
    sign_holds: bool | None
    verdict_holds: bool
    why: str

    @property
    def arms(self) -> tuple[float, float]:
        """AP of the reference and of the other arm, the mean over seeds and folds; NaN without a sample."""
        if self.sample is None:
            return math.nan, math.nan
        parts = self.sample.folds if isinstance(self.sample, FoldedSample) else (self.sample,)
        reference, other = ([statistics.fmean(getattr(one, side)) for one in parts] for side in ("reference", "other"))
        return statistics.fmean(reference), statistics.fmean(other)


#: So many clinical columns are named.
_NAMED = 3
_KINDS = {kind: words.replace(" ", "-") for kind, words in KIND_WORDS.items()}


@dataclass(frozen=True)
class Verdict:
    """What may be said of two arms: ``word`` in short, ``sentence`` in full, and why, as codes (docs/json.md)."""

    word: Word
    reasons: tuple[str, ...]
    sentence: str

    @property
    def tone(self) -> str:
        """``up``, ``down`` or ``even``: colour only where it is settled."""
        return {"higher": "up", "lower": "down"}.get(self.word, "even")

    @property
    def marks(self) -> str:
        """``one seed, sign depends on checkpoint``: the reasons in short, but for what ``word`` says."""
        said = ("interval_holds_zero", "networks_differ")
        return ", ".join(code.replace("_", " ") for code in self.reasons if code not in said)


def verdict_of(found: Comparison) -> Verdict | None:
    """What may be said of the difference; None where nothing was asked of the detections."""
    if found.statistics is None:
        return None
    difference = found.statistics.difference
    if difference is None:
        seen = found.test_ap.difference if found.sides[0].split == "test" else found.val_ap.difference
        of = "" if seen is None else f" for the difference of {signed(seen.mean)} {_measure(found)}"
        return Verdict("no verdict", ("no_interval",), f"No interval{of}: {found.statistics.why or 'not computed'}")
    if math.isnan(difference.ap.value):
        return Verdict("no verdict", ("nothing_to_find",), "No verdict: there is nothing to find.")
    barred = _barred(found)
    if barred:
        code, why = barred
        said = Verdict("no verdict", (code,), f"No verdict, {why}: {_figure(found, difference)}.")
    else:
        about = _of_folds if difference.folds else _of_networks if difference.seeds == 1 else _of_arms
        said = about(found, difference)
    reasons, sentence = list(said.reasons), said.sentence
    if found.registration is not None and not (barred and found.registration.primary):
        code, sentence = _as_registered(found.registration, said)
        reasons.append(code)
    if found.looks is not None and difference.seeds > 1:
        code, words = _look(found.looks, difference, settled=said.word in ("higher", "lower"))
        reasons += [code] if code else []
        sentence = f"{sentence} {words}"
    if found.trial:
        reasons.append("trial")
        sentence = f"Trial ({found.trial}): {sentence}"
    if found.sign_depends:
        reasons.append("sign_depends_on_checkpoint")
        sentence = f"{sentence} {checkpoint_words(found)}"
    if found.versions:
        reasons.append("versions_differ")
        sentence = f"{sentence} The arms were trained in different environments: {found.versions}."
    if found.pretraining:
        reasons.append("pretraining_data")
        sentence = f"{sentence} {found.pretraining[0].upper()}{found.pretraining[1:]}"
    if found.timing:
        reasons.append("clinical_timing")
        sentence = f"{sentence} {found.timing}"
    if found.late:
        reasons.append("queued_after_test_figures")
        were = plural(found.late, "run of this ablation was", "runs of this ablation were")
        sentence = f"{sentence} {were} queued after its first test figures."
    return Verdict(said.word, tuple(reasons), sentence)


def _listed(names: Sequence[str]) -> str:
    """``age, sex, pain and 5 more``."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _barred(found: Comparison) -> tuple[str, str] | None:
    """(code, words) of why this figure takes no verdict: only the primary checkpoint, split and metric do."""
    if found.sides[0].split != "test":
        if found.kind != "final":
            return "chosen_on_split", "the checkpoints were chosen on this split"
        return "not_primary_split", "the primary split is test"
    if found.kind != found.primary:
        return "not_primary_checkpoint", f"the primary checkpoint is {_KINDS[found.primary]}"
    if not all(one.as_asked for pair in found.pairs for one in pair):
        return "not_primary_metric", "the ablation asks for another protocol"
    if found.folds_done < found.folds:
        return "folds_missing", f"{found.folds_done} of {found.folds} folds are finished"
    planned = None if found.registered is None or found.looks else found.registered.seeds
    if found.folds and planned is not None:
        planned *= found.folds
    if planned is not None and len(found.pairs) < planned:
        what = "seeds of all folds" if found.folds else "seeds"
        return "seeds_missing", f"{len(found.pairs)} of the {planned} registered {what} are finished"
    return None


_LOOKS = "The interval allows for a look after every seed."


def _look(looks: tuple[int, int], difference: Difference, *, settled: bool) -> tuple[str, str]:
    """(code, sentence) of where a study stands that adds seeds until its pairs are settled."""
    (first, most), seeds = looks, difference.seeds
    if math.isnan(difference.ap.low):
        return "before_first_look", f"The first look is at {first} seeds and {LEAST_LOOK} degrees of freedom."
    if settled and seeds < most:
        far = "a difference that ends its study early is overestimated on average"
        return "stopped_early", f"Settled at {seeds} of at most {most} seeds, and {far}. {_LOOKS}"
    return "", f"{seeds} of at most {most} seeds. {_LOOKS}"


def _as_registered(registration: Registration, said: Verdict) -> tuple[str, str]:
    """(code, sentence): confirmed is said of what was registered before training alone."""
    settled, sentence = said.word not in ("not settled", "no verdict"), said.sentence
    if not registration.primary:
        return "exploratory", f"Exploratory: {_inner(sentence)}"
    if not registration.before_training:
        code = "registered_late" if registration.begun else "registration_changed"
        return code, f"{sentence} This confirms nothing: {registration.why}."
    if settled:
        return "confirmed", f"Confirmed, as registered before training: {_inner(sentence)}"
    return "registered", f"Registered before training. {sentence}"


def _inner(sentence: str) -> str:
    """A sentence after a colon; one that begins with an arm's name stays as it is."""
    own = sentence.startswith(("Trained so", "These two networks", "Not settled", "No verdict"))
    return sentence[0].lower() + sentence[1:] if own else sentence


def _of_networks(found: Comparison, difference: Difference) -> Verdict:
    if math.isnan(difference.ap.low):
        return Verdict("not settled", ("one_seed", "too_few_patients"), _too_few(found, difference))
    settled = not difference.ap.low <= 0 <= difference.ap.high
    these = "These" if settled else "Not settled: these"
    sentence = (
        f"{these} two networks differ by {_figure(found, difference)} on such patients; "
        "one seed says nothing about the arms."
    )
    return Verdict("not settled", ("one_seed", "networks_differ" if settled else "interval_holds_zero"), sentence)


def _too_few(found: Comparison, difference: Difference) -> str:
    return f"Not settled: {_figure(found, difference)}; no interval from {plural(difference.patients, 'patient')}."


def _of_arms(found: Comparison, difference: Difference) -> Verdict:
    if difference.patients < 2:
        return Verdict("not settled", ("too_few_patients",), _too_few(found, difference))
    word, held, claim = _claim(found, difference)
    seeds, head = difference.seeds, "Not settled: " if word == "not settled" else ""
    if seeds == 2:
        if not difference.lent:
            return Verdict(word, ("two_seeds_alone",), f"{head}{claim}; two seeds alone settle nothing.")
        lent = f"seed variance borrowed from {plural(difference.lent, 'pair')} ({difference.lent_freedom} df)"
        return Verdict(word, (*held, "seed_variance_borrowed"), f"{head}{claim}; {lent}.")
    freedom = "∞" if math.isinf(difference.freedom) else f"{difference.freedom:.0f}"
    size = f"{seeds} seeds, {plural(difference.patients, 'patient')}, {freedom} df"
    few = seeds <= FEW_SEEDS
    sentence = (
        f"{head}{'trained' if head else 'Trained'} so on this training set, {claim} over seeds and patients ({size})"
        f"{'; few seeds' if few else ''}."
    )
    return Verdict(word, (*held, *(("few_seeds",) if few else ())), sentence)


def _claim(found: Comparison, difference: Difference) -> tuple[Word, tuple[str, ...], str]:
    """Word, codes and claim about two arms."""
    ap, seeds = difference.ap, difference.seeds
    reference, other = _arm_names(found)
    if difference.decision is not None and difference.decision.goal.name != "difference":
        return _of_goal(found, difference, difference.decision)
    word: Word = "higher" if ap.low > 0 else "lower" if ap.high < 0 else "not settled"
    if word != "not settled":
        return word, (), f"{other} is {word} than {reference} by {_figure(found, difference, word=word)}"
    no_spread = math.isnan(ap.low) and found.looks is None and (seeds > 2 or difference.lent or difference.folds)
    code = "no_spread" if no_spread else "interval_holds_zero"
    return word, (code,), f"{other} differs from {reference} by {_figure(found, difference)}"


def _of_folds(found: Comparison, difference: Difference) -> Verdict:
    word, held, claim = _claim(found, difference)
    head = "Not settled: trained" if word == "not settled" else "Trained"
    uneven = len(found.pairs) != difference.folds * difference.seeds
    seeds = f"{'at least ' if uneven else ''}{plural(difference.seeds, 'seed')}"
    size = (
        f"{difference.folds} folds, {seeds} each, {plural(difference.patients, 'patient')}, {difference.freedom:.0f} df"
    )
    sentence = f"{head} so on such patients, {claim} over folds ({size}). {FOLDS}"
    return Verdict(word, (*held, "cross_validated"), sentence)


#: What is said of every interval over folds.
FOLDS = (
    "Folds share training patients, so no estimate of this variance is unbiased; it is corrected as Nadeau and Bengio "
    "(2003) do."
)

#: What is said of an interval over folds on an external data set.
OUTSIDE_FOLDS = (
    "Over folds the patients are common, and the interval is over training sets of this size, seeds and patients; it "
    "allows for all training patients that two folds share."
)


def _of_goal(found: Comparison, difference: Difference, decision: Decision) -> tuple[Word, tuple[str, ...], str]:
    """Word, codes and claim of a registered equivalence or non-inferiority."""
    reference, other = _arm_names(found)
    goal, of = decision.goal, f"{interval(decision.interval, sign=True)} ({level_words(decision.level)})"
    figure = f"{of} {_measure(found)}"
    if goal.name == "equivalence":
        claim = f"equivalent to {reference} within ±{goal.margin:g}, for it differs by {figure}"
        if decision.reached:
            return "equivalent", (), f"{other} is {claim}"
        return "not settled", ("margin_not_left",), f"{other} is not shown to be {claim}"
    if not decision.reached:
        claim = f"{other} is not shown to be at most {goal.margin:g} worse than {reference}, for it differs by {figure}"
        return "not settled", ("margin_not_left",), claim
    if difference.ap.low > 0:
        claim = f"{other} is higher than {reference} by {_figure(found, difference, word='higher')}, so not inferior"
        return "higher", (), claim
    return "not inferior", (), f"{other} is at most {goal.margin:g} worse than {reference}, for it differs by {figure}"


def _figure(found: Comparison, difference: Difference, *, word: Word = "not settled") -> str:
    """``+0.048 [−0.031, +0.113] test AP``; without signs where ``word`` says which arm is higher.

    It names the level of the interval where that is not 95 %.
    """
    ap, sign = difference.ap, word not in ("higher", "lower")
    if word == "lower":
        ap = Interval(-ap.value, -ap.high, -ap.low)
    level = "" if difference.level == LEVEL else f" ({level_words(difference.level)})"
    return f"{interval(ap, sign=sign)}{level} {_measure(found)}"


def _measure(found: Comparison) -> str:
    """``test AP``, and of which checkpoints where they are not best-AP ones."""
    whose = "" if found.kind == "best_ap" else f" of the {_KINDS[found.kind]} checkpoints"
    return f"{found.sides[0].split} AP{whose}"


def _arm_names(found: Comparison) -> tuple[str, str]:
    """The arms' names, also where the two were named by ablation and setting."""
    members = [one.member for one in found.pairs[0]]
    if all(member is not None for member in members):
        first, second = (member for member in members if member is not None)
        settings = [setting_of(one.member, one.run) for one in found.pairs[0] if one.member is not None]
        if settings[0] == settings[1] and first.arm != second.arm:
            return first.arm, second.arm
    return found.reference, found.other


def checkpoint_words(found: Comparison) -> str:
    """The differences by best-AP, best-AR and final checkpoints, and whether the sign depends on the choice."""
    values = ", ".join(f"{_KINDS[kind]} {signed(value)}" for kind, value in found.by_checkpoint.items())
    head = "The sign depends on the checkpoint" if found.sign_depends else "By checkpoint"
    return f"{head}: {values}." if values else ""


#: What is said where an ablation registered nothing.
NOTHING_REGISTERED = "No hypothesis was registered before training: all comparisons are exploratory."


def registration_words(found: Registration) -> str:
    """What was registered, when, and whether training had begun."""
    asked = found.hypothesis
    reference, other = asked.compare
    goals = {
        "difference": f"{other} and {reference} differ",
        "non-inferiority": f"{other} is at most {asked.margin} worse than {reference}",
        "equivalence": f"{other} and {reference} differ by less than {asked.margin}",
    }
    level = "" if 1 - asked.alpha == LEVEL else f" with an interval of {level_words(1 - asked.alpha)}"
    figures = [f"alpha {asked.alpha:g}{level}", f"power {asked.power:g}", plural(asked.seeds or 0, "seed")]
    if asked.smallest_effect is not None:
        figures.append(f"smallest effect {asked.smallest_effect:g}")
    use = f" Intended use: {asked.intended_use.rstrip('.')}." if asked.intended_use else ""
    when = "before training" if found.before_training else found.why
    return (
        f"Registered {found.created:%Y-%m-%d %H:%M} UTC, {when}: in the setting {asked.setting}, {goals[asked.goal]} "
        f"in test AP of the {_KINDS[asked.checkpoint]} checkpoints ({', '.join(figures)}; SHA-256 {found.sha256[:12]})."
        f"{use} Every other comparison is exploratory."
    )


def pooled_words(found: Comparison, statistics: PairStatistics) -> str:
    """The APs of the detections of all folds together, which describe; nothing without folds."""
    sides = zip((found.reference, found.other), (statistics.reference, statistics.other), strict=True)
    figures = [f"{name} {decimal(one.pooled)}" for name, one in sides if one is not None and one.pooled is not None]
    if not figures:
        return ""
    return (
        f"Detections of all folds pooled: AP {', '.join(figures)}; networks' scores have no common scale, so no claim."
    )


def plan_words(difference: Difference, effects: Sequence[float]) -> list[str]:
    """How many seeds (of one seed: patients) would show effects named beforehand, a line each; never the one seen."""
    lines = []
    for plan in plans(difference, effects):
        number, *ends = (f"over {MOST_SEEDS:,}" if n is None else f"{n:,}" for n in (plan.number, plan.low, plan.high))
        within = "" if plan.low is None else f" [{' to '.join(ends)}]"
        enough = f"{number} {plan.unit}{within}" + (": more patients are needed" if plan.number is None else "")
        whose = " (these two networks)" if plan.unit == "patients" else ""
        lines.append(f"A study to show a true difference of {plan.effect:g} at 80 % power: {enough}{whose}")
    return lines


ESTIMAND = (
    "Estimand: the expectation of AP(other) − AP(reference) over seeds and patients, the training set fixed, by the "
    "primary checkpoint on test, averaged over a fixed list of findings; with one seed of these two networks alone, "
    "over patients."
)
ESTIMAND_OF_FOLDS = (
    "Estimand: the expectation of AP(other) − AP(reference) over training sets of this size, seeds and patients, by "
    "the primary checkpoint on each fold, averaged over a fixed list of findings."
)
#: What is said beside a difference of several seeds that is not settled.
ADDING_SEEDS = (
    "Decide the number of seeds beforehand: adding seeds until a difference is settled doubles the false claims."
)


def spread_words(difference: Difference) -> str:
    """What part of the spread lies between seeds, and p for these very networks; nothing for one seed."""
    if difference.seed_share is None or math.isnan(difference.seed_share):
        return ""
    return (
        f"{difference.seed_share:.0%} of the spread lies between the {plural(difference.seeds, 'seed')}; "
        f"for these networks alone, over patients, p is {p_value(difference.p_patients)}"
    ).replace("%", " %", 1)


def line_of(found: Comparison | NotComparable) -> str:
    """A pair in one line: the verdict, or that the two cannot be compared, and why."""
    if isinstance(found, NotComparable):
        return f"{found.setting}: {found.reference} and {found.other} cannot be compared: {found.reason}"
    if not found.pairs:
        asked = [(a, b) for a, b in found.runs if a is not None and b is not None]
        arms = zip((found.reference, found.other), zip(*asked[:1], strict=True), strict=False)
        missing = [arm for arm, (one, *_) in arms if one.figures(found.kind) is None]
        words = " and ".join(missing or [found.reference, found.other])
        return _with_design(f"{found.setting}: no comparison, nothing measured for {words}", found)
    head = f"{found.setting}, {found.other} minus {found.reference}"
    if len(found.pairs) < len(found.runs):
        head += (
            f", {found.note.partition(':')[0]}" if found.folds else f", {len(found.pairs)} of {len(found.runs)} seeds"
        )
    return _with_design(f"{head}: {found.sentence or 'no interval was asked for'}", found)


def shared_words(found: Iterable[Comparison]) -> list[str]:
    """A sentence for each arm whose runs serve several settings, which are no independent repeats then."""
    served: dict[str, dict[str, list[str]]] = {}  # arm → run → settings
    for one in found:
        for arm, side in zip((one.reference, one.other), zip(*one.pairs, strict=True), strict=False):
            for run in side:
                settings = served.setdefault(arm, {}).setdefault(run.run.key, [])
                settings.extend([] if one.setting in settings else [one.setting])
    said = []
    for arm, runs in served.items():
        if settings := list(dict.fromkeys(s for several in runs.values() if len(several) > 1 for s in several)):
            said.append(
                f"{arm} was not trained anew for each of {plural(len(settings), 'setting')} ({', '.join(settings)}): "
                "one and the same run stands in their differences, which therefore do not confirm one another."
            )
    return said


#: Permutations of the records below which nothing is claimed of clinical data.
LEAST_PERMUTATIONS = 3


@dataclass(frozen=True)
class Benefit:
    """Whether clinical data help in one setting: an arm against each without them, and against permuted records.

    They help only where it is ahead of each of the former and of the mean of at least three permutations, each at 5 %
    by itself, whatever alpha was registered: an intersection-union test, whose level is 5 % without an adjustment.
    """

    arm: str
    without: tuple[Comparison, ...]
    permuted: tuple[Comparison, ...]

    @property
    def setting(self) -> str:
        return self.without[0].setting

    @property
    def against(self) -> tuple[Comparison, ...]:
        """Every comparison that it rests on."""
        return *self.without, *self.permuted

    @property
    def helps(self) -> bool:
        """Whether it may be said that clinical data help."""
        return all(lead.ahead for lead in self._leads)

    @property
    def sentence(self) -> str:
        """The claim, or why it is not made, as every output says it."""
        timing = f" {self.against[0].timing}" if self.against[0].timing else ""
        if self.helps:
            figures = " and ".join(f"{lead.of} by {lead.figure}" for lead in self._leads)
            note = " (exploratory)" if any(one.registration is not None for one in self.against) else ""
            ahead = f"{self.arm} is ahead of {figures}, each at 5 % by itself (intersection-union)."
            claim = f"Clinical data help{note}: {ahead}"
        else:
            figures = " and ".join(f"of {lead.of} ({lead.figure})" for lead in self._leads if not lead.ahead)
            claim = f"Not shown that clinical data help: {self.arm} is not shown to be ahead {figures}."
        return claim + timing

    @property
    def beats_late_fusion(self) -> bool | None:
        """Whether the arm is settled to be ahead of cheap late fusion; None where that is not known."""
        return self._late.ahead if isinstance(self._late, _Lead) else None

    @property
    def late_sentence(self) -> str:
        """What may be said of cheap late fusion, or why nothing is; empty where it was not asked for."""
        if not isinstance(self._late, _Lead):
            return f"Cheap late fusion is not known: {self._late}" if self._late else ""
        ahead = "is ahead" if self._late.ahead else "is not shown to be ahead"
        return f"{self.arm} {ahead} of {self._late.of}: {self._late.figure}."

    @property
    def line(self) -> str:
        """Both sentences, after the setting."""
        return f"{self.setting}: {self.sentence} {self.late_sentence}".rstrip()

    @functools.cached_property
    def _late(self) -> _Lead | str:
        for one in self.without:
            found = None if one.statistics is None else one.statistics.late_fusion
            if isinstance(found, MeanDifference):
                return _Lead.over(f"cheap late fusion of {one.reference}", (one,), (found.ap, found.seeds))
            if found is not None:
                return found
        return ""

    @functools.cached_property
    def _leads(self) -> tuple[_Lead, ...]:
        found = [_Lead.over(one.reference, (one,), _pointwise(one)) for one in self.without]
        mean = None if self.permuted[0].statistics is None else self.permuted[0].statistics.permutations
        figure = (Interval(math.nan, math.nan, math.nan), 0) if mean is None else (mean.ap, mean.seeds)
        count = len({one.permutation for one in self.permuted}) if mean is None else mean.references
        lead = _Lead.over(f"the mean of {max(count, LEAST_PERMUTATIONS)} permutations", self.permuted, figure)
        if count < LEAST_PERMUTATIONS:
            lead = replace(lead, figure=f"{count} trained: {lead.figure}", ahead=False)
        return *found, lead


@dataclass(frozen=True)
class _Lead:
    """By how much the arm is ahead ``of`` others, over seeds and patients, and whether that is settled at 5 %."""

    of: str
    figure: str
    ahead: bool

    @classmethod
    def over(cls, of: str, pairs: Sequence[Comparison], figure: tuple[Interval, int]) -> _Lead:
        ap, seeds = figure
        words = "no interval" if math.isnan(ap.value) else interval(ap, sign=True)
        barred = any(one.verdict == "no verdict" for one in pairs)
        return cls(of, words + ("; one seed" if seeds == 1 else ""), seeds > 1 and not barred and ap.low > 0)


def benefits(found: Iterable[Comparison]) -> list[Benefit]:
    """What may be said of clinical data in every setting that has both controls: no record, and permuted ones."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in found:
        if one.pairs and one.statistics is not None and one.records[1] == "true":
            groups.setdefault((one.setting, one.other), []).append(one)
    said = []
    for (_, arm), several in groups.items():
        without, permuted = (tuple(c for c in several if c.records[0] == kind) for kind in ("none", "permuted"))
        if without and permuted:
            said.append(Benefit(arm, without, permuted))
    return said


def _records(run: RunRecord) -> str:
    """Which clinical records a run reads: ``none``, or ``clinical_records``; ``alone`` where it sees no image."""
    if not run.setup.get("use_clinical") or run.setup.get("image_input", "xray") != "xray":
        return "none" if not run.setup.get("use_clinical") else "alone"
    return str(run.setup.get("clinical_records", "true"))


def _pointwise(found: Comparison) -> tuple[Interval, int]:
    """The difference of this pair alone, over seeds and patients, and how many seeds or folds there are."""
    difference = None if found.statistics is None else found.statistics.difference
    if difference is None:
        return Interval(math.nan, math.nan, math.nan), 0
    return difference.pointwise, difference.folds or difference.seeds


def _design(words: str, found: Comparison | ComparisonTable) -> str:
    """What differs by design, and whose value stands first: sentences name the arms in either order."""
    return f"differs by design: {words} ({found.reference} / {found.other})" if words else ""


def _with_design(line: str, found: Comparison) -> str:
    return f"{line}; {found.design}" if found.by_design else line


# Comparisons and evaluations as a program sees them.


def findings_frame(rows: Iterable[tuple[str, Interval, Interval]]) -> pd.DataFrame:
    """One row a finding: ``finding``, and AP and AR with the bounds of their intervals."""
    import pandas as pd

    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    named = [
        {"finding": label}
        | {f"{name}{end}": getattr(value, part) for name, value in (("ap", ap), ("ar", ar)) for end, part in ends}
        for label, ap, ar in rows
    ]
    return pd.DataFrame(named, columns=["finding", *(f"{name}{end}" for name in ("ap", "ar") for end, _ in ends)])


def html_rows(rows: Mapping[str, object]) -> str:
    """Names and values as a table of HTML."""
    import pandas as pd

    return pd.Series(rows, dtype=object).to_frame().to_html(header=False)
