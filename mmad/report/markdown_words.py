"""Foreign text and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmad.report.words import clean


def escape(text: str) -> str:
    """Foreign text as plain words on one line: no markup, no HTML, no cell border."""
    line = " ".join(clean(text).split())
    return re.sub(
        r"([\\`*_{}\[\]()#+|~$!-])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> list[str]:
    """A table whose columns from ``numbers_from`` on are set to the right. Cells are escaped already."""
    rule = ["---" if n < numbers_from else "---:" for n in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
