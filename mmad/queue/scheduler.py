"""Works off runs: one worker process for each, as many at once as there are places."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mmad.base.clock import seconds
from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.base.records import Progress
from mmad.queue.jobs import Failure, Job, JobState, Summary
from mmad.queue.messages import Ended, EpochDone, Message, Outcome, Started, Warned
from mmad.queue.process import Exited, Spawn, Worker, worker_command
from mmad.queue.slots import Slot, Slots
from mmad.queue.view import View
from mmad.store.gateway import Store
from mmad.store.owner import Owner

#: How often one command starts a run again whose worker was killed.
RESTARTS = 2
#: Seconds between two looks at the runs that other commands train.
_LOOK = 1.0
_TICK = 0.1


def work_off(
    database: str,
    jobs: Sequence[Job],
    slots: Slots,
    view: View,
    *,
    weights_dir: Path | None = None,
    said: str = "",
    spawn: Spawn | None = None,
) -> Summary:
    """Trains ``jobs``, which are rows of the store, until each has come to an end; shows them in ``view``.

    A run that fails stops no other. A run whose worker is killed by a signal is started again up to
    ``RESTARTS`` times. Runs that another command trains are waited for, and taken over when they are let go.
    The first Ctrl-C (or SIGTERM, SIGHUP) asks the workers to stop at their next safe point, the second ends them.

    Args:
        said: what the user typed, kept with each run.
        spawn: builds a worker's command line; by default that of ``mmad.queue.worker``.

    Raises:
        StoreError: the database cannot be read or written any more; the workers are ended first.
    """
    spawn = spawn or worker_command(database, weights_dir=weights_dir, said=said)
    with Store.open(database, create=False) as store, _asked_to_stop() as asked:
        store.requeue([job.key for job in jobs])
        scheduler = Scheduler(store, StorePaths(database), jobs, slots, view, spawn, asked)
        with view:
            return scheduler.run()


class Scheduler:
    """Holds the states of the jobs and the running workers; lives in the thread that calls ``run``."""

    def __init__(
        self,
        store: Store,
        paths: StorePaths,
        jobs: Sequence[Job],
        slots: Slots,
        view: View,
        spawn: Spawn,
        asked: Callable[[], int],
    ) -> None:
        self._store = store
        self._paths = paths
        self._slots = slots
        self._view = view
        self._spawn = spawn
        self._asked = asked
        self._obeyed = 0
        self._states = [JobState(job) for job in jobs]
        self._workers: list[Worker] = []
        self._events: queue.Queue[tuple[Worker, Message | Exited]] = queue.Queue()
        self._looked = seconds()

    def run(self) -> Summary:
        """Until every job has come to an end, or the user stopped them."""
        for state in self._states:
            state.epochs_done = self._store.run(state.job.key).epochs_done
        self._view.begin(self._states, self._slots)
        try:
            while True:
                self._obey()
                if not self._obeyed:
                    self._look_elsewhere()
                    self._start()
                if not self._workers and (self._obeyed or not any(state.open for state in self._states)):
                    return self._summary()
                self._listen()
                self._view.tick()
        finally:
            for worker in self._workers:  # after an error of our own: leave nobody behind
                worker.kill()
            for worker in self._workers:
                worker.wait(5.0)

    def _summary(self) -> Summary:
        ended = {
            phase: [s for s in self._states if s.phase == phase] for phase in ("finished", "failed", "interrupted")
        }
        return Summary(
            finished=tuple(state.job for state in ended["finished"]),
            failed=tuple(Failure(state.job, state.error or "") for state in ended["failed"]),
            interrupted=tuple(state.job for state in ended["interrupted"]),
            stopped=self._obeyed > 0,
        )

    def _obey(self) -> None:
        asked = self._asked()
        if asked >= 1 and self._obeyed == 0:
            self._obeyed = 1
            if self._workers:
                runs = f"{len(self._workers)} run{'s' * (len(self._workers) > 1)}"
                self._view.note(f"stopping {runs} after the present step; Ctrl-C again ends at once")
            for worker in self._workers:
                worker.stop()
        if asked >= 2 and self._obeyed == 1:
            self._obeyed = 2
            self._view.note("ending at once")
            for worker in self._workers:
                worker.kill()

    def _start(self) -> None:
        for state in self._states:
            if state.phase != "queued":
                continue
            slot = self._slots.take(state.job.threads)
            if slot is None:
                return
            if not self._begin(state, slot):
                self._slots.give_back(slot)

    def _begin(self, state: JobState, slot: Slot) -> bool:
        """Starts a worker, unless another command was faster; whether the slot is taken."""
        key = state.job.key
        record = self._store.run(key)
        if record.status == "running":
            return self._wait_for_other(state)
        if record.status in ("finished", "failed"):
            self._end(state, "finished" if record.status == "finished" else "failed", record.error)
            return False
        if record.status == "interrupted":
            self._store.requeue([key])
        state.phase, state.device = "running", slot.device
        state.epochs_done = record.epochs_done
        try:
            worker = Worker(state, slot, self._spawn(state, slot), self._paths.run(key).log, self._events)
        except MmadError as error:
            self._end(state, "failed", str(error))
            return False
        self._workers.append(worker)
        self._view.started(state)
        return True

    def _wait_for_other(self, state: JobState) -> bool:
        """Another command is at it; False, so that the slot goes back."""
        owner = self._store.owners().get(state.job.key)
        who = f"process {owner.pid} on {owner.host}" if owner is not None else "another process"
        if not _dead(owner):
            self._view.note(f"{state.job.label}: {who} trains it, waiting for its end")
        state.phase = "elsewhere"
        self._looked = 0.0
        return False

    def _look_elsewhere(self) -> None:
        """Follows the runs of other commands; one whose process is gone goes back to the queue."""
        moment = seconds()
        if moment - self._looked < _LOOK:
            return
        self._looked = moment
        waiting = [state for state in self._states if state.phase == "elsewhere"]
        owners = self._store.owners() if waiting else {}
        for state in waiting:
            record = self._store.run(state.job.key)
            state.epochs_done = record.epochs_done
            if record.status == "finished":
                self._end(state, "finished")
            elif record.status == "failed":
                self._end(state, "failed", record.error)
            elif record.status != "running" or (
                _dead(owners.get(state.job.key)) and self._reclaim(state, "interrupted", "its process died")
            ):
                self._view.note(f"{state.job.label}: let go by its process, taken over")
                state.phase = "queued"

    def _listen(self) -> None:
        """Takes in what the workers said, waiting one tick for the first word."""
        try:
            worker, event = self._events.get(timeout=_TICK)
            while True:
                self._take_in(worker, event)
                worker, event = self._events.get_nowait()
        except queue.Empty:
            return

    def _take_in(self, worker: Worker, event: Message | Exited) -> None:
        state = worker.state
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
            case Ended():
                worker.ended = event
            case Exited():
                self._gone(worker, event)

    def _gone(self, worker: Worker, exited: Exited) -> None:
        state, end = worker.state, worker.ended
        self._workers.remove(worker)
        self._slots.give_back(worker.slot)
        state.progress = None
        if end is None:
            self._died(state, worker, exited)
        elif end.status == "taken":
            state.phase = "elsewhere"
        else:
            self._end(state, end.status, end.error)

    def _died(self, state: JobState, worker: Worker, exited: Exited) -> None:
        """A worker went without a word: again, or for good."""
        name = exited.signal_name
        if self._obeyed:
            self._end(state, "interrupted", f"its process was ended by {name}" if name else None)
        elif name is None:
            self._end(state, "failed", f"its process ended with exit code {exited.code} (log: {worker.log})")
        elif state.attempts >= RESTARTS:
            times = RESTARTS + 1
            self._end(state, "failed", f"its process was killed by {name} {times} times (log: {worker.log})")
        else:
            state.attempts += 1
            again = f"{state.attempts} of {RESTARTS}"
            self._view.note(f"{state.job.label}: its process was killed by {name}, starting it again ({again})")
            self._reclaim(state, "interrupted", f"its process was killed by {name}")
            state.phase = "queued"

    def _end(self, state: JobState, phase: Outcome, error: str | None = None) -> None:
        """Closes a job in the view, and in the store where its worker could not."""
        if self._store.run(state.job.key).status in ("running", "queued"):
            self._reclaim(state, phase, error)
        state.phase, state.error = phase, error
        self._view.ended(state)

    def _reclaim(self, state: JobState, status: Outcome, error: str | None) -> bool:
        """Sets the status of a run that no living process holds; False when one does."""
        if self._store.claim([state.job.key], Owner.current()) is None:
            return False
        self._store.set_status(state.job.key, status, error)
        return True


def _dead(owner: Owner | None) -> bool:
    return owner is None or owner.dead


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], int]]:
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
