"""The executor of this machine: a worker process on each slot, reused for the next run of its kind."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmad.base.paths import StorePaths
from mmad.scheduler.devices import Slot, Slots
from mmad.scheduler.executors.base import Event
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import SERVE, Exited, Worker
from mmad.scheduler.supervisor_link import Ended, Memory, Message, TrainRequest

#: Idle workers that wait for a run of their kind on the CPU; more are let go.
_IDLE = 8
#: Seconds that the system has to free the memory of an idle worker.
_LEAVING = 5.0


@dataclass
class _LocalAttempt:
    """The run that a worker trains; ``ended`` once it has said how it ended."""

    key: str
    memory_key: str
    slot: Slot
    log: Path
    ended: bool = False


@dataclass
class LocalExecutor:
    """Implements ``mmad.scheduler.executors.base.Executor`` with processes.

    An idle worker holds a part of its GPU's memory, and a GPU in exclusive mode whole: there it waits for one round of
    the scheduler, and is gone before another worker begins.

    Args:
        slots: where they run.
        template: the request of every run, but for its key, device and data.
        isolate: a process of its own for every run.
        command: the command line of a worker that waits for requests.
        remember: called with what a run was seen to take of its device: its memory key, the slot and the bytes.
    """

    slots: Slots
    template: TrainRequest
    isolate: bool = False
    command: Sequence[str] = SERVE
    remember: Callable[[str, Slot, int], None] = lambda memory_key, slot, size: None
    _events: queue.SimpleQueue[tuple[Worker, Message | Exited]] = field(default_factory=queue.SimpleQueue)
    _attempts: dict[Worker, _LocalAttempt] = field(default_factory=dict)
    _idle: dict[tuple[str, int], list[Worker]] = field(default_factory=dict)
    _all: set[Worker] = field(default_factory=set)
    _passed_over: set[Worker] = field(default_factory=set)

    def submit(self, state: JobState) -> bool:
        """Gives the run to an idle worker of its kind, or to a new one; False while no slot is free."""
        job = state.job
        idle = Counter(device for (device, _), workers in self._idle.items() for _ in workers if device != "cpu")
        slot = self.slots.take(
            job.threads, job.memory_key, gpus=job.gpus, alone=state.alone, needs=state.needs, idle=idle
        )
        if slot is None:
            return False
        log = StorePaths(self.template.database).run(job.key).log
        try:
            worker = self._worker(slot, job.threads, log)
        except BaseException:
            self.slots.give_back(slot)
            raise
        self._attempts[worker] = _LocalAttempt(job.key, job.memory_key, slot, log)
        data = None if job.data is None else Path(job.data)
        worker.train(replace(self.template, key=job.key, device=slot.torch_device, data=data))
        state.device = slot.device
        return True

    def poll(self, seconds: float) -> Iterator[Event]:
        """The workers' messages in their order."""
        on_gpus = {worker for (device, _), idle in self._idle.items() if device != "cpu" for worker in idle}
        for worker in self._passed_over & on_gpus:
            self._let_go(worker)
        self._passed_over = on_gpus
        try:
            worker, event = self._events.get(timeout=seconds)
            while True:
                yield from self._handle(worker, event)
                worker, event = self._events.get_nowait()
        except queue.Empty:
            return

    def cancel(self, key: str, *, now: bool) -> None:
        """Asks the run's worker to stop, or kills it."""
        for worker in [w for w, attempt in self._attempts.items() if attempt.key == key and not attempt.ended]:
            if now:
                worker.kill()
            else:
                worker.stop()

    def close(self) -> None:
        """Lets idle workers go and kills the others."""
        for worker in self._all:
            if worker in self._attempts:
                worker.kill()
            else:
                worker.quit()
        for worker in self._all:
            worker.wait(5.0)
            worker.kill()

    def _worker(self, slot: Slot, threads: int, log: Path) -> Worker:
        idle = self._idle.get((slot.device, threads))
        chosen = idle.pop() if idle else None
        if slot.device != "cpu":
            for worker in [w for (device, _), some in self._idle.items() if device in slot.devices for w in some]:
                self._let_go(worker)
        if chosen is not None:
            return chosen
        for others in self._idle.values():  # of a kind that nobody waits for at present
            while len(others) and sum(map(len, self._idle.values())) >= _IDLE:
                others.pop().quit()
        worker = Worker(list(self.command), threads, log, self._events, slot.visible)
        self._all.add(worker)
        return worker

    def _let_go(self, worker: Worker) -> None:
        """Ends an idle worker; its memory is free afterwards."""
        for idle in self._idle.values():
            if worker in idle:
                idle.remove(worker)
        worker.kill()
        worker.wait(_LEAVING)

    def _handle(self, worker: Worker, event: Message | Exited) -> Iterator[Event]:
        if isinstance(event, Exited):
            yield from self._exited(worker, event)
            return
        attempt = self._attempts.get(worker)
        if attempt is None or attempt.key != event.key:
            return
        if isinstance(event, Memory):
            self.slots.measured(attempt.slot, event.size, whole=event.whole)
            if event.whole:
                self.remember(attempt.memory_key, attempt.slot, event.size)
        if isinstance(event, Ended):
            attempt.ended = True
            if event.shortage is not None:
                self.slots.measured(attempt.slot, event.shortage.needed, whole=False)
            if event.idle:
                self._reuse(worker, attempt)
        yield event.key, event

    def _reuse(self, worker: Worker, attempt: _LocalAttempt) -> None:
        """The slot of a worker that waits for another request is free; that of another is once it is gone."""
        self._release(worker)
        if self.isolate or len(attempt.slot.devices) > 1:
            worker.quit()
        else:
            self._idle.setdefault((attempt.slot.device, worker.threads), []).append(worker)

    def _exited(self, worker: Worker, exited: Exited) -> Iterator[Event]:
        self._all.discard(worker)
        for idle in self._idle.values():
            if worker in idle:
                idle.remove(worker)
        if worker in self._attempts:
            attempt = self._release(worker)
            if not attempt.ended:
                yield attempt.key, replace(exited, log=attempt.log)

    def _release(self, worker: Worker) -> _LocalAttempt:
        attempt = self._attempts.pop(worker)
        self.slots.give_back(attempt.slot)
        return attempt
