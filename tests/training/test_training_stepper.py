"""Optimiser steps: averaged over batches, clipped, and in half precision scaled."""

import math

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from mmad.base.errors import SpecError
from mmad.config.setup import ModelSetup
from mmad.training.device import Precision, require_device, require_gain
from mmad.training.loop import Stepper

CPU = torch.device("cpu")
ROWS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0], [-2.0, 1.0]])
WANTED = torch.tensor([1.0, 0.0, 2.0, -1.0])


class Line:
    """A linear model with a squared error, mean over the rows of a batch."""

    def __init__(self, **how: object) -> None:
        self.weight = torch.tensor([0.5, -0.25], requires_grad=True)
        half = bool(how.pop("half", False))
        self.precision = Precision(CPU, half=half)
        self.stepper = Stepper(SGD([self.weight], lr=0.1, momentum=0.9), self.precision, **how)

    def loss(self, *rows: int) -> Tensor:
        index = list(rows)
        return ((ROWS[index] @ self.weight - WANTED[index]) ** 2).mean()

    def weights(self) -> list[float]:
        return self.weight.detach().tolist()


def by_hand(groups: list[list[tuple[int, ...]]]) -> list[float]:
    """The weights after one plain step per group, on the mean of the losses of its batches."""
    line = Line()
    optimiser = SGD([line.weight], lr=0.1, momentum=0.9)
    for group in groups:
        optimiser.zero_grad()
        torch.stack([line.loss(*batch) for batch in group]).mean().backward()
        optimiser.step()
    return line.weights()


def test_two_batches_of_two_step_like_one_of_four() -> None:
    parts, whole = Line(accumulation=2), Line()
    before = parts.weights()
    parts.stepper.add(parts.loss(0, 1))
    assert parts.weights() == before  # half a group: nothing moved yet
    parts.stepper.add(parts.loss(2, 3))
    whole.stepper.add(whole.loss(0, 1, 2, 3))
    assert parts.weights() == pytest.approx(whole.weights(), rel=1e-6)
    assert parts.weights() != before


def test_a_last_group_that_is_not_full_is_averaged_over_its_own_size() -> None:
    line = Line(accumulation=3)
    batches = [(0,), (1,), (2,), (3,), (0, 1)]
    for batch in batches:
        line.stepper.add(line.loss(*batch))
    line.stepper.finish()
    assert line.weights() == pytest.approx(by_hand([batches[:3], batches[3:]]), rel=1e-6)
    after = line.weights()
    line.stepper.finish()  # nothing waits: nothing moves, momentum included
    assert line.weights() == after


def test_an_accumulation_of_one_is_the_plain_loop_to_the_bit() -> None:
    line = Line()
    for batch in [(0, 1), (2,), (3,)]:
        line.stepper.add(line.loss(*batch))
    line.stepper.finish()
    assert line.weights() == by_hand([[(0, 1)], [(2,)], [(3,)]])


@pytest.mark.parametrize("half", [False, True])
def test_the_norm_is_clipped_after_averaging_over_all_parameters(half: bool) -> None:
    first, second = torch.tensor([0.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
    optimiser = SGD([{"params": [first]}, {"params": [second]}], lr=1.0)
    stepper = Stepper(optimiser, Precision(CPU, half=half), accumulation=2, clip_norm=1.0)
    for _ in range(2):
        stepper.add((3 * first + 4 * second).sum())  # averaged: norm 5; summed it would be 10
    assert [first.item(), second.item()] == pytest.approx([-0.6, -0.8], rel=1e-5)


def test_a_norm_below_the_limit_is_left_alone() -> None:
    clipped, free = Line(clip_norm=1e6), Line()
    for line in (clipped, free):
        line.stepper.add(line.loss(0, 1))
    assert clipped.weights() == free.weights()


def test_scaling_by_a_power_of_two_changes_no_step() -> None:
    scaled, plain = Line(half=True, accumulation=2), Line(accumulation=2)
    for line in (scaled, plain):
        for batch in [(0, 1), (2,), (3,)]:
            line.stepper.add(line.loss(*batch))
        line.stepper.finish()
    assert scaled.weights() == plain.weights()


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved() -> None:
    line = Line(half=True, clip_norm=1.0)
    before, scale = line.weights(), line.precision.state()["scale"]
    line.stepper.add(line.loss(0) * math.inf)
    assert line.weights() == before
    assert line.precision.state()["scale"] == scale / 2


def test_a_scaler_goes_on_from_its_state() -> None:
    line, other = Line(half=True), Line(half=True)
    line.stepper.add(line.loss(0) * math.inf)
    other.precision.load_state(line.precision.state())
    assert other.precision.state() == line.precision.state() != Precision(CPU, half=True).state()
    assert Precision(CPU).state() == {}


def test_losses_leave_half_precision_and_single_precision_is_untouched() -> None:
    losses = {"loss_classifier": torch.tensor(0.5, dtype=torch.float16)}
    assert Precision(CPU, half=True).full(losses)["loss_classifier"].dtype == torch.float32
    assert Precision(CPU).full(losses) is losses
    row = torch.ones(2, 2)
    with Precision(CPU, half=True).autocast():
        assert (row @ row).dtype == torch.float16
    with Precision(CPU).autocast():
        assert (row @ row).dtype == torch.float32


def test_half_precision_is_refused_on_the_cpu() -> None:
    with pytest.raises(SpecError) as refused:
        require_device(True, CPU)
    assert str(refused.value) == (
        "mixed_precision needs a GPU of NVIDIA or AMD; set mixed_precision = false or use --device cuda"
    )
    require_device(False, CPU)
    require_device(True, torch.device("cuda:1"))


def test_bfloat16_is_computed_without_a_scaler_and_refused_where_it_would_be_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row, precision = torch.ones(2, 2), Precision(CPU, bf16=True)
    with precision.autocast():
        assert (row @ row).dtype == torch.bfloat16
    assert (precision.half, precision.state(), precision.scale) == (False, {}, None)
    assert precision.full({"loss": torch.zeros(1, dtype=torch.bfloat16)})["loss"].dtype == torch.float32
    for supported in (True, False):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda answer=supported: answer)
        if supported:
            require_device(False, CPU, bf16=True)
        else:
            with pytest.raises(SpecError, match="bf16: cpu does not compute bfloat16; set bf16 = false"):
                require_device(False, CPU, bf16=True)


def test_bfloat16_is_refused_on_a_cpu_where_the_network_is_slower_in_it() -> None:
    small = {"backbone": "mobilenet_v3", "bf16": True}
    with pytest.raises(SpecError) as refused:
        require_gain(ModelSetup(**small), CPU)
    assert str(refused.value) == (
        "bf16: slower than single precision on a CPU for mobilenet_v3 with 0.10 G multiply-adds an image (below 1 G); "
        "set bf16 = false, or train it on a GPU"
    )
    for faster in (small | {"use_clinical": True}, small | {"use_mask": True}, {"backbone": "custom2", "bf16": True}):
        require_gain(ModelSetup(**faster), CPU)
    require_gain(ModelSetup(**small), torch.device("cuda"))
    require_gain(ModelSetup(), CPU)
