"""Finds runs by name, and reads what a member's run came to under the evaluation protocol the member asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmad.base.errors import StoreError
from mmad.base.json_values import finite
from mmad.base.records import (
    KEPT_KINDS,
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
from mmad.config.messages import did_you_mean, nearest
from mmad.config.protocol import EvaluationProtocol, without_fold
from mmad.config.runs import VARIANT, file_name

if TYPE_CHECKING:
    from pandas import DataFrame

    from mmad.store.store import Store

#: How many candidates an error names.
_SHOWN = 6
#: The threshold and the number of detections under which the figures of every epoch are recorded.
EPOCH_THRESHOLD, EPOCH_DETECTIONS = 0.5, 10
#: What every row of epochs has beside the metrics.
EPOCH_COLUMNS = ("epoch", "lr", "seconds", "peak_memory", "val_ap", "val_ar", "test_ap", "test_ar")
#: The columns of ``Store.runs`` before the figures of the checkpoints, and the types of those that are numbers.
_MEMBER_COLUMNS = ("ablation", "setting", "arm", "seed", "replicate", "documented", "key", "status", "epoch", "epochs")
_NUMBERS = {"seed": "int64", "replicate": "int64", "epoch": "int64", "epochs": "int64"}


@dataclass(frozen=True)
class CheckpointFigures:
    """AP and AR of one checkpoint, in [0, 1]; None where they were not measured, or there was nothing to find."""

    epoch: int
    val_ap: float | None
    val_ar: float | None
    test_ap: float | None
    test_ar: float | None


@dataclass(frozen=True)
class MemberResults:
    """The figures of the checkpoints of a run, as far as it has them."""

    best_ap: CheckpointFigures | None
    best_ar: CheckpointFigures | None
    final: CheckpointFigures | None


@dataclass(frozen=True)
class MemberSummary:
    """A member, the run that answers it and what that came to."""

    member: MemberRecord
    run: RunRecord
    results: MemberResults

    @property
    def epochs(self) -> int:
        """How many epochs the run was asked for."""
        return epochs_asked(self.run)


def epochs_asked(run: RunRecord) -> int:
    """How many epochs the run was asked for."""
    return int(run.protocol.get("epochs", 0))


def member_summaries(store: Store, ablation: str | None = None, most: int | None = None) -> list[MemberSummary]:
    """Every member (of ``ablation``) with its run and results, ablations by name and members in their order.

    ``most`` reads no more than so many.
    """
    members = store.members(ablation, most)
    runs = {run.key: run for run in store.some_runs({member.key for member in members})}
    members = [member for member in members if member.key in runs]
    begun = {key for key, run in runs.items() if run.epochs_done or run.status == "finished"}
    keys = list(dict.fromkeys(member.key for member in members if member.key in begun))
    checkpoints, evaluations = store.all_checkpoints(keys), store.all_evaluations(keys)
    bare = {
        member.key
        for member in members
        for one in checkpoints.get(member.key, ())
        for split in ("val", "test")
        if one.kind in KEPT_KINDS
        and evaluation_under(member.evaluation, evaluations[member.key], one.kind, one.epoch, split) is None
    }
    epochs = store.all_epochs(sorted(bare))
    return [
        MemberSummary(
            member,
            runs[member.key],
            results_under(
                member.evaluation,
                runs[member.key],
                checkpoints.get(member.key, ()),
                evaluations.get(member.key, ()),
                epochs.get(member.key, ()),
            ),
        )
        for member in members
    ]


def unasked_runs(store: Store) -> list[RunRecord]:
    """The runs that no member asks for any more, in the queue's order: of files that were edited, most of them.

    One in whose place a run is trained that is asked for is asked for with it.
    """
    asked = {member.key for ablation in store.ablations() for member in ablation.members}
    runs = {run.key: run for run in store.run_records()}
    return [run for run in runs.values() if run.key not in asked and trained_for(runs, run.key).key not in asked]


def trained_for(runs: Mapping[str, RunRecord], key: str) -> RunRecord:
    """The run ``key`` of ``runs``, or the one that is trained in its place."""
    run = runs[key]
    while (replacement := runs.get(run.replacement or "")) is not None:
        run = replacement
    return run


def results_frame(summaries: Sequence[MemberSummary]) -> DataFrame:
    """One row a summary, with the columns of ``Store.runs``."""
    import pandas

    figures = {
        f"{kind.name}_{figure.name}": (kind.name, figure.name)
        for kind in fields(MemberResults)
        for figure in fields(CheckpointFigures)
    }
    names = [*_MEMBER_COLUMNS, "overlap", *figures, "error"]
    rows = []
    for summary in summaries:
        row = asdict(summary.member) | dict(summary.member.evaluation) | {"status": summary.run.status}
        row |= {"epoch": summary.run.epochs_done, "epochs": summary.epochs, "error": summary.run.error}
        for name, (kind, figure) in figures.items():
            row[name] = getattr(getattr(summary.results, kind), figure, None)
        rows.append([row[name] for name in names])
    types = _NUMBERS | {name: "Int64" if figure == "epoch" else "float64" for name, (_, figure) in figures.items()}
    return pandas.DataFrame(rows, columns=names, dtype=object).astype(types).infer_objects()


def named_ablation(store: Store, name: str) -> str:
    """The name of the ablation that ``name`` means, in the words of ``ablation_called``."""
    return ablation_called(name, list(store.member_counts()), store.where)


def ablation_called(name: str, names: Sequence[str], where: str) -> str:
    """The one of ``names`` that ``name`` means: itself, or the only variant of a file that has no form of its own.

    Between file and overrides a space does as well: ``depth3 epochs=4``.

    Raises:
        StoreError: there is no such ablation, or several variants; names the candidates or the nearest.
    """
    meant = _ablations_spelled(name, names, str) or _ablations_spelled(name, names, str.casefold)
    if len(meant) == 1:
        return meant[0]
    if meant:
        hint = "name one of " + ", ".join(repr(one) for one in meant[:_SHOWN])
        raise StoreError(f"{name!r} has {len(meant)} variants", where=where, hint=hint)
    raise StoreError(f"no ablation {name!r}", where=where, hint=did_you_mean(name, names))


def _ablations_spelled(name: str, names: Sequence[str], fold: Callable[[str], str]) -> list[str]:
    """Those of ``names`` that ``name`` means, both written as ``fold`` has them."""
    name = fold(name)
    meant = [one for one in names if fold(one) == name]
    meant = meant or [one for one in names if fold(one.replace(VARIANT, " ")) == name]
    return meant or [one for one in names if fold(file_name(one)) == name]


def results_under(
    evaluation: Mapping[str, Any],
    run: RunRecord,
    checkpoints: Sequence[CheckpointRecord],
    evaluations: Sequence[EvaluationRecord],
    epochs: Sequence[EpochRecord],
) -> MemberResults:
    """The results of ``run`` under the evaluation protocol ``evaluation``.

    A figure is that of the checkpoint's evaluation under exactly this protocol; the figures of the
    checkpoint's epoch replace them only where they were measured under it too.
    """

    def result(kind: CheckpointKind) -> CheckpointFigures | None:
        checkpoint = next((c for c in checkpoints if c.kind == kind), None)
        if checkpoint is None:
            return None
        val = _figures(evaluation, run, checkpoint, evaluations, epochs, "val")
        test = _figures(evaluation, run, checkpoint, evaluations, epochs, "test")
        return CheckpointFigures(checkpoint.epoch, *val, *test)

    return MemberResults(result("best_ap"), result("best_ar"), result("final"))


def evaluation_under(
    wanted: Mapping[str, Any], evaluations: Iterable[EvaluationRecord], kind: CheckpointKind, epoch: int, split: Split
) -> EvaluationRecord | None:
    """The evaluation of a checkpoint on ``split`` under exactly the protocol ``wanted``; None where there is none."""
    here = (kind, epoch, split)
    return next((e for e in evaluations if (e.kind, e.epoch, e.split) == here and e.protocol == wanted), None)


def _figures(
    wanted: Mapping[str, Any],
    run: RunRecord,
    checkpoint: CheckpointRecord,
    evaluations: Sequence[EvaluationRecord],
    epochs: Sequence[EpochRecord],
    split: Split,
) -> tuple[float | None, float | None]:
    if (found := evaluation_under(wanted, evaluations, checkpoint.kind, checkpoint.epoch, split)) is not None:
        return finite(found.ap), finite(found.ar)
    overlap = wanted["overlap"]
    of_epochs = {
        "overlap": overlap,
        "threshold": EPOCH_THRESHOLD,
        "max_detections": EPOCH_DETECTIONS,
        "proposals": run.protocol.get("selection_proposals", "clean"),
    }
    record = next((e for e in epochs if e.epoch == checkpoint.epoch), None)
    if record is None or of_epochs != wanted:
        return None, None
    return finite(record.value(split, f"ap_{overlap}")), finite(record.value(split, f"ar_{overlap}"))


def epoch_row(record: EpochRecord, overlap: str) -> dict[str, float | None]:
    """One epoch, flat: ``val_loss``, ``test_ap_iou`` …; ``val_ap`` and ``val_ar`` are those under ``overlap``."""
    row: dict[str, float | None] = dict.fromkeys(EPOCH_COLUMNS)
    row |= {"epoch": record.epoch, "lr": record.lr, "seconds": record.seconds, "peak_memory": record.peak_memory}
    for metric in record.metrics:
        row[f"{metric.split}_{metric.name}"] = metric.value
        if metric.name in (f"ap_{overlap}", f"ar_{overlap}"):
            row[f"{metric.split}_{metric.name.removesuffix(f'_{overlap}')}"] = metric.value
    return row


def epochs_frame(records: Sequence[EpochRecord], overlap: str) -> DataFrame:
    """One row an epoch, with the columns of ``Store.epochs``."""
    import pandas

    rows = [epoch_row(record, overlap) for record in records]
    names = list(dict.fromkeys(chain(EPOCH_COLUMNS, *rows)))
    frame = pandas.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
    return frame.astype({name: "int64" if name in ("epoch", "peak_memory") else "float64" for name in names})


# The run a person means: by the beginning of its key, or by what it answers.


@dataclass(frozen=True)
class FoundRun:
    """A run, and the members it answers; the one a person named comes first."""

    run: RunRecord
    members: tuple[MemberRecord, ...]

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The evaluation protocol of the first member, or that of the run's epochs where no member points to it."""
        return self.members[0].evaluation if self.members else own_evaluation(self.run)


