"""What a store gives to pandas: one row a member, one row an epoch."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas
import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.store.lookup import run_detail
from mmad.store.notes import Notes
from mmad.store.run_json import detail_json
from mmad.store.store import Store

NUMBERS = ("val_ap", "val_ar", "test_ap", "test_ar")


def test_runs_have_the_rows_and_columns_of_the_view(store: Store) -> None:
    samples.fill(store)
    frame = store.runs()
    with store.database.reading() as connection:
        view = pandas.DataFrame(
            [dict(row) for row in connection.exec_driver_sql("SELECT * FROM run_results ORDER BY arm").mappings()],
            dtype=object,
        )
    assert list(frame["epochs"]) == [3, 3]
    assert list(frame["epoch"]) == [3, 0]  # NULL in the view, where there is none
    common = [name for name in view if name != "epoch"]
    assert [name for name in frame if name not in ("epoch", "epochs")] == common
    for name in common:
        assert [None if pandas.isna(value) else value for value in frame[name]] == list(view[name])


def test_runs_have_one_type_a_column_whatever_is_missing(store: Store) -> None:
    empty = store.runs()
    store.add_ablation(samples.ablation())
    assert (len(empty), len(store.runs())) == (0, 2)
    for frame in (empty, store.runs()):
        assert {str(frame[f"{kind}_{name}"].dtype) for kind in ("best_ap", "final") for name in NUMBERS} == {"float64"}
        assert [str(frame[name].dtype) for name in ("seed", "epochs", "best_ar_epoch")] == ["int64", "int64", "Int64"]


def test_runs_can_be_of_one_ablation(store: Store) -> None:
    store.add_ablation(samples.ablation("one"))
    store.add_ablation(samples.ablation("two"))
    assert set(store.runs("two")["ablation"]) == {"two"}
    with pytest.raises(StoreError, match="did you mean two"):
        store.runs("twoo")


def test_epochs_are_found_as_commands_find_runs_and_agree_with_their_json(store: Store) -> None:
    good, bad = samples.fill(store)
    for name in (good, good[:10], "patience/patience 10/CXR", "patience/patience 10/CXR/0/1"):
        frame = store.epochs(name)
        shown = detail_json(run_detail(store, good), Notes())["epochs"]
        assert list(frame) == list(shown[0])
        assert frame.astype(object).where(frame.notna(), None).to_dict("records") == shown
    assert [str(frame[name].dtype) for name in ("epoch", "peak_memory", "val_ap")] == ["int64", "int64", "float64"]
    none = store.epochs(bad)
    assert (len(none), list(none)[:4]) == (0, ["epoch", "lr", "seconds", "peak_memory"])
    with pytest.raises(StoreError, match="did you mean"):
        store.epochs("patience/patience 1/CXR")


def test_epochs_that_measured_other_things_have_all_columns(store: Store) -> None:
    good, _ = samples.fill(store)
    store.commit_epoch(good, replace(samples.epoch(4), lr=math.inf, seconds=math.nan, metrics=()))
    last = store.epochs(good).iloc[-1]
    assert (last["epoch"], last["lr"]) == (4, math.inf)
    assert last[["seconds", *NUMBERS, "train_loss"]].isna().all()
