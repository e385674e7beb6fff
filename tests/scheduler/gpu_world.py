"""Made-up GPUs on which made-up runs take memory, beside programs that come and go, in a time of their own.

The scheduler and its executor are the real ones; workers, the driver, the clock and the store are not.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mmad.base.records import RunRecord
from mmad.scheduler import devices, scheduler
from mmad.scheduler.devices import CONTEXT, GpuUse, Slots
from mmad.scheduler.executors import local
from mmad.scheduler.executors.local import LocalExecutor
from mmad.scheduler.jobs import Job, Summary
from mmad.scheduler.process import Exited
from mmad.scheduler.scheduler import Options, Scheduler
from mmad.scheduler.supervisor_link import Ended, Memory, Shortage, Started, TrainRequest

GIB = 2**30
#: What a context takes, less than mmad supposes; seconds of loading, of two steps, and of leaving after a failure.
HELD, LOADING, STEPS, LEAVING = 450 * 2**20, 4.0, 3.0, 0.5


@dataclass
class Program:
    """Somebody else's program: by (second, bytes), what it wants from then on; it gets what is free."""

    wants: list[tuple[float, int]]
    holds: int = 0


@dataclass
class Gpu:
    """A GPU of ``total`` bytes; ``permanent`` are always somebody's."""

    total: int
    permanent: int = 0
    program: Program = field(default_factory=lambda: Program([]))
    workers: set[Any] = field(default_factory=set)

    @property
    def others(self) -> int:
        return self.permanent + self.program.holds

    @property
    def used(self) -> int:
        return self.others + sum(worker.holds for worker in self.workers)


@dataclass(frozen=True)
class Training:
    """A made-up run: bytes at its first steps and after its first evaluation, and seconds."""

    early: int
    peak: int
    epoch: float
    duration: float


class World:
    """GPUs, programs and runs, and what happens to them when."""

    def __init__(self, gpus: list[Gpu], trainings: dict[str, Training]) -> None:
        self.gpus, self.trainings = gpus, trainings
        self.now = 0.0
        self.most_at_once = 0
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        for gpu in gpus:
            for moment, wanted in gpu.program.wants:
                self.at(moment, lambda gpu=gpu, wanted=wanted: self._wants(gpu, wanted))

    def at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._numbers), act))

    def advance(self, limit: float) -> None:
        """To the next thing that happens, or by ``limit`` seconds."""
        until = self.now + limit
        if self._due and self._due[0][0] <= until:
            self.now = max(self.now, self._due[0][0])
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
        else:
            self.now = until

    def look(self, device: str) -> GpuUse:
        gpu = self.gpus[int(device.rpartition(":")[2])]
        return GpuUse(0, f"model {gpu.total}", device, None, gpu.used, gpu.total)

    @staticmethod
    def _wants(gpu: Gpu, wanted: int) -> None:
        gpu.program.holds = min(wanted, gpu.total - gpu.used + gpu.program.holds)

    # what stands in the place of ``queue.SimpleQueue``

    def put(self, event: Any) -> None:
        self.events.put(event)

    def get(self, timeout: float) -> Any:
        if self.events.empty():
            self.advance(5.0)
        return self.events.get_nowait()

    def get_nowait(self) -> Any:
        return self.events.get_nowait()


class MadeUpWorker:
    """A worker that takes memory as its run does and holds a context while it is idle."""

    def __init__(self, world: World, threads: int) -> None:
        self.world, self.threads = world, threads
        self.holds = 0
        self.gpu: Gpu | None = None
        self._attempt = 0
        self.gone = False

    def train(self, request: TrainRequest) -> None:
        world, self._attempt = self.world, self._attempt + 1
        self.gpu = world.gpus[int(request.device.rpartition(":")[2])]
        self.gpu.workers.add(self)
        running = sum(worker.holds > HELD for gpu in world.gpus for worker in gpu.workers)
        world.most_at_once = max(world.most_at_once, running + 1)
        run, key, attempt = world.trainings[request.key], request.key, self._attempt
        begun = world.now + (0.0 if self.holds else LOADING)

        def at(moment: float, act: Callable[[], None]) -> None:
            world.at(moment, lambda: None if self.gone or self._attempt != attempt else act())

        def tell(message: Any) -> None:
            world.put((self, message))

        def finish() -> None:
            self.holds, self._attempt = HELD, self._attempt + 1
            tell(Ended(key, "finished", idle=True))

        at(begun, lambda: self._grow(key, HELD) and tell(Started(key, 0, 1)))
        at(begun + 1, lambda: self._grow(key, HELD + run.early))
        at(begun + STEPS, lambda: tell(Memory(key, run.early + CONTEXT, whole=False)))
        at(begun + run.epoch, lambda: self._grow(key, HELD + run.peak))
        at(begun + run.epoch + 1, lambda: tell(Memory(key, run.peak + CONTEXT, whole=True)))
        at(begun + run.duration, finish)

    def _grow(self, key: str, size: int) -> bool:
        """Takes memory, or fails as the real one does: what it held is free once its process is gone."""
        assert self.gpu is not None
        if size <= self.holds:
            return True
        if size - self.holds <= self.gpu.total - self.gpu.used:
            self.holds = size
            return True
        shortage = Shortage(size, self.gpu.used - self.holds, self.gpu.total)
        self._attempt += 1
        line = "out of memory"
        self.world.put((self, Ended(key, "failed", line, "memory", shortage=shortage)))
        self.world.at(self.world.now + LEAVING, self.kill)
        return False

    def kill(self) -> None:
        if not self.gone:
            self.gone = True
            if self.gpu is not None:
                self.gpu.workers.discard(self)
            self.world.put((self, Exited(1)))

    quit = kill

    def wait(self, seconds: float) -> None:
        assert self.gone


