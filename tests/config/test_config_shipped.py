"""The shipped ablations: they load, and the log's chapters print the setups the log prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmad.config.load import load_ablation

ABLATIONS = Path(__file__).parents[2] / "ablations"

#: Fields the log prints as None, or not at all, where they decided nothing then.
_PATHS = ("best_ar_val_model_path", "best_ap_val_model_path", "final_model_path")


def _entries(shared: Path) -> dict[str, dict[str, Any]]:
    log = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in log["entries"]}


@pytest.mark.parametrize("name", ["quickstart", "patience", "lungs"])
def test_shipped_files_load_with_both_arms(name: str) -> None:
    ablation = load_ablation(ABLATIONS / f"{name}.toml")
    assert ablation.arms == ("CXR", "CXR+Clinical")
    assert ablation.title
    assert ablation.description
    for member in ablation.members:
        assert member.run.setup.use_clinical == (member.arm == "CXR+Clinical")


@pytest.mark.parametrize("file", sorted(ABLATIONS.glob("*.toml")), ids=lambda file: file.stem)
def test_values_checked_where_they_are_read_are_those_that_the_models_take(file: Path) -> None:
    for member in load_ablation(file, overrides=["seeds=[0,1]", "lr=1", "multiStepLR_milestones=40"]).members:
        for model in (member.run.setup, member.run.protocol, member.evaluation):
            again = type(model).model_validate(model.model_dump())
            assert again == model
            assert again.model_dump_json() == model.model_dump_json()


def test_the_quickstart_needs_no_weights_and_draws_its_data() -> None:
    members = load_ablation(ABLATIONS / "quickstart.toml").members
    assert len(members) == 2
    assert {member.run.protocol.weights_hash for member in members} == {""}


def test_patience_has_the_eight_documented_runs_under_the_log_s_protocol() -> None:
    members = load_ablation(ABLATIONS / "patience.toml").members
    assert sorted(member.documented or "" for member in members) == [f"e{number:03}" for number in range(69, 77)]
    for member in members:
        assert member.run.setup.resolved_era == "A"
        assert (member.run.setup.fuse_stride, member.run.setup.clinical_values) == (2, "raw")
        assert member.run.protocol.epochs == 100
        assert (member.evaluation.overlap, member.evaluation.proposals) == ("iobb", "with_ground_truth")
        assert (member.run.protocol.selection_overlap, member.run.protocol.weights) == ("iobb", "imagenet")
        assert {"fuse_stride", "overlap", "proposals", "epochs"} <= set(member.inferred)


@pytest.mark.shared
def test_every_field_the_log_prints_is_a_field_of_the_setup(shared: Path) -> None:
    from mmad.config.setup import ModelSetup

    fields = json.loads((shared / "seed" / "experiment_log.json").read_text(encoding="utf-8"))["setup_fields"]
    assert set(fields) <= set(ModelSetup.model_fields)
