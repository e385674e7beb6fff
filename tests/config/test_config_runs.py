"""Keys: what decides a run is in them, what only names it is not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.config.field_effects import ALWAYS, Effect, stated
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import NAMING_FIELDS, DataSource, RunSpec
from mmad.config.setup import ModelSetup

DATA = DataSource(path="/data", name="made up", fingerprint="f" * 64)

#: For every deciding field another valid value than the default.
OTHER_SETUP: dict[str, Any] = {
    "use_clinical": True, "use_custom_model": False, "use_early_stop_model": False,
    "record_training_performance": False, "dataset_mode": "normal", "era": "C", "backbone": "custom2",
    "pretrained": False, "image_size": 512, "backbone_out_channels": 17,
    "trainable_layers": 2, "frozen_norm": False, "norm_momentum": 0.5,
    "clinical_input_channels": 33, "clinical_num_len": 9, "clinical_numeric": ["age"], "clinical_categorical": [],
    "clinical_missing_indicators": True, "clinical_unknown_slot": True,
    "clinical_values": "raw", "clinical_expand_conv_channels": 8, "clinical_conv_channels": 33,
    "clinical_expand_dropout_rate": 0.1, "clinical_conv_dropout_rate": 0.1, "fuse_conv_channels": 33,
    "fuse_dropout_rate": 0.1, "fuse_depth": 5, "fuse_stride": 2, "fusion_strategy": "add", "fusion_residule": True,
    "spatialise_clinical": False, "spatialise_method": "repeat", "pre_spatialised_layer": 2,
    "clinical_last_relu": False, "clinical_idle_network": False,
    "add_clinical_to_roi_heads": False, "anchor_sizes": [16], "anchor_ratios": [1.0],
    "representation_size": 33, "box_head_dropout_rate": 0.1, "use_mask": True, "mask_hidden_layers": 257,
    "rpn_pre_nms_top_n_train": 9, "rpn_pre_nms_top_n_test": 9, "rpn_post_nms_top_n_train": 9,
    "rpn_post_nms_top_n_test": 9, "rpn_fg_iou_thresh": 0.6, "rpn_bg_iou_thresh": 0.2, "box_fg_iou_thresh": 0.6,
    "box_bg_iou_thresh": 0.4, "rpn_positive_fraction": 0.4, "box_positive_fraction": 0.4,
    "rpn_batch_size_per_image": 64, "box_batch_size_per_image": 64,
    "rpn_nms_thresh": 0.7, "rpn_score_thresh": 0.1, "box_nms_thresh": 0.5, "box_score_thresh": 0.1,
    "box_detections_per_img": 11, "gt_in_train_till": 0, "optimiser": "adamw", "lr": 0.5, "momentum": 0.5,
    "weight_decay": 0.5, "batch_size": 5,
    "gradient_accumulation": 2, "gradient_clip_norm": 1.0, "mixed_precision": True, "channels_last": True, "tf32": True,
    "warmup_epochs": 1, "lr_scheduler": "MultiStepLR",
    "plateau_metric": "val_ap", "reduceLROnPlateau_factor": 0.5, "reduceLROnPlateau_patience": 11,
    "reduceLROnPlateau_full_stop": True, "multiStepLR_milestones": [1], "multiStepLR_gamma": 0.5,
    "loss_weights": {"loss_classifier": 2}, "learned_loss_weights": True, "measure_test": False,
    "augmentation": {"use": "mine:Turn"}, "box_loss": {"use": "torch.nn:Linear", "in_features": 4, "out_features": 1},
    "horizontal_flip": 0.25, "image_input": "training_mean", "fusion": "daft", "clinical_encoder": "tokens",
    "clinical_records": "permuted", "clinical_permutation": 1, "clinical_dropout": 0.3, "clinical_dropout_of": "record",
    "gradient_checkpointing": True, "gpus_per_run": 2, "sync_batch_norm": True,
    "bf16": True, "ema_decay": 0.5, "cosine_ramp_epochs": 2, "cosine_last_factor": 0.1, "augment_scale": 0.1,
    "augment_shift": 0.1, "augment_rotation": 5.0, "augment_contrast": 0.1,
}  # fmt: skip
OTHER_PROTOCOL: dict[str, Any] = {
    "epochs": 99, "seed": 1, "threads": 2, "weights": "none", "weights_hash": "abc", "selection_overlap": "iobb",
    "selection_proposals": "sampled", "replicate": 2, "steps_per_epoch": 1,
    "modules": [{"name": "mine", "sha256": "b" * 64}], "continues": {"key": "a" * 64, "checkpoint": "final"},
    "fold": {"number": 1, "of": 5},
}  # fmt: skip


def _key(setup: dict[str, Any] | None = None, protocol: dict[str, Any] | None = None) -> str:
    return RunSpec(ModelSetup(**(setup or {})), TrainingProtocol(**(protocol or {})), DATA).key


def test_every_field_is_covered_here() -> None:
    assert set(OTHER_SETUP) | NAMING_FIELDS | {"using_fpn"} == set(ModelSetup.model_fields)
    assert set(OTHER_PROTOCOL) | {"pretrained_on"} == set(TrainingProtocol.model_fields)


#: Runs in which, between them, every field that can decide anything does.
BASES: dict[str, dict[str, Any]] = {
    "image": {},
    "no pyramid": {"backbone": "resnet18"},
    "pyramid": {"backbone": "resnet18", "using_fpn": True, "use_mask": True, "frozen_norm": False},
    "era A": {"use_clinical": True, "fuse_depth": 1, "lr_scheduler": "ReduceLROnPlateau"},
    "era A, added": {"use_clinical": True, "fusion_strategy": "add"},
    "era C": {"use_clinical": True, "era": "C", "clinical_expand_conv_channels": 16, "lr_scheduler": "MultiStepLR"},
    "era C, RoI heads alone": {"use_clinical": True, "era": "C", "spatialise_clinical": False},
    "FiLM": {"use_clinical": True, "fusion": "film"},
    "own": {
        "use_clinical": True, "fusion": {"use": "mine:Sum"}, "clinical_records": "permuted", "clinical_dropout": 0.1,
    },
    "torchvision": {"use_custom_model": False},
    "several GPUs": {"gpus_per_run": 3, "batch_size": 4, "record_training_performance": False},
    "cosine": {"lr_scheduler": "CosineAnnealingLR"},
}  # fmt: skip
#: What no run depends on.
IDLE = {name for name, field in ModelSetup.model_fields.items() if any(ALWAYS in item.idle for item in stated(field))}


def _run(setup: dict[str, Any], protocol: dict[str, Any] | None = None) -> RunSpec:
    return RunSpec(ModelSetup(**setup), TrainingProtocol(**(protocol or {})), DATA)


def _decides(field: str, *runs: RunSpec) -> bool:
    return any(field in run.affecting(*get_args(Effect)) for run in runs)


@pytest.mark.parametrize("base", BASES)
def test_a_field_of_the_setup_changes_the_key_exactly_where_it_is_not_idle(base: str) -> None:
    before = _run(BASES[base])
    for field, value in OTHER_SETUP.items():
        try:
            after = _run(BASES[base] | {field: value})
        except ValueError:
            continue  # does not go with the rest
        same = before.setup.model_dump() == after.setup.model_dump()
        assert (after.key != before.key) == (not same and _decides(field, before, after)), field


@pytest.mark.slow
def test_every_field_that_is_not_always_idle_changes_the_key_of_some_run() -> None:
    seen = set()
    for setup in BASES.values():
        for field, value in (OTHER_SETUP | {"using_fpn": True}).items():
            with suppress(ValueError):
                if _run(setup | {field: value}).key != _run(setup).key:
                    seen.add(field)
    assert seen == set(ModelSetup.model_fields) - NAMING_FIELDS - IDLE


@pytest.mark.parametrize("field", OTHER_PROTOCOL)
def test_a_field_of_the_training_protocol_changes_the_key(field: str) -> None:
    assert _key(protocol={field: OTHER_PROTOCOL[field]}) != _key()


def test_what_weights_were_pretrained_on_decides_nothing() -> None:
    assert _key(protocol={"pretrained_on": ("MIMIC-CXR",)}) == _key()


def test_one_image_arm_serves_every_setting_of_the_fusion() -> None:
    depths = [_key({"use_clinical": False, "fuse_depth": depth}) for depth in (1, 2, 4)]
    assert len(set(depths)) == 1
    assert len({_key({"use_clinical": True, "fuse_depth": depth}) for depth in (1, 2, 4)}) == 3


def test_two_ways_to_say_from_scratch_have_one_key() -> None:
    scratch = {
        _key({"pretrained": False}),
        _key({"pretrained": False}, {"weights": "none"}),
        _key(protocol={"weights": "none"}),
    }
    assert len(scratch) == 1
    assert _key() not in scratch


@pytest.mark.parametrize("field", sorted(NAMING_FIELDS))
def test_a_name_or_path_does_not(field: str) -> None:
    assert _key({field: "another"}) == _key()


def test_data_and_recipe_change_the_key_and_the_folder_does_not() -> None:
    run = RunSpec(ModelSetup(), TrainingProtocol(), DATA)
    assert RunSpec(run.setup, run.protocol, DataSource("/elsewhere", "renamed", "f" * 64)).key == run.key
    assert RunSpec(run.setup, run.protocol, DataSource("/data", "made up", "0" * 64)).key != run.key
    assert RunSpec(run.setup, run.protocol, DATA, recipe=run.recipe + 1).key != run.key


def test_a_recipe_changes_the_keys_of_those_runs_alone_whose_results_it_changed() -> None:
    def keys(**setup: Any) -> set[str]:
        made = ModelSetup(**setup)
        return {RunSpec(made, TrainingProtocol(), DATA, recipe=recipe).key for recipe in (2, 3)}

    clinical = {"use_clinical": True, "fuse_depth": 1}
    vector = {"use_clinical": True, "era": "C", "clinical_expand_conv_channels": 16}
    for same in (
        {},
        clinical,
        vector,
        {"fuse_dropout_rate": 0.1},
        {"box_head_dropout_rate": 0.1, "record_training_performance": False},
    ):
        assert len(keys(**same)) == 1, same
    for other in (
        clinical | {"fuse_dropout_rate": 0.1}, clinical | {"clinical_expand_dropout_rate": 0.1},
        clinical | {"clinical_conv_dropout_rate": 0.1}, clinical | {"fusion_strategy": "add", "fusion_residule": True},
        vector | {"pre_spatialised_layer": 1}, vector | {"spatialise_method": "repeat"}, {"box_head_dropout_rate": 0.1},
    ):  # fmt: skip
        assert len(keys(**other)) == 2, other
    assert (
        RunSpec(ModelSetup(), TrainingProtocol(), DATA, recipe=1).key
        != RunSpec(ModelSetup(), TrainingProtocol(), DATA).key
    )


def test_spellings_of_one_content_have_one_key() -> None:
    assert _key({"multiStepLR_milestones": 100}) == _key({"multiStepLR_milestones": [100]})
    assert _key({"backbone": "custom"}) == _key({"backbone": "custom1"})
    assert _key({"fusion_residual": True}) == _key({"fusion_residule": True})
    assert _key({"lr": 1}) == _key({"lr": 1.0})
    assert _key({"loss_weights": {"loss_classifier": 10}}) == _key({"loss_weights": {"loss_classifier": 10.0}})


def test_fields_that_came_later_leave_keys_as_they_were_before_them() -> None:
    plain = _run({}).content()
    assert "channels_last" not in plain["setup"]
    assert not {"steps_per_epoch", "continues"} & set(plain["protocol"])
    for asked in (True, False):
        assert _run({"channels_last": asked}).content()["setup"]["channels_last"] is asked
    assert _run({}, {"steps_per_epoch": 3}).content()["protocol"]["steps_per_epoch"] == 3


_SUBSETS = st.sets(st.sampled_from(sorted(OTHER_SETUP.keys() - {"fuse_depth", "fusion_strategy"})), max_size=6)


@pytest.mark.slow
@examples(30)
@given(_SUBSETS, _SUBSETS, st.text(max_size=5))
def test_keys_are_equal_exactly_when_contents_are(first: set[str], second: set[str], name: str) -> None:
    one = {field: OTHER_SETUP[field] for field in sorted(first)}
    two = {field: OTHER_SETUP[field] for field in sorted(second, reverse=True)} | {"name": name}
    try:
        runs = _run(one), _run(two)
    except ValueError:
        return  # fields that do not go together have no key
    assert (runs[0].key == runs[1].key) == (not any(_decides(field, *runs) for field in first ^ second))
    assert all(len(run.key) == 64 and set(run.key) <= set("0123456789abcdef") for run in runs)
