"""Printed values: Python literals, as far as JSON can hold them."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
#: Longer values are no settings; reading them could take long.
_LONGEST = 10_000


class UnreadableError(ValueError):
    """A value that is no literal, or that JSON cannot hold."""


def read_value(text: str) -> Any:
    """The value of ``text``: a number, text, True, False, None or a list or mapping of these.

    Raises:
        UnreadableError: anything else, such as an expression, ``nan``, a number too large, or bytes.
    """
    if len(text) > _LONGEST:
        raise UnreadableError(f"a value of {len(text)} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a path
            value = _plain(ast.literal_eval(text))
        json.dumps(value, allow_nan=False).encode("utf-8", "strict")
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise UnreadableError(str(error)) from None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise UnreadableError("a mapping whose keys are no words")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, str) and not value.isascii():
        value.encode("utf-8")  # lone surrogates are refused here, as UnicodeEncodeError
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnreadableError(f"a {type(value).__name__}")


def read_number(text: str) -> int | float | None:
    """The number of ``text``, an integer where it is printed as one; None for what is no finite number."""
    if not _NUMBER.fullmatch(text) or len(text) > 100:
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    return value if abs(value) < float("inf") else None
