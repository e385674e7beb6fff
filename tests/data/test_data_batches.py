"""Batches: flips move image and boxes alike; order and flips follow (seed, epoch, study) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import DataError
from mmad.config.setup import ModelSetup
from mmad.data.clinical import ClinicalEncoder, permuted_records
from mmad.data.dataset import DataSet
from mmad.data.loader import (
    Augmentation,
    Batch,
    EpochBatches,
    Item,
    Studies,
    View,
    evaluation_batches,
    training_batches,
)
from mmad.data.reader import load_dataset


def _training(dataset: DataSet, *, seed: int = 0, flip: float = 0.5, batch_size: int = 4) -> EpochBatches:
    encoder = ClinicalEncoder.fit(dataset, dataset.columns())
    return training_batches(dataset, Studies(dataset, 64, encoder), batch_size=batch_size, seed=seed, flip=flip)


def _same(one: Batch, two: Batch) -> bool:
    return (
        one.positions == two.positions
        and torch.equal(one.images, two.images)
        and torch.equal(one.numeric, two.numeric)
        and torch.equal(one.categorical, two.categorical)
        and all(
            torch.equal(a["boxes"], b["boxes"]) and torch.equal(a["labels"], b["labels"])
            for a, b in zip(one.targets, two.targets, strict=True)
        )
    )


def test_types_and_shapes(phantom: DataSet) -> None:
    batch = next(_training(phantom).epoch(1))
    assert batch.images.shape == (4, 1, 64, 64)
    assert batch.images.dtype == torch.uint8
    assert batch.numeric.shape == (4, 9)
    assert batch.numeric.dtype == torch.float32
    assert batch.categorical.shape == (4, 1)
    assert batch.categorical.dtype == torch.int64
    for target in batch.targets:
        assert target["boxes"].dtype == torch.float32
        assert target["boxes"].shape == (len(target["labels"]), 4)
        assert target["labels"].dtype == torch.int64


def test_a_flip_moves_the_image_and_its_boxes_alike(tiny: Path) -> None:
    """The bright rectangle of study ``a`` is found in the pixels, flipped or not, and its box stands on it."""
    dataset = load_dataset(tiny)
    batches = training_batches(dataset, Studies(dataset, 64, None), batch_size=1, seed=0)
    lefts = set()
    for epoch in range(1, 13):
        for batch in batches.epoch(epoch):
            if batch.positions != [0]:
                continue
            bright = np.argwhere(batch.images[0, 0].numpy() > 125)  # rows (y, x)
            found = [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max() + 1, bright[:, 0].max() + 1]
            assert np.abs(batch.targets[0]["boxes"][0].numpy() - found).max() <= 1
            lefts.add(int(found[0]))
    assert len(lefts) == 2


def test_boxes_are_scaled_to_the_square(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    (batch,) = evaluation_batches(dataset, "val", Studies(dataset, 64, None), batch_size=4)
    assert batch.targets[0]["boxes"].tolist() == [[0, 0, 64, 64]]
    assert batch.targets[0]["labels"].tolist() == [2]
    assert batch.numeric.shape == (1, 0)


def test_a_study_without_boxes_has_empty_targets(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    batches = training_batches(dataset, Studies(dataset, 64, None), batch_size=1, seed=0)
    shown = {b.positions[0]: b for b in batches.epoch(1)}
    assert shown[1].targets[0]["boxes"].shape == (0, 4)
    assert shown[1].targets[0]["labels"].shape == (0,)


def test_every_study_once_an_epoch_in_a_new_order(phantom: DataSet) -> None:
    batches = _training(phantom)
    orders = [[p for batch in batches.epoch(epoch) for p in batch.positions] for epoch in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(phantom.split("train"))
    assert orders[0] != orders[1]
    assert len(batches) == -(-len(phantom.split("train")) // 4)


@examples(10)
@given(st.integers(0, 2**31 - 1), st.integers(1, 200))
def test_an_epoch_follows_seed_and_number_alone(phantom: DataSet, seed: int, epoch: int) -> None:
    first = _training(phantom, seed=seed)
    list(first.epoch(epoch + 1))
    torch.manual_seed(1)
    np.random.default_rng(5).random(10)
    again = _training(phantom, seed=seed)
    assert first.items(epoch) == again.items(epoch)


def test_a_flip_belongs_to_seed_epoch_and_study_not_to_the_place_in_the_order(phantom: DataSet) -> None:
    small, large = _training(phantom, batch_size=2), _training(phantom, batch_size=8)
    assert small.items(3) == large.items(3)
    flips = {item.position: item.flip for item in small.items(3)}
    some = EpochBatches(small._studies, phantom.split("train")[::2], 4, 0, 0.5)
    assert all(flips[item.position] == item.flip for item in some.items(3))
    assert 0.2 < np.mean(list(flips.values())) < 0.8


def test_a_resumed_epoch_gives_the_same_rest(phantom: DataSet) -> None:
    whole = list(_training(phantom, seed=7).epoch(4))
    rest = list(_training(phantom, seed=7).epoch(4, start_step=3))
    assert len(rest) == len(whole) - 3
    assert all(_same(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_drawing_batches_leaves_the_global_generator_alone(phantom: DataSet) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(_training(phantom).epoch(1))
    list(evaluation_batches(phantom, "val", Studies(phantom, 64, None), batch_size=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_flip_nothing_is_mirrored(phantom: DataSet) -> None:
    assert not any(item.flip for item in _training(phantom, flip=0).items(1))


def test_evaluation_is_in_the_order_of_the_file_and_sized(phantom: DataSet) -> None:
    batches = evaluation_batches(phantom, "test", Studies(phantom, 64, None), batch_size=4)
    shown = [p for batch in batches for p in batch.positions]
    assert shown == list(phantom.split("test"))
    assert len(batches) == len(list(batches))


def test_changing_a_batch_does_not_change_the_next(phantom: DataSet) -> None:
    batches = _training(phantom)
    first = next(batches.epoch(1))
    copy = first.targets[0]["boxes"].clone(), first.images.clone()
    first.targets[0]["boxes"].zero_()
    first.images.zero_()
    again = next(batches.epoch(1))
    assert torch.equal(again.targets[0]["boxes"], copy[0])
    assert torch.equal(again.images, copy[1])


def test_an_empty_split_is_refused(tiny: Path) -> None:
    text = (tiny / "studies.csv").read_text(encoding="utf-8")
    (tiny / "studies.csv").write_text(text.replace(",val,", ",train,"), encoding="utf-8")
    dataset = load_dataset(tiny)
    with pytest.raises(DataError, match=r"no study is in the split 'val'"):
        evaluation_batches(dataset, "val", Studies(dataset, 64, None), batch_size=4)


@pytest.mark.parametrize("permutation", [0, 1])
def test_a_permuted_record_is_another_patients_of_the_same_split(phantom: DataSet, permutation: int) -> None:
    donors = permuted_records(phantom, permutation)
    assert donors.tolist() == permuted_records(phantom, permutation).tolist()
    for study, donor in enumerate(donors):
        own, other = phantom.studies[study], phantom.studies[donor]
        assert own.patient != other.patient
        assert own.split == other.split
    assert donors.tolist() != permuted_records(phantom, permutation + 1).tolist()


def test_a_permuted_record_moves_whole_and_with_what_is_missing(phantom: DataSet) -> None:
    encoder = ClinicalEncoder.fit(phantom, phantom.columns(), indicators=True)
    everyone = range(len(phantom.studies))
    numeric, categorical = Studies(phantom, 64, encoder).clinical(everyone)
    moved, categories = Studies(phantom, 64, encoder, records="permuted").clinical(everyone)
    donors = permuted_records(phantom, 0)
    assert numeric[:, 9:].any()
    assert (moved == numeric[donors]).all()
    assert (categories == categorical[donors]).all()


def test_a_constant_record_says_nothing(phantom: DataSet) -> None:
    for values in ("standardised", "raw"):
        encoder = ClinicalEncoder.fit(phantom, phantom.columns(), values, indicators=True)
        numeric, categorical = Studies(phantom, 64, encoder, records="constant").clinical(range(len(phantom.studies)))
        assert (numeric == numeric[0]).all()
        assert not numeric[:, 9:].any()
        assert not categorical.any()
        means = [column.mean if values == "raw" else 0 for column in encoder.numeric]
        assert numeric[0, :9] == pytest.approx(means)


def test_of_a_record_what_is_missing_may_stand_alone(phantom: DataSet) -> None:
    everyone = range(len(phantom.studies))
    for values in ("standardised", "raw"):
        encoder = ClinicalEncoder.fit(phantom, phantom.columns(), values, indicators=True)
        numeric, categorical = Studies(phantom, 64, encoder).clinical(everyone)
        alone, categories = Studies(phantom, 64, encoder, records="missing").clinical(everyone)
        assert (alone[:, :9] == encoder.constant()[:9]).all()
        assert (alone[:, 9:] == numeric[:, 9:]).all()
        assert (categories == np.where(categorical == -1, -1, 0)).all()
        assert encoder.missing(numeric[:2], np.array([[-1], [3]]))[1].tolist() == [[-1], [0]]


def test_a_split_of_one_patient_has_nobody_to_permute_with(tiny: Path) -> None:
    with pytest.raises(DataError, match="the split 'val' has one patient"):
        permuted_records(load_dataset(tiny), 0)


def test_the_mean_image_stands_for_every_image(phantom: DataSet) -> None:
    own, mean = Studies(phantom, 64, None), Studies(phantom, 64, None, mean_of=phantom)
    shown = [evaluation_batches(phantom, split, own, batch_size=1000) for split in ("train", "val")]
    train, val = (next(iter(batches)) for batches in shown)
    replaced = next(iter(evaluation_batches(phantom, "val", mean, batch_size=1000)))
    expected = train.images.double().mean(dim=0).round().to(torch.uint8)
    assert all(torch.equal(image, expected) for image in replaced.images)
    assert all(
        torch.equal(one["boxes"], other["boxes"]) for one, other in zip(val.targets, replaced.targets, strict=True)
    )
    outside = replace(phantom, studies=tuple(replace(study, split="test") for study in phantom.studies), _splits={})
    setup = ModelSetup(image_input="training_mean", image_size=64)
    encoder = ClinicalEncoder.fit(phantom, phantom.columns())
    elsewhere = Studies.of(outside, setup, encoder, trained=phantom)[Item(0, False)]
    assert torch.equal(elsewhere.images[0], expected), "the mean of what the run was trained on, not of what is there"
    with pytest.raises(DataError, match="no study is in the split 'train'"):
        Studies.of(outside, setup, encoder)


@pytest.mark.parametrize("of", ["value", "record"])
def test_dropout_takes_clinical_values_away_anew_each_epoch(phantom: DataSet, of: str) -> None:
    encoder = ClinicalEncoder.fit(phantom, phantom.columns(), indicators=True)
    batches = training_batches(
        phantom,
        Studies(phantom, 64, encoder),
        batch_size=4,
        seed=0,
        clinical_dropout=0.5,
        dropout_of=of,  # type: ignore[arg-type]
    )
    plain = training_batches(phantom, Studies(phantom, 64, encoder), batch_size=4, seed=0)
    epochs = []
    for epoch in (1, 2):
        shown = list(batches.epoch(epoch))
        assert [b.positions for b in shown] == [b.positions for b in plain.epoch(epoch)]
        for step, (mine, before) in enumerate(zip(shown, plain.epoch(epoch), strict=True)):
            missing = mine.numeric[:, 9:] > 0
            assert (missing | (before.numeric[:, 9:] == 0)).all()  # what was missing stays so
            assert torch.equal(mine.numeric[:, :9].where(~missing, before.numeric[:, :9]), before.numeric[:, :9])
            assert _same(next(batches.epoch(epoch, step)), mine)
        epochs.append({p: row for b in shown for p, row in zip(b.positions, b.numeric[:, 9:].tolist(), strict=True)})
    assert epochs[0] != epochs[1]
    share = np.mean([row for rows in epochs for row in rows.values()])
    assert 0.3 < share < 0.75
    if of == "record":
        assert any(all(row) for row in epochs[0].values())


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(scale=0.2), Augmentation(shift=0.2), Augmentation(0.1, 0.1), Augmentation(contrast=0.5)],
    ids=["scale", "shift", "both", "contrast"],
)
def test_an_augmentation_moves_the_image_and_its_boxes_alike(tiny: Path, augmentation: Augmentation) -> None:
    """The bright rectangle of study ``a`` is found in the pixels, and its box stands on it, as far as it is inside."""
    dataset = load_dataset(tiny)
    studies = Studies(dataset, 64, None)
    batches = training_batches(dataset, studies, batch_size=1, seed=0, flip=0.5, augmentation=augmentation)
    places = set()
    for epoch in range(1, 9):
        (batch,) = (b for b in batches.epoch(epoch) if b.positions == [0])
        image = batch.images[0, 0].numpy()
        bright = np.argwhere(image > (int(image.min()) + int(image.max())) / 2)
        found = [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max() + 1, bright[:, 0].max() + 1]
        box = batch.targets[0]["boxes"][0].numpy()
        assert np.abs(box - found).max() <= 1.5
        assert type(batch.targets[0]["boxes"]) is torch.Tensor
        places.add((round(float(box[0])), int(image.max())))
        assert _same(next(b for b in batches.epoch(epoch) if b.positions == [0]), batch)
    assert len(places) > 2


def test_a_rotated_box_is_the_one_around_it_and_boxes_that_leave_are_gone() -> None:
    image = np.zeros((64, 64), dtype=np.uint8)
    image[20:30, 30:50] = 255
    target = {"boxes": torch.tensor([[30.0, 20.0, 50.0, 30.0], [60.0, 0.0, 64.0, 4.0]]), "labels": torch.tensor([2, 1])}
    turned, moved = View(20.0, (-10, 0), 1.0, 1.0).show(image, target)  # type: ignore[arg-type]
    bright = np.argwhere(turned > 127)
    found = [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max() + 1, bright[:, 0].max() + 1]
    assert np.abs(moved["boxes"][0].numpy() - found).max() <= 2
    _, gone = View(0.0, (40, 0), 1.0, 1.0).show(image, target)  # type: ignore[arg-type]
    assert gone["boxes"].shape == (0, 4)
    assert gone["labels"].shape == (0,)
