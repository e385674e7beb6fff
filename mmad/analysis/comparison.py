"""May these two be compared, and what came out: one list of conditions, one comparison, one refusal for every output.

The end of ``mmad ablate``, ``mmad compare``, every form of the report and the paper's table ask ``compare``. It reads
no detections; ``mmad.analysis.statistics`` adds intervals and tests.
"""

from __future__ import annotations

import functools
import math
import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmad.analysis.targets import EvaluationOptions, EvaluationTarget, protocol_of
from mmad.base.errors import EvaluationError
from mmad.base.formatting import DASH, decimal, interval, p_value, plural, short_key
from mmad.base.records import AblationRecord, CheckpointKind, MemberRecord, RunRecord, Split
from mmad.config.ablation_file import ALIASES
from mmad.config.protocol import EvaluationProtocol
from mmad.config.setup import ModelSetup
from mmad.evaluation.agreement import SharedBoxes
from mmad.evaluation.intervals import Difference, Interval, needed
from mmad.evaluation.jackknife import IntervalEstimate
from mmad.store.lookup import CheckpointFigures, MemberResults, epochs_asked, member_summaries
from mmad.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

POWER = "80 %"
_HINT = "compare runs of one data set under one protocol (--overlap and --protocol choose it)"


@dataclass(frozen=True)
class Conditions:
    """Under what a figure was obtained. Two are compared only if all of it is equal, or differs by design (VARIED_BY).

    ``split_policy`` is None where the data set cannot say it any more: unknown differs from nothing.
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
    recipe: int
    epochs: int
    steps_per_epoch: int | None
    dataset_mode: str
    schedule: str
    split: Split
    checkpoint: CheckpointKind

    @classmethod
    def of(
        cls,
        run: RunRecord,
        protocol: EvaluationProtocol,
        checkpoint: CheckpointKind,
        *,
        split: Split = "test",
        split_policy: str | None = None,
    ) -> Conditions:
        """The conditions of a run's kept ``checkpoint`` on ``split`` under an evaluation protocol."""
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
            recipe=run.recipe,
            epochs=epochs_asked(run),
            steps_per_epoch=run.protocol.get("steps_per_epoch"),
            dataset_mode=str(run.setup.get("dataset_mode", "unified")),
            schedule=_schedule(run.setup),
            split=split,
            checkpoint=checkpoint,
        )

    def words(self, other: Conditions | None = None) -> dict[str, str]:
        """Each condition by its name in words; what ``other`` does not share as ``1 / 5``."""
        found = {}
        for name in (f.name for f in fields(self)):
            ours, theirs = (_value(name, getattr(one, name)) for one in (self, other or self))
            found[_WORDS.get(name) or name.replace("_", " ")] = ours if ours == theirs else f"{ours} / {theirs}"
        return found

    def differing(self, other: Conditions) -> dict[str, str]:
        """What the two do not share, by its name: ``{"epochs": "epochs 1 / 5"}``."""
        found = {}
        for name in (f.name for f in fields(self)):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours == theirs or (name == "split_policy" and None in (ours, theirs)):
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


def split_policy(dataset_path: str) -> str | None:
    """What the data set's own file says about how it was split, if it is still there to be asked."""
    try:
        policy = tomllib.loads((Path(dataset_path) / "dataset.toml").read_text("utf-8")).get("split_policy")
    except (OSError, ValueError):
        return None
    return policy if isinstance(policy, str) else None


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
    split_policy: str | None = None

    @property
    def seed(self) -> tuple[int, int]:
        """Seed and replicate."""
        if self.member is None:
            return int(self.run.protocol.get("seed", 0)), int(self.run.protocol.get("replicate", 1))
        return self.member.seed, self.member.replicate

    @property
    def finished(self) -> bool:
        return self.run.status == "finished"

    @property
    def without_best(self) -> bool:
        """Whether the run has, or will have, no best-AP checkpoint."""
        if self.finished:
            return self.results.best_ap is None
        return self.run.setup.get("use_early_stop_model") is False

    def conditions(self, checkpoint: CheckpointKind, split: Split = "test") -> Conditions:
        return Conditions.of(self.run, self.protocol, checkpoint, split=split, split_policy=self.split_policy)

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
    """AP and AR with intervals, and what they were measured on."""

    estimate: IntervalEstimate
    images: int
    patients: int


