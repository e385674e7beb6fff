"""What a report is made of: the store's records, joined once, with every figure under its member's protocol."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from mmad.analysis.comparison import ComparedRun, Comparison, DataFile, NotComparable, compare_pairs, members_seen
from mmad.analysis.evaluation_target import setting_of
from mmad.base.errors import ReportError, StoreError
from mmad.base.records import (
    KEPT_KINDS,
    AblationRecord,
    CheckpointKind,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    MemberRecord,
    ParameterCount,
    RunRecord,
    Split,
)
from mmad.config.protocol import EvaluationProtocol
from mmad.config.runs import TRIALS
from mmad.data.audit.findings import MARK
from mmad.store.lookup import (
    CheckpointFigures,
    MemberResults,
    ablation_called,
    epochs_asked,
    evaluation_under,
    results_under,
)

ClassFigures = tuple[tuple[str, float | None, float | None], ...]


class ReportSource(Protocol):
    """The part of the store that a report reads."""

    def ablations(self) -> Sequence[AblationRecord]: ...
    def run_records(self) -> Sequence[RunRecord]: ...
    def all_epochs(self, keys: Sequence[str]) -> Mapping[str, Sequence[EpochRecord]]: ...
    def all_evaluations(self, keys: Sequence[str]) -> Mapping[str, Sequence[EvaluationRecord]]: ...
    def all_checkpoints(self, keys: Sequence[str]) -> Mapping[str, Sequence[CheckpointRecord]]: ...
    def first_epochs(self, keys: Sequence[str]) -> Mapping[str, datetime]: ...
    def all_parameter_counts(self, keys: Sequence[str]) -> Mapping[str, Sequence[ParameterCount]]: ...
    def all_environments(self, keys: Sequence[str]) -> Mapping[str, Sequence[EnvironmentRecord]]: ...
    def all_warnings(self, keys: Sequence[str]) -> Mapping[str, Sequence[str]]: ...
    def epoch_seconds(self, keys: Sequence[str]) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class RunFrame:
    """One run with everything recorded about it; ``data_file`` is what its data set says today.

    ``audit`` holds what the audit of its data set warned of, as ``code: words``. ``seconds`` of all its epochs; None
    without one. What was measured (epochs, evaluations, checkpoints, counts) is empty until ``with_measured`` reads it.
    """

    record: RunRecord
    environments: tuple[EnvironmentRecord, ...]
    warnings: tuple[str, ...]
    data_file: DataFile
    audit: tuple[str, ...] = ()
    seconds: float | None = None
    epochs: tuple[EpochRecord, ...] = ()
    evaluations: tuple[EvaluationRecord, ...] = ()
    checkpoints: tuple[CheckpointRecord, ...] = ()
    counts: tuple[ParameterCount, ...] = ()

    @property
    def key(self) -> str:
        return self.record.key

    @functools.cached_property
    def curves(self) -> Mapping[tuple[Split, str], tuple[float | None, ...]]:
        """Every metric by split and name, over ``epochs``; None where an epoch lacks it."""
        found: dict[tuple[Split, str], list[float | None]] = {}
        for place, epoch in enumerate(self.epochs):
            for metric in epoch.metrics:
                name = (metric.split, metric.name)
                found.setdefault(name, [None] * len(self.epochs))[place] = metric.value
        return {name: tuple(values) for name, values in found.items()}

    @property
    def epochs_asked(self) -> int:
        return epochs_asked(self.record)

    @property
    def finished(self) -> bool:
        return self.record.status == "finished"

    def count(self, module: str) -> int | None:
        """Parameters of ``module``, or None when it has none or they were not recorded."""
        return next((c.count for c in self.counts if c.module == module), None)

    def checkpoint(self, kind: CheckpointKind) -> CheckpointRecord | None:
        return next((c for c in self.checkpoints if c.kind == kind), None)


@dataclass(frozen=True)
class CheckpointResult(CheckpointFigures):
    """AP and AR of one checkpoint under one evaluation protocol, and of each finding; None where not measured."""

    kind: CheckpointKind
    val_classes: ClassFigures
    test_classes: ClassFigures


@dataclass(frozen=True)
class MemberFrame:
    """What a user asked for, the run that answers it, and the answer under the protocol asked for."""

    record: MemberRecord
    run: RunFrame
    protocol: EvaluationProtocol
    best_ap: CheckpointResult | None
    best_ar: CheckpointResult | None
    final: CheckpointResult | None

    @functools.cached_property
    def setup(self) -> Mapping[str, Any]:
        """The setup that was asked for; its idle fields may differ from those of the run that is shared."""
        return self.record.setup(self.run.record)

    @functools.cached_property
    def setting(self) -> str:
        """The setting that it is of, whatever its fold."""
        return setting_of(self.record, self.run.record)

    @property
    def alone(self) -> CheckpointResult | None:
        """What stands for the run where it is not compared: its best-AP checkpoint, or the final one without it."""
        return self.best_ap or self.final

    def outcome(self, kind: CheckpointKind) -> CheckpointResult | None:
        """The kept checkpoint of ``kind``."""
        return next((o for _, o in self.outcomes if o is not None and o.kind == kind), None)

    @functools.cached_property
    def compared(self) -> ComparedRun:
        """The run as it is compared with others."""
        results = MemberResults(self.best_ap, self.best_ar, self.final)
        versions = self.run.environments[-1].versions if self.run.environments else {}
        return ComparedRun(self.run.record, self.record, self.protocol, results, self.run.data_file, versions)

    @property
    def outcomes(self) -> tuple[tuple[str, CheckpointResult | None], ...]:
        return (("Best AP", self.best_ap), ("Best AR", self.best_ar), ("Final", self.final))


@dataclass(frozen=True)
class AblationFrame:
    """A family of settings and its members, in the file's order; ``first_epochs``: when each run had its first.

    ``seen`` are the members that show test figures of what the file registered. Of trials, ``tuned`` is the setup that
    the runs of each setting and arm have.
    """

    record: AblationRecord
    members: tuple[MemberFrame, ...]
    first_epochs: Mapping[str, datetime] = field(default_factory=dict)
    seen: tuple[MemberRecord, ...] = ()
    tuned: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m.setting for m in self.members))

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m.record.arm for m in self.members))

    @functools.cached_property
    def comparisons(self) -> tuple[Comparison | NotComparable, ...]:
        """Every pair of arms that the ablation compares, setting by setting."""
        runs = [member.compared for member in self.members]
        return compare_pairs(self.record, runs, first_epochs=self.first_epochs, seen=self.seen)

    def of(self, setting: str, arm: str) -> tuple[MemberFrame, ...]:
        return tuple(m for m in self.members if m.setting == setting and m.record.arm == arm)


@dataclass(frozen=True)
class ReportFrame:
    """Everything one report shows, or one ablation of it; ``runs`` are in the order they are met.

    Args:
        beside: members of ablations that are not here, of runs that are.
        taken: keys of the runs that earlier ablations show.
    """

    ablations: tuple[AblationFrame, ...]
    runs: tuple[RunFrame, ...]
    beside: tuple[MemberFrame, ...] = ()
    taken: frozenset[str] = frozenset()

    @functools.cached_property
    def _members(self) -> Mapping[str, tuple[MemberFrame, ...]]:
        found: dict[str, list[MemberFrame]] = {}
        for member in (*(m for a in self.ablations for m in a.members), *self.beside):
            found.setdefault(member.run.key, []).append(member)
        return {key: tuple(members) for key, members in found.items()}

    def members_of(self, key: str) -> tuple[MemberFrame, ...]:
        return self._members.get(key, ())

    def alone(self) -> Iterator[ReportFrame]:
        """Each ablation as a frame of its own."""
        taken: set[str] = set()
        for ablation in self.ablations:
            runs = {member.run.key: member.run for member in ablation.members}
            here = ablation.record.name
            beside = tuple(m for key in runs for m in self.members_of(key) if m.record.ablation != here)
            yield ReportFrame((ablation,), tuple(runs.values()), beside, frozenset(taken.intersection(runs)))
            taken |= runs.keys()


def load_frame(source: ReportSource, names: Sequence[str] = (), data: Path | None = None) -> ReportFrame:
    """Read what a report needs: all ablations, or those named.

    Raises ReportError for an unknown name (with the nearest) and for a store without any run.
    """
    return with_measured(source, load_records(source, names, data))


def load_records(source: ReportSource, names: Sequence[str] = (), data: Path | None = None) -> ReportFrame:
    """The same without what was measured: ablations, members and runs, where and how long these were trained.

    ``data`` is where the data set lies now; None where the runs say.
    """
    everything = source.ablations()
    ablations = _chosen(everything, names)
    records = {run.key: run for run in source.run_records()}
    keys = list(dict.fromkeys(m.key for a in ablations for m in a.members if m.key in records))
    if not keys:
        raise ReportError("no run to report on", hint="start some with `mmad ablate FILE`")
    files = {path: DataFile.of(data or path) for path in {records[key].dataset_path for key in keys}}
    warned, places, seconds = source.all_warnings(keys), source.all_environments(keys), source.epoch_seconds(keys)
    runs = {
        key: RunFrame(
            record=records[key],
            environments=tuple(places.get(key, ())),
            warnings=tuple(w for w in warned.get(key, ()) if not w.startswith(MARK)),
            data_file=files[records[key].dataset_path],
            audit=tuple(w.removeprefix(MARK) for w in warned.get(key, ()) if w.startswith(MARK)),
            seconds=seconds.get(key),
        )
        for key in keys
    }
    frames = tuple(
        AblationFrame(
            a,
            tuple(_member(m, runs[m.key]) for m in sorted(a.members, key=lambda one: one.position) if m.key in runs),
            seen=(seen := members_seen(everything, a.name)),
            tuned={
                (m.setting, m.arm): records[m.key].setup
                for m in seen
                if a.name.endswith(TRIALS) and m.ablation != a.name and m.key in records
            },
        )
        for a in ablations
    )
    return ReportFrame(tuple(f for f in frames if f.members), tuple(runs.values()))


def with_measured(source: ReportSource, frame: ReportFrame, *, epochs: bool = True) -> ReportFrame:
    """The frame with what was measured of its runs; without their ``epochs`` where these are not asked for."""
    keys = [run.key for run in frame.runs]
    curves = source.all_epochs(keys) if epochs else {}
    evaluations, checkpoints = source.all_evaluations(keys), source.all_checkpoints(keys)
    counts = source.all_parameter_counts(keys)
    first = source.first_epochs(list({*keys, *(member.key for one in frame.ablations for member in one.seen)}))
    runs = {
        run.key: replace(
            run,
            epochs=tuple(sorted(curves.get(run.key, ()), key=lambda e: e.epoch)),
            evaluations=tuple(evaluations.get(run.key, ())),
            checkpoints=tuple(checkpoints.get(run.key, ())),
            counts=tuple(counts.get(run.key, ())),
        )
        for run in frame.runs
    }

    def members(found: Iterable[MemberFrame]) -> tuple[MemberFrame, ...]:
        return tuple(_member(member.record, runs[member.run.key]) for member in found)

    ablations = tuple(replace(one, members=members(one.members), first_epochs=first) for one in frame.ablations)
    return replace(frame, ablations=ablations, runs=tuple(runs.values()), beside=members(frame.beside))


def _chosen(ablations: Sequence[AblationRecord], names: Sequence[str]) -> list[AblationRecord]:
    known = {a.name: a for a in ablations}
    try:
        meant = [ablation_called(name, list(known), "--ablation") for name in names]
    except StoreError as error:
        raise ReportError(error.what, hint=error.hint) from None
    return [known[name] for name in dict.fromkeys(meant)] if names else list(ablations)


def _member(record: MemberRecord, run: RunFrame) -> MemberFrame:
    try:
        protocol = EvaluationProtocol.model_validate(dict(record.evaluation))
    except ValidationError as error:
        raise ReportError(
            f"an evaluation protocol that this program does not know ({error.errors()[0]['msg']})",
            where=f"{record.ablation}, {record.setting}, {record.arm}",
            hint="use the program that recorded it",
        ) from error
    wanted = protocol.model_dump()
    found = results_under(wanted, run.record, run.checkpoints, run.evaluations, run.epochs)
    kept = (_outcome(run, kind, wanted, getattr(found, kind)) for kind in KEPT_KINDS)
    return MemberFrame(record, run, protocol, *kept)


def _outcome(
    run: RunFrame, kind: CheckpointKind, wanted: Mapping[str, Any], result: CheckpointFigures | None
) -> CheckpointResult | None:
    """A checkpoint's ``result`` with the figures of each finding, as far as they were kept."""
    if result is None:
        return None

    def classes(split: Split) -> ClassFigures:
        found = evaluation_under(wanted, run.evaluations, kind, result.epoch, split)
        return () if found is None else found.per_class

    return CheckpointResult(**vars(result), kind=kind, val_classes=classes("val"), test_classes=classes("test"))
