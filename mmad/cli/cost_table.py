"""What a detector costs, as a table and in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from mmad.detector.cost import DetectorCost

_PARTS = {"backbone": "backbone", "clinical": "clinical branch", "rpn": "RPN", "heads": "heads"}


def cost_table(cost: DetectorCost) -> Table:
    """Module by module: parameters, multiply-adds, activations."""
    title = f"one image in evaluation, {cost.proposals:,} proposals"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("module")
    for head in ("parameters", "trainable", "share", "FLOPs (multiply-adds)", "activations"):
        table.add_column(head, justify="right")
    whole = cost.modules[0].parameters
    for row in cost.modules:
        if row.module.startswith(tuple(f"{name}." for name in cost.idle)):
            continue
        depth = row.module.count(".")
        table.add_row(
            "  " * depth + row.module.rpartition(".")[2] + (" (idle)" if row.module in cost.idle else ""),
            f"{row.parameters:,}",
            f"{row.trainable:,}",
            f"{row.parameters / whole:.1%}",
            _amount(row.flops),
            _amount(row.activations),
        )
    return table


def cost_lines(cost: DetectorCost, *, chosen: bool) -> list[str]:
    """A line per idle module, and the multiply-adds of every part.

    Args:
        cost: of one detector.
        chosen: whether the number of proposals was asked for, or is the setup's.
    """
    sizes = {row.module: row.parameters for row in cost.modules}
    idle = [f"idle: {name} is counted ({sizes[name]:,} parameters), but nothing uses it" for name in cost.idle]
    parts = ", ".join(f"{words} {_amount(cost.flops[part])}" for part, words in _PARTS.items() if cost.flops[part])
    why = "--proposals" if chosen else "rpn_post_nms_top_n_test, the most an evaluation hands on"
    masks = f" and the masks of {cost.masks} detections" if cost.masks else ""
    return [*idle, f"multiply-adds per image: {parts} for {cost.proposals:,} proposals ({why}){masks}"]


def _amount(number: int) -> str:
    """``number`` in three digits and its thousands: 71.6 M."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, f" {larger}"
    return f"{value:.3g}{unit}"
