"""How far the queue is: counts by status, what runs now and how long it takes yet, what failed and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import get_args

from mmad.base.records import MemberRecord, RunRecord, Status
from mmad.store.gateway import Store
from mmad.store.owner import Owner
from mmad.store.results import epochs_asked

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class AblationStanding:
    """How many members of an ablation stand where; ``counts`` has every status in ``STATUSES``' order."""

    ablation: str
    title: str
    counts: tuple[int, ...]

    @property
    def members(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class RunningStanding:
    """A run that is being trained. ``epoch`` is the last committed one; durations are in seconds, None before
    the first epoch is measured. ``alive`` is False when its process is known to be gone."""

    run: RunRecord
    member: MemberRecord | None
    epoch: int
    epochs: int
    seconds_per_epoch: float | None
    seconds_left: float | None
    owner: Owner | None
    alive: bool


@dataclass(frozen=True)
class FailedStanding:
    """A run that failed, and why in one line."""

    run: RunRecord
    member: MemberRecord | None
    cause: str


@dataclass(frozen=True)
class Standing:
    """How far everything in a database is."""

    ablations: tuple[AblationStanding, ...]
    running: tuple[RunningStanding, ...]
    failed: tuple[FailedStanding, ...]


def standing(store: Store) -> Standing:
    """How far everything in ``store`` is."""
    ablations, runs, owners = store.ablations(), store.runs(), store.owners()
    by_key = {run.key: run for run in runs}
    first: dict[str, MemberRecord] = {}
    counts = []
    for ablation in ablations:
        found: Counter[Status] = Counter(by_key[m.key].status for m in ablation.members if m.key in by_key)
        counts.append(AblationStanding(ablation.name, ablation.title, tuple(found[s] for s in STATUSES)))
        for member in ablation.members:
            first.setdefault(member.key, member)
    active = [run for run in runs if run.status == "running"]
    epochs = store.all_epochs([run.key for run in active])
    running = tuple(
        _running(run, first.get(run.key), [e.seconds for e in epochs[run.key]], owners.get(run.key)) for run in active
    )
    failed = tuple(
        FailedStanding(run, first.get(run.key), one_line(run.error)) for run in runs if run.status == "failed"
    )
    return Standing(tuple(counts), running, failed)


def _running(run: RunRecord, member: MemberRecord | None, seconds: list[float], owner: Owner | None) -> RunningStanding:
    # the first epoch of a stretch also loads; the middle of the latest ones tells what an epoch takes now
    measured = [value for value in seconds[-9:] if value == value]
    each = median(measured) if measured else None
    epochs = epochs_asked(run)
    left = None if each is None else each * max(0, epochs - run.epochs_done)
    alive = owner is not None and not owner.dead
    return RunningStanding(run, member, run.epochs_done, epochs, each, left, owner, alive)


def one_line(error: str | None) -> str:
    """What an error says in one line: its last line that says something, as in a traceback."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no cause was recorded"
