"""How numbers, times and foreign text are written in a report, whatever its form."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Protocol

MINUS = "−"
DASH = "–"


def decimal(value: float | None, digits: int = 3) -> str:
    """A figure with a real minus sign; a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def four(value: float | None) -> str:
    """Four decimals, as in the documented log; a dash for what was not measured."""
    return DASH if value is None else f"{value:.4f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign; nothing that rounds to zero has one."""
    text = decimal(value, digits)
    if text == DASH or text.startswith(MINUS):
        return text
    return text if float(text) == 0 else f"+{text}"


class Bounded(Protocol):
    """A figure with the ends of its interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def patients(self) -> int | None: ...


def interval(figure: Bounded, *, sign: bool = False) -> str:
    """``0.614 [0.512, 0.701]``, a difference with its sign; ``0.614 too few patients (4)`` without an interval."""
    form = signed if sign else decimal
    if math.isnan(figure.value):
        return DASH
    if math.isnan(figure.low) and figure.patients is not None:
        return f"{form(figure.value)} too few patients ({figure.patients})"
    return f"{form(figure.value)} {bounds(figure.low, figure.high, sign=sign, limits=False)}".rstrip()


def bounds(
    low: float | None,
    high: float | None,
    *,
    sign: bool = False,
    digits: int = 3,
    over: str = "",
    limits: bool = True,
) -> str:
    """``[0.512, 0.701]``; empty without an interval, ``n/a (2 seeds)`` where it holds every possible value.

    Args:
        over: what the figure is a mean of, such as ``2 seeds``.
        limits: whether the figure is a share of 0 to 1, or with ``sign`` a difference of two.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    if limits and high >= 1 and low <= (-1 if sign else 0):
        return f"n/a ({over})" if over else "n/a"
    form = signed if sign else decimal
    return f"[{form(low, digits)}, {form(high, digits)}]"


def level_words(*levels: float) -> str:
    """Of an interval ``97.5 %``; of intervals of several levels ``95 % or 97.5 %``."""
    return " or ".join(f"{100 * level:g} %" for level in sorted(set(levels)))


def p_value(p: float) -> str:
    """Three decimals, and ``< 0.001`` below them."""
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def direction(value: float | None) -> str:
    """``up``, ``down`` or ``even``, after rounding to what is shown."""
    first = signed(value)[:1]
    return {"+": "up", MINUS: "down"}.get(first, "even")


def whole(value: int | None) -> str:
    """1,040,729."""
    return DASH if value is None else f"{value:,}"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return DASH if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 05 min, 3 d 04 h."""
    if not math.isfinite(seconds):
        return DASH
    total = round(seconds)
    hours, minutes = total // 3600, total % 3600 // 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {total % 60:02d} s" if minutes else f"{total} s"


def size(count: float) -> str:
    """12 B, 4.1 MiB, 312 MiB, 1.5 GiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def short_key(key: str) -> str:
    """The first 12 digits of a run's key or another hash, as people read it."""
    return key[:12]


def clip(text: str, most: int = 120) -> str:
    """The text on one line of at most ``most`` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def clean(text: str) -> str:
    """The text without control characters and lone surrogates, which no page may hold."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


#: Marks that change the direction of the text after them.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


def straight(text: str) -> str:
    """The text without marks that change its direction, for places where nothing else could isolate it."""
    return _TURNING.sub("", text)


#: Control characters, lines and overrides of direction: on a terminal they act instead of being shown.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def acting_character(text: str, allowed: str = "") -> str | None:
    """``U+001B`` of the first character of ``text`` that a terminal would obey instead of show; None without one."""
    found = next((match for match in _ACTING.findall(text) if match not in allowed), None)
    return None if found is None else f"U+{ord(found):04X}"


def terminal_text(text: str) -> str:
    """The text as a terminal may print it: new lines and tabs stay, whatever else it would obey is replaced."""
    return _ACTING.sub(lambda match: match[0] if match[0] in "\n\t" else "\ufffd", text)


def terminal_json(text: str) -> str:
    """JSON as a terminal may print it: what it would obey is escaped, so that no value changes."""
    return _ACTING.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``3 runs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
