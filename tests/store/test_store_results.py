"""Results under the protocol asked for, how far the queue is, and the run a person means."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.config.protocol import EvaluationProtocol
from mmad.store.claims import Owner
from mmad.store.lookup import (
    CheckpointFigures,
    epoch_row,
    find_ensembles,
    find_run,
    find_seeds,
    member_summaries,
    named_ablation,
    run_detail,
)
from mmad.store.notes import Notes
from mmad.store.run_json import detail_json, status_json, summary_json
from mmad.store.run_status import STATUSES, one_line
from mmad.store.store import Store

ME = Owner.current()


def test_results_are_those_of_the_kept_checkpoints(store: Store) -> None:
    samples.fill(store)
    results, failed = (summary.results for summary in member_summaries(store))
    assert results.best_ap == CheckpointFigures(2, 0.5, 0.75, 0.375, 0.625)
    assert results.best_ar == CheckpointFigures(2, 0.5, 0.75, 0.375, 0.625)
    assert results.final == CheckpointFigures(3, 0.375, 0.625, 0.25, 0.5)
    assert failed.best_ap is None


def test_figures_of_the_epoch_stand_in_where_the_protocol_is_theirs(store: Store) -> None:
    given = samples.ablation(evaluation=EvaluationProtocol(overlap="iobb"))
    store.add_ablation(given)
    key = given.members[0].run.key
    store.commit_epoch(key, samples.epoch(1), [samples.checkpoint("best_ap", 1)])
    assert member_summaries(store)[0].results.best_ap == CheckpointFigures(1, 0.75, 0.875, 0.625, 0.75)


def test_they_stand_in_for_each_checkpoint_by_itself(store: Store) -> None:
    given = samples.ablation()
    store.add_ablation(given)
    key = given.members[0].run.key
    kinds = [samples.checkpoint("best_ap", 1), samples.checkpoint("best_ar", 1)]
    store.commit_epoch(key, samples.epoch(1), kinds, [samples.evaluation(ap=0.25)])
    results = member_summaries(store)[0].results
    assert results.best_ap == CheckpointFigures(1, 0.25, 0.5, 0.375, 0.625)  # measured on val, of the epoch on test
    assert results.best_ar == CheckpointFigures(1, 0.5, 0.75, 0.375, 0.625)
    row = store.runs().iloc[0]
    assert row[["best_ap_test_ap", "best_ar_test_ap"]].tolist() == [0.375, 0.375]


@pytest.mark.parametrize(
    "other", [{"threshold": 0.75}, {"max_detections": 100}, {"proposals": "with_ground_truth"}], ids=str
)
def test_figures_of_another_protocol_never_stand_in(store: Store, other: dict[str, object]) -> None:
    given = samples.ablation(evaluation=EvaluationProtocol(**other))  # type: ignore[arg-type]
    store.add_ablation(given)
    key = given.members[0].run.key
    store.commit_epoch(key, samples.epoch(1), [samples.checkpoint("best_ap", 1)], [samples.evaluation()])
    assert member_summaries(store)[0].results.best_ap == CheckpointFigures(1, None, None, None, None)
    exact = replace(samples.evaluation(ap=0.125), **other)  # type: ignore[arg-type]
    store.put_evaluations(key, [exact])
    assert member_summaries(store)[0].results.best_ap == CheckpointFigures(1, 0.125, 0.375, None, None)


def test_the_views_agree_with_the_records(store: Store) -> None:
    samples.fill(store)
    with store.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM run_results ORDER BY arm").mappings().all()
        checkpoints = connection.exec_driver_sql("SELECT checkpoint FROM checkpoint_results ORDER BY checkpoint")
        assert checkpoints.scalars().all() == ["best_ap", "best_ar", "final"]
    summaries = sorted(member_summaries(store), key=lambda summary: summary.member.arm)
    for row, summary in zip(rows, summaries, strict=True):
        assert (row["key"], row["status"], row["error"]) == (summary.run.key, summary.run.status, summary.run.error)
        assert (row["epoch"] or 0) == summary.run.epochs_done
        for kind in ("best_ap", "best_ar", "final"):
            result: CheckpointFigures | None = getattr(summary.results, kind)
            columns = ("epoch", "val_ap", "val_ar", "test_ap", "test_ar")
            expected = [getattr(result, column) if result else None for column in columns]
            assert [row[f"{kind}_{column}"] for column in columns] == expected


def test_summaries_can_be_of_one_ablation(store: Store) -> None:
    store.add_ablation(samples.ablation("one"))
    store.add_ablation(samples.ablation("two"))
    assert [s.member.path for s in member_summaries(store, "two")] == [
        "two/patience 10/CXR/0",
        "two/patience 10/CXR+Clinical/0",
    ]
    assert named_ablation(store, "two") == "two"
    with pytest.raises(StoreError, match="did you mean two"):
        named_ablation(store, "twoo")


def test_a_member_is_found_by_its_path_or_key(store: Store) -> None:
    good, _ = samples.fill(store)
    for name in (
        "patience/patience 10/CXR",
        "patience/patience 10/CXR/0",
        "patience/patience 10/CXR/0/1",
        good,
        good[:10].upper(),
    ):
        found = find_run(store, name)
        assert found.run.key == good
        assert [m.path for m in found.members] == ["patience/patience 10/CXR/0"]


def test_the_member_that_was_named_stands_first(store: Store) -> None:
    store.add_ablation(samples.ablation("one"))
    store.add_ablation(samples.ablation("two"))
    paths = [m.path for m in find_run(store, "two/patience 10/CXR").members]
    assert paths == ["two/patience 10/CXR/0", "one/patience 10/CXR/0"]


def test_several_seeds_need_naming(store: Store) -> None:
    store.add_ablation(samples.ablation(seeds=(0, 1)))
    with pytest.raises(StoreError, match="add the seed") as caught:
        find_run(store, "patience/patience 10/CXR")
    assert "patience/patience 10/CXR/0, patience/patience 10/CXR/1" in str(caught.value)
    assert find_run(store, "patience/patience 10/CXR/1").members[0].seed == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patience/patience 10/CRX", "did you mean 'patience/patience 10/cxr'"),
        ("patience/patience 10", "patience/patience 10/CXR/0, patience/patience 10/CXR\\+Clinical/0; name one"),
        ("patienec", "did you mean 'patience'"),
        ("zzz", "mmad runs lists them all"),
    ],
)
def test_an_unknown_run_is_refused_with_candidates(store: Store, name: str, message: str) -> None:
    samples.fill(store)
    with pytest.raises(StoreError, match=f"(?i){message}"):
        find_run(store, name)


def test_a_run_without_members_keeps_its_results(store: Store) -> None:
    good, _ = samples.fill(store)
    store.add_ablation(samples.ablation(patiences=(99,)))
    detail = run_detail(store, good)
    assert detail.members == ()
    assert detail.results.best_ap == CheckpointFigures(2, 0.5, 0.75, 0.375, 0.625)
    assert detail_json(detail, Notes())["ablation"] is None


def test_a_status_counts_members_and_tells_what_runs(store: Store) -> None:
    samples.fill(store)
    store.add_ablation(samples.ablation("seeds", seeds=(1, 2, 3)))
    alive = store.claim(None, ME)
    assert alive is not None
    for number, seconds in ((1, 60.0), (2, 2.0)):
        store.commit_epoch(alive.key, samples.epoch(number, seconds=seconds))
    lost = store.claim(None, replace(ME, process_started=0.5))
    assert lost is not None
    assert store.begin(alive.key, ME)
    now = store.status()
    assert [(a.ablation, a.members) for a in now.ablations] == [("patience", 2), ("seeds", 6)]
    assert dict(zip(STATUSES, now.ablations[1].counts, strict=True)) == {
        "queued": 4,
        "claimed": 1,
        "running": 1,
        "finished": 0,
        "failed": 0,
        "interrupted": 0,
        "stopped": 0,
    }
    first, second = now.running
    assert (first.epoch, first.epochs, first.seconds_per_epoch, first.seconds_left) == (2, 3, 31.0, 31.0)
    assert (first.owner, first.alive) == (ME, True)
    assert (second.epoch, second.seconds_left, second.alive) == (0, None, False)
    assert [(f.member.arm if f.member else "", f.cause) for f in now.failed] == [
        ("CXR+Clinical", "OutOfMemoryError: 3 GiB were asked for")
    ]
    plain = status_json(now)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["running"][0]["pid"] == ME.pid


def test_a_cause_is_one_line() -> None:
    assert one_line("Traceback:\n  somewhere\nValueError: it\n\n") == "ValueError: it"
    assert one_line(None) == "no cause was recorded"


def test_plain_forms_are_json(store: Store) -> None:
    good, bad = samples.fill(store)
    record = replace(samples.epoch(4), lr=math.inf)
    record = replace(record, metrics=tuple(replace(m, value=math.nan) for m in record.metrics))
    store.commit_epoch(good, record)
    for key in (good, bad):
        plain = detail_json(run_detail(store, key), Notes())
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    plain = detail_json(run_detail(store, good), Notes())
    assert plain["params"] == {"model": 1_040_729, "model.backbone": 1_009_968}
    assert plain["epochs"][1]["val_ap"] == plain["epochs"][1]["val_ap_iou"] == 0.5
    assert plain["epochs"][1]["train_loss_classifier"] == 0.25
    assert plain["epochs"][3]["lr"] is None
    assert plain["epochs"][3]["val_ap"] is None
    assert plain["best_ap"] == {"epoch": 2, "val_ap": 0.5, "val_ar": 0.75, "test_ap": 0.375, "test_ar": 0.625}
    assert plain["environments"][0]["started"] == "2022-05-16T12:00:00+00:00"
    summary = summary_json(member_summaries(store)[1], Notes())
    assert summary["error"] == "OutOfMemoryError: 3 GiB were asked for"
    assert summary["best_ap"] is None
    assert (summary["epoch"], summary["epochs"], summary["documented"]) == (0, 3, "e069")


def test_the_overlap_of_the_member_names_the_plain_ap() -> None:
    assert epoch_row(samples.epoch(1), "iobb")["val_ap"] == 0.75
    assert epoch_row(samples.epoch(1), "iou")["test_ar"] == 0.625
    assert epoch_row(replace(samples.epoch(1), metrics=()), "iou")["val_ap"] is None


def test_an_arm_means_all_its_seeds(store: Store) -> None:
    store.add_ablation(samples.ablation(seeds=(0, 1)))
    found = find_seeds(store, "patience/patience 10/CXR")
    assert [[m.path for m in one.members] for one in found] == [
        ["patience/patience 10/CXR/0"],
        ["patience/patience 10/CXR/1"],
    ]
    assert find_seeds(store, "patience/patience 10/CXR/1") == [find_run(store, "patience/patience 10/CXR/1")]
    assert find_seeds(store, found[0].run.key[:12])[0].run == found[0].run
    with pytest.raises(StoreError, match="did you mean"):
        find_seeds(store, "patience/patience 10/CRX")


def test_a_file_s_name_is_none_of_its_variants_arms(store: Store) -> None:
    """Runs of several variants have other setups: no seeds of one arm."""
    arm = "patience/patience 10/CXR"
    variants = [replace(samples.ablation(seeds=(0, 1)), name=f"patience · epochs={n}") for n in (4, 5)]
    for number, one in enumerate(variants):
        members = [
            replace(
                m,
                ablation=one.name,
                run=replace(m.run, protocol=m.run.protocol.model_copy(update={"epochs": 4 + number})),
            )
            for m in one.members
        ]
        store.add_ablation(replace(one, members=tuple(members)))
        if not number:
            assert len(find_seeds(store, arm)) == 2
    for find, name in ((find_seeds, arm), (find_ensembles, arm), (find_run, f"{arm}/0")):
        with pytest.raises(StoreError, match=r"is of 2 variants; name one of 'patience · epochs=4/patience 10/CXR"):
            find(store, name)  # type: ignore[operator]
    assert len(find_seeds(store, "patience · epochs=4/patience 10/CXR")) == 2
