"""Rules about parameter blocks: lines that are missing, parts that do not add up, output that stops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mmad.documented.log.check.slip import Slip
from mmad.documented.log.model import LogEntry

_HEADS = "model.roi_heads"
#: Modules and the parts that make them up; a part that need not be there last.
_SUMS = (
    ("model.roi_heads.box_head", ("model.roi_heads.box_head.fc6", "model.roi_heads.box_head.fc7"), ()),
    (_HEADS, ("model.roi_heads.box_head", "model.roi_heads.box_predictor"), ("model.roi_heads.mask_head",)),
)


def count_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Blocks of counts that miss lines or do not add up, and entries that print less than they ran."""
    for entry in entries:
        if entry.params:
            yield from _sums(entry)
            yield from _clinical(entry)
        elif any("load custom model" in line.text.lower() for line in entry.log_lines):
            what = f"its output stops after {entry.log_lines[-1].text!r}: no parameter counts"
            yield Slip("params-missing", entry.id, what, line=entry.log_lines[-1].line)
        yield from _little(entry)


def _sums(entry: LogEntry) -> Iterator[Slip]:
    params = entry.params
    for module, parts, others in _SUMS:
        if module not in params:
            continue
        missing = [part for part in parts if part not in params]
        rest = params[module] - sum(params.get(part, 0) for part in (*parts, *others))
        unnamed = module == _HEADS and f"{_HEADS}.mask_head" in params  # the mask predictor is never printed
        if missing and rest > 0:
            yield _missing(entry, missing, f": {rest:,} of [{module}] are not printed")
        elif rest and not (unnamed and rest > 0):
            what = f"[{module}] is {params[module]:,}, its parts are {params[module] - rest:,}"
            yield Slip("params-sum", entry.id, what, line=entry.params_line)


def _clinical(entry: LogEntry) -> Iterator[Slip]:
    """Clinical modules that the setup builds and the block does not print."""
    fields = entry.fields
    if not fields.get("use_clinical"):
        return
    wanted = ["model.clinical_convs"]
    depth = fields.get("fuse_depth")
    if isinstance(depth, int) and depth > 0:
        wanted.append("model.fuse_convs")
    missing = [module for module in wanted if module not in entry.params]
    if missing:
        yield _missing(entry, missing, f" (use_clinical=True, fuse_depth={depth})")


def _missing(entry: LogEntry, modules: list[str], why: str) -> Slip:
    names = ", ".join(f"[{module}]" for module in modules)
    return Slip("params-missing", entry.id, f"prints no line {names}{why}", line=entry.params_line)


def _little(entry: LogEntry) -> Iterator[Slip]:
    line = entry.line or None
    if entry.params and not entry.fields:
        yield Slip("no-setup", entry.id, "prints parameter counts and no setup", "note", line=line)
    if not (entry.fields or entry.params or entry.results or entry.images) and entry.notes:
        what = f"prints nothing but words: {entry.notes[0].text[:60]!r}"
        yield Slip("nothing-printed", entry.id, what, "note", line=line)
    named = re.findall(r"\bloss_\w+", entry.heading or "")
    if named and not entry.losses and entry.fields:
        what = f"its heading names {', '.join(named)}, no snippet that weights losses is printed"
        yield Slip("loss-not-printed", entry.id, what, "note", line=line)
