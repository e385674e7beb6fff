"""From blocks to drafts of entries: where one experiment ends and the next begins.

A heading begins one. Below a heading, another begins with a fence or comment that prints again what was printed (a
setup, the banner, a result, counts), with words such as "the next experiment" or "another setting", and with a
picture above a caption once there was one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mmad.documented.log.blocks import Block

_NEXT = re.compile(r"\b(?:next|another|new) (?:experiment|setting|run|attempt)\b|^and another\b", re.IGNORECASE)
_FACTS = frozenset({"setup", "title", "param", "result"})
_FAILED = re.compile(r"\b(?:fail|failed|fails|crash\w*|error|nan|diverge\w*|out of memory)\b", re.IGNORECASE)


@dataclass
class Draft:
    """The blocks of one entry, or of what is none; ``sections`` are the headings it stands below.

    ``add`` notes beside the blocks what they print, so that a long log is read in one pass.
    """

    sections: tuple[tuple[int, str], ...]
    blocks: list[Block] = field(default_factory=list)
    containers: set[tuple[int, int]] = field(default_factory=set)  # those that hold facts
    printed: dict[str, dict[str, Block]] = field(default_factory=dict)  # kind of fact → what it names, first to last
    image: int = 0  # the line of the last picture
    words: int = 0  # the line of the last text

    def add(self, block: Block) -> None:
        """Takes the next block."""
        self.blocks.append(block)
        if block.kind in _FACTS:
            self.containers.add(block.container)
            self.printed.setdefault(block.kind, {})[_named(block)] = block
        elif block.kind == "image":
            self.image = block.line
        elif block.kind == "text":
            self.words = block.line

    def of(self, *kinds: str) -> list[Block]:
        """The blocks of these kinds."""
        return [block for block in self.blocks if block.kind in kinds]

    @property
    def heading(self) -> tuple[int, str] | None:
        """Level and text of its own heading."""
        first = self.blocks[0] if self.blocks else None
        return first.value if first is not None and first.kind == "heading" else None

    @property
    def is_entry(self) -> bool:
        """Whether it tells of an experiment: facts, a picture, or at least that a setting failed."""
        if self.of(*_FACTS):
            return True
        title = self.heading is not None and self.heading[0] == 1 and self.blocks[0].line == 1
        if self.of("image"):
            return not title
        return any(_FAILED.search(block.value) for block in self.of("text")) and self.heading is not None


def read_drafts(blocks: Sequence[Block]) -> list[Draft]:
    """The drafts of a file, in its order; together they hold every block."""
    drafts = [Draft(())]
    for place, block in enumerate(blocks):
        if block.kind == "heading":
            above = tuple(section for section in drafts[-1].sections if section[0] < block.value[0])
            drafts.append(Draft((*above, block.value)))
        elif _begins(drafts[-1], block, blocks[place + 1] if place + 1 < len(blocks) else None):
            moved = _moved(drafts[-1], block)
            drafts.append(Draft(drafts[-1].sections))
            for earlier in moved:
                drafts[-1].add(earlier)
        drafts[-1].add(block)
    return [draft for draft in drafts if draft.blocks]


def _begins(draft: Draft, block: Block, following: Block | None) -> bool:
    """Whether ``block`` begins another experiment below the heading of ``draft``."""
    if block.kind == "text":
        told = draft.image or draft.printed
        return bool(told) and block.container == (0, 0) and bool(_NEXT.search(block.value))
    if block.kind == "image":
        captioned = following is not None and following.kind == "text" and following.line == block.line + 1
        return captioned and 0 < draft.image < draft.words
    return block.kind in _FACTS and _repeats(draft, block)


def _repeats(draft: Draft, block: Block) -> bool:
    """Whether ``draft`` prints already what ``block`` prints, elsewhere or from its first line on."""
    same = draft.printed.get(block.kind)
    if not same:
        return False
    elsewhere = block.container not in draft.containers
    if block.kind == "setup":
        return elsewhere or (_named(block) == "repr" and "repr" in same)
    if block.kind == "title":
        return True
    name = _named(block)
    return name in same and (elsewhere or block.kind == "result" or next(iter(same)) == name)


def _named(block: Block) -> str:
    """What a fact names: a setup's form, a module, a kind of result."""
    if block.kind == "setup":
        return str(block.value.setup.form)
    return str(block.value if block.kind == "title" else block.value[0])


def _moved(draft: Draft, block: Block) -> list[Block]:
    """Takes from ``draft`` what stands before ``block`` and belongs to it."""
    kept = len(draft.blocks)
    inside = block.container != (0, 0) and block.container not in draft.containers
    while kept and (_same(draft.blocks[kept - 1], block) if inside else draft.blocks[kept - 1].kind == "figures"):
        kept -= 1
    moved = draft.blocks[kept:]
    del draft.blocks[kept:]
    return moved


def _same(one: Block, other: Block) -> bool:
    return one.container == other.container and one.kind != "heading"


def paragraphs(blocks: Sequence[Block]) -> Iterator[tuple[int, str]]:
    """Texts of consecutive lines as one, each with its first line; in a fence each line alone."""
    line, last, words = 0, 0, list[str]()
    for block in blocks:
        if words and (block.line > last + 1 or block.container[1]):
            yield line, " ".join(words)
            words = []
        if not words:
            line = block.line
        words.append(block.value)
        last = block.line
    if words:
        yield line, " ".join(words)
