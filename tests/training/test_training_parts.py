"""Schedules, selection, the history and checkpoints, without training anything."""

import errno
import json
import math
import os

import pytest
import torch

from mmad.base.errors import CheckpointError
from mmad.base.paths import RunPaths
from mmad.base.records import EpochRecord, Metric
from mmad.config.setup import ModelSetup
from mmad.training import checkpoint
from mmad.training.history import RunHistory, Selection
from mmad.training.schedules import Schedule, build_optimiser, joins_ground_truth


def schedule(**fields: object) -> Schedule:
    setup = ModelSetup(lr=0.1, **fields)
    plan = Schedule(setup, build_optimiser(setup, [torch.nn.Parameter(torch.zeros(1))]))
    plan.optimiser.step()
    return plan


@pytest.mark.parametrize(("patience", "best", "stop"), [(10, 14, 25), (10, 50, 61), (5, 18, 24), (30, 23, 54)])
def test_full_stop_ends_patience_plus_one_after_the_best(patience: int, best: int, stop: int) -> None:
    # e069, e070 and two of the other patience runs: the documented stop epochs follow from their best ones.
    plan = schedule(
        lr_scheduler="ReduceLROnPlateau", reduceLROnPlateau_patience=patience, reduceLROnPlateau_full_stop=True
    )
    for epoch in range(1, 101):
        loss = 1.0 - 0.01 * epoch if epoch <= best else 2.0
        if plan.after_epoch(epoch, loss, 0.0):
            break
    assert epoch == stop
    assert plan.lr == 0.1


def test_plateau_on_ap_lowers_the_rate_when_ap_stands() -> None:
    plan = schedule(
        lr_scheduler="ReduceLROnPlateau",
        reduceLROnPlateau_patience=2,
        reduceLROnPlateau_factor=0.5,
        plateau_metric="val_ap",
    )
    rates = []
    for epoch in range(1, 6):
        plan.after_epoch(epoch, -epoch, 0.5)  # the loss improves; AP does not
        rates.append(plan.lr)
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05]


def test_the_logs_plateau_watches_the_last_20_batches() -> None:
    plan = schedule(
        lr_scheduler="ReduceLROnPlateau",
        reduceLROnPlateau_patience=0,
        reduceLROnPlateau_factor=0.5,
        plateau_metric="val_loss_last_20",
    )
    plan.after_epoch(1, 1.0, 0.0, 1.0)
    plan.after_epoch(2, 2.0, 0.0, 0.9)
    assert plan.lr == 0.1
    plan.after_epoch(3, 0.5, 0.0, 0.95)
    assert plan.lr == 0.05


def test_the_ap_of_the_epoch_before_comes_one_epoch_late_and_0_first() -> None:
    plan = schedule(
        lr_scheduler="ReduceLROnPlateau",
        reduceLROnPlateau_patience=1,
        plateau_metric="previous_val_ap",
        warmup_epochs=1,
    )
    seen, bests = [], []
    assert plan.plateau is not None
    step = plan.plateau.step
    plan.plateau.step = lambda value: (seen.append(value), step(value))
    for epoch, ap in enumerate([0.3, 0.5, 0.4, 0.4], 1):
        plan.after_epoch(epoch, -epoch, ap)
        bests.append(plan.plateau.best)
    assert seen == [0.3, 0.5, 0.4]  # epoch 1 is held back by the warm-up, but its AP counts in epoch 2
    assert bests == [-math.inf, 0.3, 0.5, 0.5]
    late = schedule(lr_scheduler="ReduceLROnPlateau", plateau_metric="previous_val_ap")
    late.after_epoch(1, 1.0, 0.9)
    assert late.plateau is not None
    assert late.plateau.best == 0


def test_milestones_as_one_number_and_warmup_holding_back() -> None:
    plan = schedule(lr_scheduler="MultiStepLR", multiStepLR_milestones=2, multiStepLR_gamma=0.1, warmup_epochs=3)
    rates = []
    for epoch in range(1, 7):
        plan.after_epoch(epoch, 1.0, 0.0)
        rates.append(plan.lr)
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("kind", "watched"),
    [("ReduceLROnPlateau", "val_loss"), ("ReduceLROnPlateau", "previous_val_ap"), ("MultiStepLR", "val_loss")],
)
def test_a_schedule_goes_on_from_its_state(kind: str, watched: str) -> None:
    fields = {
        "lr_scheduler": kind,
        "plateau_metric": watched,
        "reduceLROnPlateau_patience": 2,
        "multiStepLR_milestones": (3, 5),
    }
    aps = [0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]  # what epoch 4 watches late is the best: losing it shows
    whole, first = schedule(**fields), schedule(**fields)
    for epoch in range(1, 4):
        whole.after_epoch(epoch, 1.0, aps[epoch - 1])
        first.after_epoch(epoch, 1.0, aps[epoch - 1])
    second = schedule(**fields)
    second.load_state(json.loads(json.dumps(first.state())))
    second.optimiser.load_state_dict(first.optimiser.state_dict())
    for epoch in range(4, 9):
        whole.after_epoch(epoch, 1.0, aps[epoch - 1])
        second.after_epoch(epoch, 1.0, aps[epoch - 1])
        assert whole.lr == second.lr
        assert whole.state() == second.state()
    assert whole.lr < 0.1


@pytest.mark.parametrize(("till", "epochs"), [(0, []), (2, [1, 2]), (999, [1, 2, 3, 999, 1000, 5000])])
def test_ground_truth_joins_till_its_epoch_and_999_is_always(till: int, epochs: list[int]) -> None:
    setup = ModelSetup(gt_in_train_till=till)
    assert [epoch for epoch in (1, 2, 3, 999, 1000, 5000) if joins_ground_truth(setup, epoch)] == epochs


