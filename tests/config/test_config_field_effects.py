"""What fields state of themselves: complete, in words, and true of the modules a detector has."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pytest
from test_config_runs import DATA, OTHER_SETUP

from mmad.base.records import DOCUMENTED_COLUMNS, ClinicalColumns
from mmad.config.field_effects import ALWAYS, Effect, affecting, naming, reading, stated, unless, when
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import RunSpec
from mmad.config.setup import ModelSetup


def test_every_field_affects_something_or_is_a_name() -> None:
    assert naming(ModelSetup) == {"name", "best_ar_val_model_path", "best_ap_val_model_path", "final_model_path"}
    assert naming(TrainingProtocol) == set()
    for model in (ModelSetup, TrainingProtocol):
        for name, field in model.model_fields.items():
            for claim in stated(field):
                assert claim.effects, name
                assert set(claim.effects) <= set(get_args(Effect)), name


def test_conditions_read_the_run() -> None:
    setup, protocol = ModelSetup(), TrainingProtocol()
    assert ALWAYS.holds(setup, protocol)
    assert when(use_clinical=False, weights={"imagenet", "none"}).holds(setup, protocol)
    assert not unless(resolved_era="A").holds(setup, protocol)
    both = when(using_fpn=False) & unless(lr_scheduler={None, "MultiStepLR"})
    assert not both.holds(setup, protocol)
    assert both.holds(setup.model_copy(update={"lr_scheduler": "ReduceLROnPlateau"}), protocol)
    for model in (ModelSetup, TrainingProtocol):
        for field in model.model_fields.values():
            for claim in stated(field):
                assert all(isinstance(condition.holds(setup, protocol), bool) for condition in claim.idle)


def test_conditions_in_words() -> None:
    assert str(ALWAYS) == "always"
    assert str(when(clinical_numeric=(), era={"B", "A"})) == "clinical_numeric = [] and era = A or B"
    assert str(when(use_clinical=True) & unless(lr_scheduler=None)) == "use_clinical = true and lr_scheduler ≠ none"


def test_a_run_names_what_decides_it_and_leaves_out_what_is_idle() -> None:
    image = RunSpec(ModelSetup(), TrainingProtocol(), DATA)
    both = RunSpec(ModelSetup(use_clinical=True), TrainingProtocol(selection_proposals="sampled"), DATA)
    assert "fuse_depth" not in image.affecting("architecture")
    assert both.affecting("architecture")["fuse_depth"] == 4
    assert "fuse_depth" not in both.affecting("evaluation")
    assert "box_batch_size_per_image" not in image.affecting("evaluation")
    assert both.affecting("evaluation")["box_batch_size_per_image"] == 512
    assert set(both.affecting("evaluation")) >= {"selection_overlap", "steps_per_epoch", "box_nms_thresh"}


def test_the_schedule_is_what_its_kind_makes_idle() -> None:
    assert reading(ModelSetup, "lr_scheduler") == (
        "warmup_epochs",
        "plateau_metric",
        "reduceLROnPlateau_factor",
        "reduceLROnPlateau_patience",
        "reduceLROnPlateau_full_stop",
        "multiStepLR_milestones",
        "multiStepLR_gamma",
        "cosine_ramp_epochs",
        "cosine_last_factor",
    )


_SMALL: dict[str, Any] = {"backbone": "custom2", "image_size": 64, "pretrained": False}
_PYRAMID = {"backbone": "resnet18", "using_fpn": True}
#: Setups that between them have every module.
_SETUPS: tuple[dict[str, Any], ...] = (
    {},
    {"record_training_performance": False, "batch_size": 2},  # which a run on several GPUs needs
    {"use_mask": True, "mixed_precision": True},
    _PYRAMID,
    {"use_custom_model": False},
    {"use_clinical": True},
    {"use_clinical": True} | _PYRAMID,
    {"use_clinical": True, "era": "B"},
    {"use_clinical": True, "era": "C", "clinical_expand_conv_channels": 8},
    {"use_clinical": True, "era": "C", "spatialise_clinical": False},
    {"use_clinical": True, "era": "C", "spatialise_method": "repeat"},
    {"use_clinical": True, "fusion": "film"},
    {"use_clinical": True, "fusion": "cross_attention"},
    {"use_clinical": True, "fusion": {"use": "mmad.detector.fusions:CrossAttention"}},
)
_OTHERS = OTHER_SETUP | {
    "backbone": "custom3",
    "using_fpn": True,
    "momentum": 0.1,
    "clinical_num_len": len(DOCUMENTED_COLUMNS.numeric),
}


@cache
def _modules(setup: str) -> object:
    """Parameter counts, and name and shape of every weight."""
    from mmad.detector import build

    built = ModelSetup.model_validate_json(setup)
    numeric, categorical = built.clinical_numeric, built.clinical_categorical
    columns = ClinicalColumns(
        tuple(name for name in DOCUMENTED_COLUMNS.numeric if numeric is None or name in numeric),
        tuple(kind for kind in DOCUMENTED_COLUMNS.categorical if categorical is None or kind[0] in categorical),
    )
    models: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        counted = build.MultimodalRCNN
        patch.setattr(build, "MultimodalRCNN", lambda *words: models.append(counted(*words)) or models[-1])
        counts = build.parameter_counts(built, 5, columns)
    return counts, {name: tuple(tensor.shape) for name, tensor in models[0].state_dict().items()}


def _changed(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """``fields`` with another value of one of them; empty where there is none that goes with the rest."""
    own = getattr(ModelSetup(**fields), name)
    other = "another" if name in naming(ModelSetup) else _OTHERS[name]
    if other == own and isinstance(other, bool):
        other = not other
    try:
        return fields | {name: other} if ModelSetup(**fields | {name: other}) != ModelSetup(**fields) else {}
    except ValueError:
        return {}


def _equal(fields: dict[str, Any], others: dict[str, Any]) -> bool:
    one, other = (_modules(ModelSetup(**each).model_dump_json()) for each in (fields, others))
    return one == other


_AFFECTING = affecting(ModelSetup, "architecture")


@pytest.mark.slow
@pytest.mark.parametrize("field", _AFFECTING)
def test_a_field_that_affects_the_architecture_changes_a_module(field: str) -> None:
    tried = ((_SMALL | setup, _changed(_SMALL | setup, field)) for setup in _SETUPS)
    assert any(not _equal(fields, others) for fields, others in tried if others)


@pytest.mark.slow
def test_the_other_fields_change_no_module() -> None:
    names = set(ModelSetup.model_fields) - set(_AFFECTING)
    tried: set[str] = set()
    for setup in _SETUPS:
        fields = together = _SMALL | setup
        for name in sorted(names):
            if others := _changed(together, name):
                together = others
                tried.add(name)
        assert _equal(fields, together), [
            name for name in names if not _equal(fields, _changed(fields, name) or fields)
        ]
    assert tried == names
