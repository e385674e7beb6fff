"""Clips the boxes of an importer to their image."""

from __future__ import annotations

from mmad.base.errors import DataError
from mmad.data.names import shown

Box = tuple[float, float, float, float]
#: A box may overshoot its image by this much (rounding after a resize) and is clipped.
SLACK_PX = 1.0


def clip_box(box: Box, size: tuple[int, int], where: str, image: str) -> Box:
    """``(xmin, ymin, xmax, ymax)`` within an image of (width, height) pixels, overshoots up to 1 px clipped.

    Raises DataError for a box that leaves the image or has no area.
    """
    xmin, ymin, xmax, ymax = box
    width, height = size
    told = ", ".join(f"{side:g}" for side in box)
    if min(xmin, ymin) < -SLACK_PX or xmax > width + SLACK_PX or ymax > height + SLACK_PX:
        raise DataError(
            f"box ({told}) leaves the image {shown(image)} of {width} x {height} px",
            where=where,
            mend="write pixels of the stored image",
        )
    clipped = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise DataError(f"box ({told}) has no area", where=where, mend="correct or drop the row")
    return clipped
