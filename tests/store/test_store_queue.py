"""Ablations, members and runs: queued once, claimed by one, found again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples
from processes import pid_namespace
from sqlalchemy import update

from mmad.base.clock import seconds
from mmad.base.errors import StoreError
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.store import claims, schema
from mmad.store.claims import LEASE, Owner
from mmad.store.store import Store

ME = Owner.current()
CLAIM_ALL = """
import sys
from mmad.store.store import Store
from mmad.store.claims import Owner
with Store.open(sys.argv[1], create=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while (run := store.claim(None, Owner.current())) is not None:
        print(run.key, flush=True)
    print("done", flush=True)
    sys.stdin.readline()
"""


def gone() -> Owner:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner.of(process.pid)
    process.communicate(b"\n")
    return owner


def claimer(address: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A process that claims every run on a line of input, then waits for another line; ``within`` starts it."""
    command = [*within, sys.executable, "-c", CLAIM_ALL, address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def claimed_by(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return list(iter(lambda: process.stdout.readline().strip(), "done"))  # type: ignore[union-attr]


def test_an_ablation_comes_back_as_it_was_given(store: Store) -> None:
    judged = EvaluationProtocol(overlap="iobb", threshold=0.25, max_detections=7, proposals="with_ground_truth")
    given = samples.ablation(patiences=(5, 10), seeds=(0, 1), evaluation=judged)
    first = replace(given.members[0], inferred=("era", "epochs"), overrides=("epochs=3",), replicate=2)
    given = replace(given, members=(first, *given.members[1:]))
    store.add_ablation(given)
    (found,) = store.ablations()
    assert (found.name, found.title, found.description) == (given.name, given.title, given.description)
    assert (found.path, found.source, found.compare) == (str(Path(given.path).absolute()), given.source, given.compare)
    assert [m.position for m in found.members] == list(range(8))
    for record, member in zip(found.members, given.members, strict=True):
        assert (record.ablation, record.setting, record.arm, record.seed, record.replicate, record.documented) == (
            member.ablation,
            member.setting,
            member.arm,
            member.seed,
            member.replicate,
            member.documented,
        )
        assert record.key == member.run.key
        assert record.evaluation == member.evaluation.model_dump()
        assert (record.inferred, record.overrides) == (member.inferred, member.overrides)


def test_a_run_is_recorded_with_what_its_key_was_made_of(store: Store) -> None:
    member = samples.member()
    store.add_ablation(samples.made_of("one", [replace(member, ablation="one")]))
    (run,) = store.run_records()
    assert (run.key, run.status, run.epochs_done, run.error) == (member.run.key, "queued", 0, None)
    assert (run.setup, run.protocol) == member.run.recorded()
    assert run.content == run.key
    again = RunSpec(ModelSetup(**run.setup), TrainingProtocol(**run.protocol), member.run.data)
    assert again.key == run.key
    assert (run.dataset_name, run.dataset_path, run.dataset_fingerprint) == ("set", "/data/set", "f" * 64)
    assert run.created.utcoffset() is not None
    assert run.started is None


def test_adding_again_replaces_members_and_keeps_runs(store: Store) -> None:
    good, bad = samples.fill(store)
    wider = samples.ablation(patiences=(10, 20))
    store.add_ablation(wider)
    store.add_ablation(wider)
    assert len(store.ablations()[0].members) == 4
    statuses = {run.key: run.status for run in store.run_records()}
    assert len(statuses) == 4
    assert (statuses[good], statuses[bad]) == ("finished", "failed")
    store.add_ablation(samples.ablation(patiences=(20,)))
    assert len(store.ablations()[0].members) == 2
    assert len(store.run_records()) == 4
    assert len(store.epoch_records(good)) == 3


def test_members_of_two_ablations_share_a_run(store: Store) -> None:
    store.add_ablation(samples.ablation("one"))
    store.add_ablation(samples.ablation("two"))
    assert [a.name for a in store.ablations()] == ["one", "two"]
    assert len(store.run_records()) == 2


def test_where_the_data_lies_is_noted_anew(store: Store) -> None:
    store.add_ablation(samples.ablation())
    store.add_ablation(samples.ablation(data=samples.source(path="/moved")))
    assert {run.dataset_path for run in store.run_records()} == {"/moved"}


def test_a_provisional_run_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(StoreError, match="was not looked at") as caught:
        store.add_ablation(samples.ablation(data=samples.source(fingerprint=None)))
    assert "--data" in str(caught.value)
    assert store.ablations() == []
    assert store.run_records() == []


def test_claims_follow_the_queue_and_the_keys(store: Store) -> None:
    given = samples.ablation(patiences=(5, 10))
    store.add_ablation(given)
    keys = [m.run.key for m in given.members]
    first = store.claim(None, ME)
    assert first is not None
    assert (first.key, first.status) == (keys[0], "claimed")
    assert first.started is not None
    assert store.owners() == {keys[0]: ME}
    third = store.claim([keys[3], keys[2]], ME)
    assert third is not None
    assert third.key == keys[2]
    assert store.claim([keys[0]], ME) is None
    assert store.claim([], ME) is None


@pytest.mark.parametrize(
    ("status", "free"),
    [
        ("queued", True),
        ("finished", False),
        ("failed", False),
        ("interrupted", False),
        ("stopped", False),
        ("claimed", False),
        ("running", False),
    ],
)
def test_only_queued_runs_are_free(store: Store, status: str, free: bool) -> None:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    run = store.claim(None, ME)
    assert run is not None
    if status == "running":
        assert store.begin(run.key, ME)
    elif status != "claimed":
        assert store.end(run.key, ME, status, "why") == status  # type: ignore[arg-type]
    assert (store.claim(None, ME) is not None) == free


@pytest.mark.parametrize(
    ("change", "free"),
    [
        (lambda: gone(), True),
        (lambda: replace(ME, process_table="another boot"), False),
        (lambda: replace(ME, process_started=ME.process_started + 1), True),
        (lambda: replace(ME, host="elsewhere", process_table="another"), False),
        (lambda: ME, False),
    ],
    ids=["ended", "another process table", "number reused", "other machine", "alive"],
)
def test_a_running_run_is_taken_back_only_from_the_dead(store: Store, change: Callable[[], Owner], free: bool) -> None:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    run = store.claim(None, change())
    assert run is not None
    store.commit_epoch(run.key, samples.epoch(1))
    again = store.claim(None, ME)
    assert (again is not None) == free
    if again is not None:
        assert (again.started, again.epochs_done) == (run.started, 1)
        assert store.owners() == {run.key: ME}


def test_a_running_run_that_nobody_claimed_is_free(store: Store) -> None:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    with store.database.writing() as connection:
        connection.execute(update(schema.runs).values(status="running"))
    assert store.claim(None, ME) is not None


def test_statuses_keep_their_moments_and_errors(store: Store) -> None:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    run = store.claim(None, ME)
    assert run is not None
    store.end(run.key, ME, "failed", "out of memory")
    failed = store.run(run.key)
    assert (failed.status, failed.error) == ("failed", "out of memory")
    assert failed.finished is not None
    assert store.owners() == {}
    assert store.requeue([run.key]) == (run.key,)
    queued = store.run(run.key)
    assert (queued.status, queued.error, queued.finished) == ("queued", None, None)
    store.claim(None, ME)
    store.end(run.key, ME, "finished")
    assert store.requeue([run.key]) == ()


def test_running_runs_are_requeued_only_when_asked(store: Store) -> None:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    run = store.claim(None, replace(ME, host="lost"))
    assert run is not None
    assert store.requeue([run.key]) == ()
    assert store.requeue([run.key], ("running", "claimed")) == ()
    assert store.take_away([run.key]) == (run.key,)
    assert store.claim(None, ME) is not None


def test_a_run_is_found_by_the_beginning_of_its_key(store: Store) -> None:
    good, _ = samples.fill(store)
    assert store.run(good[:9]).key == good
    wrong = ("0" if good[7] != "0" else "1").join((good[:7], good[8:12]))
    with pytest.raises(StoreError, match=f"did you mean {good[:12]}"):
        store.run(wrong)
    with pytest.raises(StoreError, match="no run ''"):
        store.run("")


def test_the_beginning_of_several_keys_names_the_candidates(store: Store) -> None:
    store.add_ablation(samples.ablation(seeds=range(9)))  # 18 keys, 16 first digits
    keys = [run.key for run in store.run_records()]
    digit = next(key[0] for key in keys if sum(other[0] == key[0] for other in keys) > 1)
    with pytest.raises(StoreError, match="runs begin with") as caught:
        store.run(digit)
    assert sum(key[:12] in str(caught.value) for key in keys) >= 2


@pytest.mark.slow
def test_two_processes_never_get_the_same_run(store: Store, address: str) -> None:
    store.add_ablation(samples.ablation(seeds=range(20)))
    processes = [claimer(address) for _ in range(2)]
    for process in processes:
        go(process)
    shares = [claimed_by(process) for process in processes]
    for process in processes:
        process.communicate("\n")
    assert sorted(shares[0] + shares[1]) == sorted(run.key for run in store.run_records())


@pytest.mark.slow
def test_the_runs_of_a_killed_process_are_taken_back(store: Store, address: str) -> None:
    store.add_ablation(samples.ablation(seeds=range(2)))
    process = claimer(address)
    go(process)
    held = claimed_by(process)
    assert len(held) == 4
    assert store.claim(None, ME) is None
    process.kill()  # not waited for: it stays a zombie, as under a parent that is busy
    while not all(owner.alive is False for owner in store.owners().values()):
        time.sleep(0.01)
    taken = [run.key for run in iter(lambda: store.claim(None, ME), None)]
    assert taken == held
    process.communicate()


@pytest.mark.slow
def test_a_process_of_another_namespace_is_gone_only_when_its_lease_is_over(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_ablation(samples.ablation(seeds=range(1)))
    process = claimer(address, within=pid_namespace())
    go(process)
    held = claimed_by(process)
    owners = store.owners()
    assert {owner.host for owner in owners.values()} == {ME.host}
    assert [owner.alive for owner in owners.values()] == [None] * len(held)
    assert store.claim(None, ME) is None
    for owner in owners.values():
        assert store.beat(held[0], owner) == "held"
    monkeypatch.setattr(claims, "seconds", lambda: seconds() + LEASE + 1)
    assert store.claim(held[:1], ME) is None
    taken = store.claim(None, ME)
    assert taken is not None
    assert taken.key == held[1]
    process.communicate("\n")


def test_a_process_that_is_hidden_may_live_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under /proc with hidepid=2: another user's process answers a signal alone."""

    def refused(pid: int, number: int) -> None:
        raise PermissionError

    hidden = replace(ME, pid=2**22 + 1)
    assert hidden.alive is False
    monkeypatch.setattr(os, "kill", refused)
    assert hidden.alive is None


@pytest.mark.parametrize("table", ["", ME.process_table.split("/")[0], "boot/machine/1"])
def test_a_process_of_another_table_or_an_earlier_version_cannot_be_asked(table: str) -> None:
    assert replace(ME, process_table=table).alive is None


@pytest.fixture(scope="module")
def many() -> list[Member]:
    """Ten thousand runs, with their keys."""
    setup, data = ModelSetup(), samples.source()
    runs = (RunSpec(setup, TrainingProtocol(seed=n, weights_hash="a" * 64), data) for n in range(10_000))
    return [Member("many", "s", "CXR", run.protocol.seed, run, EvaluationProtocol()) for run in runs]


@pytest.mark.slow
def test_ten_thousand_runs_are_queued_and_claimed(store: Store, many: list[Member]) -> None:
    store.add_ablation(samples.made_of("many", many))
    keys = [m.run.key for m in many]
    for position in range(10):
        run = store.claim(keys, ME)
        assert run is not None
        assert run.key == keys[position]
        store.end(run.key, ME, "finished")
    last = store.claim([keys[-1]], ME)
    assert last is not None
    assert last.key == keys[-1]
    assert len(store.run_records()) == 10_000
    assert len(store.all_epochs(keys)) == 10_000


def test_this_process_is_alive_and_known() -> None:
    assert Owner.of(os.getpid()) == ME
    assert ME.here
    assert ME.alive
