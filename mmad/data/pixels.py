"""What becomes of an image's pixels: upright, grey, 8 bits. One rule for training, audit and pictures.

The picture is turned as its EXIF orientation says, and composed on white where it is transparent. Of images with more
than 8 bits the highest 8 of the ``bits`` that the data set uses are kept, the same for every image.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

#: Raised where equal files are read as other pixels. It is part of the fingerprint of the data sets that it changes:
#: 2 turns pictures upright and composes transparent ones on white.
RULE = 2
#: The bits that images with more than 8 are taken to have, where ``dataset.toml`` names none.
BITS = 16
MOST_BITS = 32
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height


def as_grey(image: Image.Image, bits: int | None = None) -> Image.Image:
    """A loaded image upright as 8-bit grey; ``bits`` are those of its data set (None: 16).

    Raises ValueError for an image of floating-point values: nothing says what is white.
    """
    if is_float(image):
        raise ValueError("floating-point values; save it with 8 or 16 bits")
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if is_deep(image):
        wide: NDArray[np.int64] = np.asarray(image).astype(np.int64)
        used = bits or BITS
        return Image.fromarray((np.clip(wide, 0, (1 << used) - 1) >> (used - 8)).astype(np.uint8))
    if is_transparent(image):
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("L")
    return image if image.mode == "L" else image.convert("L")


def is_deep(image: Image.Image) -> bool:
    """Whether its pixels are whole numbers of more than 8 bits."""
    return image.mode.startswith("I")


def is_halved(image: Image.Image) -> bool:
    """Whether an opened image, in colour or with alpha, has 16 bits a channel: Pillow reads the upper 8."""
    return not is_deep(image) and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def is_float(image: Image.Image) -> bool:
    """Whether its pixels are floating-point values."""
    return image.mode == "F"


def why_unread(image: Image.Image) -> str:
    """Why no picture, or another one, would be read from an opened image; empty where nothing is wrong."""
    if is_float(image):
        return "holds floating-point values, and nothing says which is white"
    if is_deep(image) and image.format == "TIFF" and image.getexif().get(ExifTags.Base.PhotometricInterpretation) == 0:
        return "writes white as 0, which is read of 8 bits alone"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        return "holds several pictures"
    return ""


#: How far the channels of a grey picture may be apart: what a lossy format leaves of a grey one in colour.
_GREY = 16


def is_coloured(image: Image.Image) -> bool:
    """Whether some pixel of a loaded image of 8 bits has a colour; three equal channels are grey."""
    if image.mode in ("1", "L", "LA", "La") or is_deep(image) or is_float(image):
        return False
    channels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    return bool((channels.max(axis=2) - channels.min(axis=2) > _GREY).any())


def is_transparent(image: Image.Image) -> bool:
    """Whether some pixel of an image of 8 bits lets a background through."""
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "RGBA", "PA"):
        lowest = image.getchannel("A").getextrema()[0]
    elif "transparency" in image.info and not is_deep(image):
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
    else:
        return False
    return isinstance(lowest, int | float) and lowest < 255


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none. Pillow turns a TIFF itself."""
    return 1 if image.format == "TIFF" else int(image.getexif().get(ExifTags.Base.Orientation, 1) or 1)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as the picture is shown; an image that is opened is enough."""
    width, height = image.size
    return (height, width) if _orientation(image) in _TURNED else (width, height)


def highest_value(image: Image.Image) -> int:
    """The highest value of an image of more than 8 bits. Raises ValueError for one with negative values."""
    values = np.asarray(image)
    if int(values.min()) < 0:
        raise ValueError("negative values; save it with 8 or 16 bits")
    return int(values.max())


def significant_bits(path: Path) -> int | None:
    """What the chunk sBIT of a PNG says of its grey channel; None where there is none. Raises OSError."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return None
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"sBIT":
                return int(file.read(1)[0]) or None
            if kind == b"IDAT":
                return None
            file.seek(length + 4, 1)
    return None


_HEAD = 1 << 13


def is_changed(path: Path) -> bool:
    """Whether the rule reads other pixels from a file than the one before it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if head.startswith(b"\x89PNG"):
                asks = head[25:26] in (b"\x04", b"\x06") or b"tRNS" in head or b"eXIf" in head
            else:
                asks = not head.startswith(b"\xff\xd8") or b"Exif\0\0" in head
            if not asks:
                return False
            with Image.open(path) as image:
                return _orientation(image) != 1 or (not is_float(image) and is_transparent(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # no pixels, whatever the rule
