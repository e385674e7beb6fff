"""Whatever happens in whatever order: one living owner per run, refusals for those who lost theirs, nothing stuck."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
import store_samples as samples
from claims_world import HERE, THERE, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from random_search import examples
from sqlalchemy import delete, event

from mmad.store import schema
from mmad.store.claims import LEASE, NotHeld, Observer, Owner
from mmad.store.store import Store

pytestmark = pytest.mark.slow

RUNS = 4
HELD = ("claimed", "running")
ENDS = ("finished", "failed", "interrupted", "stopped")
number = st.integers(0, RUNS - 1)
some = st.lists(number, min_size=1, max_size=RUNS, unique=True)
pick = st.integers(0, 10**6)


@dataclass
class Model:
    """How a run must stand."""

    status: str = "queued"
    owner: Owner | None = None
    heartbeat: datetime | None = None
    asked: bool = False
    priority: int = 0
    attempts: int = 0
    watched: tuple[Owner, datetime | None, datetime] | None = None  # owner and heartbeat as seen since a moment

    def release(self, status: str) -> None:
        self.status, self.owner, self.heartbeat, self.asked = status, None, None, False


class Claims(RuleBasedStateMachine):
    """The store against a model of what is promised of it."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.stack = ExitStack()
        self.stack.enter_context(self.world.entered())
        self.store._observer = Observer()
        with self.store.database.writing() as connection:
            for table in (schema.members, schema.ablations, schema.runs):
                connection.execute(delete(table))
        given = samples.ablation(seeds=range(RUNS // 2))
        self.store.add_ablation(given)
        self.keys = [member.run.key for member in given.members]
        self.runs = [Model() for _ in self.keys]
        self.processes = [self.world.process(HERE, 1), self.world.process(THERE, 1), self.world.process(HERE, 2)]
        self.held: set[tuple[Owner, int]] = set()  # every claim there ever was
        self.epoch = 0

    def teardown(self) -> None:
        try:
            self.nothing_is_stuck()
        finally:
            self.stack.close()

    # the world

    @rule(host=st.sampled_from([HERE, THERE]), pid=st.integers(1, 3))
    def begin_a_process(self, host: str, pid: int) -> None:
        if host == HERE and pid in self.world.living:
            return
        self.processes.append(self.world.process(host, pid))

    @rule(which=pick)
    def kill(self, which: int) -> None:
        self.world.kill(self._process(which))

    @rule()
    def reboot(self) -> None:
        self.world.reboot()

    @rule(seconds=st.sampled_from([1.0, 100.0, LEASE, LEASE + 1, 4 * LEASE]))
    def later(self, seconds: float) -> None:
        self.world.later(seconds)

    # what a worker does

    @rule(which=pick, keys=st.none() | some)
    def claim(self, which: int, keys: list[int] | None) -> None:
        owner = self._process(which)
        if not self.world.alive(owner):
            return
        wanted = range(RUNS) if keys is None else keys
        order = sorted(wanted, key=lambda i: (-self.runs[i].priority, i))
        expected = None
        for i in order:
            run = self.runs[i]
            if not self._free(run):
                continue
            if run.status in HELD and run.asked:
                run.release("stopped")
                continue
            expected = i
            run.release("claimed")
            run.owner, run.heartbeat, run.attempts = owner, self.world.moment, run.attempts + 1
            break
        found = self.store.claim(None if keys is None else [self.keys[i] for i in keys], owner, "cpu")
        assert (None if found is None else self.keys.index(found.key)) == expected
        if found is not None:
            assert (found.status, found.error, found.finished, found.device) == ("claimed", None, None, "cpu")
            self.held.add((owner, self.keys.index(found.key)))

    @rule(which=pick, i=number)
    def begin(self, which: int, i: int) -> None:
        owner, run = self._actor(which, i), self.runs[i]
        held = run.owner == owner
        assert self.store.begin(self.keys[i], owner) == held
        if held:
            run.status, run.heartbeat = "running", self.world.moment

    @rule(which=pick, i=number, renew=st.booleans())
    def beat(self, which: int, i: int, renew: bool) -> None:
        owner, run = self._actor(which, i), self.runs[i]
        answer = self.store.beat(self.keys[i], owner, renew=renew)
        assert answer == ("lost" if run.owner != owner else "stop" if run.asked else "held")
        if renew and run.owner == owner:
            run.heartbeat = self.world.moment

    @rule(which=pick, i=number, status=st.sampled_from(ENDS))
    def end(self, which: int, i: int, status: str) -> None:
        owner, run = self._actor(which, i), self.runs[i]
        written = self.store.end(self.keys[i], owner, status, "why")  # type: ignore[arg-type]
        if run.owner != owner:
            assert written is None
            return
        expected = "stopped" if run.asked and status == "interrupted" else status
        assert written == expected
        run.release(expected)

    @rule(which=pick, i=number)
    def commit(self, which: int, i: int) -> None:
        owner, run = self._actor(which, i), self.runs[i]
        self.epoch += 1
        if run.owner == owner:
            self.store.commit_epoch(self.keys[i], samples.epoch(self.epoch), owner=owner)
        else:
            with pytest.raises(NotHeld, match="taken the run over"):
                self.store.commit_epoch(self.keys[i], samples.epoch(self.epoch), owner=owner)
            assert self.epoch not in {record.epoch for record in self.store.epoch_records(self.keys[i])}

    # what a person or a scheduler does

    @rule(which=some)
    def stop(self, which: list[int]) -> None:
        expected = {}
        for i in which:
            run = self.runs[i]
            if run.status in ("queued", "interrupted", *HELD):
                expected[self.keys[i]] = run.status
                if run.status in HELD and not self._free(run):
                    run.asked = True
                else:
                    run.release("stopped")
        assert self.store.stop([self.keys[i] for i in which]) == expected

    @rule(which=some, statuses=st.lists(st.sampled_from((*ENDS, *HELD)), unique=True))
    def requeue(self, which: list[int], statuses: list[str]) -> None:
        chosen = [i for i in sorted(which) if self.runs[i].status in statuses]
        chosen = [i for i in chosen if self.runs[i].status not in HELD or self._free(self.runs[i])]
        found = self.store.requeue([self.keys[i] for i in which], statuses)  # type: ignore[arg-type]
        assert found == tuple(self.keys[i] for i in chosen)
        for i in chosen:
            self.runs[i].release("queued")

    @rule(which=some)
    def take_away(self, which: list[int]) -> None:
        chosen = [i for i in sorted(which) if self.runs[i].status in HELD]
        assert self.store.take_away([self.keys[i] for i in which]) == tuple(self.keys[i] for i in chosen)
        for i in chosen:
            self.runs[i].release("queued")

    @rule(which=some, priority=st.integers(-2, 2))
    def prioritise(self, which: list[int], priority: int) -> None:
        self.store.prioritise([self.keys[i] for i in which], priority)
        for i in which:
            self.runs[i].priority = priority

    @rule(i=number, status=st.sampled_from(["failed", "interrupted"]))
    def end_free(self, i: int, status: str) -> None:
        run = self.runs[i]
        free = self._free(run)
        assert self.store.end_free(self.keys[i], status, "why") == free  # type: ignore[arg-type]
        if free:
            run.release("stopped" if run.asked and status == "interrupted" else status)

    # what always holds

    @invariant()
    def every_run_stands_as_the_model_says(self) -> None:
        found = {record.key: record for record in self.store.run_records()}
        for key, run in zip(self.keys, self.runs, strict=True):
            record = found[key]
            seen = (record.status, record.stop_asked, record.priority, record.attempts)
            assert seen == (run.status, run.asked, run.priority, run.attempts)
            assert (record.finished is not None) == (run.status in ("finished", "failed", "stopped"))
        order = sorted(range(RUNS), key=lambda i: (-self.runs[i].priority, i))
        assert [record.key for record in self.store.run_records()] == [self.keys[i] for i in order]
        owned = {key: run.owner for key, run in zip(self.keys, self.runs, strict=True) if run.owner is not None}
        assert self.store.owners() == owned
        queued = {key: run for key, run in zip(self.keys, self.runs, strict=True) if run.status == "queued"}
        assert self.store.priorities() == {key: run.priority for key, run in queued.items() if run.priority}
        free = {key for key, run in zip(self.keys, self.runs, strict=True) if self._free(run)}
        assert self.store.free(self.keys) == free
        for run in self.runs:  # each has been looked at
            if run.owner is not None and (run.watched is None or run.watched[:2] != (run.owner, run.heartbeat)):
                run.watched = (run.owner, run.heartbeat, self.world.moment) if self._unknown(run.owner) else None

    @invariant()
    def nobody_but_the_owner_is_told_to_go_on(self) -> None:
        for owner, i in self.held:
            if self.runs[i].owner != owner:
                assert self.store.beat(self.keys[i], owner, renew=False) == "lost"

    @invariant()
    def a_living_owner_here_loses_its_run_only_by_hand(self) -> None:
        for key, run in zip(self.keys, self.runs, strict=True):
            if run.owner is not None and run.owner.host == HERE and self.world.alive(run.owner):
                assert key not in self.store.free(self.keys)

    def nothing_is_stuck(self) -> None:
        """When all are dead and their leases over, a new process gets every run that waits or was held."""
        self.world.reboot()
        self.world.elsewhere.clear()
        self.store.free(self.keys)
        self.world.later(LEASE + 1)
        last = self.world.process(HERE, 9)
        open_runs = [i for i, run in enumerate(self.runs) if run.status in ("queued", *HELD)]
        wanted = [i for i in open_runs if not (self.runs[i].asked and self.runs[i].status in HELD)]
        got = [run.key for run in iter(lambda: self.store.claim(None, last), None)]
        order = sorted(wanted, key=lambda i: (-self.runs[i].priority, i))
        assert got == [self.keys[i] for i in order]
        for key in got:
            assert self.store.end(key, last, "finished") == "finished"
        assert {run.status for run in self.store.run_records()} <= set(ENDS)

    def _process(self, which: int) -> Owner:
        return self.processes[which % len(self.processes)]

    def _actor(self, which: int, i: int) -> Owner:
        """Every other time the run's owner, else anybody."""
        owner = self.runs[i].owner
        return owner if which % 2 and owner is not None else self._process(which // 2)

    def _free(self, run: Model) -> bool:
        if run.status == "queued":
            return True
        if run.status not in HELD:
            return False
        assert run.owner is not None
        assert run.heartbeat is not None
        if not self._unknown(run.owner):
            return not self.world.alive(run.owner)
        if run.watched is None or run.watched[:2] != (run.owner, run.heartbeat):
            return False
        return self.world.moment - run.watched[2] > timedelta(seconds=LEASE)

    def _unknown(self, owner: Owner) -> bool:
        return owner.process_table != self.world.table(HERE)


def test_claims_keep_their_promises(store: Store) -> None:
    count = 15
    if store.paths.file is not None:  # hundreds of transactions: nothing here needs to outlast a power cut
        store.database.engine.dispose()
        count = 60
        event.listen(store.database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    machine = type("ClaimsHere", (Claims,), {"store": store})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    options = settings(examples(count), stateful_step_count=30, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=options)