@dataclass(frozen=True)
class PairAgreement:
    """Detections of at least ``score`` that two arms share, and the studies on which they differ most."""

    score: float
    overlap: str
    threshold: float
    shared: tuple[SharedBoxes, ...]  # counts summed over the seeds
    studies: tuple[tuple[str, int], ...]  # hits minus false alarms, other minus reference, largest first


@dataclass(frozen=True)
class PairStatistics:
    """Intervals and tests of a comparison. ``p_holm`` is adjusted over all pairs asked for together.

    ``why`` says why something is missing.
    """

    reference: MeasuredRun | None = None
    other: MeasuredRun | None = None
    difference: Difference | None = None
    p_holm: float = float("nan")
    agreement: PairAgreement | None = None
    why: str = ""


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

    @property
    def names(self) -> tuple[str, str]:
        """Both arms with ablation and setting, as ``mmad compare`` takes them."""
        if not self.ablation:
            return self.reference, self.other
        head = f"{self.ablation}/{self.setting}"
        return f"{head}/{self.reference}", f"{head}/{self.other}"

    @functools.cached_property
    def pairs(self) -> tuple[tuple[ComparedRun, ComparedRun], ...]:
        """(reference, other) of every seed and replicate that both arms have finished."""
        return tuple((a, b) for a, b in self.runs if a is not None and b is not None and a.finished and b.finished)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(a.seed[0] for a, _ in self.pairs)

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
        def of(one: ComparedRun) -> float | None:
            return getattr(one.figures(self.kind), measure, None)

        return paired_means([of(a) for a, _ in self.pairs], [of(b) for _, b in self.pairs])

    @property
    def design(self) -> str:
        """``differs by design: epochs 1 / 5 (CXR / CXR+Clinical)``, or nothing."""
        return _design("; ".join(self.by_design.values()), self)

    @property
    def difference(self) -> Interval | None:
        """In AP, other minus reference: ``value``, and its 95 % interval from ``low`` to ``high``; None without any."""
        found = None if self.statistics is None else self.statistics.difference
        return None if found is None else found.ap

    @property
    def p(self) -> float:
        """Two-sided; over seeds and patients, with one seed over patients alone; NaN where there is no interval."""
        found = None if self.statistics is None else self.statistics.difference
        return math.nan if found is None else found.p

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``not settled`` with what would settle it; or why there is no interval."""
        if self.statistics is None:
            return ""
        found = self.statistics.difference
        return f"no interval: {self.statistics.why}" if found is None else verdict(found)

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
                "difference in AP [95 %]": DASH if self.difference is None else interval(self.difference, sign=True),
                "p": p_value(self.p),
                "seeds": len(self.pairs),
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
        kind: of the checkpoints; left out: best-AP ones where every run keeps one, else final ones for all of them.
        split: on which they are compared.
        by_seed: pair runs of equal seed and replicate; else the first of each, whatever their seeds.
    """
    kind = kind or compared_kind((*reference, *other))
    ablation = "" if file is None or not setting else file.name
    who = (ablation, setting, *names)
    for arm, side in zip(names, (reference, other), strict=True):
        for one in side[1:]:
            if found := side[0].conditions(kind, split).differing(one.conditions(kind, split)):
                seeds = f"seeds {side[0].seed[0]} and {one.seed[0]} of {arm} differ in {'; '.join(found.values())}"
                return NotComparable(*who, seeds, "train all seeds of an arm alike")
    sides = reference[0].conditions(kind, split), other[0].conditions(kind, split)
    named = _named(file, reference[0], other[0])
    by_design: dict[str, str] = {}
    unequal: dict[str, str] = {}
    for name, words in sides[0].differing(sides[1]).items():
        (unequal if named.isdisjoint(VARIED_BY.get(name, ())) else by_design)[name] = words
    if unequal:
        return NotComparable(*who, "; ".join(unequal.values()), _hint_of(unequal))
    runs = _by_seed(reference, other) if by_seed else ((reference[0], other[0]),)
    if same := next((a.run.key for a, b in runs if a is not None and b is not None and a.run.key == b.run.key), None):
        return NotComparable(*who, f"both are one run ({short_key(same)})", "name two runs of different content")
    return Comparison(*who, kind, sides, by_design, runs, _note(runs))


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
    left, right = ({one.seed: one for one in side} for side in (reference, other))
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
    states = [f"{_arm(one)}{f' seed {one.seed[0]}' if several else ''} {_state(one.run)}" for one in waiting]
    head = f"{both} of {len(runs)} seeds" if several else "not compared yet"
    return f"{head}: {'; '.join(states)}" if states else head


