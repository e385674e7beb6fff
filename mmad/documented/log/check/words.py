"""Rules about words (names, headings, checkpoints, the program's lines) against the setup's fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmad.documented.log.check.slip import Slip
from mmad.documented.log.model import LogEntry
from mmad.documented.log.values import UnreadableError, read_value
from mmad.spec.setup import ModelSetup

#: Words an author writes for a field.
_ALIASES = {
    "lr": "lr",
    "weight_decay": "weight_decay",
    "patience": "reduceLROnPlateau_patience",
    "factor": "reduceLROnPlateau_factor",
    "gamma": "multiStepLR_gamma",
    "milestones": "multiStepLR_milestones",
    "dropout": "box_head_dropout_rate",
}
_SETTING = re.compile(r"([A-Za-z_]\w{0,60})\s{0,8}=\s{0,8}(\[[^\]]{0,200}\]|[-+]?[\d.]+(?:[eE][-+]?\d+)?)")
_ANY = object()  # any value but None


@dataclass(frozen=True)
class _Claim:
    """Words, and what they say of a field; ``unless`` are words that take it back."""

    words: re.Pattern[str]
    field: str
    value: Any
    unless: re.Pattern[str] | None = None


def _claim(words: str, field: str, value: Any, unless: str | None = None) -> _Claim:
    return _Claim(re.compile(words, re.I), field, value, re.compile(unless, re.I) if unless else None)


_NO = r"\b(?:without|w/o|no|not)[ _]?"
_CLAIMS = (
    _claim(rf"(?<![a-z]){_NO[2:]}pretrain[a-z]*", "pretrained", False),
    _claim(rf"(?<![a-z]){_NO[2:]}clin[a-z]*", "use_clinical", False),
    _claim(r"(?:with[ _])?clin[a-z]*", "use_clinical", True, rf"(?<![a-z]){_NO[2:]}clin"),
    _claim(r"^\W*cxr\W*(?:\(|$)", "use_clinical", False),
    _claim(r"(?<![a-z])(?:residule|residual|res)(?![a-z])", "fusion_residule", True),
    _claim(r"(?<![a-z])add(?![a-z])", "fusion_strategy", "add"),
    _claim(r"(?<![a-z])concat[a-z]*", "fusion_strategy", "concat"),
    _claim(rf"(?<![a-z]){_NO[2:]}lr_?sched[a-z]*", "lr_scheduler", None),
    _claim(r"(?<![a-z])lr_?sched[a-z]*", "lr_scheduler", _ANY, rf"(?<![a-z]){_NO[2:]}lr_?sched"),
    _claim(r"(?<![a-z])ReduceLROnPlateau(?![_a-z])", "lr_scheduler", "ReduceLROnPlateau"),
    _claim(r"(?<![a-z])MultiStepLR(?![_a-z])", "lr_scheduler", "MultiStepLR"),
    _claim(r"resnet[_ ]?18", "backbone", "resnet18", r"resnet[_ ]?(?:34|50)|mobilenet"),
    _claim(r"resnet[_ ]?50", "backbone", "resnet50", r"resnet[_ ]?(?:18|34)|mobilenet"),
    _claim(r"mobilenet[_ ]?v2", "backbone", "mobilenet_v2", r"resnet|mobilenet[_ ]?v3"),
    _claim(r"mobilenet[_ ]?v3", "backbone", "mobilenet_v3", r"resnet|mobilenet[_ ]?v2"),
    _claim(r"roi_heads", "add_clinical_to_roi_heads", True),
    _claim(r"_spatialis[a-z]*", "spatialise_clinical", True),
)


def word_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Names, headings, checkpoints and lines of the program that contradict fields of the setup."""
    for entry in entries:
        fields = entry.fields
        if fields:
            yield from _claimed(entry, "name-contradicts", "its name", str(fields.get("name") or ""))
            yield from _claimed(entry, "heading-contradicts", "its heading", entry.heading or "")
            yield from _settings(entry)
            yield from _names(entry)
            yield from _program(entry)


