"""What this version can build and train: the one place to shorten as it grows."""

from __future__ import annotations

from importlib.util import find_spec

from mmad.spec.consistency import TIMM
from mmad.spec.setup import ModelSetup


def unsupported(setup: ModelSetup) -> tuple[str, str, str] | None:
    """The first field of ``setup`` that cannot be trained yet: (field, what, mend); None when all can."""
    if setup.image_backbone.startswith(TIMM) and find_spec("timm") is None:
        return "backbone", "timm is not installed", "install it with pip install 'mmad[timm]'"
    return None
