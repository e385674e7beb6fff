"""Works off runs: hands them to an engine as it has room, hears what becomes of them, tries again what can pass."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from mmad.base.clock import seconds
from mmad.base.errors import MmadError
from mmad.base.formatting import short_key
from mmad.base.records import HELD, Progress
from mmad.scheduler.devices import Slot, Slots
from mmad.scheduler.executors.base import Executor
from mmad.scheduler.executors.local import LocalEngine
from mmad.scheduler.jobs import Failure, Job, JobState, Summary
from mmad.scheduler.process import SERVE, Exited
from mmad.scheduler.progress import ProgressView
from mmad.scheduler.supervisor_link import (
    AttemptOutcome,
    Ended,
    EpochDone,
    Memory,
    Message,
    Started,
    TrainRequest,
    Warned,
)
from mmad.store.store import Store

# Ctrl-C and its kin, heard by a command that has something to bring to an end first.


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered; signals that were ignored stay ignored."""
    count = 0

    def asked(signum: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    heard = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, asked)) for number in heard]
    try:
        yield lambda: count
    finally:
        for number, handler in before:
            signal.signal(number, handler)


#: How often one command starts a run again whose worker was killed, or that met something that may pass.
RESTARTS = 2
#: Seconds before the first of them; each later one waits twice as long.
BACK_OFF = 1.0
#: Seconds between two looks at the runs that other commands train, and at priorities.
_LOOK = 1.0
_TICK = 0.1
#: How many waiting runs are tried for a place that the first of them does not fit into.
_AHEAD = 8


@dataclass(frozen=True)
class Options:
    """How a command works off its runs.

    Args:
        weights_dir: a folder of pretrained weights.
        said: what the user typed, kept with each run.
        isolate: a process of its own for every run.
        max_hours: after so many hours it stops as by Ctrl-C.
        checkpoint_every: steps between two checkpoints within an epoch.
        tensorboard: write TensorBoard event files.
        command: the command line of a worker that waits for orders.
        halve: makes the run that is trained in place of one whose batch is too large for the device; None where
            there is none.
    """

    weights_dir: Path | None = None
    said: str = ""
    isolate: bool = False
    max_hours: float | None = None
    checkpoint_every: int | None = None
    tensorboard: bool = False
    command: Sequence[str] = field(default=SERVE)
    halve: Callable[[Store, Job], Job | None] = lambda store, job: None


def run_jobs(
    database: str,
    jobs: Sequence[Job],
    slots: Slots,
    view: ProgressView,
    options: Options | None = None,
    *,
    engine: Executor | None = None,
) -> Summary:
    """Trains ``jobs``, which are rows of the store, until each has come to an end; shows them in ``view``.

    A run that fails stops no other. A run whose worker is killed by a signal is started again up to
    ``RESTARTS`` times. Runs that another command trains are waited for, and taken over when they are let go.
    The first Ctrl-C (or SIGTERM, SIGHUP) asks the workers to stop at their next safe point, the second ends them.

    Args:
        engine: trains them; by default processes of this machine on ``slots``.

    Raises:
        StoreError: the database cannot be read or written any more; the workers are ended first.
    """
    chosen = options or Options()
    with Store.open(database, create=False) as store, asked_to_stop() as asked:
        keys = [job.key for job in jobs]
        store.requeue(keys)
        engine = engine or local_engine(database, slots, chosen, store)
        scheduler = Scheduler(store, jobs, engine, view, asked, chosen)
        try:
            with view:
                return scheduler.run()
        finally:
            engine.close()


def local_engine(database: str, slots: Slots, options: Options, store: Store) -> LocalEngine:
    """The engine of this machine, which remembers in ``store`` what runs need of a GPU."""

    def remember(need: str, slot: Slot, size: int) -> None:
        if need:
            store.put_memory(need, slots.model(slot), size)

    order = order_of(database, options)
    return LocalEngine(database, slots, order, options.isolate, tuple(options.command), remember)


