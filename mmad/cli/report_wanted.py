"""What a call of ``mmad report`` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmad.cli.common import Progress
    from mmad.report.build import Report
    from mmad.store.gateway import Store


@dataclass(frozen=True)
class Wanted:
    """The forms, where they go, and what is in them; the fields are those of ``write_report``."""

    html: Path | None
    markdown: Path | None
    pages: bool | None
    csv: Path | None
    latex: Path | None
    ablations: tuple[str, ...]
    data: Path | None
    pictures: int | None
    log: bool | None

    def write(self, store: Store, progress: Progress | None = None, every: float | None = None) -> Report:
        """Write the report of ``store``; with ``every`` the page shows itself anew after so many seconds."""
        from mmad.report.build import write_report

        def nothing(done: int, whole: int) -> None:
            pass

        heard = progress or nothing
        return write_report(
            store, **vars(self), database=store.where, every=every, progress=heard, looking=heard, picturing=heard
        )
