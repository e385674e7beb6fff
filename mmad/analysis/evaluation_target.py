"""A kept checkpoint as it is evaluated on a split under a protocol: its detections and true boxes, no network."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmad.base.errors import DataError, EvaluationError
from mmad.base.formatting import short_key
from mmad.base.records import (
    CheckpointKind,
    CheckpointRecord,
    Detections,
    EvaluationRecord,
    GroundTruth,
    MemberRecord,
    RunRecord,
    Split,
)
from mmad.config.protocol import EvaluationProtocol, Fold, Overlap, Proposals, without_fold
from mmad.data.dataset import DataSet
from mmad.data.external import OutsideData
from mmad.data.reader import load_dataset
from mmad.data.samples import samples
from mmad.evaluation.cross_validation import pooled
from mmad.evaluation.detections_file import read_detections
from mmad.evaluation.ensembles import IOU, fused
from mmad.evaluation.masks import Outline
from mmad.evaluation.matching import Matched, match
from mmad.evaluation.readers import on_studies
from mmad.evaluation.resampling import RESAMPLES
from mmad.store.lookup import FoundRun, epochs_asked, own_evaluation
from mmad.store.store import Store

LEAST_RESAMPLES, MOST_RESAMPLES = 10, 100_000
#: Matches that are held at once.
_HELD = 48


@dataclass(frozen=True)
class EvaluationOptions:
    """What of a run is evaluated and how; None takes what the member asked for.

    Args:
        split: ``test`` or ``val``.
        checkpoint: ``best_ap`` where None, or ``final`` for runs that kept no best one.
        overlap: ``iou`` or ``iobb``.
        proposals: ``clean``, ``sampled`` or ``with_ground_truth``.
        resamples: of the patients, for intervals and tests.
        seed: of the resamples.
    """

    split: Split = "test"
    checkpoint: CheckpointKind | None = None
    overlap: Overlap | None = None
    proposals: Proposals | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if not LEAST_RESAMPLES <= self.resamples <= MOST_RESAMPLES:
            raise EvaluationError(
                f"resamples = {self.resamples}", hint=f"use {LEAST_RESAMPLES} to {MOST_RESAMPLES:,}, such as 1000"
            )


@dataclass(frozen=True)
class EvaluationTarget:
    """One checkpoint of one run on one split under one protocol; ``file`` holds its detections.

    With ``outside`` it is on all studies of another data set. With ``seeds`` it is their ensemble, the fused detections
    of runs that differ in seed and fold alone; ``run``, ``member``, ``checkpoint`` and ``file`` are then the first
    one's. One of several folds without ``outside`` has no detections of its own: on validation it is each fold's.
    With ``reader`` that reader's boxes alone are the true ones, on the studies that they read.
    """

    run: RunRecord
    member: MemberRecord | None
    checkpoint: CheckpointRecord
    split: Split
    protocol: EvaluationProtocol
    file: Path
    outside: OutsideData | None = None
    seeds: tuple[EvaluationTarget, ...] = ()
    reader: str = ""

    @property
    def name(self) -> str:
        """``ablation/setting/arm/seed``, or the beginning of the run's key where it has no member."""
        if self.seeds and self.member is not None:
            member, folds = self.member, len(by_fold(self.seeds))
            setting = setting_of(member, self.run) if folds > 1 else member.setting
            of = f"networks of {folds} folds" if folds > 1 else "seeds"
            return f"{member.ablation}/{setting}/{member.arm}/ensemble of {len(self.seeds)} {of}"
        return short_key(self.run.key) if self.member is None else self.member.path

    def digest(self) -> str:
        """SHA-256 of the kept detections. EvaluationError when there are none, naming the command that makes them."""
        if self.seeds:
            return hashlib.sha256(" ".join([str(IOU), *(one.digest() for one in self.seeds)]).encode()).hexdigest()
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        except FileNotFoundError as error:
            raise EvaluationError(
                f"its detections ({self.checkpoint.kind}, {self.split}, {self.protocol.proposals}) are not kept",
                where=f"run {self.name}",
                hint=f"make them with `{self.remake()}`",
            ) from error
        except OSError as error:
            raise EvaluationError(f"cannot be read ({error.strerror or error})", where=self.file) from error

    def remake(self) -> str:
        """The command that makes the detections again."""
        words = ["mmad", "eval", short_key(self.run.key), "--again"]
        if self.outside is not None:
            words += ["--on", str(self.outside.root)]
            renamed = [f"{theirs}={ours}" for theirs, ours in self.outside.labels.items() if theirs != ours]
            words += [word for one in renamed for word in ("--map", one)]
        words += ["--split", self.split] if self.split != "test" else []
        words += ["--checkpoint", self.checkpoint.kind] if self.checkpoint.kind != "best_ap" else []
        return shlex.join([*words, "--proposals", self.protocol.proposals])


