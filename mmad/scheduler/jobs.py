"""The runs of one command, and the state of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmad.base.clock import seconds
from mmad.base.records import Progress

#: ``elsewhere`` is a run that a process of another command trains.
Phase = Literal["queued", "running", "elsewhere", "finished", "failed", "interrupted", "stopped"]
OPEN: frozenset[Phase] = frozenset({"queued", "running", "elsewhere"})


@dataclass(frozen=True)
class Job:
    """One run to train, named by the first member that asks for it.

    ``threads`` are the CPU threads that a process of it keeps busy, ``gpus`` how many processes and devices it takes,
    ``data`` the folder its data set lies in now (None: where
    the store says). ``memory_key`` is equal for runs that take equally much memory, ``accumulates`` says that it may
    be trained at half the batch where memory is short. ``parent`` is the run it continues.
    """

    key: str
    ablation: str
    setting: str
    arm: str
    seed: int
    epochs: int
    threads: int = 1
    gpus: int = 1
    data: str | None = None
    memory_key: str = ""
    accumulates: bool = False
    parent: str | None = None

    @property
    def label(self) -> str:
        """The run in a few words, for one line of output."""
        return f"{self.setting} · {self.arm} · seed {self.seed}"


@dataclass
class JobState:
    """The state of a job: written by the scheduler alone, read by the views.

    ``alone`` has it get a device of its own; ``needs`` are bytes of a GPU without which it failed, ``waits`` how often
    it was put off because other programs held them. ``replaced`` says that another run is trained in its place.
    """

    job: Job
    phase: Phase = "queued"
    device: str = ""
    attempts: int = 0
    alone: bool = False
    needs: int = 0
    waits: int = 0
    replaced: bool = False
    not_before: float = 0.0
    priority: int = 0
    epochs_done: int = 0
    progress: Progress | None = None
    loss: float | None = None
    val_ap: float | None = None
    best_val_ap: float | None = None
    error: str | None = None
    epoch_seconds: list[float] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether the run still has to come to an end."""
        return self.phase in OPEN

    @property
    def within(self) -> float:
        """The part of the present epoch's training steps that is done, 0 to 1."""
        now = self.progress
        if self.phase != "running" or now is None or now.epoch <= self.epochs_done or now.steps <= 0:
            return 0.0
        if now.phase == "load":
            return 0.0
        return 1.0 if now.phase != "train" else min(1.0, now.step / now.steps)

    @property
    def epochs_over(self) -> float:
        """Epochs that are done or no longer to come, with the part of the present one."""
        if self.phase in ("finished", "failed", "stopped"):
            return float(self.job.epochs)
        return min(float(self.job.epochs), self.epochs_done + self.within)

    @property
    def mean_epoch(self) -> float | None:
        """Mean seconds of the epochs seen by this command, or None before the first."""
        return sum(self.epoch_seconds) / len(self.epoch_seconds) if self.epoch_seconds else None


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why in one line."""

    job: Job
    error: str


@dataclass(frozen=True)
class Summary:
    """How a command's runs ended; ``cancelled`` says that the command itself was interrupted, ``stopped`` names
    runs that were stopped one by one."""

    finished: tuple[Job, ...]
    failed: tuple[Failure, ...]
    interrupted: tuple[Job, ...]
    cancelled: bool = False
    stopped: tuple[Job, ...] = ()

    @property
    def exit_code(self) -> int:
        """130 when interrupted, 1 when a run failed, else 0."""
        if self.cancelled or self.interrupted:
            return 130
        return 1 if self.failed else 0


def seconds_left(states: list[JobState], capacity: int) -> float | None:
    """Rough seconds until all runs are done, ``capacity`` at once, or None before the first epoch is over."""
    count = sum(len(state.epoch_seconds) for state in states)
    if not count:
        return None
    mean = sum(sum(state.epoch_seconds) for state in states) / count
    still = [left for state in states if state.open and (left := remaining(state, mean)) is not None]
    return max(sum(still) / max(1, min(capacity, len(still))), max(still)) if still else 0.0


class TimeEstimate:
    """``seconds_left``, called as often as one likes: where it takes long, it is cached for fifty times as long."""

    def __init__(self) -> None:
        self._value: float | None = None
        self._due = 0.0

    def __call__(self, states: list[JobState], capacity: int) -> float | None:
        """As ``seconds_left``."""
        if (began := seconds()) >= self._due:
            self._value = seconds_left(states, capacity)
            took = seconds() - began
            self._due = began + 50 * took if took > 1e-3 else began
        return self._value


def remaining(state: JobState, mean: float | None = None) -> float | None:
    """Rough seconds one open run still needs: its own epochs' mean, else ``mean``; None when neither is known."""
    each = state.mean_epoch or mean
    if each is None:
        return None
    return each * max(0.0, state.job.epochs - state.epochs_done - state.within)
