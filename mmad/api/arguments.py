"""What a program hands in, checked where it comes in: a wrong argument is one line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmad.base.errors import SpecError

#: What is expected of an argument, in words, by its types.
_WORDS: dict[tuple[type, ...], str] = {
    (str,): "text",
    (str, Path): "a path",
    (int,): "a whole number",
    (int, float): "a number",
    (list, tuple): "a list of numbers",
}


def argument(
    name: str, value: object, *types: type, least: float | None = None, optional: bool = False, hint: str | None = None
) -> None:
    """SpecError unless ``value`` is one of ``types``, and at least ``least``; None passes where it is ``optional``."""
    if optional and value is None:
        return
    right = isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
    if right and (least is None or value >= least):  # type: ignore[operator]
        return
    expected = _WORDS.get(types) or " or ".join(f"mmad.{kind.__name__}" for kind in types)
    bound = "" if least is None else f" of at least {least:g}"
    raise SpecError(f"expected {expected}{bound}, got {value!r:.80}", where=f"{name}=", hint=hint)


def store_argument(value: Any) -> None:
    """SpecError unless ``value`` is an open store."""
    from mmad.store.store import Store

    argument("store", value, Store, hint='open it: with mmad.open_store("db/mmad.sqlite") as store')