def evaluation_target(
    store: Store,
    found: FoundRun,
    options: EvaluationOptions,
    *,
    checkpoints: Sequence[CheckpointRecord] | None = None,
    evaluations: Sequence[EvaluationRecord] | None = None,
) -> EvaluationTarget:
    """What ``options`` ask of a run.

    Args:
        checkpoints: of the run, where they were read before; ``evaluations`` likewise.

    Raises:
        EvaluationError: the run is not finished, or kept no such checkpoint.
    """
    run, member = found.run, found.members[0] if found.members else None
    if run.status != "finished":
        raise EvaluationError(
            f"is {run.status} at epoch {run.epochs_done} of {epochs_asked(run)}",
            where=f"run {short_key(run.key) if member is None else member.path}",
            hint="evaluate it once it is finished: mmad ablate resumes it",
        )
    protocol = protocol_of(run, member, options)
    checkpoint = _checkpoint(
        store.checkpoints(run.key) if checkpoints is None else checkpoints, options.checkpoint, run
    )
    paths = store.run_paths(run.key)
    name = paths.relative(paths.detections(checkpoint.epoch, options.split, protocol.proposals))
    for row in store.evaluations(run.key) if evaluations is None else evaluations:
        here = (checkpoint.kind, checkpoint.epoch, options.split, protocol.proposals)
        if row.detections is not None and (row.kind, row.epoch, row.split, row.proposals) == here:
            name = row.detections
    return EvaluationTarget(run, member, checkpoint, options.split, protocol, paths.inner(name))


def on_outside(store: Store, target: EvaluationTarget, outside: OutsideData) -> EvaluationTarget:
    """The same checkpoint under the same protocol on another data set."""
    paths = store.run_paths(target.run.key)
    name = f"outside-{outside.fingerprint[:16]}"
    return replace(
        target, file=paths.detections(target.checkpoint.epoch, name, target.protocol.proposals), outside=outside
    )


#: What is said wherever figures of an ensemble are shown.
_NEVER_THE_ESTIMAND = (
    "An ensemble is a detector of its own (weighted box fusion, equal weights): never the estimand, which is the mean "
    "over runs, so that no verdict is about it."
)
_POINT_OF_FOLDS = (
    "Its operating point is where each fold's own networks have so many false positives on that fold's validation "
    "split, for the others were trained on those images; fused scores tend to be lower, and false positives fewer."
)


def ensemble_note(target: EvaluationTarget) -> str:
    """What has to be said of an ensemble; nothing of a run."""
    if not target.seeds:
        return ""
    return f"{_NEVER_THE_ESTIMAND} {_POINT_OF_FOLDS}" if len(by_fold(target.seeds)) > 1 else _NEVER_THE_ESTIMAND


def ensemble_of(runs: Sequence[EvaluationTarget], *, unseen: bool = False) -> EvaluationTarget:
    """The ensemble of runs that differ in seed and fold alone, of replicates the first.

    Args:
        unseen: whether it is for images that none of the runs' data set holds; else of several folds only on another
            data set.

    Raises:
        EvaluationError: one run, setups that differ, or folds whose networks were trained on the images.
    """
    name = runs[0].name
    if len(by_fold(runs)) > 1 and not unseen:
        _refuse_seen(runs)
    first = {(fold_of(one.run), _seed(one)): one for one in reversed(runs)}
    runs = [one for one in runs if first[fold_of(one.run), _seed(one)] is one]
    if len(runs) < 2:
        what, hint = "is one run, and an ensemble is of several", "or train more of them"
        if fold_of(runs[0].run) is not None and not unseen and runs[0].outside is None:
            what = f"{what}: the networks of the other folds were trained on its test images"
            hint = "evaluate all folds together on another data set (--on DIR), or train more seeds"
        else:
            hint = f"name an arm with several seeds, such as ablation/setting/arm, {hint}"
        raise EvaluationError(what, where=name, hint=hint)
    setup, *others = (one.run.setup if one.member is None else one.member.setup(one.run) for one in runs)
    if any(other != setup for other in others):
        what = "is of setups that differ, and the runs of an ensemble differ in seed and fold alone"
        raise EvaluationError(what, where=name, hint="name one arm of one setting")
    return replace(runs[0], seeds=tuple(runs))


