"""What a look at the queue reads: counts, few whole rows, and what waiting runs cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import store_samples as samples

from mmad.store import run_rows
from mmad.store.claims import Owner
from mmad.store.run_status import run_name
from mmad.store.store import Store

ME = Owner.current()


def paths(runs: tuple[object, ...]) -> list[str]:
    return [run_name(run) for run in runs]  # type: ignore[arg-type]


def test_a_look_at_a_queue_in_every_state(store: Store) -> None:
    samples.fill(store)  # one finished, one failed
    store.add_ablation(samples.ablation("seeds", seeds=(1, 2, 3)))
    one = store.claim(None, ME)
    two = store.claim(None, replace(ME, process_started=0.5))
    assert one is not None
    assert two is not None
    for number, seconds in ((1, 60.0), (2, 20.0)):
        kept = ([samples.checkpoint("best_ap", number)], [samples.evaluation("best_ap", number, ap=0.375)])
        store.commit_epoch(one.key, samples.epoch(number, seconds=seconds), *kept)
    store.add_environment(one.key, samples.environment())
    store.add_environment(one.key, replace(samples.environment(), device="cuda:1"))
    queue = store.queue_status(shown=3)
    assert dict(queue.counts) == {"finished": 1, "failed": 1, "claimed": 2, "queued": 4}
    assert (queue.runs, queue.over, queue.places) == (8, 2, 1)
    first, second = queue.running
    assert (first.device, first.val_ap, first.best_val_ap, first.seconds_left) == ("cuda:1", 0.5, 0.375, 40.0)
    assert (first.committed is not None, first.owner) == (True, ME)
    assert (second.alive, second.device, second.val_ap, second.seconds_left) == (False, None, None, None)
    assert paths(queue.waiting) == [
        "seeds/patience 10/CXR/2",
        "seeds/patience 10/CXR+Clinical/2",
        "seeds/patience 10/CXR/3",
    ]
    assert paths(queue.failed) == ["patience/patience 10/CXR+Clinical/0"]
    (cost,) = queue.costs
    assert (cost.ablation, cost.epochs, cost.seconds) == ("seeds", 12, 40.0)
    assert queue.queued_seconds == 480.0


def test_a_look_at_one_ablation(store: Store) -> None:
    good, _ = samples.fill(store)
    store.add_ablation(samples.ablation("both", patiences=(10, 20)))
    queue = store.queue_status("both")
    assert dict(queue.counts) == {"finished": 1, "failed": 1, "queued": 2}
    assert paths(queue.failed) == ["both/patience 10/CXR+Clinical/0"]
    assert paths(queue.waiting) == ["both/patience 20/CXR/0", "both/patience 20/CXR+Clinical/0"]
    (cost,) = queue.costs
    assert (cost.epochs, cost.seconds) == (6, 2.0)  # of the one run that was ever measured
    assert store.queue_status("none").runs == 0
    assert good


def test_the_latest_failures_come_first_and_a_run_that_goes_on_costs_less(store: Store) -> None:
    store.add_ablation(samples.ablation(seeds=(0, 1, 2)))
    keys = [run.key for run in store.run_records()]
    for key in (keys[2], keys[0], keys[1]):
        store.end_free(key, "failed", f"of {keys.index(key)}")
    run = store.claim(None, ME)
    assert run is not None
    store.commit_epoch(run.key, samples.epoch(1, seconds=8.0))
    store.end(run.key, ME, "interrupted")
    assert store.requeue([run.key]) == (run.key,)
    queue = store.queue_status(shown=2)
    assert [failed.cause for failed in queue.failed] == ["of 1", "of 0"]
    assert [(waiting.epoch, waiting.epochs) for waiting in queue.waiting] == [(1, 3), (0, 3)]
    (cost,) = queue.costs
    assert (cost.epochs, cost.seconds) == (8, None)
    assert queue.queued_seconds is None


def test_costs_of_an_earlier_look_are_held(store: Store) -> None:
    store.add_ablation(samples.ablation())
    first = store.queue_status()
    store.add_ablation(samples.ablation("more", patiences=(20,)))
    assert store.queue_status(costs=first.costs).costs == first.costs
    assert sum(cost.epochs for cost in store.queue_status().costs) == 12


@pytest.mark.slow
@pytest.mark.parametrize("count", [600])
def test_more_failures_than_a_statement_may_name(store: Store, count: int) -> None:
    store.add_ablation(samples.ablation(seeds=range(count // 2)))
    for run in store.run_records()[:501]:
        store.end_free(run.key, "failed", "x")
    failed = store.status().failed
    assert len(failed) == 501
    assert all(run.member is not None and run.member.key == run.key for run in failed)


def test_keys_are_named_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    samples.fill(store)
    store.add_ablation(samples.ablation("seeds", seeds=(1, 2, 3)))
    runs = store.run_records()
    store.prioritise([runs[-1].key], 3)
    for _ in range(4):
        assert store.claim(None, ME) is not None
    whole, records = store.queue_status(), store.run_records()
    monkeypatch.setattr(run_rows, "MANY_KEYS", 2)
    assert paths(store.queue_status().running) == paths(whole.running)
    assert len(set(paths(whole.running))) == 4
    assert [run.key for run in store.some_runs({run.key for run in runs})] == [run.key for run in records]


def test_runs_that_nobody_asks_for_are_not_counted(store: Store) -> None:
    store.add_ablation(samples.ablation(patiences=(5, 10)))
    store.add_ablation(samples.ablation(patiences=(5,)))
    assert len(store.run_records()) == 4
    assert dict(store.queue_status().counts) == {"queued": 2}
    assert len(store.queue_status().waiting) == 2