def _arm(one: ComparedRun) -> str:
    return short_key(one.run.key) if one.member is None else one.member.arm


def _state(run: RunRecord) -> str:
    return run.status + (f" at epoch {run.epochs_done} of {epochs_asked(run)}" if run.status != "queued" else "")


def compare_pairs(
    file: AblationRecord, runs: Sequence[ComparedRun], *, kind: CheckpointKind | None = None, split: Split = "test"
) -> tuple[Comparison | NotComparable, ...]:
    """Every pair of arms that an ablation compares, setting by setting, as far as ``runs`` has both.

    Args:
        runs: of the ablation's members, in their order.
    """
    sides: dict[tuple[str, str], list[ComparedRun]] = {}
    for one in runs:
        if one.member is not None:
            sides.setdefault((one.member.setting, one.member.arm), []).append(one)
    arms = list(dict.fromkeys(arm for _, arm in sides))
    pairs = file.compare or tuple((arms[0], arm) for arm in arms[1:])
    return tuple(
        compare(left, right, names=pair, file=file, setting=setting, kind=kind, split=split)
        for setting in dict.fromkeys(setting for setting, _ in sides)
        for pair in pairs
        if (left := sides.get((setting, pair[0]))) and (right := sides.get((setting, pair[1])))
    )


def compare_stored(
    store: Store, ablation: str, options: EvaluationOptions | None = None
) -> tuple[Comparison | NotComparable, ...]:
    """Every pair of an ablation by what the store holds of its runs; no detections are read."""
    options = options or EvaluationOptions()
    (file,) = (a for a in store.ablations() if a.name == ablation)
    found = member_summaries(store, ablation)
    policies = {path: split_policy(path) for path in {one.run.dataset_path for one in found}}
    runs = [
        ComparedRun(
            one.run, one.member, protocol_of(one.run, one.member, options), one.results, policies[one.run.dataset_path]
        )
        for one in found
    ]
    return compare_pairs(file, runs, kind=options.checkpoint, split=options.split)


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
    """The conditions of a target."""
    return Conditions.of(target.run, target.protocol, target.checkpoint.kind, split=target.split)


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


def spread(figure: SeedMean | None) -> str:
    """``± 0.012`` of several seeds, else nothing."""
    return "" if figure is None or figure.sd is None else f"± {decimal(figure.sd)}"


# A comparison in words: by its interval, and at the end of ``mmad ablate`` by its figures alone.


def verdict(difference: Difference) -> str:
    """``better``, ``worse``, or ``not settled`` with what would settle the difference that was seen."""
    if math.isnan(difference.ap.value):
        return "cannot be told: there is nothing to find"
    if difference.verdict != "not settled":
        return difference.verdict
    if difference.ap.value == 0:
        return "not settled: no difference was seen"
    wanted = needed(difference)
    ways = []
    if wanted.seeds is not None:
        ways.append(plural(max(1, wanted.seeds - difference.seeds), "more seed"))
    if wanted.images is not None:
        ways.append(plural(max(1, wanted.images - difference.images), "more image"))
    if not ways:
        return "not settled: neither more seeds nor more images alone would settle it"
    unknown = " (one seed tells nothing about seeds)" if difference.seeds == 1 else ""
    return f"not settled: {' or '.join(ways)} would settle it at {POWER}{unknown}"


