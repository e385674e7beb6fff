"""DICOM images, decoded to what a screen would show: 8-bit grey, the lowest value black.

The steps are those of the grayscale display pipeline (DICOM PS3.3 C.11.1 and C.11.2): Modality LUT or rescale,
VOI LUT or window, MONOCHROME1 inverted. pydicom is an extra; it is imported when the first such file is met.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.errors import DataError
from mmad.data.acquisition import NOT_KNOWN, SHIFTED, Acquisition
from mmad.data.column_types import read_age, year_of

if TYPE_CHECKING:
    from pydicom import Dataset


ENDINGS = (".dcm", ".dicom")
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: As many pixels as Pillow accepts in any other image.
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)


@dataclass(frozen=True)
class DicomHeader:
    """What an importer reads from the header: the size in pixels, age in years and sex (F, M or O) if known.

    ``patient`` is a digest of PatientID, equal for equal ids; the id itself is not kept. ``taken`` is of
    InstitutionName, Manufacturer with ManufacturerModelName, ViewPosition, and the year of StudyDate.
    """

    width: int
    height: int
    age: float | None
    sex: str | None
    patient: str | None = None
    taken: Acquisition = NOT_KNOWN


def is_dicom(path: Path) -> bool:
    """Whether ``path`` ends as a DICOM file does or, whatever its name, begins as one. Raises OSError."""
    if path.suffix.lower() in ENDINGS:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path, where: str) -> DicomHeader:
    """The header of the DICOM file at ``path``; ``where`` begins a message. Raises DataError."""
    with _refusing(where):
        file = _read(path, where, pixels=False)
        width, height = int(file.get("Columns", 0)), int(file.get("Rows", 0))
        age, sex = read_age(str(file.get("PatientAge") or "")), str(file.get("PatientSex", "")).strip().upper()
        patient = str(file.get("PatientID") or "").strip()
        site, maker, model, view, day = (
            " ".join(str(file.get(name) or "").split())
            for name in ("InstitutionName", "Manufacturer", "ManufacturerModelName", "ViewPosition", "StudyDate")
        )
        moved = str(file.get("LongitudinalTemporalInformationModified", "")).strip().upper() == "MODIFIED"
        _check(file, width, height, where)
    digest = hashlib.sha256(patient.encode()).hexdigest()[:16] if patient else None
    year = SHIFTED if moved else year_of(day)
    taken = Acquisition(site or None, f"{maker} {model}".strip() or None, view.upper() or None, year)
    return DicomHeader(width, height, age, sex if sex in ("F", "M", "O") else None, digest, taken)


def decode_dicom(path: Path, where: str, check: Callable[[Image.Image], None] | None = None) -> Image.Image:
    """The image in the DICOM file at ``path`` as 8-bit grey; ``where`` begins a message.

    ``check`` sees an image in colour before it is made grey, and may refuse it by a DataError.

    With a window or VOI LUT (the first, if there are several) its range becomes 0 to 255. Without one, images of
    up to 8 bits keep their values; of deeper ones all but the lowest and the highest 0.5 % of the pixels become 0 to
    255, and what PixelPaddingValue says is padding is black and counts for nothing. Raises DataError.
    """
    with _refusing(where):
        file = _read(path, where, pixels=True)
        _check(file, int(file.get("Columns", 0)), int(file.get("Rows", 0)), where)
        pixels = _pixels(file, where)
        if pixels.ndim == 3:
            coloured = Image.fromarray(pixels)
            if check is not None:
                check(coloured)
            return coloured.convert("L")
        stored = _stored(pixels, file)
        low = int(stored.min())
        counts = np.bincount((stored - low).ravel())
        levels = np.flatnonzero(counts)  # what is in the image, a few thousand at most
        padding = _padding(levels + low, file)
        shown = np.clip(_shown(levels + low, np.where(padding, 0, counts[levels]), file), 0.0, 1.0)
        if file.PhotometricInterpretation == "MONOCHROME1":
            shown = 1.0 - shown
        shown[padding] = 0.0
        grey = np.zeros(int(levels[-1]) + 1, dtype=np.uint8)
        grey[levels] = np.rint(shown * 255.0)
        return Image.fromarray(grey[stored - low])


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """A damaged file makes pydicom fail in ways that no list of exceptions holds; its warnings are no news."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        what = f"DICOM file cannot be decoded ({type(error).__name__})"
        raise DataError(what, where=where, hint="replace it or leave it out") from None


def _read(path: Path, where: str, *, pixels: bool) -> Dataset:
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
        from pydicom.filereader import read_file_meta_info
    except ImportError:
        what = "is a DICOM file, and pydicom is not installed"
        raise DataError(what, where=where, hint="pip install 'mmad[dicom]'") from None
    try:
        if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
            raise DataError("DICOM file is deflated as a whole", where=where, hint="save it with explicit VR")
        return dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError:
        raise DataError("is not a DICOM file", where=where, hint="replace it or leave it out") from None


def _check(file: Dataset, width: int, height: int, where: str) -> None:
    kind, depth = str(file.get("PhotometricInterpretation", "")), int(file.get("BitsAllocated", 0))
    colour = kind == "RGB" or kind.startswith("YBR")
    if width < 1 or height < 1:
        raise DataError("DICOM file holds no image", where=where, hint="leave it out")
    if width * height > _MOST_PIXELS:
        what = f"DICOM image of {width} x {height} px is too large"
        raise DataError(what, where=where, hint="replace it or leave it out")
    if int(file.get("NumberOfFrames", 1) or 1) > 1:
        raise DataError("DICOM file holds several frames", where=where, hint="save each as a file of its own")
    if not (kind.startswith("MONOCHROME") and depth in (8, 16)) and not (colour and depth == 8):
        what = f"DICOM image of kind {kind[:20]!r} with {depth} bits"
        raise DataError(what, where=where, hint="save it as MONOCHROME2 of 8 or 16 bits")
    stored = int(file.get("BitsStored", depth))
    if int(file.get("HighBit", stored - 1)) >= stored:
        what = f"DICOM image of {stored} bits whose HighBit is {file.HighBit}, not {stored - 1}"
        raise DataError(what, where=where, hint="save it with its values in the lowest bits")


