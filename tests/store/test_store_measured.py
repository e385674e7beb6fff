"""What was measured comes back as it was given, once per run and epoch."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples
from sqlalchemy import select

from mmad.base.errors import StoreError
from mmad.base.records import SPLITS, EpochRecord, EvaluationRecord, Metric, ParameterCount
from mmad.store import schema
from mmad.store.store import Store

floats = st.floats(allow_nan=True, allow_infinity=True)
names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)
metrics = st.lists(
    st.builds(Metric, st.sampled_from(SPLITS), names, floats), max_size=8, unique_by=lambda m: (m.split, m.name)
).map(tuple)
records = st.builds(EpochRecord, st.integers(1, 10**6), floats, floats, st.integers(0, 2**62), metrics)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def assert_equal(a: EpochRecord, b: EpochRecord) -> None:
    assert (a.epoch, a.peak_memory) == (b.epoch, b.peak_memory)
    assert same(a.lr, b.lr)
    assert same(a.seconds, b.seconds)
    assert [(m.split, m.name) for m in a.metrics] == [(m.split, m.name) for m in b.metrics]
    assert all(same(x.value, y.value) for x, y in zip(a.metrics, b.metrics, strict=True))


@pytest.fixture
def key(store: Store) -> str:
    store.add_ablation(samples.made_of("one", [samples.member("one")]))
    return store.run_records()[0].key


@pytest.fixture(scope="module")
def shared_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "mmad.sqlite") as store:
        store.add_ablation(samples.made_of("one", [samples.member("one")]))
        yield store


@pytest.mark.slow
@examples(30)
@given(first=records, second=records)
def test_an_epoch_comes_back_exactly(shared_store: Store, first: EpochRecord, second: EpochRecord) -> None:
    key = shared_store.run_records()[0].key
    for record in (first, replace(second, epoch=first.epoch)):
        shared_store.commit_epoch(key, record)
        shared_store.commit_epoch(key, record)
        found = [e for e in shared_store.epoch_records(key) if e.epoch == record.epoch]
        assert len(found) == 1
        # what it cost is that of the first time, where nothing else differs
        assert_equal(replace(found[0], seconds=0.0, peak_memory=0), replace(record, seconds=0.0, peak_memory=0))


def replaced(store: Store, key: str) -> list[int]:
    with store.database.reading() as connection:
        chosen = select(schema.epochs.c.replaced).where(schema.epochs.c.run_key == key)
        return list(connection.scalars(chosen.order_by(schema.epochs.c.epoch)))


def test_the_same_epoch_again_changes_nothing(store: Store, key: str) -> None:
    record = replace(samples.epoch(1), lr=math.nan)
    store.commit_epoch(key, record)
    store.commit_epoch(key, record)
    assert replaced(store, key) == [0]
    assert store.warnings(key) == []
    assert store.run(key).epochs_done == 1


def test_other_values_take_the_place_and_are_marked(store: Store, key: str) -> None:
    store.commit_epoch(key, samples.epoch(1))
    store.commit_epoch(key, samples.epoch(2))
    store.commit_epoch(key, samples.epoch(2, val_ap=0.5625))
    store.commit_epoch(key, samples.epoch(2, val_ap=0.625, seconds=9.0))
    assert store.epoch_records(key) == [samples.epoch(1), samples.epoch(2, val_ap=0.625, seconds=9.0)]
    assert replaced(store, key) == [0, 2]
    first, second = store.warnings(key)
    assert first.startswith("epoch 2 was recorded again with other values: val_ap_iou")
    assert second == first


def test_an_epoch_that_only_took_other_time_and_memory_keeps_its_row(store: Store, key: str) -> None:
    store.commit_epoch(key, samples.epoch(1))
    store.commit_epoch(key, replace(samples.epoch(1), seconds=9.0, peak_memory=1))
    assert store.epoch_records(key) == [samples.epoch(1)]
    assert replaced(store, key) == [0]
    assert store.warnings(key) == []


def test_a_metric_that_is_gone_counts_as_another_value(store: Store, key: str) -> None:
    record = samples.epoch(1)
    store.commit_epoch(key, record)
    store.commit_epoch(key, replace(record, metrics=record.metrics[1:]))
    assert store.epoch_records(key)[0].metrics == record.metrics[1:]
    assert store.warnings(key) == ["epoch 1 was recorded again with other values: train_loss"]


def test_an_epoch_and_what_belongs_to_it_are_written_together_or_not_at_all(store: Store, key: str) -> None:
    broken = replace(samples.evaluation(), kind=None)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.commit_epoch(key, samples.epoch(1), [samples.checkpoint()], [broken])
    assert store.epoch_records(key) == []
    assert store.checkpoints(key) == []
    store.commit_epoch(key, samples.epoch(1), [samples.checkpoint()], [samples.evaluation()])
    assert store.epoch_records(key) == [samples.epoch(1)]
    assert store.checkpoints(key) == [samples.checkpoint()]
    assert store.evaluations(key) == [samples.evaluation()]


def test_a_kind_has_one_checkpoint_and_its_evaluations_only(store: Store, key: str) -> None:
    store.commit_epoch(key, samples.epoch(1), [samples.checkpoint("best_ap", 1), samples.checkpoint("last", 1)])
    store.put_evaluations(key, [samples.evaluation("best_ap", 1, split) for split in ("val", "test")])
    store.put_evaluations(key, [samples.evaluation("best_ap", 1, ap=0.625)])
    assert [(e.split, e.ap) for e in store.evaluations(key)] == [("test", 0.5), ("val", 0.625)]
    store.commit_epoch(key, samples.epoch(1), [samples.checkpoint("best_ap", 4)])
    assert store.evaluations(key) == []
    assert store.checkpoints(key) == [samples.checkpoint("best_ap", 4), samples.checkpoint("last", 1)]
    store.put_evaluations(key, [samples.evaluation("best_ap", 4), samples.evaluation("best_ap", 4, overlap="iobb")])
    assert {e.overlap for e in store.evaluations(key)} == {"iou", "iobb"}


def test_an_evaluation_without_anything_to_find_comes_back(store: Store, key: str) -> None:
    record = EvaluationRecord(
        "final", 3, "test", "iou", 0.75, 100, "clean", math.nan, math.nan, (("Atelectasis", None, math.nan),)
    )
    store.put_evaluations(key, [record])
    (found,) = store.evaluations(key)
    assert math.isnan(found.ap)
    assert math.isnan(found.ar)
    assert found.per_class == (("Atelectasis", None, None),)
    assert replace(found, ap=0.0, ar=0.0, per_class=()) == replace(record, ap=0.0, ar=0.0, per_class=())


def test_counts_environments_and_warnings_come_back(store: Store, key: str) -> None:
    store.put_parameter_counts(key, [ParameterCount("model", 1)])
    store.put_parameter_counts(key, samples.COUNTS)
    assert store.parameter_counts(key) == list(samples.COUNTS)
    nowhere = replace(samples.environment(2), git_commit=None, git_dirty=None, versions={})
    store.add_environment(key, samples.environment())
    store.add_environment(key, nowhere)
    assert store.environments(key) == [samples.environment(), nowhere]
    store.add_warning(key, "first")
    store.add_warning(key, "first")
    assert store.warnings(key) == ["first", "first"]


def test_what_is_written_about_an_unknown_run_is_refused(store: Store) -> None:
    nobody = "0" * 64
    for write in (
        lambda: store.commit_epoch(nobody, samples.epoch(1), [samples.checkpoint()]),
        lambda: store.put_evaluations(nobody, [samples.evaluation()]),
        lambda: store.put_parameter_counts(nobody, samples.COUNTS),
        lambda: store.add_environment(nobody, samples.environment()),
        lambda: store.add_warning(nobody, "text"),
    ):
        with pytest.raises(StoreError, match="names a run the database does not hold"):
            write()
    assert store.epoch_records(nobody) == []
    assert store.environments(nobody) == []


@pytest.mark.parametrize("padding", [0, 600])
def test_many_runs_are_read_at_once(store: Store, padding: int) -> None:
    good, bad = samples.fill(store)
    nobody = [f"{i:064d}" for i in range(padding)]
    epochs = store.all_epochs([bad, good, *nobody])
    assert list(epochs) == [bad, good, *nobody]
    assert epochs[good] == store.epoch_records(good)
    assert epochs[bad] == []
    assert store.all_evaluations([good, *nobody])[good] == store.evaluations(good)
    assert store.all_checkpoints([good, *nobody])[good] == store.checkpoints(good)
    assert store.all_parameter_counts([good, *nobody])[good] == list(samples.COUNTS)
    assert store.all_warnings([good, *nobody])[good] == ["training AP is NaN"]
    assert store.all_epochs([]) == {}
