"""The published fusions: their equations, written once more by hand, their sizes, and their way through a detector."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch
from detector_samples import CXR, FPN, batch
from torch import Tensor
from torch.nn import functional as F

from mmad.base.records import DOCUMENTED_COLUMNS, ClinicalColumns
from mmad.config.load import load_ablation
from mmad.config.named_parts import PARTS, part_name, plain_part
from mmad.config.setup import BACKBONES, ModelSetup
from mmad.detector.build import build_detector, parameter_counts
from mmad.detector.clinical import ClinicalTokens
from mmad.detector.cost import detector_cost
from mmad.detector.fusions import DAFT, MMTM, CrossAttention, FiLM, Fusion, FusionShape, GatedSum, Late
from mmad.detector.model import MultimodalRCNN
from mmad.detector.parts import part_class

WORDS = tuple(PARTS["fusion"].words)
C, K, B = 6, 8, 3
SHAPE = FusionShape(("0", "1"), C, K, 5)


@pytest.fixture
def maps() -> OrderedDict[str, Tensor]:
    torch.manual_seed(0)
    return OrderedDict((("0", torch.randn(B, C, 4, 4)), ("1", torch.randn(B, C, 2, 2))))


@pytest.fixture
def vector() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(B, K)


def _clinical(fields: dict, word: str) -> ModelSetup:
    return ModelSetup(**fields, use_clinical=True, clinical_input_channels=24, fusion=word)


def test_the_words_of_the_setup_are_those_that_have_a_class() -> None:
    for field, kind in PARTS.items():
        annotation = ModelSetup.model_fields[field].annotation
        words = {word for choice in get_args(annotation) if get_origin(choice) is Literal for word in get_args(choice)}
        if field == "backbone":  # any text, for timm's names
            words = {*BACKBONES, "timm:NAME"}
        if type(None) in get_args(annotation) and field != "clinical_encoder":
            words.add("none")
        assert words == {*kind.words, *kind.others}, field
        for word in kind.words:
            assert part_class(field, word).__doc__


def test_film_scales_and_shifts_every_channel(maps: OrderedDict[str, Tensor], vector: Tensor) -> None:
    fusion = FiLM(SHAPE)
    fused = fusion(maps, vector)
    for level, x in maps.items():
        weight, bias = fusion.modulation[level].weight, fusion.modulation[level].bias
        out = vector @ weight.T + bias
        for b in range(B):
            for c in range(C):
                assert torch.allclose(fused[level][b, c], (1 + out[b, c]) * x[b, c] + out[b, C + c])


def test_daft_reads_the_pooled_map_too(maps: OrderedDict[str, Tensor], vector: Tensor) -> None:
    fusion = DAFT(SHAPE)
    fused = fusion(maps, vector)
    for level, x in maps.items():
        first, _, second = fusion.affine[level]
        assert first.weight.shape == ((C + K) // 7, C + K)
        assert first.bias is None
        assert second.bias is None
        hidden = F.relu(torch.cat([x.flatten(2).mean(2), vector], 1) @ first.weight.T)
        out = hidden @ second.weight.T
        assert torch.allclose(fused[level], out[:, :C, None, None] * x + out[:, C:, None, None])


def test_mmtm_gates_every_channel(maps: OrderedDict[str, Tensor], vector: Tensor) -> None:
    fusion = MMTM(SHAPE)
    fused = fusion(maps, vector)
    for level, x in maps.items():
        squeeze, excite = fusion.squeeze[level][0], fusion.excite[level][0]
        assert squeeze.out_features == 2 * (C + K) // 4
        z = F.relu(F.linear(torch.cat([x.flatten(2).mean(2), vector], 1), squeeze.weight, squeeze.bias))
        gate = 1 / (1 + (-F.linear(z, excite.weight, excite.bias)).exp())
        assert torch.allclose(fused[level], x * gate[:, :, None, None])


def test_the_gated_sum_weighs_both_at_every_cell(maps: OrderedDict[str, Tensor], vector: Tensor) -> None:
    fusion = GatedSum(SHAPE).eval()
    fused = fusion(maps, vector)
    for level, x in maps.items():
        image, clinical, gate = fusion.image[level], fusion.clinical[level], fusion.gate[level]
        eps = image[0].eps
        a = (x[:, :, 1, 1] / (1 + eps) ** 0.5) @ image[1].weight[:, :, 0, 0].T  # running statistics are 0 and 1
        b = (vector / (1 + eps) ** 0.5) @ clinical[1].weight.T
        z = torch.sigmoid(torch.cat([a, b], 1) @ gate.weight[:, :, 0, 0].T)
        assert torch.allclose(fused[level][:, :, 1, 1], z * a.tanh() + (1 - z) * b.tanh(), atol=1e-6)


def test_cells_attend_to_the_tokens_of_columns(maps: OrderedDict[str, Tensor]) -> None:
    fusion = CrossAttention(SHAPE, heads=2)
    tokens = torch.randn(B, 4, K)
    fused = fusion(maps, tokens)
    for level, x in maps.items():
        cell = F.layer_norm(x[:, :, 1, 0], (C,), fusion.norm[level].weight, fusion.norm[level].bias)
        query, key, value = fusion.query[level](cell), fusion.key[level](tokens), fusion.value[level](tokens)
        heads = []
        for half in (slice(0, K // 2), slice(K // 2, K)):
            score = torch.einsum("bd,btd->bt", query[:, half], key[:, :, half]) / (K // 2) ** 0.5
            heads.append(torch.einsum("bt,btd->bd", score.softmax(1), value[:, :, half]))
        assert torch.allclose(
            fused[level][:, :, 1, 0], x[:, :, 1, 0] + fusion.out[level](torch.cat(heads, 1)), atol=1e-6
        )


def test_late_fusion_leaves_the_maps_and_speaks_on_the_findings(maps: OrderedDict[str, Tensor], vector: Tensor) -> None:
    fusion = Late(SHAPE)
    assert fusion(maps, vector) is maps
    assert fusion.prior(vector).shape == (B, 5)


def test_a_missing_value_is_a_token_of_its_own() -> None:
    columns = ClinicalColumns(("age", "pain"), (("gender", ("F", "M")),))
    tokens = ClinicalTokens(columns, 4)
    made = tokens(torch.tensor([[2.0, 3.0, 0.0, 0.0], [0.0, 3.0, 1.0, 0.0]]), torch.tensor([[1], [-1]]))
    assert made.shape == (2, 3, 4)
    assert torch.equal(made[0, 0], tokens.bias[0] + 2 * tokens.weight[0])
    assert torch.equal(made[1, 0], tokens.bias[0] + tokens.missing)
    assert torch.equal(made[0, 2], tokens.bias[2] + tokens.embeddings[0].weight[1])
    assert torch.equal(made[1, 2], tokens.bias[2] + tokens.missing)
    made.sum().backward()
    assert tokens.missing.grad is not None


SIZES = {
    "film": lambda c, k: k * 2 * c + 2 * c,
    "daft": lambda c, k: (c + k) // 7 * (c + k + 2 * c),
    "gated_sum": lambda c, k: 2 * c + c * c + 2 * k + k * c + 2 * c * c,
    "mmtm": lambda c, k: (c + k) // 2 * (c + k + 1) + c * ((c + k) // 2 + 1),
    "cross_attention": lambda c, k: 2 * c + (c + 1) * k + 2 * (k + 1) * k + (k + 1) * c,
}


@pytest.mark.parametrize("word", WORDS)
def test_a_fusion_is_counted_by_arithmetic_and_runs_whole(word: str) -> None:
    for fields, levels, channels in ((CXR, 1, 16), (FPN, 5, 256)):
        setup = _clinical(fields, word)
        counts = {row.module: row.count for row in parameter_counts(setup)}
        expected = levels * SIZES[word](channels, 24) if word in SIZES else (24 + 1) * 5
        assert counts["model.clinical_fusion"] == expected
        cost = detector_cost(setup)
        assert cost.idle == ()
        assert cost.flops["clinical"] > 0
        (row,) = [row for row in cost.modules if row.module == "model.clinical_fusion"]
        assert (row.parameters, row.flops) == (expected, cost.flops["clinical"])


def _inputs(setup: ModelSetup) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    images, targets, numeric, categorical = batch()
    if setup.missing_indicators:
        numeric = torch.cat((numeric, torch.zeros_like(numeric)), dim=1)
        numeric[0, 9] = 1
    return images, targets, numeric, categorical


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("fields", [CXR, pytest.param(FPN, marks=pytest.mark.slow)], ids=["one map", "FPN"])
def test_a_detector_trains_with_it_and_reads_the_record(word: str, fields: dict) -> None:
    setup = _clinical(fields, word)
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).train()
    images, targets, numeric, categorical = _inputs(setup)
    losses = model(images, targets, numeric, categorical).losses
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.norm().isfinite(), name
    model.eval()
    with torch.no_grad():
        own = model(images, targets, numeric, categorical).losses
        other = model(images, targets, numeric.roll(1, 0), categorical.roll(1, 0)).losses
    assert own != other


def _weights(model: MultimodalRCNN, *parts: str) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(parts)}


@pytest.mark.parametrize("word", WORDS)
def test_a_fusion_is_drawn_from_seed_and_name_alone(word: str) -> None:
    parts = ("clinical_fusion.", "clinical_vector.", "backbone.", "rpn.")
    setup = _clinical(CXR, word)
    torch.manual_seed(7)
    one = _weights(build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0), *parts)
    torch.manual_seed(8)
    again = _weights(build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0), *parts)
    other = _weights(build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=1), *parts)
    image = _weights(build_detector(ModelSetup(**CXR), labels=5, columns=DOCUMENTED_COLUMNS, seed=0), *parts)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(torch.equal(one[name], image[name]) for name in image)
    assert any(not torch.equal(one[name], other[name]) for name in one if name.startswith("clinical_fusion."))


def test_a_prior_moves_the_scores_of_every_box_of_its_image() -> None:
    setup = _clinical(CXR, "late")
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).eval()
    images, _, numeric, categorical = _inputs(setup)
    with torch.no_grad():
        model.clinical_fusion.head.weight.zero_()
        model.clinical_fusion.head.bias.copy_(torch.tensor([30.0, 0, 0, 0, 0]))
        found = model(images, None, numeric, categorical).detections
    assert all(set(one["labels"].tolist()) <= {1} or one["scores"].max() > 0.99 for one in found)
    assert all(one["labels"][one["scores"].argmax()] == 1 for one in found)


def test_a_part_in_a_table_without_arguments_is_the_word() -> None:
    assert plain_part({"use": "film"}) == "film"
    assert plain_part({"use": "daft", "bottleneck": 3}) == {"use": "daft", "bottleneck": 3}
    assert plain_part({"use": "mine:FiLM"}) == {"use": "mine:FiLM"}
    assert part_name({"use": "daft", "bottleneck": 3}) == "daft"
    setup = ModelSetup(**CXR, use_clinical=True, fusion={"use": "daft", "bottleneck": 2})
    model = build_detector(setup, labels=5, columns=DOCUMENTED_COLUMNS, seed=0)
    assert model.clinical_fusion.affine["0"][0].out_features == (16 + 32) // 2
    assert json.loads(setup.model_dump_json())["fusion"] == {"use": "daft", "bottleneck": 2}


def test_every_word_keeps_to_the_protocol() -> None:
    for word in WORDS:
        assert hasattr(part_class("fusion", word), "forward")
    assert Fusion.__doc__


@pytest.mark.slow
def test_the_shipped_question_has_arms_of_equal_size() -> None:
    ablation = load_ablation(Path(__file__).parents[2] / "ablations" / "fusions.toml")
    assert {pair[1] for pair in ablation.compare} == {"true"}
    assert {member.run.setup.fusion_name for member in ablation.members} == {"era", *WORDS}
    sizes: dict[str, dict[str, int]] = {}
    for member in ablation.members:
        if member.seed == 0:
            sizes.setdefault(member.setting, {})[member.arm] = parameter_counts(member.run.setup)[0].count
    for setting, arms in sizes.items():
        alike = [f"permuted {n}" for n in (1, 2, 3)] + ["constant", "missingness", "alone"]
        assert {arms[name] for name in alike} == {arms["true"]}, setting
        assert arms["true"] == pytest.approx(arms["CXR wider"], rel=0.05), setting
        assert arms["CXR"] < arms["true"] <= arms["CXR wider"], setting