def find_run(store: Store, name: str) -> FoundRun:
    """The run ``name`` means: ``ablation/setting/arm`` (``/seed``, ``/replicate`` if need be) or a key's beginning.

    A name that no member has is looked for without regard to case.

    Raises:
        StoreError: nothing or more than one run is meant; names the candidates or the nearest.
    """
    members = [member for ablation in store.ablations() for member in ablation.members]
    named = _named(members, name, slice(None))
    keys = list(dict.fromkeys(member.key for member in named))
    if len(keys) > 1:
        _refuse_variants(named, name)
        paths = [member.path for member in named]
        hint = "add the seed" if len({member.setting for member in named}) == 1 else "name the fold, too"
        raise StoreError(f"{name!r} is more than one run: {_some(paths)}", where="run", hint=hint)
    if keys:
        run = store.run(keys[0])
    else:
        _refuse_unknown_path(name, members)
        run = store.run(name.lower())
    others = [member for member in members if member.key == run.key and member not in named]
    return FoundRun(run, (*named, *others))


def find_seeds(store: Store, name: str) -> list[FoundRun]:
    """The runs ``name`` means: every fold and seed of ``ablation/setting/arm``, else the one run of ``find_run``.

    Raises:
        StoreError: as ``find_run``, and for the runs of several variants of a file.
    """
    members = [member for ablation in store.ablations() for member in ablation.members]
    seeds = _named(members, name, slice(1))
    _refuse_variants(seeds, name)
    return [FoundRun(store.run(member.key), (member,)) for member in seeds] or [find_run(store, name)]


