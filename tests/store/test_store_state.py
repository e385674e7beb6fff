"""The store's state: another one after everything that a report would show, the same after anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import store_samples as samples

from mmad.store.claims import Owner
from mmad.store.store import Store

WRITES: dict[str, Callable[[Store, str], object]] = {
    "an ablation": lambda s, k: s.add_ablation(samples.ablation("another", patiences=(30,))),
    "an ablation's new form": lambda s, k: s.add_ablation(samples.ablation(seeds=(0, 1))),
    "a claim": lambda s, k: s.claim(None, Owner.current()),
    "a status": lambda s, k: s.end_free(k, "failed", "the loss is nan"),
    "an epoch": lambda s, k: s.commit_epoch(k, samples.epoch(1)),
    "a warning": lambda s, k: s.add_warning(k, "no box"),
    "a control": lambda s, k: s.put_analysis("control", {"a": 1}, {"b": 1}),
    "a log": lambda s, k: s.put_log("mine", "mine.md", "0" * 64, {}, []),
}


@pytest.mark.parametrize("what", WRITES)
def test_what_is_recorded_changes_the_state(store: Store, what: str) -> None:
    store.add_ablation(samples.ablation())
    key = store.run_records()[0].key
    before = store.state()
    assert store.state() == before
    WRITES[what](store, key)
    assert store.state() != before


def test_another_value_of_an_epoch_changes_it_and_the_same_one_does_not(store: Store) -> None:
    store.add_ablation(samples.ablation())
    key = store.run_records()[0].key
    store.commit_epoch(key, samples.epoch(1))
    before = store.state()
    store.commit_epoch(key, samples.epoch(1))
    assert store.state() == before
    store.commit_epoch(key, replace(samples.epoch(1), lr=0.5))
    assert store.state() != before


def test_a_requeued_run_changes_it(store: Store) -> None:
    store.add_ablation(samples.ablation())
    key = store.run_records()[0].key
    store.end_free(key, "failed", "x")
    before = store.state()
    store.requeue([key])
    assert store.state() != before


def test_what_a_report_computes_itself_does_not(store: Store) -> None:
    store.add_ablation(samples.ablation())
    before = store.state()
    store.put_analysis("estimate", {"a": 1}, {"b": 1})
    assert store.state() == before
    assert before.statuses == (("queued", 2),)


def test_an_empty_store_has_a_state(store: Store) -> None:
    assert store.state() == store.state()