def order_of(database: str, options: Options) -> TrainRequest:
    """What the order of every run has beside its key, device and data."""
    return TrainRequest(
        database,
        "",
        weights_dir=options.weights_dir,
        said=options.said,
        checkpoint_every=options.checkpoint_every,
        tensorboard=options.tensorboard,
    )


class Scheduler:
    """Holds the states of the jobs; lives in the thread that calls ``run``."""

    def __init__(
        self,
        store: Store,
        jobs: Sequence[Job],
        engine: Executor,
        view: ProgressView,
        asked: Callable[[], int],
        options: Options,
    ) -> None:
        self._store, self._engine, self._view, self._asked = store, engine, view, asked
        self._options = options
        self._obeyed = 0
        self._states = [JobState(job) for job in jobs]
        self._by_key = {state.job.key: state for state in self._states}
        self._turns = {state.job.key: turn for turn, state in enumerate(self._states)}
        self._waiting = list(self._states)
        self._at: set[str] = set()
        self._doubtful: set[str] = set()
        self._enough = 2
        self._looked = self._began = seconds()

    def run(self) -> Summary:
        """Until every job has come to an end, or the user stopped them."""
        done = {record.key: record.epochs_done for record in self._store.run_records()}
        for state in self._states:
            state.epochs_done = done.get(state.job.key, 0)
        self._prioritise()
        self._view.begin(self._states, self._engine.slots)
        while True:
            self._obey()
            if not self._obeyed:
                self._look()
                self._start()
            if not self._at and (self._obeyed or not any(state.open for state in self._states)):
                return self._summary()
            for key, event in self._engine.poll(_TICK):
                self._take_in(self._by_key[key], event)
            self._view.tick()

    def _summary(self) -> Summary:
        def ended(phase: str) -> list[JobState]:
            return [state for state in self._states if state.phase == phase]

        return Summary(
            finished=tuple(state.job for state in ended("finished")),
            failed=tuple(Failure(s.job, s.error or "") for s in ended("failed") if not s.replaced),
            interrupted=tuple(state.job for state in ended("interrupted")),
            stopped=self._obeyed > 0,
            halted=tuple(state.job for state in ended("stopped")),
        )

    def _obey(self) -> None:
        asked = self._asked()
        hours = self._options.max_hours
        late = hours is not None and seconds() - self._began >= hours * 3600
        if (asked or late) and self._obeyed == 0:
            self._obeyed = 1
            self._enough = 2 if asked else 1
            why = "" if asked else f"{hours:g} hours are over: "
            if self._at:
                runs = f"{len(self._at)} run{'s' * (len(self._at) > 1)}"
                self._view.note(f"{why}stopping {runs} after the present step; Ctrl-C again ends at once")
            elif why:
                self._view.note(why.removesuffix(": "))
            for key in self._at:
                self._engine.cancel(key, now=False)
        if self._obeyed == 1 and asked >= self._enough:
            self._obeyed = 2
            self._view.note("ending at once")
            for key in self._at:
                self._engine.cancel(key, now=True)

    # handing out

    def _start(self) -> None:
        """Hands out waiting runs, first things first, until the engine has no room."""
        refused = 0
        for state in list(self._waiting):
            if state.phase != "queued":
                self._waiting.remove(state)
            elif state.not_before <= seconds() and self._may_begin(state) and not self._begin(state):
                refused += 1
                if state.alone or refused >= _AHEAD or not self._engine.slots.picky:
                    return

    def _may_begin(self, state: JobState) -> bool:
        """Whether the run it goes on from, if there is one, is finished; ends it when that one never will be."""
        parent = state.job.parent
        of_ours = None if parent is None else self._by_key.get(parent)
        if of_ours is not None and of_ours.open:
            return False
        if parent is None or (of_ours is not None and of_ours.phase == "finished"):
            return True
        found = self._store.statuses([parent]).get(parent)
        if found is not None and found[0] == "finished":
            return True
        if found is not None and found[0] in HELD and not self._store.free([parent]):
            state.not_before = seconds() + _LOOK
        else:
            self._end(state, "failed", self._no_parent(parent, found[0] if found else "not queued"))
        return False

    def _no_parent(self, parent: str, status: str) -> str:
        line = f"the run it goes on from ({short_key(parent)}) is {status}"
        other = None if status != "failed" else self._store.run(parent).replacement
        if other is not None:
            hint = "write that batch_size and gradient_accumulation into the setting to go on from it"
            return f"{line}, and run {short_key(other)} of half its batch is another one; {hint}"
        return f"{line}; train that one first, then run the command again"

    def _begin(self, state: JobState) -> bool:
        """Submits a run unless another command was faster; False when the engine has no room for it."""
        key = state.job.key
        status, error, _ = self._store.statuses([key])[key]
        if status in HELD and not self._store.free([key]):
            self._wait_for_other(state)
            return True
        if status in ("finished", "stopped"):
            self._end(state, status, error, written=True)
            return True
        if status == "failed":
            state.phase = "elsewhere"  # whose command may be about to try it again
            return True
        if status == "interrupted":
            self._store.requeue([key])
        try:
            if not self._engine.submit(state):
                return False
        except MmadError as failure:
            self._end(state, "failed", str(failure))
            return True
        state.phase = "running"
        self._at.add(key)
        self._view.started(state)
        return True

    # other commands

    def _wait_for_other(self, state: JobState) -> None:
        owner = self._store.owners().get(state.job.key)
        if owner is not None:
            who = f"process {owner.pid} on {owner.host}"
            self._view.note(f"{state.job.label}: {who} trains it, waiting for its end")
        state.phase = "elsewhere"
        self._looked = 0.0

    def _look(self) -> None:
        """Follows the runs of other commands (one whose process is gone is taken over), and priorities."""
        if seconds() - self._looked < _LOOK:
            return
        self._looked = seconds()
        self._prioritise()
        self._take_up()
        waiting = [state for state in self._states if state.phase == "elsewhere"]
        free = self._store.free([state.job.key for state in waiting]) if waiting else frozenset()
        for state in waiting:
            record = self._store.run(state.job.key)
            state.epochs_done = record.epochs_done
            if record.status == "failed" and record.replacement is not None:
                self._replace(state, replace(state.job, key=record.replacement, need=""), record.error, written=True)
            elif record.status == "failed" and record.key not in self._doubtful:
                self._doubtful.add(record.key)  # its command may try it again: looked at once more
                continue
            elif record.status in ("finished", "failed", "stopped"):
                self._end(state, record.status, record.error, written=True)
            elif record.status == "interrupted" or record.key in free:
                self._view.note(f"{state.job.label}: let go by its process, taken over")
                self._again(state)
            self._doubtful.discard(record.key)

    def _take_up(self) -> None:
        """Runs that were over and that a person queued again."""
        over = {
            s.job.key: s for s in self._states if s.phase in ("failed", "stopped", "interrupted") and not s.replaced
        }
        for key, (status, _, _) in self._store.statuses(list(over)).items() if over else ():
            if status == "queued":
                self._view.note(f"{over[key].job.label}: queued again")
                over[key].attempts, over[key].not_before = 0, 0.0
                self._again(over[key])

    def _prioritise(self) -> None:
        found = self._store.priorities()
        for state in self._waiting:
            state.priority = found.get(state.job.key, 0)
        self._waiting.sort(key=lambda state: (-state.priority, self._turns[state.job.key]))

    # what becomes of them

    def _take_in(self, state: JobState, event: Message | Exited) -> None:
        match event:
            case Started():
                state.epochs_done, state.best_val_ap = event.epochs_done, event.best_val_ap
            case Progress():
                state.progress = event
                state.loss = event.loss if event.loss is not None else state.loss
            case EpochDone():
                state.epochs_done = max(state.epochs_done, event.epoch)
                state.epoch_seconds.append(event.seconds)
                state.loss, state.val_ap, state.best_val_ap = event.train_loss, event.val_ap, event.best_val_ap
                self._view.epoch(state, event)
            case Warned():
                self._view.note(f"{state.job.label}: {event.text}")
            case Memory():
                return
            case Ended():
                self._let_go(state)
                self._ended(state, event)
            case Exited():
                self._let_go(state)
                self._died(state, event)

    def _let_go(self, state: JobState) -> None:
        self._at.discard(state.job.key)
        state.progress = None

    def _ended(self, state: JobState, end: Ended) -> None:
        if end.status == "taken":
            state.phase = "elsewhere"
            self._looked = 0.0
        elif end.status != "failed" or self._obeyed or not self._tried_again(state, end):
            self._end(state, end.status, end.error, written=end.recorded)

    def _tried_again(self, state: JobState, end: Ended) -> bool:
        """Whether a failed run has another attempt: alone on its device, at half its batch, or a little later."""
        label = state.job.label
        if end.cause == "memory" and self._engine.slots.shared(state.device) and not state.alone:
            state.alone = True
            self._view.note(f"{label}: out of memory beside other runs, trying it again alone on a device")
        elif end.cause == "memory" and state.job.accumulates:
            return self._halved(state, end)
        elif end.cause == "passing" and state.attempts < RESTARTS:
            self._back_off(state)
            self._view.note(f"{label}: {end.error}; trying it again ({state.attempts} of {RESTARTS})")
        else:
            return False
        self._store.requeue([state.job.key], ("failed",))
        self._again(state)
        return True

    def _halved(self, state: JobState, end: Ended) -> bool:
        """Ends the run, and queues the one of half the batch in its place."""
        job = self._options.halve(self._store, state.job)
        if job is None:
            return False
        self._replace(state, job, end.error, written=end.recorded)
        return True

    def _replace(self, state: JobState, job: Job, error: str | None, *, written: bool) -> None:
        state.replaced = True
        self._end(state, "failed", error, written=written)
        self._view.note(
            f"{state.job.label}: out of memory alone; trained at half the batch as run {short_key(job.key)}"
        )
        if job.key not in self._by_key:
            fresh = JobState(job)
            self._states.append(fresh)
            self._by_key[job.key] = fresh
            self._turns[job.key] = self._turns[state.job.key]
            self._again(fresh)

    def _died(self, state: JobState, exited: Exited) -> None:
        """A worker went without a word: again, or for good."""
        killed = exited.code < 0
        log = f" (log: {exited.log})" if exited.log is not None else ""
        status, error, _ = self._store.statuses([state.job.key])[state.job.key]
        if status in ("finished", "failed", "stopped"):  # it had recorded the end before
            self._end(state, status, error, written=True)
        elif self._obeyed:
            self._end(state, "interrupted", f"its process was ended by {exited.signal_name}" if killed else None)
        elif exited.code == 0 and state.attempts < RESTARTS:  # an idle worker that was ended as it got the order
            self._back_off(state)
            self._again(state)
        elif not killed:
            self._end(state, "failed", f"{exited.how}{log}")
        elif state.attempts >= RESTARTS:
            self._end(state, "failed", f"{exited.how} {RESTARTS + 1} times{log}")
        else:
            self._back_off(state)
            self._view.note(f"{state.job.label}: {exited.how}, starting it again ({state.attempts} of {RESTARTS})")
            self._store.end_free(state.job.key, "interrupted", exited.how)
            self._again(state)

    def _back_off(self, state: JobState) -> None:
        state.not_before = seconds() + BACK_OFF * 2**state.attempts
        state.attempts += 1

    def _again(self, state: JobState) -> None:
        state.phase = "queued"
        if state not in self._waiting:
            self._waiting.insert(0, state)

    def _end(self, state: JobState, phase: AttemptOutcome, error: str | None = None, *, written: bool = False) -> None:
        """Closes a job in the view, and unless that is ``written`` in the store, if nobody alive holds the run."""
        if not written:
            self._store.end_free(state.job.key, phase, error)
        state.phase, state.error = phase, error
        self._view.ended(state)