def find_ensembles(store: Store, name: str, *, across_folds: bool = False) -> list[list[FoundRun]]:
    """All seeds of each setting, fold and arm that ``name`` means: of an ablation every one, each group of runs once.

    Args:
        across_folds: those of all folds together.

    Raises:
        StoreError: as ``find_runs``.
    """
    if not is_ablation(store, name):
        folds: dict[str, list[FoundRun]] = {}
        for one in find_seeds(store, name):
            folds.setdefault(one.members[0].setting if one.members and not across_folds else "", []).append(one)
        return list(folds.values())
    members = store.members(named_ablation(store, name))
    settings = [without_fold(one.setting) if across_folds else one.setting for one in members]
    arms = dict.fromkeys(f"{m.ablation}/{name}/{m.arm}" for m, name in zip(members, settings, strict=True))
    groups: dict[tuple[str, ...], list[FoundRun]] = {}
    for arm in arms:
        seeds = find_seeds(store, arm)
        groups.setdefault(tuple(one.run.key for one in seeds), seeds)
    return list(groups.values())


def find_runs(store: Store, name: str) -> list[FoundRun]:
    """The runs ``name`` means: every one of an ablation, each once, else as ``find_seeds``.

    Raises:
        StoreError: as ``find_seeds``, and for an ablation with several variants.
    """
    if not is_ablation(store, name):
        return find_seeds(store, name)
    named = named_ablation(store, name)
    members = [member for ablation in store.ablations() if ablation.name == named for member in ablation.members]
    first = {member.key: member for member in reversed(members)}
    return [FoundRun(store.run(key), (first[key],)) for key in dict.fromkeys(member.key for member in members)]


