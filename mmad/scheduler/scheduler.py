"""Trains a command's runs: hands them to an executor as it has room, follows them, retries what may pass."""

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
from mmad.base.formatting import short_key, size
from mmad.base.records import HELD, Progress
from mmad.scheduler.devices import Slot, Slots, little
from mmad.scheduler.executors.base import Executor
from mmad.scheduler.executors.local import LocalExecutor
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

#: How often one command retries a run whose worker was killed, or that met something transient.
RETRIES = 2
#: Seconds before the first retry; each later one waits twice as long.
BACK_OFF = 1.0
#: The most seconds before a run is retried that found no memory beside other programs, and bytes of theirs that
#: explain nothing.
_LONGEST_WAIT, _LEAST = 60.0, 100 * 2**20
#: Seconds between two looks at the runs that other commands train, and at priorities.
_LOOK = 1.0
_TICK = 0.1
#: How many waiting runs are tried for a slot that the first of them does not fit into.
_AHEAD = 8


@dataclass(frozen=True)
class Options:
    """How a command trains its runs.

    Args:
        weights_dir: a folder of pretrained weights.
        command_line: what the user typed, recorded with each run.
        isolate: a process of its own for every run.
        max_hours: after so many hours it stops as by Ctrl-C.
        checkpoint_every: steps between two checkpoints within an epoch.
        tensorboard: write TensorBoard event files.
        command: the command line of a worker that waits for requests.
        halve: makes the run that is trained in place of one whose batch is too large for the device; None where
            there is none.
    """

    weights_dir: Path | None = None
    command_line: str = ""
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
    executor: Executor | None = None,
) -> Summary:
    """Trains ``jobs``, which are rows of the store, until each has come to an end; shows them in ``view``.

    A run that fails stops no other. A run whose worker is killed by a signal is retried up to ``RETRIES`` times.
    Runs that another command trains are waited for, and taken over when they are released. The first Ctrl-C (or
    SIGTERM, SIGHUP) stops the workers at their next safe point, the second ends them.

    Args:
        executor: trains them; by default processes of this machine on ``slots``.

    Raises:
        StoreError: the database cannot be read or written any more; the workers are ended first.
    """
    chosen = options or Options()
    with Store.open(database, create=False) as store, count_interrupts() as interrupts:
        store.requeue([job.key for job in jobs])
        executor = executor or _local_executor(database, slots, chosen, store)
        scheduler = Scheduler(store, jobs, executor, view, interrupts, chosen)
        try:
            with view:
                return scheduler.run()
        finally:
            executor.close()


def _local_executor(database: str, slots: Slots, options: Options, store: Store) -> LocalExecutor:
    """The executor of this machine, which remembers in ``store`` what memory runs take of a GPU."""

    def remember(memory_key: str, slot: Slot, size: int) -> None:
        if memory_key:
            store.put_memory(memory_key, slots.model(slot), size)

    template = train_request(database, options)
    return LocalExecutor(slots, template, options.isolate, tuple(options.command), remember)


def train_request(database: str, options: Options) -> TrainRequest:
    """The request of every run of a command, but for its key, device and data."""
    return TrainRequest(
        database,
        "",
        weights_dir=options.weights_dir,
        command_line=options.command_line,
        checkpoint_every=options.checkpoint_every,
        tensorboard=options.tensorboard,
    )


