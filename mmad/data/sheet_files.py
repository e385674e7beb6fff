"""Contact sheets as files: PNG or HTML, by the ending of the name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.data.dataset import DataSet
from mmad.data.sheet import LIMIT, Progress, Sheet, chosen, keys, title_of
from mmad.data.sheet_html import html_sheet
from mmad.data.sheet_png import png_sheet


def write_sheet(
    dataset: DataSet,
    out: Path | str,
    *,
    studies: Sequence[str] = (),
    split: str | None = None,
    label: str | None = None,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Sheet:
    """Draw ``studies``, or at most ``limit`` spread over those of ``split`` and ``label``, into ``out``.

    ``out`` ends with ``.png`` or ``.html``; one that is there is replaced. A picture that cannot be decoded is
    shown as such. Raises DataError for an unknown study, split or label, for nothing to show, and for a file
    that cannot be written or lies in the data set's folder.
    """
    out = Path(out)
    forms = {".png": png_sheet, ".html": html_sheet}
    if out.suffix.casefold() not in forms:
        raise DataError("is neither .png nor .html", where=out, mend="name the file so that its ending says the form")
    if out.resolve().is_relative_to(dataset.root.resolve()):
        raise DataError("lies in the data set's own folder", where=out, mend="write the sheet somewhere else")
    positions = chosen(dataset, studies, split, label, limit)
    sheet = Sheet(title_of(dataset, len(positions)), keys(dataset), dataset, positions)
    content = forms[out.suffix.casefold()](sheet, progress)
    try:
        write_atomically(out, content)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", where=out, mend="name another file") from None
    return sheet
