"""Claims one by one: who may begin, beat, end, stop and be taken over, on this machine and on another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import store_samples as samples
from claims_world import HERE, THERE, World
from sqlalchemy import Connection, select

from mmad.store import claims
from mmad.store.claims import LEASE, NotHeld, Owner
from mmad.store.engine import TransactionLost
from mmad.store.measurements import write_memory
from mmad.store.run_rows import write_ablation
from mmad.store.schema import runs
from mmad.store.store import Store


@pytest.fixture
def world() -> Iterator[World]:
    with World().entered() as entered:
        yield entered


@pytest.fixture
def me(world: World) -> Owner:
    return world.process(HERE, 1)


@pytest.fixture
def key(store: Store) -> str:
    """A queued run, followed by another one."""
    given = samples.ablation()
    store.add_ablation(given)
    return given.members[0].run.key


def test_a_claim_is_begun_beaten_and_ended_by_its_owner_alone(store: Store, world: World, me: Owner, key: str) -> None:
    other = world.process(HERE, 2)
    assert not store.begin(key, me)
    assert store.beat(key, me) == "lost"
    assert store.end(key, me, "finished") is None
    run = store.claim([key], me, "cuda:1")
    assert run is not None
    assert (run.status, run.attempts, run.device) == ("claimed", 1, "cuda:1")
    assert not store.begin(key, other)
    assert store.run(key).status == "claimed"
    assert store.begin(key, me, samples.environment(), samples.COUNTS)
    assert store.run(key).status == "running"
    assert store.parameter_counts(key) == list(samples.COUNTS)
    assert store.environments(key) == [samples.environment()]
    assert (store.beat(key, me), store.beat(key, other)) == ("held", "lost")
    store.commit_epoch(key, samples.epoch(1), owner=me)
    with pytest.raises(NotHeld, match="another process has taken the run over"):
        store.commit_epoch(key, samples.epoch(2), owner=other)
    assert store.end(key, other, "failed", "x") is None
    assert store.end(key, me, "finished") == "finished"
    assert store.owners() == {}
    with pytest.raises(NotHeld):
        store.commit_epoch(key, samples.epoch(2), owner=me)
    assert [record.epoch for record in store.epoch_records(key)] == [1]


def test_what_a_begin_brings_is_refused_with_it(store: Store, me: Owner, key: str) -> None:
    assert not store.begin(key, me, samples.environment(), samples.COUNTS)
    assert store.parameter_counts(key) == []
    assert store.environments(key) == []


def test_another_machine_s_run_is_free_when_its_lease_is_over(store: Store, world: World, me: Owner, key: str) -> None:
    far = world.process(THERE, 7)
    assert store.claim([key], far) is not None
    world.later(LEASE)
    assert store.claim([key], me) is None
    assert store.queue_status().places == 1
    assert store.beat(key, far) == "held"
    assert store.claim([key], me) is None
    world.later(LEASE)
    assert store.free([key]) == frozenset()
    world.later(1)
    assert store.free([key]) == {key}
    (lost,) = store.queue_status().running
    assert (lost.owner, lost.alive) == (far, False)
    assert store.beat(key, far, renew=False) == "held"  # nobody has taken it yet
    run = store.claim([key], me)
    assert run is not None
    assert run.attempts == 2
    assert store.beat(key, far) == "lost"
    with pytest.raises(NotHeld):
        store.commit_epoch(key, samples.epoch(1), owner=far)


def test_a_late_heartbeat_keeps_a_run_that_nobody_took(store: Store, world: World, me: Owner, key: str) -> None:
    far = world.process(THERE, 7)
    store.claim([key], far)
    assert store.claim([key], me) is None
    world.later(10 * LEASE)
    assert store.beat(key, far) == "held"
    assert store.claim([key], me) is None


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_clocks_that_are_apart_change_nothing(store: Store, world: World, me: Owner, key: str, ahead: float) -> None:
    far = world.process(THERE, 7)
    world.ahead = ahead
    store.claim([key], far)
    for _ in range(20):
        world.later(20)
        world.ahead = ahead
        assert store.beat(key, far) == "held"
        world.ahead = 0.0
        assert store.claim([key], me) is None
    world.later(LEASE)
    assert store.claim([key], me) is None
    world.later(1)
    assert store.claim([key], me) is not None


def test_whoever_has_not_watched_for_a_lease_takes_nothing(store: Store, world: World, me: Owner, key: str) -> None:
    """A command that looks once cannot know of a worker that it cannot ask."""
    store.claim([key], world.process(THERE, 7))
    world.later(100 * LEASE)
    assert store.requeue([key], ("claimed", "running")) == ()
    with Store.open(store.paths.database) as other:
        assert other.stop([key]) == {key: "claimed"}
        assert not other.end_free(key, "interrupted")
        world.later(LEASE + 1)
        assert other.end_free(key, "interrupted")
    assert store.run(key).status == "stopped"


def test_this_machine_s_run_is_never_free_for_want_of_heartbeats(
    store: Store, world: World, me: Owner, key: str
) -> None:
    store.claim([key], me)
    world.later(100 * LEASE)
    assert store.free([key]) == frozenset()
    (run,) = store.queue_status().running
    assert (run.alive, run.silent_since) == (True, world.moment - timedelta(seconds=100 * LEASE))
    world.kill(me)
    assert store.free([key]) == {key}


def test_a_number_used_again_and_a_reboot_are_no_owner(store: Store, world: World, me: Owner, key: str) -> None:
    store.claim([key], me)
    world.kill(me)
    again = world.process(HERE, me.pid)
    assert store.beat(key, again) == "lost"
    assert store.claim([key], again) is not None
    world.reboot()
    fresh = world.process(HERE, again.pid)  # that it was this machine's cannot be proven: machines may be copies
    assert store.claim([key], fresh) is None
    world.later(LEASE + 1)
    assert store.claim([key], fresh) is not None


def test_a_stop_reaches_the_owner_and_ends_what_waits(store: Store, world: World, me: Owner, key: str) -> None:
    store.claim([key], me)
    second = next(run.key for run in store.run_records() if run.key != key)
    assert store.stop([key, second, "0" * 64]) == {key: "claimed", second: "queued"}
    assert store.run(second).status == "stopped"
    assert (store.run(key).status, store.run(key).stop_asked) == ("claimed", True)
    assert store.beat(key, me) == "stop"
    assert store.end(key, me, "interrupted", "Ctrl-C") == "stopped"
    assert (store.run(key).error, store.run(key).stop_asked) == ("stopped by hand", False)
    assert store.claim(None, me) is None
    assert store.requeue([key, second]) == ()
    assert store.requeue([second, key], ("stopped",)) == (key, second)
    assert store.run(key).finished is None


def test_a_stop_that_comes_too_late_changes_no_result(store: Store, me: Owner, key: str) -> None:
    store.claim([key], me)
    store.stop([key])
    assert store.end(key, me, "finished") == "finished"
    assert store.stop([key]) == {}


@pytest.mark.parametrize("found_by", ["claim", "end_free"])
def test_a_stop_outlives_its_worker(store: Store, world: World, me: Owner, key: str, found_by: str) -> None:
    store.claim([key], me)
    store.stop([key])
    world.kill(me)
    next_one = world.process(HERE, 2)
    if found_by == "claim":
        assert store.claim([key], next_one) is None
    else:
        assert store.end_free(key, "interrupted", "killed")
    assert (store.run(key).status, store.run(key).error) == ("stopped", "stopped by hand")


def test_the_end_of_a_run_without_an_owner_is_noted(store: Store, world: World, me: Owner, key: str) -> None:
    store.claim([key], me, "cuda:0")
    assert not store.end_free(key, "failed", "x")
    world.kill(me)
    assert store.end_free(key, "interrupted", "its process was killed")
    run = store.run(key)
    assert (run.status, run.error, run.attempts, run.device) == ("interrupted", "its process was killed", 1, "cuda:0")
    assert not store.end_free(key, "failed")
    store.requeue([key])
    assert store.end_free(key, "failed", "its log cannot be written")


def test_a_run_is_taken_away_from_a_living_owner_only_by_hand(store: Store, world: World, me: Owner, key: str) -> None:
    store.claim([key], me)
    assert store.requeue([key], ("claimed", "running")) == ()
    assert store.take_away([key]) == (key,)
    assert store.take_away([key]) == ()
    assert store.beat(key, me) == "lost"
    other = world.process(HERE, 2)
    assert store.claim([key], other) is not None
    assert store.end(key, me, "failed", "late") is None
    assert store.owners() == {key: other}


def test_priorities_come_before_positions_and_fall_back_to_them(
    store: Store, me: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_FIRST", 2)
    monkeypatch.setattr(claims, "_PART", 5)
    store.add_ablation(samples.ablation(seeds=range(10)))  # more than are read at once, and than that again
    keys = [run.key for run in store.run_records()]
    store.prioritise([keys[12], keys[15]], 5)
    store.prioritise([keys[3]], -1)
    store.prioritise([keys[2]], 9)
    assert store.priorities() == {keys[12]: 5, keys[15]: 5, keys[3]: -1, keys[2]: 9}
    store.prioritise([keys[2]], 0)
    expected = [keys[12], keys[15], *(k for i, k in enumerate(keys) if i not in (3, 12, 15)), keys[3]]
    assert [run.key for run in iter(lambda: store.claim(None, me), None)] == expected


def test_a_held_run_whose_owner_died_keeps_its_turn(store: Store, world: World, me: Owner) -> None:
    store.add_ablation(samples.ablation(seeds=range(3)))
    keys = [run.key for run in store.run_records()]
    dying = world.process(HERE, 2)
    store.claim([keys[1]], dying)
    store.claim([keys[4]], dying)
    world.kill(dying)
    assert [run.key for run in iter(lambda: store.claim(None, me), None)] == keys


def test_two_commands_that_see_the_same_need_at_once_keep_the_most(postgresql: str) -> None:
    with Store.open(postgresql) as first, Store.open(postgresql) as second:
        with first.database.writing() as connection:
            write_memory(connection, "need", "A100", 5)
            other = threading.Thread(target=second.put_memory, args=("need", "A100", 7))
            other.start()
            other.join(0.3)
        other.join(10)
        assert second.memory() == {("need", "A100"): 7}


def test_a_stand_in_and_another_command_s_runs_get_places_of_their_own(postgresql: str) -> None:
    whole = samples.ablation()
    run = whole.members[0].run
    half = replace(run, setup=run.setup.model_copy(update={"batch_size": 1}))
    with Store.open(postgresql) as first, Store.open(postgresql) as second:
        first.add_ablation(whole)
        with first.database.writing() as connection:
            write_ablation(connection, samples.ablation("other", patiences=(77,)), lambda member: True)
            other = threading.Thread(target=second.replace_run, args=(run.key, half))
            other.start()
            other.join(0.3)
        other.join(10)
        with second.database.reading() as connection:
            positions = list(connection.scalars(select(runs.c.position)))
    assert sorted(positions) == list(range(5))


def test_priorities_count_among_named_runs_too(store: Store, me: Owner) -> None:
    store.add_ablation(samples.ablation(seeds=range(3)))
    keys = [run.key for run in store.run_records()]
    store.prioritise([keys[4]], 5)
    store.prioritise([keys[0]], -1)
    expected = [keys[i] for i in (4, 1, 2, 3, 5, 0)]
    assert [run.key for run in iter(lambda: store.claim(keys, me), None)] == expected


def test_a_claim_whose_answer_was_lost_hands_out_the_same_run(
    store: Store, me: Owner, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection dies when the transaction has counted: the claim is attempted again by itself."""
    writing, answers = store.database.writing, iter(["lost", "lost"])

    @contextmanager
    def losing() -> Iterator[Connection]:
        with writing() as connection:
            yield connection
        if next(answers, None) is not None:
            raise TransactionLost("the database server cannot be reached")

    monkeypatch.setattr(store.database, "writing", losing)
    run = store.claim(None, me)
    assert run is not None
    assert (run.key, run.status, run.attempts) == (key, "claimed", 1)
    assert list(store.owners()) == [key]
    second = store.claim(None, me)  # another claim of the same process is another run
    assert second is not None
    assert second.key != key
    assert store.claim(None, me) is None