def _seed(target: EvaluationTarget) -> int:
    return int(target.run.protocol.get("seed", 0) if target.member is None else target.member.seed)


def _refuse_seen(runs: Sequence[EvaluationTarget]) -> None:
    """EvaluationError where the networks of some folds were trained on images that they are evaluated on."""
    outside, where = runs[0].outside, runs[0].name.rpartition("/")[0]
    if outside is None:
        what = "is of several folds, and each network was trained on test images of the others"
        hint = "evaluate them on another data set (--on DIR), or name one fold, as 'ablation/setting, fold 1 of 3/arm'"
        raise EvaluationError(what, where=where, hint=hint)
    if outside.shared:
        what = f"{outside.shared} of its images are of the runs' data set, on which networks of some folds were trained"
        raise EvaluationError(what, where=outside.root, hint="leave them out, or name one fold")


def by_fold(targets: Sequence[EvaluationTarget]) -> list[list[EvaluationTarget]]:
    """``targets`` fold by fold; all together where there are none."""
    found: dict[Fold | None, list[EvaluationTarget]] = {}
    for one in targets:
        found.setdefault(fold_of(one.run), []).append(one)
    return list(found.values())


def on_validation(store: Store, target: EvaluationTarget) -> EvaluationTarget:
    """The same checkpoint under the same protocol on the validation split."""
    if target.seeds:
        return ensemble_of([on_validation(store, one) for one in target.seeds], unseen=target.outside is not None)
    same = EvaluationOptions(
        split="val",
        checkpoint=target.checkpoint.kind,
        overlap=target.protocol.overlap,
        proposals=target.protocol.proposals,
    )
    found = FoundRun(target.run, () if target.member is None else (target.member,))
    return evaluation_target(store, found, same)


def fold_of(run: RunRecord) -> Fold | None:
    """The fold of a run; None for one on the data set's own splits."""
    found = run.protocol.get("fold")
    return None if found is None else Fold.model_validate(found)


def setting_of(member: MemberRecord, run: RunRecord) -> str:
    """The setting that a member is of, whatever the fold of its run."""
    return member.setting if fold_of(run) is None else without_fold(member.setting)


def protocol_of(run: RunRecord, member: MemberRecord | None, options: EvaluationOptions) -> EvaluationProtocol:
    """The protocol that the member asked for, but for what ``options`` say."""
    asked = EvaluationProtocol.model_validate(dict(member.evaluation if member else own_evaluation(run)))
    changed = {"overlap": options.overlap, "proposals": options.proposals}
    return asked.model_copy(update={name: value for name, value in changed.items() if value is not None})


def _checkpoint(found: Sequence[CheckpointRecord], kind: CheckpointKind | None, run: RunRecord) -> CheckpointRecord:
    by_kind = {c.kind: c for c in found if c.kind != "last"}
    wanted = (kind,) if kind else ("best_ap", "final")
    for name in wanted:
        if name in by_kind:
            return by_kind[name]
    raise EvaluationError(
        f"kept no checkpoint {' or '.join(wanted)}",
        where=f"run {short_key(run.key)}",
        hint=f"choose one of {', '.join(sorted(by_kind))}" if by_kind else "train it again",
    )


