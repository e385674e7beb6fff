"""A name means one thing: no class or type alias of mmad stands for two."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmad

ROOT = Path(mmad.__file__).parent


def names(file: Path) -> Iterator[tuple[str, str]]:
    """Top-level classes and type aliases of ``file``, private ones too, each with its definition.

    A class is a definition of its own wherever it stands; equal aliases mean the same.
    """
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node.name, f"class in {file.relative_to(ROOT)}"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id.lstrip("_")[:1].isupper() and not target.id.isupper():
                    yield target.id, ast.unparse(node.value)


@pytest.mark.slow
def test_no_class_name_stands_for_two_things() -> None:
    meanings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(ROOT.rglob("*.py")):
        for name, definition in names(file):
            meanings[name][definition].append(str(file.relative_to(ROOT)))
    twice = [f"{name}: {dict(found)}" for name, found in meanings.items() if len(found) > 1]
    assert not twice, "\n".join(twice)
