"""A run's setup as TOML to paste into an ablation file, and its block as the documented log prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmad.analysis.report_frame import CheckpointResult, MemberFrame
from mmad.base.formatting import clean, four
from mmad.base.records import CheckpointRecord
from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup


def setup_toml(setup: Mapping[str, Any]) -> str:
    """``[setup]`` with every field that differs from its default; it reads back as ``setup``."""
    fields = ModelSetup.model_fields
    lines = [
        f"{_key(name)} = {_value(value)}"
        for name, value in setup.items()
        if name not in NAMING_FIELDS
        and (name not in fields or value != _plain(fields[name].get_default(call_default_factory=True)))
    ]
    return "\n".join(["[setup]  # all else as by default", *lines, ""])


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(clean(name), ensure_ascii=False)


def _value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(clean(value), ensure_ascii=False)
    return "true" if value is True else "false" if value is False else repr(value)


# The block of a run as the documented experiment log prints it, including its misspelling ``Clincal``.

#: The log's setup fields in the order of its latest entries; fields that it never printed come last.
LOG_ORDER: tuple[str, ...] = (
    "use_clinical", "use_custom_model", "use_early_stop_model", "name", "best_ar_val_model_path",
    "best_ap_val_model_path", "final_model_path", "backbone", "optimiser", "lr", "weight_decay", "pretrained",
    "record_training_performance", "dataset_mode", "image_size", "backbone_out_channels", "batch_size",
    "warmup_epochs", "lr_scheduler", "reduceLROnPlateau_factor", "reduceLROnPlateau_patience",
    "reduceLROnPlateau_full_stop", "multiStepLR_milestones", "multiStepLR_gamma", "representation_size",
    "mask_hidden_layers", "using_fpn", "use_mask", "clinical_expand_dropout_rate", "clinical_conv_dropout_rate",
    "clinical_input_channels", "clinical_expand_conv_channels", "clinical_num_len", "clinical_conv_channels",
    "fuse_conv_channels", "fuse_dropout_rate", "box_head_dropout_rate", "fuse_depth", "spatialise_clinical",
    "add_clinical_to_roi_heads", "fusion_strategy", "fusion_residule", "gt_in_train_till",
)  # fmt: skip

_UNNAMED = {"best_ar_val_model_path": None, "best_ap_val_model_path": None, "final_model_path": None}
_SAVED = {
    "Best AP": "Best AP validation model has been saved to",
    "Best AR": "Best AR validation model has been saved to",
    "Final": "The final model has been saved to",
}


def run_name(member: MemberFrame) -> str:
    """The name of a run in headings and checkpoint names: its arm."""
    return member.record.arm


def heading_figures(member: MemberFrame) -> str:
    """``(v=…, t=…, best_v=…, best_t=…)``: AP of the final and of the best-AP checkpoint."""
    final, best = member.final, member.best_ap
    figures = (
        ("v", final.val_ap if final else None),
        ("t", final.test_ap if final else None),
        ("best_v", best.val_ap if best else None),
        ("best_t", best.test_ap if best else None),
    )
    return f"({', '.join(f'{name}={four(value)}' for name, value in figures)})"


def setup_line(setup: Mapping[str, Any], name: str) -> str:
    """``ModelSetup(field=value, …)`` with the log's fields first, in its order."""
    values = {**setup, **_UNNAMED, "name": name}
    order = [f for f in LOG_ORDER if f in values] + [f for f in values if f not in LOG_ORDER]
    return f"ModelSetup({', '.join(f'{field}={_whole(values[field])!r}' for field in order)})"


def _whole(value: Any) -> Any:
    """Whole numbers as the log writes them: ``weight_decay=0``, not ``0.0``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_whole(v) for v in value] if isinstance(value, list) else value


def checkpoint_name(outcome: CheckpointResult, checkpoint: CheckpointRecord, *, clinical: bool, name: str) -> str:
    """The log's name of a checkpoint: its four figures, epoch, kind of run and time (UTC)."""

    def figure(value: float | None) -> str:
        return "nan" if value is None else f"{value:.4f}".replace(".", "_")

    return (
        f"val_ar_{figure(outcome.val_ar)}_ap_{figure(outcome.val_ap)}"
        f"_test_ar_{figure(outcome.test_ar)}_ap_{figure(outcome.test_ap)}"
        f"_epoch{outcome.epoch}_{'With' if clinical else 'Without'}Clincal"
        f"_{checkpoint.created:%m-%d-%Y %H-%M-%S}_{name}"
    )


def saved_lines(member: MemberFrame) -> list[str]:
    """The lines that name the best-AP, best-AR and final checkpoints, where they exist."""
    clinical = bool(member.setup.get("use_clinical", False))
    lines = []
    for title, outcome in member.outcomes:
        checkpoint = outcome and member.run.checkpoint(outcome.kind)
        if outcome and checkpoint:
            name = checkpoint_name(outcome, checkpoint, clinical=clinical, name=run_name(member))
            lines.append(saved_line(title, name))
    return lines


def saved_line(title: str, name: str) -> str:
    """``Best AP validation model has been saved to: [name]`` for the title ``Best AP``."""
    return f"{_SAVED[title]}: [{name}]"


def count_lines(member: MemberFrame) -> list[str]:
    """``[model.backbone]: 1,009,968`` for every counted module."""
    return [f"[{c.module}]: {c.count:,}" for c in member.run.counts]


def weight_lines(weights: Mapping[str, Any]) -> list[str]:
    """The statements that weight the losses, one per line."""
    return [
        f'loss_dict["{name}"] = loss_dict["{name}"].detach()'
        if weight == "detach"
        else f'loss_dict["{name}"] *= {_whole(weight)!r}'
        for name, weight in weights.items()
    ]


def log_block(member: MemberFrame) -> str:
    """The whole block: rule, setup, checkpoints, rule, parameter counts, loss weights."""
    name = run_name(member)
    opening = f"{'=' * 40}For Training [{name}]{'=' * 40}"
    rule = "=" * min(len(opening), 140)
    lines = [opening, setup_line(member.setup, name), rule]
    parts: Sequence[Sequence[str]] = (
        saved_lines(member),
        [rule, *_model_lines(member.setup, member.run.record.protocol), *count_lines(member)],
        weight_lines(member.setup.get("loss_weights") or {}),
    )
    for part in parts:
        if part:
            lines += ["", *part]
    return "\n".join(lines)


def _model_lines(setup: Mapping[str, Any], protocol: Mapping[str, Any]) -> list[str]:
    lines = ["Load custom model"] if setup.get("use_custom_model", True) else []
    if setup.get("pretrained") and protocol.get("weights") != "none":
        lines.append(f"Using pretrained backbone. {setup.get('backbone')}")
    return lines
