"""Values as plain JSON: what is not finite becomes null, which every reader of JSON knows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def finite(value: float | None) -> float | None:
    """``value``, or None where it is NaN or infinite."""
    return None if value is None or not math.isfinite(value) else float(value)


def picked(value: object, *names: str) -> dict[str, Any]:
    """Some attributes of a record as plain JSON; null each where there is no record."""
    return {name: None if value is None else to_json_value(getattr(value, name)) for name in names}


def to_json_value(value: Any) -> Any:
    """Records, mappings, tuples and arrays as plain JSON; moments as ISO 8601, what is not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(inner) for inner in value]
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):  # of numpy, which no command need import for this
        return to_json_value(value.tolist())
    return value