def _pixels(file: Dataset, where: str) -> NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = file.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        what = f"DICOM file is compressed as {syntax.name}, for which no decoder is installed"
        hint = "pip install 'pylibjpeg[all]', or save it uncompressed"
        raise DataError(what, where=where, hint=hint)
    return pixel_array(file)


def _stored(pixels: NDArray[Any], file: Dataset) -> NDArray[np.int32]:
    """The stored values; what lies above BitsStored (an old overlay) is no part of them."""
    bits = int(file.BitsStored)
    if not 1 <= bits <= 16:
        raise ValueError(bits)
    values = pixels.astype(np.int32) & ((1 << bits) - 1)
    if int(file.PixelRepresentation) == 1:
        values = np.where(values >> (bits - 1), values - (1 << bits), values)
    return values


def _has_window(file: Dataset) -> bool:
    """Whether the file says which of its values are shown."""
    window = file.get("WindowWidth") is not None and file.get("WindowCenter") is not None
    return bool(file.get("VOILUTSequence")) or window


def _padding(stored: NDArray[np.integer[Any]], file: Dataset) -> NDArray[np.bool_]:
    """Which of the stored values are padding, as far as no window says what is shown (PS3.3 C.7.5.1.1.2)."""
    none = np.zeros(len(stored), dtype=np.bool_)
    value = file.get("PixelPaddingValue")
    if value is None or _has_window(file):
        return none
    ends = [_as_stored(int(end), file) for end in (value, file.get("PixelPaddingRangeLimit", value))]
    inside = (stored >= min(ends)) & (stored <= max(ends))
    return none if inside.all() else np.asarray(inside, dtype=np.bool_)


def _as_stored(value: int, file: Dataset) -> int:
    """A value of the header as pixels hold it: of so many bits, with or without a sign."""
    bits = int(file.BitsStored)
    value &= (1 << bits) - 1
    return value - (1 << bits) if int(file.PixelRepresentation) == 1 and value >> (bits - 1) else value


#: Share of the pixels below and above the range that is shown where no window says it.
_OUTLIERS = 0.005


def _shown(stored: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]], file: Dataset) -> NDArray[np.float64]:
    """Stored values through both tables or their formulas; 0 is the darkest of MONOCHROME2, 1 the brightest.

    ``counts`` says how many pixels have each of them, 0 for padding.
    """
    values: NDArray[np.float64] = stored.astype(np.float64)
    if file.get("ModalityLUTSequence"):
        values, _ = _looked_up(values, file.ModalityLUTSequence[0], file)
    elif "RescaleSlope" in file and "RescaleIntercept" in file:
        values = values * _first(file.RescaleSlope) + _first(file.RescaleIntercept)
    if file.get("VOILUTSequence"):
        values, bits = _looked_up(values, file.VOILUTSequence[0], file)
        return _between(values, 0.0, 2.0**bits - 1.0)
    if _has_window(file):
        return _windowed(values, file)
    if int(file.BitsStored) <= 8 and np.array_equal(values, stored) and stored.min() >= 0:
        return _between(values, 0.0, 2.0 ** int(file.BitsStored) - 1.0)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])  # pixels up to each value
    least = int(np.searchsorted(below, _OUTLIERS * below[-1], side="right"))
    most = int(np.searchsorted(below, (1 - _OUTLIERS) * below[-1], side="left"))
    return _between(values, float(values[order[least]]), float(values[order[most]]))


def _between(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return (values - low) * (1.0 / (high - low)) if high > low else np.zeros_like(values)


def _windowed(values: NDArray[np.float64], file: Dataset) -> NDArray[np.float64]:
    """``values`` through the window of ``file``, to 0 … 1: what pydicom makes of it for images of one bit."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_windowing

    window = Dataset()
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 1, 0
    window.WindowCenter, window.WindowWidth = _first(file.WindowCenter), _first(file.WindowWidth)
    window.VOILUTFunction = str(file.get("VOILUTFunction") or "LINEAR").upper()
    return np.asarray(apply_windowing(values, window), dtype=np.float64)


def _looked_up(values: NDArray[np.float64], item: Dataset, file: Dataset) -> tuple[NDArray[np.float64], int]:
    """``values`` through one lookup table (PS3.3 C.11.1.1), and the bits of what it holds.

    pydicom's own reads no Modality LUT of 10 to 15 bits, and counts no further than 255 in a VOI LUT of 8 bits.
    """
    entries, first, bits = (int(word) for word in item.LUTDescriptor)
    entries = entries or 1 << 16
    if not 8 <= bits <= 16 or entries < 1:
        raise ValueError(bits)
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if file.original_encoding[1] is not False else ">"
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * entries else np.dtype(f"{order}u2"))
    else:
        table = np.atleast_1d(np.asarray(data))
    if len(table) < entries:
        raise ValueError(entries)
    place = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return table.astype(np.float64)[place], bits


def _first(value: Any) -> float:
    """The first of a window's values; several are alternatives."""
    number = float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
    if not np.isfinite(number):
        raise ValueError(number)
    return number