class DetectionStore:
    """Detections and true boxes; each data set is read once.

    Args:
        data: where the data set lies now; None where the runs say.

    ``computed`` counts the matches it had to find.
    """

    def __init__(self, data: Path | None = None) -> None:
        self.data = data
        self.computed = 0
        self._read: dict[tuple[str, str], DataSet] = {}
        self._sets: dict[tuple[str, str, str, Fold | None], DataSet] = {}
        self._matched: dict[tuple[object, ...], Matched] = {}

    def dataset(self, run: RunRecord) -> DataSet:
        """The data set of ``run`` as its ``dataset_mode`` and its fold ask. DataError when it is gone or changed."""
        folder = Path(run.dataset_path) if self.data is None else self.data
        fold = fold_of(run)
        key = (str(folder), run.dataset_fingerprint, str(run.setup.get("dataset_mode", "unified")), fold)
        if key not in self._sets:
            dataset = self._read.get(key[:2]) or load_dataset(folder)
            if (now := dataset.fingerprint()) != run.dataset_fingerprint:
                raise DataError(
                    f"the data set changed: run {short_key(run.key)} saw {short_key(run.dataset_fingerprint)}, "
                    f"the folder now holds {short_key(now)}",
                    where=folder,
                    hint="restore the folder, or name the right one with --data",
                )
            self._read[key[:2]] = dataset
            # a fold is asked for after another one: two of them at once would take the memory of two data sets
            self._sets = {known: found for known, found in self._sets.items() if fold is None or known[3] is None}
            self._sets[key] = samples(dataset, key[2], fold)
        return self._sets[key]

    def check_named_folder(self, targets: Sequence[EvaluationTarget]) -> None:
        """Refuse a folder that was named but does not hold the runs' data: figures never stand for another one.

        Raises:
            DataError: it is missing, or holds other data.
        """
        if self.data is not None:
            for one in targets:
                self.dataset(one.run)

    def dataset_of(self, target: EvaluationTarget) -> DataSet:
        """The data set that ``target`` is evaluated on: the run's own, or another one."""
        return self.dataset(target.run) if target.outside is None else target.outside.dataset

    def truth(self, target: EvaluationTarget) -> GroundTruth:
        """The true boxes of the split. EvaluationError when the split has no study, or its reader read none."""
        truth = self.dataset_of(target).ground_truth(target.split, target.reader)
        if not truth.studies and target.reader:
            raise EvaluationError(f"read no study of the {target.split} split", where=f"reader {target.reader!r}")
        if not truth.studies:
            raise EvaluationError(
                f"the data set has no {target.split} split",
                where=f"run {target.name}",
                hint=f"use --split {'val' if target.split == 'test' else 'test'}",
            )
        return truth

    def read(self, target: EvaluationTarget) -> Detections:
        """The kept detections. EvaluationError when they are missing, damaged or not finite, naming the file."""
        target.digest()
        if target.reader:
            return on_studies(self.read(replace(target, reader="")), self.truth(target).studies)
        if target.seeds:
            return fused([self.read(one) for one in target.seeds])
        try:
            return read_detections(target.file)
        except EvaluationError as error:
            raise EvaluationError(error.what, where=target.file, hint=error.hint) from error

    def matched(self, target: EvaluationTarget) -> Matched:
        """The detections matched with the true boxes under the protocol; the latest matches are held in memory.

        An ensemble of several folds on their own data set is each fold's, on that fold's split, all of them pooled.
        """
        folds = by_fold(target.seeds)
        if len(folds) > 1 and target.outside is None:
            parts = [replace(one[0], seeds=tuple(one) if len(one) > 1 else ()) for one in folds]
            return pooled([self.matched(part) for part in parts])
        truth = self.truth(target)
        outside = "" if target.outside is None else target.outside.fingerprint
        data = (target.run.dataset_fingerprint, target.run.setup.get("dataset_mode"), outside)
        key = (target.digest(), *data, target.split, target.reader)
        found = self._matched.pop((*key, target.protocol), None)
        if found is None:
            self.computed += 1
            found = matched_under(target.protocol, self.read(target), truth)
        self._matched[*key, target.protocol] = found
        if len(self._matched) > _HELD:
            del self._matched[next(iter(self._matched))]
        return found


def matched_under(
    protocol: EvaluationProtocol, detections: Detections, truth: GroundTruth, on: Outline = "boxes"
) -> Matched:
    """``detections`` matched with ``truth`` under ``protocol``, ``on`` as of ``match``."""
    return match(
        detections,
        truth,
        overlap=protocol.overlap,
        thresholds=(protocol.threshold,),
        max_detections=protocol.max_detections,
        on=on,
    )