class MadeUpStore:
    """As much of a store as a scheduler asks."""

    def __init__(self, keys: list[str]) -> None:
        self.status = dict.fromkeys(keys, "queued")

    def statuses(self, keys: list[str]) -> dict[str, tuple[str, None, int]]:
        return {key: (self.status[key], None, 0) for key in keys}

    def requeue(self, keys: list[str], statuses: tuple[str, ...] = ()) -> None:
        self.status.update(dict.fromkeys(keys, "queued"))

    def end_free(self, key: str, status: str, error: str | None = None) -> bool:
        self.status[key] = status
        return True

    def run_records(self) -> tuple[RunRecord, ...]:
        return ()

    def epochs_done(self) -> dict[str, int]:
        return {}

    def priorities(self) -> dict[str, int]:
        return {}


class NoView:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words: None


def run_queue(
    monkeypatch: pytest.MonkeyPatch, world: World, kinds: dict[str, str], *, cores: int, per_gpu: int | None = None
) -> tuple[Summary, NoView]:
    """The scheduler with ``kinds`` (run to memory key) on the GPUs of ``world``."""
    for module in (scheduler, devices):
        monkeypatch.setattr(module, "seconds", lambda: world.now)
    monkeypatch.setattr(local, "Worker", lambda command, threads, log, events, visible: MadeUpWorker(world, threads))
    slots = Slots(tuple(f"cuda:{number}" for number in range(len(world.gpus))), cores, per_gpu=per_gpu, look=world.look)
    jobs = [Job(key, "a", key, "CXR", 0, 1, memory_key=kind) for key, kind in kinds.items()]
    executor = LocalExecutor(slots, TrainRequest("made-up.sqlite", ""), _events=world)  # type: ignore[arg-type]
    view = NoView()
    store: Any = MadeUpStore(list(kinds))
    summary = Scheduler(store, jobs, executor, view, lambda: 0, Options()).run()  # type: ignore[arg-type]
    return summary, view


def made_up_queue(chance: random.Random) -> tuple[World, dict[str, str], int]:
    """GPUs of 8 to 141 GB and slices of them, a screen that comes and goes, runs of a few kinds; and CPU cores."""
    size = chance.choice([8, 10, 12, 16, 20, 24, 40, 80, 141])
    permanent = chance.choice([0, 0, 300 * 2**20])
    gpus = []
    for _ in range(chance.choice([1, 1, 2, 4])):
        wants, moment = [], 0.0
        for _ in range(chance.choice([0, 2, 4, 8])):
            moment += chance.uniform(20, 600)
            wants.append((moment, int(chance.uniform(0.1, 0.7) * size * GIB)))
            moment += chance.uniform(20, 600)
            wants.append((moment, 0))
        gpus.append(Gpu(size * GIB, permanent, Program(wants)))
    kinds: list[Training] = []
    for _ in range(chance.randint(1, 5)):
        peak = size * chance.choice([0.04, 0.08, 0.12, 0.2, 0.35, 0.6, 0.9, 1.2]) * chance.uniform(0.8, 1.1)
        early, epoch = chance.uniform(0.7, 1.0), chance.uniform(10, 60)
        kinds.append(Training(int(early * peak * GIB), int(peak * GIB), epoch, epoch * chance.randint(10, 40)))
    trainings: dict[str, Training] = {}
    of_kind: dict[str, str] = {}
    for number in range(chance.randint(8, 30)):
        which = chance.randrange(len(kinds))
        kind, more = kinds[which], chance.uniform(0.97, 1.03)
        trainings[f"r{number}"] = Training(
            int(kind.early * more), int(kind.peak * more), kind.epoch, kind.duration * chance.uniform(0.8, 1.2)
        )
        of_kind[f"r{number}"] = f"kind {which}"
    return World(gpus, trainings), of_kind, chance.choice([4, 8, 16, 64])


def oracle_seconds(gpus: list[Gpu], trainings: dict[str, Training], cores: int) -> float:
    """How long one takes who knows what every run needs: it begins each, in their order, as soon as it fits."""
    waiting = {key: run for key, run in trainings.items() if alone_fits(run, gpus[0])}
    programs = [list(gpu.program.wants) for gpu in gpus]
    holds, running, now = [0] * len(gpus), [dict[str, float]() for _ in gpus], 0.0
    while waiting or any(running):
        for number, gpu in enumerate(gpus):
            for key in [key for key, end in running[number].items() if end <= now]:
                del running[number][key]
            free = gpu.total - gpu.permanent - sum(trainings[key].peak + HELD for key in running[number])
            for moment, wanted in [one for one in programs[number] if one[0] <= now]:
                holds[number] = min(wanted, free)
                programs[number].remove((moment, wanted))
            holds[number] = min(holds[number], free)
        for key, run in list(waiting.items()):
            for number in sorted(range(len(gpus)), key=lambda number: len(running[number])):
                gpu, here = gpus[number], running[number]
                if here and sum(map(len, running)) >= cores:
                    continue
                taken = sum(trainings[other].peak + HELD for other in here) + gpu.permanent + holds[number]
                if run.peak + HELD + taken <= gpu.total:
                    here[key] = now + run.duration
                    del waiting[key]
                    break
        ends = [end for here in running for end in here.values()] + [one[0] for some in programs for one in some]
        now = min((end for end in ends if end > now), default=now)
    return now


def alone_fits(run: Training, gpu: Gpu) -> bool:
    """Whether the run passes with the GPU to itself, but for what is always somebody's."""
    return run.peak + HELD <= gpu.total - gpu.permanent
