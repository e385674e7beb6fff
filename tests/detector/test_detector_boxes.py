"""Boxes of a batch at once against torchvision's image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples
from torch import Tensor
from torch.profiler import profile
from torchvision.models.detection._utils import Matcher
from torchvision.ops import batched_nms, box_iou

from mmad.detector.boxes import Sampler, assign, pad, suppress, upcast


def boxes_of(generator: torch.Generator, count: int, side: float = 64.0) -> Tensor:
    corners = torch.rand((count, 2, 2), generator=generator) * side
    return torch.cat((corners.amin(1), corners.amax(1) + 1), dim=1)


seeds = st.integers(0, 2**31)
counts = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@examples(30)
@given(seeds, counts, st.booleans(), st.sampled_from([1, 200, 2**23]))
def test_matching_equals_torchvisions(seed: int, numbers: list[int], low_quality: bool, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = [boxes_of(generator, n) for n in numbers]
    boxes = boxes_of(generator, 40)
    boxes[:3] = truth[0][0] if len(truth[0]) else boxes[:3]  # boxes that coincide, and tie
    padded, real = pad(truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmad.detector.boxes.MOST_OVERLAPS", most)
        limits = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.3, "allow_low_quality_matches": low_quality}
        matched = assign(padded, real, boxes, **limits)
        assert torch.equal(assign(padded, real, boxes.expand(len(truth), -1, -1), **limits), matched)
    matcher = Matcher(0.5, 0.3, allow_low_quality_matches=low_quality)
    for mine, own in zip(matched, truth, strict=True):
        expected = matcher(box_iou(own, boxes)) if len(own) else torch.full((40,), -1)
        assert torch.equal(mine, expected)


@examples(30)
@given(seeds, counts, st.integers(1, 12), st.floats(0.1, 1))
def test_a_sample_is_balanced_and_complete(seed: int, kinds: list[int], size: int, fraction: float) -> None:
    torch.manual_seed(seed)
    labels = torch.randint(-1, 3, (len(kinds), 30))
    positive, negative = Sampler(size, fraction)(labels)
    assert not (positive & (labels <= 0)).any()
    assert not (negative & (labels != 0)).any()
    for row, drawn, rest in zip(labels, positive, negative, strict=True):
        wanted = min(int(size * fraction), int((row > 0).sum()))
        assert int(drawn.sum()) == wanted
        assert int(rest.sum()) == min(size - wanted, int((row == 0).sum()))


def test_samples_differ_from_draw_to_draw() -> None:
    torch.manual_seed(0)
    sampler = Sampler(8, 0.5)
    labels = torch.ones((1, 100))
    assert not torch.equal(sampler(labels)[0], sampler(labels)[0])


@examples(20)
@given(seeds, counts, st.integers(1, 5))
def test_suppression_equals_one_image_at_a_time(seed: int, numbers: list[int], most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    per_image = [n * 3 for n in numbers]
    boxes = [boxes_of(generator, n, side=30) for n in per_image]
    scores = [torch.rand(n, generator=generator) for n in per_image]
    labels = [torch.randint(0, 2, (n,), generator=generator) for n in per_image]
    image = torch.arange(len(numbers)).repeat_interleave(torch.tensor(per_image))
    kept = suppress(
        torch.cat(boxes),
        torch.cat(scores),
        image,
        image * 2 + torch.cat(labels),
        per_image,
        nms_thresh=0.4,
        top_n=most,
    )
    start = 0
    for b, s, lab, rows, real in zip(boxes, scores, labels, kept.rows, kept.real, strict=True):
        mine = rows[real]
        assert torch.equal(mine - start, batched_nms(b, s, lab, 0.4)[:most])
        start += len(b)


def test_padding_says_what_is_real() -> None:
    padded, real = pad([torch.ones((2, 4)), torch.zeros((0, 4))])
    assert padded.shape == (2, 2, 4)
    assert real.tolist() == [[True, True], [False, False]]
    padded, real = pad([torch.zeros((0, 4))])
    assert padded.shape == (1, 1, 4)
    assert not real.any()


def test_half_precision_is_raised_and_double_is_kept() -> None:
    assert upcast(torch.zeros(1, dtype=torch.bfloat16)).dtype is torch.float32
    assert upcast(torch.zeros(1, dtype=torch.float64)).dtype is torch.float64


@pytest.mark.slow
def test_a_crowded_image_takes_no_more_memory_than_torchvision() -> None:
    """One image with 40 boxes among 15 with one, over the 261,888 anchors of a pyramid at 1024 px."""
    generator = torch.Generator().manual_seed(0)
    truth = [boxes_of(generator, 40 if i == 0 else 1, side=900.0) for i in range(16)]
    anchors = boxes_of(generator, 261_888, side=1000.0)
    padded, real = pad(truth)
    limits = {"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3, "allow_low_quality_matches": True}
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    theirs, expected = _peak(lambda: [matcher(box_iou(own, anchors)) for own in truth])
    ours, matched = _peak(lambda: assign(padded, real, anchors, **limits))
    assert torch.equal(matched, torch.stack(expected))
    assert ours <= 1.2 * theirs


def _peak(work: Callable[[], Any]) -> tuple[int, Any]:
    """The most bytes that tensors made by ``work`` hold at one time, and what it gives."""
    with profile(profile_memory=True) as seen:
        found = work()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    assert most > 0
    return most, found
