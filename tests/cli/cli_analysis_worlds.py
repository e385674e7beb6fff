"""The made-up runs with kept detections that the report's own tests use, for the commands that judge them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _made() -> ModuleType:
    name = "analysis_worlds"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "report" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


made = _made()
