"""What a scheduler does about events, the store and interrupts, with an executor that follows a script."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from queue_bench import Bench

from mmad.base.records import Status
from mmad.scheduler import scheduler as scheduler_module
from mmad.scheduler.devices import Slots
from mmad.scheduler.executors.base import Event
from mmad.scheduler.jobs import Job, JobState
from mmad.scheduler.process import Exited
from mmad.scheduler.progress import PlainView
from mmad.scheduler.scheduler import Options, Scheduler, run_jobs
from mmad.scheduler.submit import halved
from mmad.scheduler.supervisor_link import Ended, EpochDone, SupervisorLink, decode_message
from mmad.store.claims import Owner
from mmad.store.store import Store

MakeBench = Callable[..., Bench]
ME = Owner.current()


class Scripted:
    """An executor of one slot; ``deed`` does what a worker would and says what the scheduler hears of it."""

    def __init__(self, store: Store, deed: Callable[[str, int], Event | None]) -> None:
        self.slots = Slots(cores=1)
        self.store, self.deed = store, deed
        self.attempts: list[str] = []
        self.cancelled: list[tuple[str, bool]] = []
        self.polls = 0
        self.at: str | None = None
        self.every: Callable[[int], None] = lambda poll: None

    def submit(self, state: JobState) -> bool:
        if self.at is not None:
            return False
        self.at = state.job.key
        self.attempts.append(self.at)
        return True

    def poll(self, seconds: float) -> Iterator[Event]:
        self.polls += 1
        assert self.polls < 2000, "an endless loop"
        self.every(self.polls)
        if self.at is not None and (event := self.deed(self.at, len(self.attempts))) is not None:
            self.at = None
            yield event

    def cancel(self, key: str, *, now: bool) -> None:
        self.cancelled.append((key, now))

    def close(self) -> None:
        return


class Ticking:
    """A clock that goes on by a fifth of a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.2
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    ticking = Ticking()
    monkeypatch.setattr(scheduler_module, "seconds", ticking)
    monkeypatch.setattr(scheduler_module, "_LOOK", 1.0)  # five ticks
    return ticking


def trained(store: Store, key: str, status: Status = "finished", error: str | None = None) -> Event:
    """What a worker does that trains a run to its end."""
    if store.claim([key], ME) is None:
        return key, Ended(key, "taken")
    store.end(key, ME, status, error)
    return key, Ended(key, status, error, recorded=True)  # type: ignore[arg-type]


def scheduler_of(
    store: Store,
    jobs: list[Job],
    executor: Scripted,
    options: Options | None = None,
    interrupts: Callable[[], int] = int,
) -> tuple[Scheduler, io.StringIO]:
    out = io.StringIO()
    return Scheduler(store, jobs, executor, PlainView(out, out), interrupts, options or Options()), out


def test_the_word_that_a_run_ended_waits_for_a_scheduler_that_was_suspended() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b'{"type": "noise"}\n' * 50)
    except BlockingIOError:
        os.set_blocking(writing, True)
    link = SupervisorLink(writing, patience=0.01)
    link.send(EpochDone("k", 1, 2, 1.0, 0.1))  # dropped
    sending = threading.Thread(target=link.send, args=(Ended("k", "finished"),))
    sending.start()
    sending.join(0.1)
    heard = b""
    while b'"end"' not in heard:
        heard += os.read(reading, 1 << 16)
    sending.join()
    words = [message for line in heard.decode().splitlines() if (message := decode_message(line)) is not None]
    assert words == [Ended("k", "finished")]
    os.close(reading)
    link.send(Ended("k", "finished"))  # a scheduler that is gone is not waited for
    os.close(writing)


@pytest.mark.parametrize("late", [True, False], ids=["after its hours", "by hand"])
def test_ctrl_c_once_more_ends_at_once(bench: MakeBench, clock: Ticking, late: bool) -> None:
    one = bench(runs=1)

    def interrupts() -> int:
        return len(executor.cancelled) + (not late) if executor.polls > 1 else 0

    with Store.open(one.database) as store:
        executor = Scripted(store, lambda key, _: (key, Exited(-9)) if (key, True) in executor.cancelled else None)
        scheduler, out = scheduler_of(
            store, one.jobs(), executor, Options(max_hours=3 / 3600 if late else None), interrupts
        )
        summary = scheduler.run()
    assert summary.exit_code == 130
    assert executor.cancelled == [(one.keys[0], False), (one.keys[0], True)], out.getvalue()


