"""How far a long step is: what hears of it."""

from __future__ import annotations

from collections.abc import Callable

#: Hears (done, all).
ProgressCallback = Callable[[int, int], None]