@contextmanager
def count_interrupts() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C, SIGTERM and SIGHUP while it is entered; signals that were ignored stay ignored."""
    count = 0

    def interrupted(signum: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows has no SIGHUP
    caught = [number for number in known if number is not None and signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, interrupted)) for number in caught]
    try:
        yield lambda: count
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Scheduler:
    """Holds the states of the jobs; lives in the thread that calls ``run``.

    Args:
        interrupts: how often the user interrupted the command: the first time stops its runs, the second kills them.
    """

    def __init__(
        self,
        store: Store,
        jobs: Sequence[Job],
        executor: Executor,
        view: ProgressView,
        interrupts: Callable[[], int],
        options: Options,
    ) -> None:
        self._store, self._executor, self._view, self._interrupts = store, executor, view, interrupts
        self._options = options
        self._states = [JobState(job) for job in jobs]
        self._by_key = {state.job.key: state for state in self._states}
        self._order = {state.job.key: position for position, state in enumerate(self._states)}
        self._waiting = list(self._states)
        self._submitted: set[str] = set()
        self._priorities: dict[str, int] | None = {}  # as ``_waiting`` is sorted by
        self._failed_elsewhere: set[str] = set()
        self._cancelled = self._killed = False
        self._noted_others = False
        self._enough = 2  # interrupts that kill
        self._looked = self._began = seconds()

    def run(self) -> Summary:
        """Until every job has come to an end, or the user interrupted them."""
        done = self._store.epochs_done()
        for state in self._states:
            state.epochs_done = done.get(state.job.key, 0)
        self._prioritise()
        self._view.begin(self._states, self._executor.slots)
        while True:
            self._handle_interrupts()
            if not self._cancelled:
                self._look()
                self._start()
            if not self._submitted and (self._cancelled or not any(state.open for state in self._states)):
                return self._summary()
            for key, event in self._executor.poll(_TICK):
                self._handle_event(self._by_key[key], event)
            self._view.tick()

    def _summary(self) -> Summary:
        def ended(phase: str) -> list[JobState]:
            return [state for state in self._states if state.phase == phase]

        return Summary(
            finished=tuple(state.job for state in ended("finished")),
            failed=tuple(Failure(s.job, s.error or "") for s in ended("failed") if not s.replaced),
            interrupted=tuple(state.job for state in ended("interrupted")),
            cancelled=self._cancelled,
            stopped=tuple(state.job for state in ended("stopped")),
        )

    def _handle_interrupts(self) -> None:
        interrupts = self._interrupts()
        hours = self._options.max_hours
        late = hours is not None and seconds() - self._began >= hours * 3600
        if (interrupts or late) and not self._cancelled:
            self._cancelled = True
            self._enough = 2 if interrupts else 1
            why = "" if interrupts else f"{hours:g} hours are over: "
            if self._submitted:
                runs = f"{len(self._submitted)} run{'s' * (len(self._submitted) > 1)}"
                self._view.note(f"{why}stopping {runs} after the present step; Ctrl-C again ends at once")
            elif why:
                self._view.note(why.removesuffix(": "))
            self._cancel(now=False)
        if self._cancelled and not self._killed and interrupts >= self._enough:
            self._killed = True
            self._view.note("ending at once")
            self._cancel(now=True)

    def _cancel(self, *, now: bool) -> None:
        for key in self._submitted:
            self._executor.cancel(key, now=now)

    # handing out

    def _start(self) -> None:
        """Hands out waiting runs, first things first, until the executor has no room."""
        refused = 0
        no_room = set()  # what asks for as much as a refused run finds none either
        for state in list(self._waiting):
            if state.phase != "queued":
                self._waiting.remove(state)
                continue
            if state.not_before > seconds() or not self._may_begin(state):
                continue
            asks = (state.job.threads, state.job.gpus, state.job.memory_key, state.alone, state.needs)
            if asks not in no_room:
                if self._begin(state):
                    continue
                no_room.add(asks)
                others = self._held_by_others(state)
                if (state.alone and not others) or not self._executor.slots.by_memory:
                    return
            refused += 1
            if refused >= _AHEAD:
                return

    def _held_by_others(self, state: JobState) -> str:
        """What other programs hold of GPUs that have no run of ours, in words; noted when nothing else can be done."""
        others = self._executor.slots.held_by_others()
        if others and not self._submitted and not self._noted_others:
            self._noted_others = True
            self._view.note(f"{state.job.label}: waiting for other programs, which hold {others}")
        return others

    def _may_begin(self, state: JobState) -> bool:
        """Whether the run it continues, if there is one, is finished; ends it when that one never will be."""
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
        line = f"the run it continues ({short_key(parent)}) is {status}"
        other = None if status != "failed" else self._store.run(parent).replacement
        if other is not None:
            hint = "write that batch_size and gradient_accumulation into the setting to continue it"
            return f"{line}, and run {short_key(other)} of half its batch is another one; {hint}"
        return f"{line}; train that one first, then run the command again"

    def _begin(self, state: JobState) -> bool:
        """Submits a run unless another command was faster; False when the executor has no room for it."""
        key = state.job.key
        status, error, _ = self._store.statuses([key])[key]
        if status in HELD:
            # released here: a worker has not watched the heartbeat of one that cannot be asked
            if not self._store.end_free(key, "queued"):
                self._wait_for_other(state)
                return True
            status, error, _ = self._store.statuses([key])[key]
        if status in ("finished", "stopped"):
            self._end(state, status, error, written=True)
            return True
        if status == "failed":
            state.phase = "elsewhere"  # whose command may be about to retry it
            return True
        if status == "interrupted":
            self._store.requeue([key])
        try:
            if not self._executor.submit(state):
                return False
        except MmadError as failure:
            self._end(state, "failed", str(failure))
            return True
        state.phase = "running"
        self._noted_others = False
        self._submitted.add(key)
        self._view.started(state)
        return True

    # other commands

    def _wait_for_other(self, state: JobState) -> None:
        owner = self._store.owners().get(state.job.key)
        if owner is not None:
            who = f"process {owner.pid} on {owner.host}"
            until = "its end" if owner.alive is not None else "its end, or three minutes without a heartbeat"
            self._view.note(f"{state.job.label}: {who} trains it, waiting for {until}")
        state.phase = "elsewhere"
        self._looked = 0.0

    def _look(self) -> None:
        """Follows the runs of other commands (one whose process is gone is taken over), and priorities."""
        if seconds() - self._looked < _LOOK:
            return
        self._looked = seconds()
        self._prioritise()
        self._readmit()
        waiting = [state for state in self._states if state.phase == "elsewhere"]
        free = self._store.free([state.job.key for state in waiting]) if waiting else frozenset()
        for state in waiting:
            record = self._store.run(state.job.key)
            state.epochs_done = record.epochs_done
            if record.status == "failed" and record.replacement is not None:
                self._replace(
                    state, replace(state.job, key=record.replacement, memory_key=""), record.error, written=True
                )
            elif record.status == "failed" and record.key not in self._failed_elsewhere:
                self._failed_elsewhere.add(record.key)  # its command may retry it: looked at once more
                continue
            elif record.status in ("finished", "failed", "stopped"):
                self._end(state, record.status, record.error, written=True)
            elif record.status == "interrupted" or record.key in free:
                self._view.note(f"{state.job.label}: released by its process, taken over")
                self._requeue(state)
            self._failed_elsewhere.discard(record.key)

    def _readmit(self) -> None:
        """Takes in runs that were over and that a person queued again."""
        over = {
            s.job.key: s for s in self._states if s.phase in ("failed", "stopped", "interrupted") and not s.replaced
        }
        for key, (status, _, _) in self._store.statuses(list(over)).items() if over else ():
            if status == "queued":
                self._view.note(f"{over[key].job.label}: queued again")
                over[key].attempts, over[key].not_before = 0, 0.0
                self._requeue(over[key])

    def _prioritise(self) -> None:
        found = self._store.priorities()
        if found == self._priorities:
            return
        self._priorities = found
        for state in self._waiting:
            state.priority = found.get(state.job.key, 0)
        self._waiting.sort(key=lambda state: (-state.priority, self._order[state.job.key]))

    # following

    def _handle_event(self, state: JobState, event: Message | Exited) -> None:
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
                self._release(state)
                self._handle_end(state, event)
            case Exited():
                self._release(state)
                self._handle_exit(state, event)

    def _release(self, state: JobState) -> None:
        self._submitted.discard(state.job.key)
        state.progress = None

    def _handle_end(self, state: JobState, end: Ended) -> None:
        if end.status == "taken":
            state.phase = "elsewhere"
            self._looked = 0.0
        elif end.status != "failed" or self._cancelled or not self._retry(state, end):
            self._end(state, end.status, end.error, written=end.recorded)

    def _retry(self, state: JobState, end: Ended) -> bool:
        """Whether a failed run is retried: alone on its device, once it has the memory, at half its batch, or later.

        Memory that another program held has passed when that frees it: such a run neither fails nor is halved.
        """
        label = state.job.label
        if end.shortage is not None:
            state.needs = max(state.needs, end.shortage.needed)
        if end.retry == "memory" and not state.alone and self._was_shared(state, end):
            state.alone = True
            note = f"{label}: out of memory beside other runs, retrying it alone on a device"
        elif end.retry == "memory" and (held := self._memory_of_others(state, end)):
            state.not_before = seconds() + min(_LONGEST_WAIT, BACK_OFF * 2**state.waits)
            state.waits += 1
            note = f"{label}: out of memory beside other programs, which held {held}; retrying it once it has room"
        elif end.retry == "memory" and state.job.accumulates:
            return self._halved(state, end)
        elif end.retry == "transient" and state.attempts < RETRIES:
            self._back_off(state)
            note = f"{label}: {end.error}; retrying it ({state.attempts} of {RETRIES})"
        else:
            return False
        self._store.requeue([state.job.key], ("failed",))
        self._view.note(note)  # only now: nothing is retried where the database is gone
        self._requeue(state)
        return True

    def _was_shared(self, state: JobState, end: Ended) -> bool:
        """Whether the run may find enough memory with nobody beside it."""
        short = end.shortage
        beside = short is None or (short.others >= _LEAST and short.needed <= short.total)
        return beside and self._executor.slots.shared(state.device)

    def _memory_of_others(self, state: JobState, end: Ended) -> str:
        """In words, what other programs held of the device where the run found no memory alone.

        Empty where they held none, where the run needs more than there is, and where they held as little as the
        driver or a screen does each time it was retried.
        """
        short = end.shortage
        if short is None or short.needed > short.total or short.others < _LEAST:
            return ""
        if short.others <= little(short.total) and state.waits >= RETRIES:
            return ""
        return f"{size(short.others)} of {state.device}"

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
            self._order[job.key] = self._order[state.job.key]
            self._requeue(fresh)

    def _handle_exit(self, state: JobState, exited: Exited) -> None:
        """A worker exited without sending an end: a retry, or the run's end."""
        killed = exited.code < 0
        log = f" (log: {exited.log})" if exited.log is not None else ""
        status, error, _ = self._store.statuses([state.job.key])[state.job.key]
        if status in ("finished", "failed", "stopped"):  # it had recorded the end before
            self._end(state, status, error, written=True)
        elif self._cancelled:
            self._end(state, "interrupted", f"its process was ended by {exited.signal_name}" if killed else None)
        elif exited.code == 0 and state.attempts < RETRIES:  # an idle worker that was ended as it got the request
            self._back_off(state)
            self._requeue(state)
        elif not killed:
            self._end(state, "failed", f"{exited.how}{log}")
        elif state.attempts >= RETRIES:
            self._end(state, "failed", f"{exited.how} {RETRIES + 1} times{log}")
        else:
            self._back_off(state)
            self._view.note(f"{state.job.label}: {exited.how}, retrying it ({state.attempts} of {RETRIES})")
            self._store.end_free(state.job.key, "interrupted", exited.how)
            self._requeue(state)

    def _back_off(self, state: JobState) -> None:
        state.not_before = seconds() + BACK_OFF * 2**state.attempts
        state.attempts += 1

    def _requeue(self, state: JobState) -> None:
        state.phase = "queued"
        if state not in self._waiting:
            self._waiting.insert(0, state)
            self._priorities = None  # it goes to its place with the next look

    def _end(self, state: JobState, phase: AttemptOutcome, error: str | None = None, *, written: bool = False) -> None:
        """Closes a job in the view, and unless that is ``written`` in the store, if nobody alive holds the run."""
        if not written:
            self._store.end_free(state.job.key, phase, error)
        state.phase, state.error = phase, error
        self._view.ended(state)
