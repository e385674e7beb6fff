"""Weights of one arm in another: what both have, and nothing by accident."""

import pytest
import torch
from detector_samples import CXR, ERA_A, ERA_C, FPN, detector

from mmad.base.errors import CheckpointError
from mmad.detector.weights import load_shared, load_weights


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [(CXR, ERA_A), (ERA_A, CXR), (CXR, ERA_C), (ERA_C, ERA_A)])
def test_arms_take_over_the_modules_they_share(one: dict, other: dict) -> None:
    giver, taker = detector(one, seed=1), detector(other, seed=2)
    before = {name: tensor.clone() for name, tensor in taker.state_dict().items()}
    shared = load_shared(taker, giver.state_dict())
    assert {"rpn.head.cls_logits", "backbone.reduce", "roi_heads.box_head.fc7"} <= set(shared.loaded)
    assert not any(name.startswith(("backbone", "rpn")) for name in shared.left)
    given = giver.state_dict()
    for name, tensor in taker.state_dict().items():
        source = given if name.rpartition(".")[0] in shared.loaded else before
        assert torch.equal(tensor, source[name])


def test_a_layer_the_clinical_vector_widens_is_left_and_named() -> None:
    shared = load_shared(detector(ERA_C), detector(CXR).state_dict())
    assert "roi_heads.box_head.fc6" in shared.left


@pytest.mark.slow
def test_strict_loading_names_what_differs() -> None:
    with pytest.raises(CheckpointError, match=r"missing clinical_vector\.embeddings\.0\.weight.*and \d+ more"):
        load_weights(detector(ERA_A), detector(CXR).state_dict())
    with pytest.raises(CheckpointError, match="unexpected clinical"):
        load_weights(detector(CXR), detector(ERA_A).state_dict())
    wider = detector(CXR | {"representation_size": 48}).state_dict()
    with pytest.raises(CheckpointError, match=r"of another shape roi_heads\.box_head\.fc6\.weight"):
        load_weights(detector(CXR), wider)


@pytest.mark.slow
def test_strict_loading_takes_everything() -> None:
    giver, taker = detector(FPN, seed=1), detector(FPN, seed=2)
    load_weights(taker, giver.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(giver.parameters(), taker.parameters(), strict=True))


def test_a_torn_module_and_a_strange_checkpoint_are_refused() -> None:
    torn = detector(CXR).state_dict()
    del torn["rpn.head.cls_logits.bias"]
    with pytest.raises(CheckpointError, match=r"only a part of rpn\.head\.cls_logits: missing rpn"):
        load_shared(detector(CXR), torn)
    with pytest.raises(CheckpointError, match="shares no module"):
        load_shared(detector(CXR), {"other.weight": torch.zeros(1)})
