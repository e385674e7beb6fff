"""From a draft to an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmad.documented.log.blocks import Block, note
from mmad.documented.log.drafts import Draft, paragraphs
from mmad.documented.log.headings import figure_groups, with_equals
from mmad.documented.log.model import Checkpoint, FigureGroup, LogEntry, Losses, Note, SetupPrint

#: Which print tells what was run: the program's own before the author's.
_FORMS = ("repr", "constructor", "commented")


@dataclass(frozen=True)
class SectionLosses:
    """A snippet that stands alone below a heading: it holds for the entries beside and below that heading."""

    losses: Losses
    sections: tuple[tuple[int, str], ...]

    def holds_for(self, draft: Draft) -> bool:
        """Whether ``draft`` stands beside or below."""
        above = self.sections[:-1]
        return draft.sections[: len(above)] == above and len(draft.sections) > len(above)


def note_of(line: int, text: str) -> Note:
    return Note(line=line, text=text)


def build_entry(id: str, draft: Draft, shared: SectionLosses | None) -> LogEntry:
    """The entry ``id`` of ``draft``; ``shared`` weights its losses where it prints no snippet of its own."""
    unread = [note(block) for block in draft.of("unread")]
    own = read_losses(draft, "entry")
    unread += [] if own else [note(block) for block in draft.of("around")]
    setups = [block.value for block in draft.of("setup")]
    unread += [line for found in setups for line in found.unread]
    setup, others = _chosen([found.setup for found in setups])
    params, remarks = _params(draft.of("param"), unread)
    results = _results(draft.of("result"), unread)
    heading = draft.heading
    titles = draft.of("title")
    last = draft.blocks[-1]
    return LogEntry(
        id=id,
        line=draft.blocks[0].line,
        line_end=last.line + (last.value.taken - 1 if last.kind == "setup" else 0),
        heading=None if heading is None else heading[1].strip(),
        sections=tuple(text.strip() for _, text in draft.sections),
        title=titles[0].value if titles else None,
        in_comment=all(block.container[0] for block in draft.blocks),
        setup=setup,
        other_setups=others,
        params=params,
        params_line=next((block.line for block in draft.of("param")), None),
        params_comments=remarks,
        results=results,
        figures=tuple(with_equals(group, results) for group in _groups(draft)),
        losses=own or (shared.losses if shared else None),
        notes=tuple(note_of(*paragraph) for paragraph in paragraphs(draft.of("text"))),
        images=tuple(block.value for block in draft.of("image")),
        log_lines=tuple(note(block) for block in draft.of("log")),
        unread=tuple(sorted(unread, key=lambda found: found.line)),
    )


def _chosen(setups: list[SetupPrint]) -> tuple[SetupPrint | None, tuple[SetupPrint, ...]]:
    if not setups:
        return None, ()
    best = min(setups, key=lambda setup: _FORMS.index(setup.form))
    return best, tuple(setup for setup in setups if setup is not best)


def _params(blocks: list[Block], unread: list[Note]) -> tuple[dict[str, int], dict[str, str]]:
    params: dict[str, int] = {}
    remarks: dict[str, str] = {}
    for block in blocks:
        module, count, remark = block.value
        if module in params and params[module] != count:
            unread.append(note_of(block.line, f"[{module}]: {count:,}"))
            continue
        params[module] = count
        if remark:
            remarks[module] = remark.strip()
    return params, remarks


def _results(blocks: list[Block], unread: list[Note]) -> dict[str, Checkpoint]:
    results: dict[str, Checkpoint] = {}
    for block in blocks:
        kind, checkpoint = block.value
        if kind in results:
            unread.append(note_of(block.line, checkpoint.checkpoint))
        else:
            results[kind] = checkpoint
    return results


def _groups(draft: Draft) -> list[FigureGroup]:
    heading = draft.heading
    groups = list(figure_groups(heading[1], draft.blocks[0].line)) if heading else []
    return groups + [group for block in draft.of("figures") for group in figure_groups(block.value, block.line)]


def read_losses(draft: Draft, scope: str) -> Losses | None:
    """The snippet that weights losses in ``draft``, or None. Of two factors of a loss both count, as they would run."""
    lines = draft.of("loss", "around")
    applied = [block.value for block in lines if block.kind == "loss" and not block.value[2]]
    commented = [block.value for block in lines if block.kind == "loss" and block.value[2]]
    if not applied and not commented:
        return None
    weights: dict[str, Any] = {}
    for name, factor, *_ in applied:
        known = weights.get(name, 1)
        weights[name] = "detach" if "detach" in (known, factor) else known * factor
    first = next(block for block in lines if block.kind == "loss")
    return Losses(
        weights=weights,
        scope=scope,
        line=first.line,
        printed=tuple(block.value[3] if block.kind == "loss" else block.value for block in lines),
        commented_out={name: factor for name, factor, *_ in commented},
    )
