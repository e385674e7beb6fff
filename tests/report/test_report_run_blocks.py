"""A run in the documented log's own form."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from report_fixtures import Sample

from mmad.analysis.report_frame import CheckpointResult, MemberFrame, load_frame
from mmad.base.records import CheckpointRecord
from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup
from mmad.report.run_blocks import (
    LOG_ORDER,
    checkpoint_name,
    count_lines,
    heading_figures,
    log_block,
    setup_line,
    weight_lines,
)


def member(sample: Sample, setting: str, arm: str) -> MemberFrame:
    return load_frame(sample.source).ablations[0].of(setting, arm)[0]


def test_a_checkpoint_is_named_as_in_entry_69_of_the_log() -> None:
    outcome = CheckpointResult(22, 0.51949, 0.7549, 0.3713, 0.60291, "best_ap", (), ())
    file = CheckpointRecord("best_ap", 22, "x.pt", "", 0, datetime(2022, 5, 16, 2, 47, 55, tzinfo=UTC))
    assert checkpoint_name(outcome, file, clinical=False, name="CXR") == (
        "val_ar_0_7549_ap_0_5195_test_ar_0_6029_ap_0_3713_epoch22_WithoutClincal_05-16-2022 02-47-55_CXR"
    )
    assert "_WithClincal_" in checkpoint_name(outcome, file, clinical=True, name="CXR+Clinical")


def test_a_missing_measurement_is_not_a_zero() -> None:
    outcome = CheckpointResult(1, None, None, None, None, "best_ap", (), ())
    file = CheckpointRecord("best_ap", 1, "x.pt", "", 0, datetime(2022, 5, 16, tzinfo=UTC))
    assert checkpoint_name(outcome, file, clinical=False, name="CXR").startswith("val_ar_nan_ap_nan_test_ar_nan")


def test_the_setup_line_has_every_field_once_the_logs_first() -> None:
    setup = ModelSetup().model_dump(mode="json", exclude=set(NAMING_FIELDS))
    line = setup_line(setup, "CXR+Clinical")
    names = re.findall(r"[(, ](\w+)=", line)
    assert sorted(names) == sorted(ModelSetup.model_fields)
    assert [n for n in names if n in LOG_ORDER] == list(LOG_ORDER)
    assert "name='CXR+Clinical', best_ar_val_model_path=None," in line
    assert "weight_decay=0, " in line
    assert "multiStepLR_milestones=[30, 50, 70, 90]" in line


def test_the_logs_order_names_real_fields_only() -> None:
    assert set(LOG_ORDER) <= set(ModelSetup.model_fields)


def test_the_heading_gives_final_and_best_ap_figures(sample: Sample) -> None:
    done = member(sample, "patience 10", "CXR")
    assert done.final is not None
    assert done.best_ap is not None
    assert heading_figures(done) == (
        f"(v={done.final.val_ap:.4f}, t={done.final.test_ap:.4f}, "
        f"best_v={done.best_ap.val_ap:.4f}, best_t={done.best_ap.test_ap:.4f})"
    )
    failed = member(sample, "patience 20", "CXR+Clinical")
    assert heading_figures(failed).startswith("(v=–, t=–, best_v=0.")


def test_the_block_reads_as_the_log(sample: Sample) -> None:
    lines = log_block(member(sample, "patience 10", "CXR+Clinical")).splitlines()
    assert lines[0] == "=" * 40 + "For Training [CXR+Clinical]" + "=" * 40
    assert lines[1].startswith("ModelSetup(use_clinical=True, use_custom_model=True,")
    assert lines[2] == "=" * len(lines[0])
    assert [line.split(":")[0] for line in lines if "saved to" in line] == [
        "Best AP validation model has been saved to",
        "Best AR validation model has been saved to",
        "The final model has been saved to",
    ]
    assert "Using pretrained backbone. mobilenet_v3" in lines
    assert lines[lines.index("[model]: 1,223,303") + 1] == "[model.backbone]: 1,009,968"
    assert lines[-1] == 'loss_dict["loss_classifier"] *= 10'


def test_a_run_from_scratch_does_not_claim_pretrained_weights(sample: Sample) -> None:
    scratch = load_frame(sample.source).ablations[1].members[0]
    assert scratch.run.record.setup["pretrained"] is True
    assert "pretrained backbone" not in log_block(scratch)


def test_counts_and_weights_are_printed_as_the_log_does(sample: Sample) -> None:
    assert count_lines(member(sample, "patience 5", "CXR"))[0] == "[model]: 1,040,729"
    assert weight_lines({"loss_objectness": 1e-5, "loss_rpn_box_reg": "detach", "loss_box_reg": 5.0}) == [
        'loss_dict["loss_objectness"] *= 1e-05',
        'loss_dict["loss_rpn_box_reg"] = loss_dict["loss_rpn_box_reg"].detach()',
        'loss_dict["loss_box_reg"] *= 5',
    ]