def validation(ap: float, ar: float) -> tuple[Metric, ...]:
    return Metric("val", "ap_iou", ap), Metric("val", "ar_iou", ar), Metric("test", "ap_iou", 1 - ap)


def test_best_epochs_must_strictly_exceed() -> None:
    selection = Selection("iou")
    taken = [selection.update(validation(ap, ar)) for ap, ar in [(0.1, 0.5), (0.1, 0.6), (0.2, 0.6)]]
    assert taken == [("best_ap", "best_ar"), ("best_ar",), ("best_ap",)]
    assert Selection("iou").update(validation(math.nan, math.nan)) == ()


def test_an_epoch_that_is_not_compared_becomes_final_alone(paths: RunPaths) -> None:
    history = RunHistory(paths, "iou", ("a",), "clean")
    assert history.checkpoint_kinds(validation(0.1, 0.5), final=False) == ("best_ap", "best_ar")
    assert history.checkpoint_kinds(validation(0.1, 0.5), final=False) == ()
    assert history.checkpoint_kinds(validation(0.9, 0.9), final=True, compared=False) == ("final",)
    assert history.checkpoint_kinds(validation(0.2, 0.5), final=True) == ("best_ap", "final")


def test_without_early_stop_models_only_the_final_one_is_kept(paths: RunPaths) -> None:
    history = RunHistory(paths, "iou", ("a",), "clean", keep_best=False)
    for epoch, final in ((1, False), (2, True)):
        metrics = validation(epoch / 10, 0.5)
        kinds = history.checkpoint_kinds(metrics, final=final)
        history.add_epoch(EpochRecord(epoch, 0.1, 1.0, 1, metrics), (), kinds)
    assert {kind: row.epoch for kind, row in history.checkpoints.items()} == {"final": 2, "last": 2}


@pytest.fixture
def paths(tmp_path):
    return RunPaths(tmp_path / "run")


def content(value: float = 1.0) -> checkpoint.Content:
    return checkpoint.Content({"model": {"w": torch.full((3,), value)}}, {"key": "k", "over": False})


def test_a_checkpoint_comes_back_as_it_was(paths: RunPaths) -> None:
    written = checkpoint.save(paths, 3, content(2.5))
    file, held = checkpoint.load(written.path)
    assert file == written
    assert written.path.stat().st_size == written.size
    assert torch.equal(held.tensors["model"]["w"], torch.full((3,), 2.5))
    assert held.facts == {"key": "k", "over": False}


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damage_is_seen_and_the_one_before_taken(paths: RunPaths, damage: str) -> None:
    checkpoint.save(paths, 1, content(1.0))
    newest = checkpoint.save(paths, 2, content(2.0)).path
    data = bytearray(newest.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(newest)
    found = checkpoint.latest(paths)
    assert found is not None
    assert found[0].epoch == 1


def test_a_full_disk_is_named_and_leaves_nothing(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"epoch 4 cannot be written \(No space left on device\); free some"):
        checkpoint.save(paths, 4, content())
    assert list(paths.checkpoints.iterdir()) == []


def test_pruning_keeps_what_is_named(paths: RunPaths) -> None:
    first, second = checkpoint.save(paths, 1, content(1)).path, checkpoint.save(paths, 2, content(2)).path
    leftover = paths.checkpoints / ".epoch-00002-x.pt.1-a.part"
    leftover.write_bytes(b"half")
    checkpoint.prune(paths, {second})
    assert list(paths.checkpoints.iterdir()) == [second]
    assert not first.exists()


def test_pruning_by_a_process_that_was_suspended_takes_nothing_from_its_successor(paths: RunPaths) -> None:
    best = checkpoint.save(paths, 1, content(1)).path
    theirs = [checkpoint.save(paths, epoch, content(epoch)).path for epoch in (2, 3)]
    mine = checkpoint.save(paths, 2, content(9), step=5).path
    checkpoint.prune(paths, {best, mine})
    assert sorted(paths.checkpoints.iterdir()) == sorted([best, mine, *theirs])


def test_a_pickle_is_never_executed(paths: RunPaths) -> None:
    import hashlib
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(paths.folder / "owned"),)

    data = pickle.dumps(Evil())
    path = paths.checkpoint(1, hashlib.sha256(data).hexdigest())
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.load(path)
    assert not (paths.folder / "owned").exists()


def test_a_checkpoint_of_another_run_is_refused(paths: RunPaths) -> None:
    file = checkpoint.save(paths, 1, content())
    with pytest.raises(CheckpointError, match="belongs to run k, not to other"):
        checkpoint.require_key(file, content(), "other")


def test_a_cosine_falls_as_torch_s_does_after_its_ramp() -> None:
    setup = ModelSetup(lr_scheduler="CosineAnnealingLR", lr=0.4, cosine_ramp_epochs=2, cosine_last_factor=0.1)
    optimiser = build_optimiser(setup, [torch.nn.Parameter(torch.zeros(1))])
    plan = Schedule(setup, optimiser, 8)
    rates = []
    for epoch in range(1, 9):
        rates.append(plan.lr)
        assert not plan.after_epoch(epoch, 1.0, 0.0)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=6, eta_min=0.04)
    expected = []
    for _ in range(6):
        expected.append(other.param_groups[0]["lr"])
        other.step()
        cosine.step()
    assert rates == pytest.approx([0.2, 0.4, *expected])
    assert plan.plan()["cosine_ramp_epochs"] == 2
    assert "cosine_ramp_epochs" not in Schedule(ModelSetup(), optimiser).plan()  # as in checkpoints from before
