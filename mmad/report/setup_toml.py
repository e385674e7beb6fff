"""A run's setup as TOML, to paste into an ablation file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mmad.report.frames import RunFrame
from mmad.report.words import clean
from mmad.spec.runs import NAMING_FIELDS
from mmad.spec.setup import ModelSetup


def setup_toml(run: RunFrame) -> str:
    """``[setup]`` with every field that is unlike its default; it reads back as the run's setup."""
    fields = ModelSetup.model_fields
    lines = [
        f"{_key(name)} = {_value(value)}"
        for name, value in run.record.setup.items()
        if name not in NAMING_FIELDS
        and (name not in fields or value != _plain(fields[name].get_default(call_default_factory=True)))
    ]
    return "\n".join(["[setup]  # all else as by default", *lines, ""])


def _plain(value: Any) -> Any:
    """As JSON has it."""
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