def test_a_worker_that_is_killed_after_it_recorded_the_end_changes_nothing(bench: MakeBench) -> None:
    one = bench(runs=1)

    def deed(key: str, attempt: int) -> Event:
        trained(store, key)
        return key, Exited(1)

    with Store.open(one.database) as store:
        summary = scheduler_of(store, one.jobs(), Scripted(store, deed))[0].run()
    assert (summary.exit_code, len(summary.finished), summary.failed) == (0, 1, ())


def test_a_failure_that_another_command_tries_again_is_not_this_one_s(bench: MakeBench, clock: Ticking) -> None:
    one = bench(runs=1)
    key = one.keys[0]
    with Store.open(one.database) as store, Store.open(one.database) as other:
        assert other.claim([key], ME) is not None

        def every(poll: int) -> None:
            if poll == 10:
                other.end(key, ME, "failed", "passes")
            elif failed_for and other.statuses([key])[key][0] == "failed":
                failed_for.pop()
                if not failed_for:
                    other.requeue([key])
                    assert other.claim([key], ME) is not None
                    ends.append(poll + 10)
            elif ends and poll == ends[0]:
                other.end(key, ME, "finished")

        failed_for, ends = [1, 2], list[int]()
        executor = Scripted(store, lambda key, attempt: None)
        executor.every = every
        scheduler, _ = scheduler_of(store, one.jobs(), executor)
        summary = scheduler.run()
    assert summary.exit_code == 0
    assert not executor.attempts


def test_the_run_that_another_command_trains_in_place_of_one_is_waited_for(bench: MakeBench, clock: Ticking) -> None:
    one = bench(runs=1)
    key = one.keys[0]
    with Store.open(one.database) as store, Store.open(one.database) as other:
        assert other.claim([key], ME) is not None

        def every(poll: int) -> None:
            if poll == 10:
                other.end(key, ME, "failed", "out of memory")
                job = halved(other, one.jobs()[0])
                assert job is not None
                assert other.claim([job.key], ME) is not None
                jobs.append(job)
            elif poll == 60:
                other.end(jobs[0].key, ME, "finished")

        jobs: list[Job] = []
        executor = Scripted(store, lambda key, attempt: None)
        executor.every = every
        scheduler, _ = scheduler_of(store, one.jobs(), executor)
        summary = scheduler.run()
    assert (summary.exit_code, [job.key for job in summary.finished]) == (0, [jobs[0].key])


def test_runs_that_are_queued_again_by_hand_are_taken_up_while_the_command_works(
    bench: MakeBench, clock: Ticking
) -> None:
    two = bench(runs=2)
    failed, other = two.keys

    def deed(key: str, attempt: int) -> Event | None:
        if attempt == 1:
            return trained(store, key, "failed", "once")
        if key == other:
            if executor.polls == 20:
                store.requeue([failed])
            return trained(store, key) if executor.polls > 60 else None
        return trained(store, key)

    with Store.open(two.database) as store:
        executor = Scripted(store, deed)
        scheduler, out = scheduler_of(store, two.jobs(), executor)
        summary = scheduler.run()
    assert (summary.exit_code, len(summary.finished)) == (0, 2), out.getvalue()


def test_a_worker_that_the_system_does_not_start_fails_its_run_with_a_line(bench: MakeBench) -> None:
    one = bench(runs=1)
    out = io.StringIO()
    options = Options(command=("/nowhere/python", "--serve"))
    summary = run_jobs(one.database, one.jobs(), Slots(cores=1), PlainView(out, out), options)
    assert summary.exit_code == 1
    assert summary.failed[0].error.startswith("/nowhere/python: no worker process can be started (No such file")
    assert one.statuses() == ["failed"]


def test_a_command_without_hours_says_why_it_trains_nothing(bench: MakeBench, clock: Ticking) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        scheduler, out = scheduler_of(
            store, one.jobs(), Scripted(store, lambda key, attempt: None), Options(max_hours=0.0)
        )
        assert scheduler.run().exit_code == 130
    assert "0 hours are over" in out.getvalue().splitlines()


def test_a_run_does_not_continue_a_replacement_and_says_so(bench: MakeBench) -> None:
    two = bench(runs=2)
    parent, child = two.jobs()
    with Store.open(two.database) as store:
        other = halved(store, parent)
        assert other is not None
        store.end_free(parent.key, "failed", "out of memory")
        executor = Scripted(store, lambda key, attempt: None)
        summary = scheduler_of(store, [replace(child, parent=parent.key)], executor)[0].run()
    assert f"run {other.key[:12]} of half its batch is another one" in summary.failed[0].error
    assert not executor.attempts
