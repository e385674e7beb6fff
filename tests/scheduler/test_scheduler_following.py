"""What the store tells of runs that other machines train, and what becomes of those whose machine is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from queue_bench import Bench

from mmad.base.records import EpochRecord, Metric
from mmad.scheduler.executors import polling
from mmad.scheduler.executors.polling import StorePoller, explained
from mmad.scheduler.jobs import JobState
from mmad.scheduler.process import Exited
from mmad.scheduler.supervisor_link import Ended, EpochDone, Started, encode
from mmad.store.claims import NotHeld, Owner
from mmad.store.store import Store

FAR = Owner("another-machine", 7, 1.0, "boot")
LOST = Exited(-9, why="its node was lost")
MakeBench = Callable[..., Bench]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_LOOK", 0.0)
    monkeypatch.setattr(polling, "_VANISHES", 0.0)


def epoch(number: int) -> EpochRecord:
    return EpochRecord(number, 0.01, 1.0, 0, (Metric("train", "loss", 1.0), Metric("val", "ap_iou", 0.25)))


def test_changes_of_the_store_become_messages_once(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, state = StorePoller(store), JobState(one.jobs()[0])
        poller.follow(state)
        key = one.keys[0]
        assert list(poller.poll()) == []
        store.claim([key], FAR, "cuda:0")
        assert list(poller.poll()) == []
        assert state.device == "another-machine, cuda:0"
        store.begin(key, FAR)
        assert list(poller.poll()) == [(key, Started(key, 0, 3))]
        store.commit_epoch(key, epoch(1), [], [], FAR)
        store.commit_epoch(key, epoch(2), [], [], FAR)
        messages = [message for _, message in poller.poll()]
        assert [m.epoch for m in messages if isinstance(m, EpochDone)] == [1, 2]
        assert list(poller.poll()) == []
        store.commit_epoch(key, epoch(3), [], [], FAR)
        store.end(key, FAR, "finished")
        *before, last = poller.ended(key, (), LOST, cancelled=False)
        assert [message.epoch for _, message in before if isinstance(message, EpochDone)] == [3]
        assert last == (key, Ended(key, "finished", recorded=True))


def test_a_lost_run_of_another_machine_is_taken_away_and_its_owner_writes_no_more(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, key = StorePoller(store), one.keys[0]
        poller.follow(JobState(one.jobs()[0]))
        store.claim([key], FAR)
        store.begin(key, FAR)
        assert store.free([key]) == frozenset()
        *_, (_, last) = poller.ended(key, (), LOST, cancelled=False)
        assert isinstance(last, Exited)
        assert last.how == "its node was lost"
        assert store.run(key).status == "queued"
        with pytest.raises(NotHeld):
            store.commit_epoch(key, epoch(1), [], [], FAR)
        assert store.epoch_records(key) == []


def test_a_run_that_was_to_stop_stays_stopped_when_its_machine_is_lost(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, key = StorePoller(store), one.keys[0]
        poller.follow(JobState(one.jobs()[0]))
        store.claim([key], FAR)
        store.stop([key])
        *_, (_, last) = poller.ended(key, (), LOST, cancelled=False)
        assert isinstance(last, Ended)
        assert (last.status, store.run(key).status) == ("stopped", "stopped")


def test_a_living_process_of_this_machine_keeps_its_run(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, key = StorePoller(store), one.keys[0]
        poller.follow(JobState(one.jobs()[0]))
        store.claim([key], Owner.current())
        list(poller.ended(key, (), LOST, cancelled=False))
        assert store.run(key).status == "claimed"


@pytest.mark.parametrize(("cancelled", "kind"), [(True, Ended), (False, Exited)])
def test_an_interrupted_run_is_begun_again_unless_that_was_asked(bench: MakeBench, cancelled: bool, kind: type) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, key = StorePoller(store), one.keys[0]
        poller.follow(JobState(one.jobs()[0]))
        store.claim([key], FAR)
        store.end(key, FAR, "interrupted")
        *_, (_, last) = poller.ended(key, (), LOST, cancelled=cancelled)
        assert isinstance(last, kind)


def test_the_workers_last_word_counts_most(bench: MakeBench) -> None:
    one = bench(runs=1)
    with Store.open(one.database) as store:
        poller, key = StorePoller(store), one.keys[0]
        poller.follow(JobState(one.jobs()[0]))
        said = Ended(key, "failed", "out of memory", "memory")
        assert list(poller.ended(key, ["noise", encode(said)], LOST, cancelled=False)) == [(key, said)]


def test_a_worker_that_could_not_begin_says_why() -> None:
    assert explained(Exited(1), ["a", "No module named mmad", ""]).how == (
        "its process ended with exit code 1 (No module named mmad)"
    )
    assert explained(Exited(3), []).how == "its process ended with exit code 3"
    assert explained(LOST, ["a"]).how == "its node was lost"