def spread_words(difference: Difference) -> str:
    """What part of the spread lies between seeds, and p for these very networks; nothing for one seed."""
    if difference.seed_share is None or math.isnan(difference.seed_share):
        return ""
    return (
        f"{difference.seed_share:.0%} of the spread lies between the {plural(difference.seeds, 'seed')}; "
        f"of these very networks, over patients alone, p is {p_value(difference.p_patients)}"
    ).replace("%", " %", 1)


def has_figures(found: Comparison | NotComparable) -> bool:
    """Whether there is something to say: figures of both arms, or that they cannot be compared."""
    return isinstance(found, NotComparable) or any(_both(found, split) for split in ("test", "val"))


def line_of(found: Comparison | NotComparable) -> str:
    """Who is ahead in one line, several seeds by their mean; or that the two cannot be compared, and why."""
    if isinstance(found, NotComparable):
        return f"{found.setting}: {found.reference} and {found.other} cannot be compared: {found.reason}"
    split: Split = "test" if _both(found, "test") else "val"
    measured = _both(found, split)
    asked = [(a, b) for a, b in found.runs if a is not None and b is not None]
    if not measured:
        arms = zip((found.reference, found.other), zip(*asked[:1], strict=True), strict=False)
        missing = [arm for arm, (one, *_) in arms if one.figures(found.kind) is None]
        words = " and ".join(missing or [found.reference, found.other])
        return _with_design(f"{found.setting}: no comparison, nothing measured for {words}", found)
    head = f"{found.setting}, final checkpoints" if found.kind == "final" else found.setting
    if len(asked) > 1:
        head += f", mean of {'' if len(measured) == len(asked) else f'{len(measured)} of '}{len(asked)} repeats"
    line = f"{head}: {_ahead(found, measured, split)}"
    if split == "test" and all(_ap(found, one, "val") is not None for pair in measured for one in pair):
        val = [_mean(found, [pair[side] for pair in measured], "val") for side in (0, 1)]
        line += f"; val AP {val[1]:.3f} for {found.other}, {val[0]:.3f} for {found.reference}"
    return _with_design(line, found)


def _design(words: str, found: Comparison | ComparisonTable) -> str:
    """What differs by design, and whose value stands first: sentences name the arms in either order."""
    return f"differs by design: {words} ({found.reference} / {found.other})" if words else ""


def _with_design(line: str, found: Comparison) -> str:
    return f"{line}; {found.design}" if found.by_design else line


def _both(found: Comparison, split: Split) -> list[tuple[ComparedRun, ComparedRun]]:
    """The pairs of which both have an AP on ``split``."""
    return [pair for pair in found.pairs if all(_ap(found, one, split) is not None for one in pair)]


def _ahead(found: Comparison, measured: Sequence[tuple[ComparedRun, ComparedRun]], split: Split) -> str:
    first, second = (_mean(found, [pair[side] for pair in measured], split) for side in (0, 1))
    if f"{first:.3f}" == f"{second:.3f}":
        return f"{found.other} and {found.reference} are level at {first:.3f} {split} AP"
    ends = [(first, found.reference), (second, found.other)]
    (low, behind), (high, ahead) = ends if second > first else reversed(ends)
    return f"{ahead} is ahead of {behind} by {high - low:.3f} {split} AP ({high:.3f} against {low:.3f})"


def _ap(found: Comparison, one: ComparedRun, split: Split) -> float | None:
    figures = one.figures(found.kind)
    value = None if figures is None else (figures.test_ap if split == "test" else figures.val_ap)
    return None if value is None or math.isnan(value) else value


def _mean(found: Comparison, runs: Sequence[ComparedRun], split: Split) -> float:
    known = [value for one in runs if (value := _ap(found, one, split)) is not None]
    return sum(known) / len(known)


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
