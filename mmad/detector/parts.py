"""Parts that a setup names, found and made: a word and a class of one's own in one way."""

from __future__ import annotations

import importlib
from typing import Any

from mmad.base.errors import SpecError
from mmad.config.named_parts import Named, part_arguments, part_path


def part_class(field: str, named: Named) -> Any:
    """The class that ``field`` names, its module imported.

    Raises:
        SpecError: a module or a class that is not there; ``mmad.config.user_modules`` makes one importable.
    """
    path = part_path(field, named)
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{field}: {path} cannot be imported ({error})",
            hint="name it in an ablation file that lies beside the module, or install the module",
        ) from None


def make_part(field: str, named: Named, *context: Any, **facts: Any) -> Any:
    """The part that ``field`` names, made of what its kind is given and the arguments in the setup."""
    return part_class(field, named)(*context, **facts, **part_arguments(named))
