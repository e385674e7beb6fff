"""How loss components are weighed: by fixed factors and by learned ones."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.records import LOSS_COMPONENTS
from mmad.config.setup import ModelSetup
from mmad.training.losses import LearnedWeights, Weighing, packed, total, weighted
from mmad.training.schedules import build_optimiser


def test_weights_multiply_and_detach() -> None:
    leaf = torch.tensor(2.0, requires_grad=True)
    losses = {"loss_classifier": leaf * 3, "loss_objectness": leaf * 5, "loss_box_reg": leaf}
    result = weighted(losses, {"loss_classifier": 10, "loss_objectness": "detach"})
    total(result).backward()
    assert {name: float(value.detach()) for name, value in result.items()} == {
        "loss_classifier": 60.0,
        "loss_objectness": 10.0,
        "loss_box_reg": 2.0,
    }
    assert float(leaf.grad) == 31.0  # 10 · 3 and 1, nothing through the detached component


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.floats(-1e3, 1e3, width=32), min_size=1))
def test_a_total_does_not_depend_on_the_order(values: dict[str, float]) -> None:
    losses = {name: torch.tensor(value) for name, value in values.items()}
    backwards = dict(reversed(losses.items()))
    assert float(total(losses)) == float(total(backwards))


def test_learned_weights_give_the_documented_sum_and_its_gradient() -> None:
    learned = LearnedWeights(["a", "b"])
    with torch.no_grad():
        learned.w["a"].fill_(2.0)
    loss = torch.tensor(3.0, requires_grad=True)
    value = learned({"a": loss, "b": torch.tensor(5.0), "c": torch.tensor(7.0)})
    value.backward()
    assert float(value.detach()) == pytest.approx(0.5 / 4 * 3 + math.log(1 + 4) + 0.5 * 5 + math.log(2) + 7)
    assert float(loss.grad) == pytest.approx(0.5 / 4)
    assert float(learned.w["a"].grad) == pytest.approx(-3 / 2**3 + 2 * 2 / (1 + 4))
    assert float(learned.w["b"].grad) == pytest.approx(-5 + 1)


def test_a_learned_weight_settles_where_its_gradient_vanishes() -> None:
    learned = LearnedWeights(["a"])
    optimiser = torch.optim.SGD(learned.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        learned({"a": torch.tensor(2.0)}).backward()
        optimiser.step()
    w = learned.values()["a"]
    assert w**4 == pytest.approx(1 + w**2, rel=1e-4)  # 2 / w³ = 2 w / (1 + w²)


def test_without_learned_weights_the_sum_itself_is_minimised() -> None:
    weighing = Weighing.of(ModelSetup(loss_weights={"loss_box_reg": 5}))
    plain, objective = weighing.both({"loss_box_reg": torch.tensor(2.0), "loss_objectness": torch.tensor(1.0)})
    assert objective is plain
    assert float(plain) == 11.0
    assert weighing.metrics() == {}


def test_fixed_weights_apply_first_and_the_recorded_sum_stays_plain() -> None:
    weighing = Weighing.of(ModelSetup(learned_loss_weights=True, loss_weights={"loss_box_reg": 5}))
    losses = {"loss_box_reg": torch.tensor(2.0), "loss_objectness": torch.tensor(1.0)}
    plain, objective = weighing.both(losses)
    assert float(plain) == float(weighing.plain(losses)) == 11.0
    assert float(objective.detach()) == pytest.approx(0.5 * 10 + 0.5 * 1 + 2 * math.log(2))
    assert weighing.metrics() == {f"weight_{name}": 1.0 for name in LOSS_COMPONENTS}


def test_no_weight_is_learned_for_what_is_detached_or_weighed_by_0() -> None:
    weighing = Weighing.of(
        ModelSetup(learned_loss_weights=True, loss_weights={"loss_objectness": "detach", "loss_rpn_box_reg": 0})
    )
    assert set(weighing.metrics()) == {"weight_loss_classifier", "weight_loss_box_reg"}
    _, objective = weighing.both({"loss_classifier": torch.tensor(4.0), "loss_objectness": torch.tensor(3.0)})
    assert float(objective.detach()) == pytest.approx(0.5 * 4 + math.log(2) + 3)


def test_a_mask_head_brings_a_weight_of_its_own() -> None:
    assert "weight_loss_mask" in Weighing.of(ModelSetup(learned_loss_weights=True, use_mask=True)).metrics()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_learned_weights_move_with_the_optimiser_of_the_rest(optimiser: str) -> None:
    setup = ModelSetup(learned_loss_weights=True, lr=0.1, momentum=0, weight_decay=0.5, optimiser=optimiser)
    weighing = Weighing.of(setup)
    assert weighing.learned is not None
    build = build_optimiser(setup, weighing.learned.parameters())
    _, objective = weighing.both({name: torch.tensor(1.0) for name in LOSS_COMPONENTS})
    objective.backward()
    build.step()
    gradient = -1 + 1  # of 0.5 / w² + log(1 + w²) at w = 1; the decay alone moves it
    assert weighing.metrics()["weight_loss_box_reg"] == pytest.approx(1 - 0.1 * (gradient + 0.5))


def test_packing_changes_no_bit() -> None:
    values = [torch.tensor(1 / 3), torch.tensor(1e-30), torch.tensor(math.inf)]
    assert packed(values).tolist() == [float(v) for v in values]
