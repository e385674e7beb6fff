"""What intervals mean, in one line of words."""

from __future__ import annotations

import math

from mmad.analysis.controls import Alteration, Control
from mmad.base.formatting import DASH, decimal, plural, signed
from mmad.evaluation.bootstrap import Difference, Interval, needed

POWER = "80 %"


def interval(value: Interval, *, sign: bool = False) -> str:
    """``0.614 [0.512, 0.701]``; a difference with its sign."""
    form = signed if sign else decimal
    if math.isnan(value.value):
        return DASH
    return f"{form(value.value)} [{form(value.low)}, {form(value.high)}]"


def p_value(p: float) -> str:
    """Three decimals, and ``< 0.001`` below them."""
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(difference: Difference) -> str:
    """``better``, ``worse``, or ``not settled`` with what would settle the difference that was seen."""
    if math.isnan(difference.ap.value):
        return "cannot be told: there is nothing to find"
    if difference.verdict != "not settled":
        return difference.verdict
    if difference.ap.value == 0:
        return "not settled: no difference was seen"
    wanted = needed(difference)
    ways = []
    if wanted.seeds is not None:
        ways.append(plural(max(1, wanted.seeds - difference.seeds), "more seed"))
    if wanted.images is not None:
        ways.append(plural(max(1, wanted.images - difference.images), "more image"))
    if not ways:
        return "not settled: neither more seeds nor more images alone would settle it"
    unknown = " (one seed tells nothing about seeds)" if difference.seeds == 1 else ""
    return f"not settled: {' or '.join(ways)} would settle it at {POWER}{unknown}"


def spread_words(difference: Difference) -> str:
    """What part of the spread lies between seeds, and p for these very networks; nothing for one seed."""
    if difference.seed_share is None or math.isnan(difference.seed_share):
        return ""
    return (
        f"{difference.seed_share:.0%} of the spread lies between the {plural(difference.seeds, 'seed')}; "
        f"of these very networks, over patients alone, p is {p_value(difference.p_patients)}"
    ).replace("%", " %", 1)


def alteration_words(alteration: Alteration) -> str:
    """What was altered, in two words or three."""
    words = {"records": "clinical records shuffled", "image": "images blanked"}
    return words.get(alteration.kind) or f"{alteration.name} shuffled"


def meaning(control: Control) -> str:
    """One line on what a control says of the run."""
    kind, ap = control.alteration.kind, control.drop.ap
    if math.isnan(ap.value):
        return "cannot be told: there is nothing to find"
    if control.drop.before == control.drop.after == 0:
        return "cannot be told: the run finds nothing as it is"
    told = "loses" if ap.low > 0 else "gains" if ap.high < 0 else "even"
    return _MEANINGS[kind][told].format(name=control.alteration.name, after=decimal(control.drop.after))


_MEANINGS = {
    "column": {
        "loses": "the run relies on {name}",
        "even": "no reliance on {name} is seen",
        "gains": "{name} misleads the run: without its values it finds more",
    },
    "records": {
        "loses": "the run relies on the patient's own record",
        "even": "another patient's record serves as well: no use of the clinical data is seen",
        "gains": "the clinical data mislead the run: another patient's record serves better",
    },
    "image": {
        "loses": "the run relies on the image; without it an AP of {after} is left",
        "even": "no reliance on the image is seen: its AP comes from elsewhere",
        "gains": "the image misleads the run: without it the AP is {after}",
    },
}
