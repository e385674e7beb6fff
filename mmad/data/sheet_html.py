"""A contact sheet as one HTML file: no network, no script, everything escaped."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from PIL import Image

from mmad.data.sheet import Key, Progress, Sheet, Tile


@dataclass(frozen=True)
class _Card:
    """A tile with its picture as the text of an address."""

    tile: Tile
    picture: str


def html_sheet(sheet: Sheet, progress: Progress | None = None) -> bytes:
    """The sheet as UTF-8 HTML. Boxes are drawn above the pictures, so that they can be switched off."""
    cards = [_Card(tile, _address(tile.picture)) for tile in sheet.tiles(progress)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("mmad.data") / "templates" / "sheet.html").read_text("utf-8")
    by_number: dict[int, Key] = {key.number: key for key in sheet.keys}
    page = environment.from_string(template).render(title=sheet.title, keys=sheet.keys, cards=cards, of=by_number)
    return page.encode("utf-8", "replace")


def _address(picture: Image.Image | None) -> str:
    if picture is None:
        return ""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
