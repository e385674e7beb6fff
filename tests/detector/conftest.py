"""Networks with a pyramid or a second backbone cost a second each: their tests are slow ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from mmad.detector import weights

_LARGE = ("FPN", "pyramid", "era B", "swin_t")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        _, bracket, parameters = item.name.partition("[")
        if "tests/detector/" in item.path.as_posix() and bracket and any(word in parameters for word in _LARGE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def layers() -> dict[tuple[int, str], dict[str, Tensor]]:
    """Weights by seed and name."""
    return {}


@pytest.fixture
def drawn_once(layers: dict[tuple[int, str], dict[str, Tensor]]) -> Iterator[None]:
    """Draw a layer of a seed and a name once for a module's networks; for tests of what follows from the weights."""
    draw = weights._draw

    def once(name: str, module: nn.Module) -> None:
        key = torch.initial_seed(), f"{name}: {module!r}"
        if key in layers:
            module.load_state_dict(layers[key])
            return
        draw(name, module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            layers[key] = {part: value.clone() for part, value in module.state_dict().items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_draw", once)
        yield
