"""What is installed with mmad is what mmad imports."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Distributions whose module has another name.
MODULES = {"nvidia-ml-py": "pynvml", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Every top-level module that a file of mmad imports; a file is parsed where it names one not yet found."""
    found: set[str] = set()
    for file in (ROOT / "mmad").rglob("*.py"):
        text = file.read_text("utf-8")
        if found.issuperset(re.findall(r"^\s*(?:import|from)\s+(\w+)", text, flags=re.MULTILINE)):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("requirement", DECLARED)
def test_every_declared_dependency_is_imported(requirement: str, imported: set[str]) -> None:
    name = requirement.split(">")[0]
    assert MODULES.get(name, name) in imported