def _claimed(entry: LogEntry, rule: str, whose: str, words: str) -> Iterator[Slip]:
    for claim in _CLAIMS:
        if claim.field not in entry.fields or not (match := claim.words.search(words)):
            continue
        value = entry.fields[claim.field]
        wrong = value is None if claim.value is _ANY else value != claim.value
        if wrong and not (claim.unless and claim.unless.search(words)):
            what = f"{whose} says {match[0].strip()!r} ({words.strip()[:60]}), the setup {claim.field}={value!r}"
            yield Slip(rule, entry.id, what, line=_line(entry))


def _settings(entry: LogEntry) -> Iterator[Slip]:
    """``lr = 1e-4`` in a heading over a setup with another lr; misspelt words count too."""
    names = [*_ALIASES, *entry.fields]
    for word, printed in _SETTING.findall(entry.heading or ""):
        near = difflib.get_close_matches(word, names, 1, 0.8) if len(word) > 2 else [n for n in names if n == word]
        field = _ALIASES.get(near[0], near[0]) if near else None
        try:
            value = read_value(printed)
        except UnreadableError:
            continue
        if field in entry.fields and entry.fields[field] != value:
            what = f"its heading says {word} = {printed}, the setup {field}={entry.fields[field]!r}"
            yield Slip("heading-setting", entry.id, what + _swapped(entry, field, value), line=_line(entry))


def _swapped(entry: LogEntry, field: str, value: Any) -> str:
    """Which other number of the setup has the heading's value."""
    numbers = [n for n, v in entry.fields.items() if isinstance(v, float) and v == value and n != field]
    return f" and {numbers[0]}={value!r}" if numbers else ""


def _names(entry: LogEntry) -> Iterator[Slip]:
    """The banner's and the checkpoints' words against name and use_clinical."""
    name = entry.fields.get("name")
    if entry.title is not None and isinstance(name, str) and entry.title != name:
        what = f"the banner says {entry.title!r}, the setup name={name!r}"
        yield Slip("title-name", entry.id, what, line=_line(entry))
    for kind, result in entry.results.items():
        line = result.line or None
        if result.name is not None and isinstance(name, str) and result.name != name:
            what = f"the checkpoint of {kind} says {result.name!r}, the setup name={name!r}"
            yield Slip("checkpoint-name", entry.id, what, line=line)
        clinical = entry.fields.get("use_clinical")
        if result.clinical is not None and isinstance(clinical, bool) and (result.clinical == "With") != clinical:
            what = f"the checkpoint of {kind} says {result.clinical} clinical, the setup use_clinical={clinical}"
            yield Slip("checkpoint-clinical", entry.id, what, line=line)


def _program(entry: LogEntry) -> Iterator[Slip]:
    for line in entry.log_lines:
        text = line.text.lower()
        pretrained = entry.fields.get("pretrained")
        if "pretrained backbone" in text and isinstance(pretrained, bool) and ("not using" in text) == pretrained:
            what = f"the program wrote {line.text!r}, the setup pretrained={pretrained}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)
        backbone, named = entry.fields.get("backbone"), re.search(r"pretrained backbone\. (\w+)", text)
        if named and isinstance(backbone, str) and named[1] != backbone.lower():
            what = f"the program wrote {line.text!r}, the setup backbone={backbone!r}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)
        hidden, layers = re.search(r"mask hidden layers (\d+)", text), entry.fields.get("mask_hidden_layers")
        if hidden and layers is not None and int(hidden[1]) != layers:
            what = f"the program wrote {line.text!r}, the setup mask_hidden_layers={layers!r}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)


def _line(entry: LogEntry) -> int | None:
    return entry.line or None


assert set(_ALIASES.values()) <= set(ModelSetup.model_fields)