def is_ablation(store: Store, name: str) -> bool:
    """Whether ``name`` is an ablation's, or a file's of which there are variants alone."""
    try:
        named_ablation(store, name)
    except StoreError:
        return any(file_name(one) == name for one in store.member_counts())
    return True


def _named(members: Sequence[MemberRecord], name: str, spellings: slice) -> list[MemberRecord]:
    """The members that ``name`` means: those of the ablation it names, else those of the variants of that file.

    A setting without its fold is all of its folds.
    """
    short = [replace(member, ablation=file_name(member.ablation)) for member in members]
    whole = [[replace(one, setting=without_fold(one.setting)) for one in called] for called in (members, short)]
    cases: tuple[Callable[[str], str], ...] = (str, str.casefold)
    for case, called in product(cases, (members, short, *whole)):
        names = ([case(one) for one in _names(member)[spellings]] for member in called)
        if found := [member for member, own in zip(members, names, strict=True) if case(name) in own]:
            return found
    return []


def _names(member: MemberRecord) -> tuple[str, ...]:
    short = f"{member.ablation}/{member.setting}/{member.arm}"
    seeded = f"{short}/{member.seed}"
    return (short, seeded, f"{seeded}/{member.replicate}")


def _refuse_variants(named: Sequence[MemberRecord], name: str) -> None:
    """StoreError for a ``name`` of a file's arm where ``named`` are of several of its variants: their setups differ."""
    meant = list(dict.fromkeys(member.ablation for member in named))
    if len(meant) > 1:
        rest = name[name.index("/") :]
        hint = "name one of " + ", ".join(repr(one + rest) for one in meant[:_SHOWN])
        raise StoreError(f"{name!r} is of {len(meant)} variants", where="run", hint=hint)


def _refuse_unknown_path(name: str, members: list[MemberRecord]) -> None:
    """StoreError for a ``name`` that is no member's and cannot be a key."""
    if "/" not in name and all(digit in "0123456789abcdef" for digit in name.lower()):
        return
    paths = [member.path for member in members]
    begun = [path for path in paths if path.lower().startswith(name.lower())]
    if begun:
        raise StoreError(f"{name!r} is not one run: {_some(begun)}", where="run", hint="name one of them in full")
    near = nearest(name, {spelling for m in members for spelling in (m.ablation, _names(m)[0], m.path)})
    hint = f"did you mean {near!r}?" if near else "mmad runs lists them all"
    raise StoreError(f"no run {name!r}", where="run", hint=hint)


def _some(paths: list[str]) -> str:
    rest = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


# Everything about one run.


@dataclass(frozen=True)
class RunDetail:
    """One run. ``results`` are under ``evaluation``, the protocol of the first of ``members`` (or, where no
    member points to the run any more, the one its epochs were measured under)."""

    run: RunRecord
    members: tuple[MemberRecord, ...]
    evaluation: Mapping[str, Any]
    results: MemberResults
    epochs: tuple[EpochRecord, ...]
    checkpoints: tuple[CheckpointRecord, ...]
    counts: tuple[ParameterCount, ...]
    environments: tuple[EnvironmentRecord, ...]
    warnings: tuple[str, ...]
    log: Path

    @property
    def setup(self) -> Mapping[str, Any]:
        """The setup that the first member asked for, or the run's where no member points to it any more."""
        return self.members[0].setup(self.run) if self.members else self.run.setup


def run_detail(store: Store, name: str) -> RunDetail:
    """Everything about the run ``name`` means (see ``find_run``). StoreError when it means none or several."""
    found = find_run(store, name)
    run, key = found.run, found.run.key
    epochs, checkpoints = store.epoch_records(key), store.checkpoints(key)
    return RunDetail(
        run=run,
        members=found.members,
        evaluation=found.evaluation,
        results=results_under(found.evaluation, run, checkpoints, store.evaluations(key), epochs),
        epochs=tuple(epochs),
        checkpoints=tuple(checkpoints),
        counts=tuple(store.parameter_counts(key)),
        environments=tuple(store.environments(key)),
        warnings=tuple(store.warnings(key)),
        log=store.run_paths(key).log,
    )


def own_evaluation(run: RunRecord) -> dict[str, Any]:
    """The protocol under which the epochs of a run without a member were measured."""
    own = EvaluationProtocol(
        overlap=run.protocol.get("selection_overlap", "iou"),
        proposals=run.protocol.get("selection_proposals", "clean"),
    )
    return own.model_dump(mode="json")
