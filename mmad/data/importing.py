"""What the importers of tables share around the folder they write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.dataset import load_dataset
from mmad.data.names import no_such, one_of
from mmad.data.writing import new_folder


@contextmanager
def importing(out: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``out`` once the reader of data sets accepts it; a failure leaves nothing.

    Raises DataError; what the reader refuses is named as it would be called in ``out``.
    """
    with new_folder(out) as folder:
        yield folder
        try:
            load_dataset(folder)
        except DataError as error:
            where = (error.where or "").replace(str(folder), str(out))
            raise DataError(error.what, where=where, mend=f"correct it in the source: {error.mend}") from None


def choose_labels(present: Sequence[str], wanted: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """The labels ``wanted``, in that order, or all that are ``present``. Raises DataError for an unknown one."""
    for label in wanted or ():
        if label not in present:
            raise DataError(no_such("label", label, present), where=where, mend=one_of(present))
    return tuple(dict.fromkeys(wanted)) if wanted else tuple(present)


def folder_name(path: Path) -> str:
    """The last part of ``path`` as the name of a data set; bytes that are no UTF-8 become question marks."""
    name = path.resolve().name.encode("utf-8", "replace").decode("utf-8")
    return name if name.strip() else "data set"
