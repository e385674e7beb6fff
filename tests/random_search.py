"""How far a random search looks."""

from __future__ import annotations

from hypothesis import settings

#: Of a search that names no number, in ``make test``.
FEW = 50


def examples(number: int) -> settings:
    """Look at ``number`` examples, and in the same measure at more where the profile looks at more."""
    return settings(max_examples=number * settings.default.max_examples // FEW)
