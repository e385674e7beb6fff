"""The JSON Schema: valid draft 4, complete, agreeing with the models, and shipped up to date."""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mmad.base.errors import SpecError
from mmad.config.json_schema import ablation_schema
from mmad.config.load import load_ablation
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup

ABLATIONS = Path(__file__).parents[2] / "ablations"
SHIPPED = sorted(ABLATIONS.glob("*.toml"))


@functools.cache
def _validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft4Validator.check_schema(ablation_schema())
    return jsonschema.Draft4Validator(ablation_schema())


def test_the_shipped_schema_is_up_to_date() -> None:
    shipped = json.loads((ABLATIONS / "schema.json").read_text())
    assert shipped == ablation_schema(), "run `mmad schema > ablations/schema.json`"


def test_every_field_has_a_description_and_those_with_units_say_them() -> None:
    tables = ablation_schema()["definitions"]
    setup, setting = tables["SetupTable"]["properties"], tables["SettingTable"]["properties"]
    assert set(ModelSetup.model_fields) <= set(setup)
    assert set(ModelSetup.model_fields) - {"name"} <= set(setting)
    assert (set(TrainingProtocol.model_fields) | set(EvaluationProtocol.model_fields)) - {
        "modules",
        "weights_hash",
        "continues",
        "fold",
    } <= set(setting)
    assert set(ModelSetup.model_fields) - NAMING_FIELDS <= set(tables["GridTable"]["properties"])
    for table in tables.values():
        assert table["additionalProperties"] is False
        for name, field in table["properties"].items():
            assert field.get("description"), f"{name} says nothing of itself"
    assert setup["image_size"]["description"].endswith("[px]")
    assert setup["lr"] == {
        "default": 0.001,
        "description": "Learning rate at the start.",
        "exclusiveMinimum": True,
        "maximum": 10,
        "minimum": 0,
        "type": "number",
    }
    assert setup["fusion_residual"] == setup["fusion_residule"]


def test_no_word_of_later_drafts_is_left() -> None:
    text = json.dumps(ablation_schema())
    for word in ("$defs", '"const"', "prefixItems", "propertyNames", '"null"', '"unit"'):
        assert word not in text
    assert ablation_schema()["$schema"] == "http://json-schema.org/draft-04/schema#"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_files_name_the_schema_and_agree_with_it(file: Path) -> None:
    assert file.read_text().startswith("#:schema ./schema.json\n")
    assert list(_validator().iter_errors(tomllib.loads(file.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "[setup]\nlrr = 1\n",
        "[setup]\nlr = '1'\n",
        "[setup]\nlr = 0\n",
        "[setup]\nbox_head_dropout_rate = 1\n",
        "[setup]\nfusion_strategy = 'mul'\n",
        "[setup]\nfuse_stride = true\n",
        "[setup]\nbackbone = 'resnet81'\n",
        "[setup]\nnorm_momentum = 'some'\n",
        "[setup]\nloss_weights = { loss_mine = 1 }\n",
        "[setup]\nloss_weights = { loss_mask = 'attach' }\n",
        "[grid]\nlr = []\n",
        "[grid]\nlr = 1\n",
        "[[settings]]\nlr = 1\n",
        "settings = []\n",
        "[arms]\n",
        "compare = [['a']]\n",
        "[protocol]\nseeds = []\n",
    ],
)
def test_what_the_schema_refuses_the_loader_refuses_too(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    assert list(_validator().iter_errors(tomllib.loads(text))) != []
    with pytest.raises(SpecError):
        load_ablation(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[setup]\nlr = 1\nlr_scheduler = 'none'\nnorm_momentum = 'none'\nmultiStepLR_milestones = 100\n",
        "[setup]\nloss_weights = { loss_mask = 'detach', loss_classifier = 0 }\n",
        "[setup]\nfusion_strategy = 'add'\n[grid]\nfusion_residual = [true, false]\nlr_scheduler = ['none']\n",
        "compare = [['a', 'b']]\n[arms.a]\n[arms.b]\nuse_clinical = true\n",
        "data = 'x'\n[phantom]\nstudies = 20\n[protocol]\nseeds = [1, 2]\ninferred = ['lr']\n",
    ],
)
def test_what_the_loader_takes_the_schema_takes_too(tmp_path: Path, text: str) -> None:
    file = tmp_path / "good.toml"
    file.write_text(text)
    assert load_ablation(file).members
    assert list(_validator().iter_errors(tomllib.loads(text))) == []
