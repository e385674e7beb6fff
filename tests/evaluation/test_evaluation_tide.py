"""What each kind of error costs, against the authors' package."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import evaluate
from mmad.evaluation.matching import match
from mmad.evaluation.tide import KINDS, error_costs

SHORT = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), KINDS, strict=True))


def theirs(found: Detections, truth: GroundTruth) -> dict[str, float]:
    """tidecv's gains, 0 to 1; it calls a finding that nobody has an AP of 0, so such detections are left out."""
    from tidecv import TIDE, Data

    boxes, detections = Data("truth", max_dets=1000), Data("found", max_dets=1000)
    for n in range(len(truth.studies)):
        boxes.add_image(n, str(n))
    for image, label, box in zip(truth.study.tolist(), truth.labels.tolist(), truth.boxes, strict=True):
        boxes.add_ground_truth(image, label, [*box[:2], *(box[2:] - box[:2])])
    for image, label, score, box in zip(
        found.study.tolist(), found.labels.tolist(), found.scores.tolist(), found.boxes, strict=True
    ):
        detections.add_detection(image, label, score, [*box[:2], *(box[2:] - box[:2])])
    tide = TIDE()
    run = tide.evaluate(boxes, detections, mode=TIDE.BOX)
    main, special = tide.get_main_errors()["found"], tide.get_special_errors()["found"]
    return {name: value / 100 for name, value in (main | special).items()} | {"AP": run.ap / 100}


def pruned(seed: int) -> tuple[Detections, GroundTruth]:
    """A split in which every finding that is detected has a box, nothing ties, and nothing is ignored."""
    found, truth = sample_split(seed, images=15, per_image=8, crowd=0, skill=0.6)
    rng = np.random.default_rng(seed)
    known = np.isin(found.labels, truth.labels)
    wrong = rng.random(len(found.labels)) < 0.2
    labels = np.where(wrong, rng.choice(np.unique(truth.labels), len(wrong)), found.labels)
    boxes = found.boxes + rng.uniform(-0.4, 0.4, found.boxes.shape)
    scores = (rng.permutation(len(found.labels)) + 1) / (len(found.labels) + 2)
    keep = np.flatnonzero(known)
    plain = GroundTruth(
        truth.studies, truth.patients, truth.categories, truth.study,
        truth.boxes + rng.uniform(-0.4, 0.4, truth.boxes.shape), truth.labels,
    )  # fmt: skip
    return Detections(found.studies, found.study[keep], boxes[keep], scores[keep], labels[keep]), plain


@examples(20)
@given(st.integers(0, 2**31))
def test_the_costs_are_those_of_the_authors_package(seed: int) -> None:
    found, truth = pruned(seed)
    expected = theirs(found, truth)
    mine = error_costs(match(found, truth, max_detections=1000), found, truth)
    assert mine.ap == pytest.approx(expected["AP"])
    gains = {cost.kind: cost.ap for cost in mine.kinds}
    for short, kind in SHORT.items():
        assert gains[kind] == pytest.approx(expected[short], abs=1e-9), kind
    assert mine.false_positives == pytest.approx(expected["FalsePos"])
    assert mine.false_negatives == pytest.approx(expected["FalseNeg"])


def test_by_hand() -> None:
    """A hit, a wrong name on a free box, a second detection of the hit, one beside everything; a box nobody saw."""
    studies = ("a", "b")
    box = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]])
    truth = GroundTruth(studies, studies, ("A", "B"), np.array([0, 0, 1]), box, np.array([1, 2, 1]))
    where = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    found = Detections(studies, np.array([0, 0, 0, 1]), where, np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 1, 1]))
    costs = error_costs(match(found, truth), found, truth)
    assert costs.ap == pytest.approx(evaluate(found, truth).ap)
    assert {c.kind: c.count for c in costs.kinds} == {
        "classification": 1, "localisation": 0, "both": 0, "duplicate": 1, "background": 1, "missed": 1,
    }  # fmt: skip
    gains = {c.kind: c.ap for c in costs.kinds}
    assert gains["classification"] == pytest.approx(0.5)  # B is then found
    assert gains["duplicate"] == gains["background"] == 0  # they come after the only hit
    assert gains["missed"] == pytest.approx((1 - 51 / 101) / 2)


def test_ignored_boxes_are_set_aside_and_nothing_at_all_costs_nothing() -> None:
    found, truth = sample_split(4, images=20, crowd=0.4)
    matched = match(found, truth)
    costs = error_costs(matched, found, truth)
    assert costs.ap == pytest.approx(evaluate(found, truth).ap)
    assert sum(c.count for c in costs.kinds[:-1]) == (matched.counted[0] & ~matched.hit[0]).sum()
    none = Detections(found.studies, *(getattr(found, name)[:0] for name in ("study", "boxes", "scores", "labels")))
    empty = error_costs(match(none, truth), none, truth)
    assert (empty.ap, empty.false_positives) == (0, 0)
    assert sum(c.count for c in empty.kinds) == empty.kinds[-1].count == (~truth.ignore).sum()
