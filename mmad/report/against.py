"""A report beside an earlier one, or another database's: which verdicts, differences and runs changed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from pathlib import Path

from mmad.analysis.comparison import comparison_tables
from mmad.analysis.evaluation_target import EvaluationOptions
from mmad.analysis.report_frame import AblationFrame, MemberFrame, ReportFrame, load_frame
from mmad.analysis.verdicts import Statistics, compute_statistics
from mmad.base.errors import ReportError
from mmad.base.formatting import clip, plural
from mmad.base.formatting import moment as in_words
from mmad.base.paths import StorePaths
from mmad.report.provenance import database_name
from mmad.store.store import Store


@dataclass(frozen=True)
class PairState:
    """What a report says of a pair: the difference in test AP with its interval, None where not measured."""

    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    seeds: int


@dataclass(frozen=True)
class PairChange:
    """A pair of arms of a setting in both reports; None where one has no such pair."""

    ablation: str
    setting: str
    reference: str
    other: str
    then: PairState | None
    now: PairState | None

    @property
    def change(self) -> str:
        """``new``, ``gone``, ``verdict``, ``difference``, or empty where both say the same."""
        if self.then is None or self.now is None:
            return "new" if self.then is None else "gone"
        if self.then.verdict != self.now.verdict:
            return "verdict"
        return "" if self.then == self.now else "difference"


@dataclass(frozen=True)
class RunState:
    """A run in a report: its status, its committed epochs and the test AP of the checkpoint that stands for it."""

    status: str
    epochs: int
    test_ap: float | None


@dataclass(frozen=True)
class RunChange:
    """A run in both reports, under the first member that asked for it; None where one does not have it."""

    key: str
    ablation: str
    setting: str
    arm: str
    seed: int
    then: RunState | None
    now: RunState | None

    @property
    def change(self) -> str:
        """``new``, ``gone``, ``changed``, or empty where both say the same."""
        if self.then is None or self.now is None:
            return "new" if self.then is None else "gone"
        return "" if self.then == self.now else "changed"


@dataclass(frozen=True)
class Against:
    """Everything of both reports; ``words`` say what the other one is of."""

    words: str
    pairs: tuple[PairChange, ...]
    runs: tuple[RunChange, ...]

    @property
    def sentence(self) -> str:
        """What changed, in one sentence."""
        found = self.counts
        nouns = {
            "verdicts_changed": ("verdict", "changed"),
            "differences_changed": ("difference", "changed under the same verdict"),
            "pairs_new": ("new pair", ""),
            "pairs_gone": ("pair", "gone"),
            "runs_changed": ("run", "changed"),
            "runs_new": ("new run", ""),
            "runs_gone": ("run", "gone"),
        }
        words = [f"{plural(found[name], noun)} {end}".strip() for name, (noun, end) in nouns.items() if found[name]]
        many = f"{plural(found['pairs'], 'pair')} and {plural(found['runs'], 'run')}"
        return f"Against {clip(self.words, 160)}: of {many}, {', '.join(words) or 'nothing changed'}."

    @property
    def counts(self) -> dict[str, int]:
        """How many pairs and runs there are, and of each how many changed how."""
        pairs, runs = [pair.change for pair in self.pairs], [run.change for run in self.runs]
        return {
            "pairs": len(pairs),
            "verdicts_changed": pairs.count("verdict"),
            "differences_changed": pairs.count("difference"),
            "pairs_new": pairs.count("new"),
            "pairs_gone": pairs.count("gone"),
            "runs": len(runs),
            "runs_changed": runs.count("changed"),
            "runs_new": runs.count("new"),
            "runs_gone": runs.count("gone"),
        }


def report_against(
    frame: ReportFrame,
    statistics: Statistics,
    store: Store,
    against: str,
    *,
    data: Path | None = None,
    options: EvaluationOptions | None = None,
) -> Against:
    """The report of ``frame`` beside another.

    Args:
        against: another database (a file or a URL), or a date or moment in ISO 8601: what had finished by then in
            this one. A date means its end; without a zone, in UTC.

    Raises:
        ReportError: neither a database nor a date.
        StoreError: a database that cannot be read.
    """
    file = StorePaths(against).file
    until = None if file is None or file.exists() else _moment(against)
    if until is not None:
        earlier = finished_by(frame, until)
        found = compute_statistics(earlier, store, data=data, options=options)
        return Against(f"what had finished by {in_words(until)}", *_changes(earlier, found, frame, statistics))
    if file is not None and not file.exists():
        raise ReportError(
            f"{against!r} is neither a database nor a date",
            where="--against",
            hint="name an SQLite file, a URL, or a date such as 2026-05-16",
        )
    with Store.open(against, create=False, read_only=True) as other:
        names = {ablation.record.name for ablation in frame.ablations}
        theirs = [ablation.name for ablation in other.ablations() if ablation.name in names]
        earlier = load_frame(other, theirs, data) if theirs else ReportFrame((), ())
        found = compute_statistics(earlier, other, data=data, options=options)
        return Against(database_name(other.where), *_changes(earlier, found, frame, statistics))


def _moment(text: str) -> datetime | None:
    """The moment that ``text`` is, a date its end; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if re.fullmatch(r"[\dW-]+", text):
        found = datetime.combine(found, time.max)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def finished_by(frame: ReportFrame, until: datetime) -> ReportFrame:
    """The members whose runs had finished by ``until``; of others no checkpoint of that moment is kept."""

    def there(member: MemberFrame) -> bool:
        record = member.run.record
        return record.status == "finished" and record.finished is not None and record.finished <= until

    ablations = (replace(one, members=tuple(filter(there, one.members))) for one in frame.ablations)
    kept = tuple(one for one in ablations if one.members)
    keys = {member.run.key for one in kept for member in one.members}
    return ReportFrame(kept, tuple(run for run in frame.runs if run.key in keys))


