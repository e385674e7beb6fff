"""Networks with a pyramid or a second backbone cost a second each: their tests are slow ones."""

from __future__ import annotations

import pytest

_LARGE = ("FPN", "pyramid", "era B", "swin_t")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        _, bracket, parameters = item.name.partition("[")
        if "tests/detector/" in item.path.as_posix() and bracket and any(word in parameters for word in _LARGE):
            item.add_marker(pytest.mark.slow)
