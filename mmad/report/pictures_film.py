"""The image of a study as a report carries it: shrunk, grey, JPEG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from mmad.data.cache import decode
from mmad.data.dataset import DataSet

#: The longer side of a picture; boxes are told in these units, however small the stored image is.
SIDE = 512
#: An image that takes more bytes is stored more coarsely.
_MOST_BYTES = 48 * 1024
_QUALITIES = (82, 65, 45)


@dataclass(frozen=True, eq=False)
class Film:
    """An image as JPEG; ``width`` and ``height`` are those it is shown in, the longer one being ``SIDE``."""

    width: float
    height: float
    jpeg: bytes

    @property
    def address(self) -> str:
        """The image as the text of an address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def film_of(dataset: DataSet, position: int) -> Film:
    """The image of the study at ``position``. Raises DataError where it cannot be decoded or has another size."""
    picture = decode(dataset, position)
    shown = [SIDE * side / max(picture.size) for side in picture.size]
    if max(picture.size) > SIDE:
        width, height = (max(1, round(side)) for side in shown)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return Film(shown[0], shown[1], _jpeg(picture))


def _jpeg(picture: Image.Image) -> bytes:
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        content = buffer.getvalue()
        if len(content) <= _MOST_BYTES:
            break
    return content
