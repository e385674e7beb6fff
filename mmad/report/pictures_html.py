"""What the page's template asks about pictures, and the rules that let a reader hide a finding without a script."""

from __future__ import annotations

from collections.abc import Callable

from mmad.report import pictures_words
from mmad.report.pictures import Pictures
from mmad.report.pictures_boxes import DrawnBox
from mmad.report.pictures_film import Film
from mmad.report.pictures_tags import Tag, place_tags
from mmad.report.pictures_words import PanelView


def tags(view: PanelView, film: Film) -> list[tuple[Tag, DrawnBox]]:
    """The words of a panel's boxes and where they stand."""
    return list(zip(place_tags(view.boxes, film.width, film.height), view.boxes, strict=True))


def toggles(pictures: Pictures) -> str:
    """One CSS rule for each finding of the longest legend: its box, unticked, hides what is drawn of it."""
    return "".join(
        f".findings:has(.tick-{n}:not(:checked)) ~ .pair .box-{n} {{ display: none; }}\n"
        for n in range(1, pictures.most_labels + 1)
    )


ASKED: dict[str, Callable[..., object]] = {
    "at_stake": pictures_words.at_stake,
    "differs": pictures_words.differs,
    "drawn_and_counted": pictures_words.drawn_and_counted,
    "gained": pictures_words.gained,
    "has_more_settings": pictures_words.has_more_settings,
    "picture_labelled": pictures_words.labelled,
    "picture_panels": pictures_words.panels_of,
    "picture_tags": tags,
    "picture_told": pictures_words.told,
}
