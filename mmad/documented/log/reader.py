"""Reads a log: from its text to entries, remarks, tables, prose, and what was not understood."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmad.base.errors import SpecError
from mmad.documented.log.blocks import Block, note, read_blocks
from mmad.documented.log.drafts import Draft, paragraphs, read_drafts
from mmad.documented.log.entry import SectionLosses, build_entry, note_of, read_losses
from mmad.documented.log.lines import read_lines
from mmad.documented.log.model import Log, LogEntry, Note, Remark, Table

_LARGEST = 64 * 1024 * 1024


def read_log(text: str, name: str = "log") -> Log:
    """The log that ``text`` is, under ``name``. Nothing is refused: what is not understood stands in ``unread``."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    lines = read_lines(text)
    drafts = read_drafts(read_blocks(lines))
    entries = tuple(_entries(drafts))
    others = [draft for draft in drafts if not draft.is_entry]
    blocks = [block for draft in drafts for block in draft.blocks]
    loose = [note(block) for draft in others for block in draft.of("unread", "log", "figures")]
    loose += [line for draft in others for line in _unused(draft, entries)]
    unread = sorted([*loose, *(n for entry in entries for n in entry.unread)], key=lambda found: found.line)
    return Log(
        name=name,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        lines=len(text.splitlines()),
        entries=entries,
        headings=tuple(Note(line=b.line, text=b.value[1].strip()) for b in blocks if b.kind == "heading"),
        remarks=tuple(_remark(block) for block in blocks if block.kind == "remark"),
        tables=tuple(_tables([block for block in blocks if block.kind == "row"])),
        prose=tuple(note_of(*p) for d in others for p in paragraphs(d.of("text"))),
        images=tuple(block.value for draft in others for block in draft.of("image")),
        unread=tuple(unread),
    )


def read_log_file(path: Path, name: str | None = None) -> Log:
    """The log of the file ``path``, under ``name`` or the file's own name.

    Raises:
        SpecError: it cannot be read, is too large, or is no UTF-8 text.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise SpecError("is larger than 64 MiB", where=path, mend="name the Markdown file of an experiment log")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SpecError(f"cannot be read ({error.strerror})", where=path, mend="name the file of a log") from None
    except UnicodeDecodeError as error:
        mend = "save it as UTF-8"
        raise SpecError(f"is no UTF-8 text (byte {error.start})", where=path, mend=mend) from None
    return read_log(text, name or path.stem)


def _entries(drafts: Sequence[Draft]) -> Iterator[LogEntry]:
    shared: SectionLosses | None = None
    number = 0
    for draft in drafts:
        if shared is not None and not shared.holds_for(draft):
            shared = None
        if draft.is_entry:
            number += 1
            yield build_entry(f"e{number:03d}", draft, shared)
        elif losses := read_losses(draft, "section"):
            shared = SectionLosses(losses, draft.sections)


def _unused(draft: Draft, entries: Sequence[LogEntry]) -> Iterator[Note]:
    """The lines of a snippet that weights losses, where no entry stands in its section."""
    losses = read_losses(draft, "section")
    if losses is None or losses not in (entry.losses for entry in entries):
        for block in draft.of("loss", "around"):
            yield note_of(block.line, block.value[3] if block.kind == "loss" else block.value)


def _remark(block: Block) -> Remark:
    kind, number, text = block.value
    return Remark(line=block.line, kind=kind, number=number, text=text)


def _tables(rows: Sequence[Block]) -> Iterator[Table]:
    groups: list[list[Block]] = []
    for row in rows:
        if groups and row.line == groups[-1][-1].line + 1:
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        body = [row.value for row in group[1:] if set("".join(row.value)) - set("-: ")]
        yield Table(line=group[0].line, columns=group[0].value, rows=tuple(body))