def _changes(
    earlier: ReportFrame, then: Statistics, frame: ReportFrame, now: Statistics
) -> tuple[tuple[PairChange, ...], tuple[RunChange, ...]]:
    before, after = _pairs(earlier.ablations, then), _pairs(frame.ablations, now)
    pairs = tuple(PairChange(*key, before.get(key), after.get(key)) for key in dict.fromkeys((*after, *before)))
    old, new = _runs(earlier.ablations), _runs(frame.ablations)
    runs = []
    for key in dict.fromkeys((*new, *old)):
        record = (new.get(key) or old[key]).record
        named = (key, record.ablation, record.setting, record.arm, record.seed)
        runs.append(RunChange(*named, _run_state(old.get(key)), _run_state(new.get(key))))
    return pairs, tuple(runs)


def _pairs(ablations: Iterable[AblationFrame], statistics: Statistics) -> Mapping[tuple[str, str, str, str], PairState]:
    found = {}
    for ablation in ablations:
        for table in comparison_tables(ablation.record, ablation.comparisons):
            for row in table.rows:
                known = replace(row, statistics=statistics.pair(row))
                mean, interval = row.test_ap.difference, known.difference
                value = mean.mean if mean is not None else None if interval is None else interval.value
                ends = (None, None) if interval is None else (_finite(interval.low), _finite(interval.high))
                state = PairState(_finite(value), *ends, known.verdict if row.pairs else "", len(row.seeds))
                found[ablation.record.name, row.setting, row.reference, row.other] = state
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _runs(ablations: Sequence[AblationFrame]) -> dict[str, MemberFrame]:
    found: dict[str, MemberFrame] = {}
    for member in (member for ablation in ablations for member in ablation.members):
        found.setdefault(member.run.key, member)
    return found


def _run_state(member: MemberFrame | None) -> RunState | None:
    if member is None:
        return None
    record, alone = member.run.record, member.alone
    return RunState(record.status, record.epochs_done, None if alone is None else _finite(alone.test_ap))
