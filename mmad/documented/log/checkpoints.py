"""Checkpoints: everything that the author's program wrote into their names."""

from __future__ import annotations

import re
from datetime import datetime

from mmad.documented.log.model import Checkpoint

_NUMBER = r"(-?\d{1,9}_\d{1,9})"
#: A name; its last part, the setup's name, runs to the end of the bracket or to a blank.
NAME = (
    rf"val_ar_{_NUMBER}_ap_{_NUMBER}_test_ar_{_NUMBER}_ap_{_NUMBER}_epoch(\d{{1,9}})"
    r"_(With(?:out)?)Clini?cal_(\d\d-\d\d-\d{4} \d\d-\d\d-\d\d)"
)
_WHOLE = re.compile(rf"{NAME}(?:_(.*))?")


def read_checkpoint(path: str, line: int) -> Checkpoint | None:
    """The checkpoint of the name ``path``; None for another form of name."""
    match = _WHOLE.fullmatch(path.strip())
    if match is None:
        return None
    val_ar, val_ap, test_ar, test_ap = (float(text.replace("_", ".")) for text in match.groups()[:4])
    try:
        stamp = datetime.strptime(match[7], "%m-%d-%Y %H-%M-%S").isoformat()
    except ValueError:
        return None
    return Checkpoint(
        epoch=int(match[5]),
        val_ap=val_ap,
        val_ar=val_ar,
        test_ap=test_ap,
        test_ar=test_ar,
        stamp=stamp,
        clinical=match[6],
        name=match[8],
        checkpoint=path.strip(),
        line=line,
    )


def result_kind(label: str) -> str:
    """``best_ap`` for "Best AP validation model", ``final`` for "The final model", else the label's own words."""
    words = [w for w in re.findall(r"\w+", label.lower()) if w not in {"the", "validation", "model", "a"}]
    return "_".join(words) or "unlabelled"
