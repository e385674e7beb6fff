"""What stands on which page: a whole report on one, or an overview with pages of ablations beside it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mmad.report.story import AblationStory, RunStory, Story
from mmad.report.words import clip, moment

#: An ablation of more runs goes on over several pages.
RUNS_PER_PAGE = 24
#: Stands in the head of every page beside the overview, and nowhere else.
PAGE_MARK = b'<meta name="mmad:page" '


@dataclass(frozen=True, eq=False)
class Part:
    """What a page tells of an ablation: the first part its tables, each part the curves of some settings and runs."""

    ablation: AblationStory
    number: int
    of: int
    settings: tuple[str, ...]
    runs: tuple[RunStory, ...]
    first_run: int

    @property
    def anchor(self) -> str:
        return self.ablation.anchor if self.number == 1 else f"{self.ablation.anchor}.{self.number}"

    @property
    def span(self) -> str:
        """``Runs 25 to 48``."""
        last = self.first_run + len(self.runs) - 1
        return f"Runs {self.first_run} to {last}" if last > self.first_run else f"Run {self.first_run}"


@dataclass(frozen=True, eq=False)
class View:
    """One page: ``file`` is relative to the overview's folder, ``siblings`` the parts of every ablation in order."""

    file: str
    title: str
    overview: bool
    parts: tuple[Part, ...]
    siblings: tuple[tuple[Part, ...], ...]
    before: Part | None = None
    after: Part | None = None

    def shows(self, part: Part) -> bool:
        return part in self.parts

    def near(self, parts: Sequence[Part]) -> bool:
        """Whether the page is of these parts' ablation."""
        return any(self.shows(part) for part in parts)

    def siblings_of(self, part: Part) -> tuple[Part, ...]:
        """All parts of the part's ablation."""
        return next(parts for parts in self.siblings if part in parts)


class Links:
    """Leads from one page to an anchor, wherever it stands; relative, so that the folder may be moved."""

    def __init__(self, here: str, overview: str, files: Mapping[str, str]) -> None:
        self._here, self._overview, self._files = here, overview, files

    def __call__(self, anchor: str) -> str:
        file = self._files.get(anchor, self._overview)
        if file == self._here:
            return f"#{anchor}"
        return f"{quote(posixpath.relpath(file, posixpath.dirname(self._here) or '.'))}#{anchor}"

    def of(self, here: str) -> Links:
        """The same, seen from the page ``here``."""
        return Links(here, self._overview, self._files)


def whole(story: Story) -> View:
    """Everything on one page."""
    siblings = tuple((_part(a, 1, 1, a.frame.settings, a.runs, 1),) for a in story.ablations)
    parts = tuple(part for (part,) in siblings)
    return View("", f"Ablation report · {moment(story.created)}", True, parts, siblings)


def linked(story: Story, overview: str, folder: str, most: int = RUNS_PER_PAGE) -> tuple[tuple[View, ...], Links]:
    """The pages of ablations in ``folder`` and, last, the overview; and its links."""
    siblings = tuple(_parts(a, most) for a in story.ablations)
    flat = [part for parts in siblings for part in parts]
    views = []
    for n, part in enumerate(flat):
        title = clip(part.ablation.title, 120) + (f", {part.span}" if part.of > 1 else "")
        before, after = flat[n - 1] if n else None, flat[n + 1] if n + 1 < len(flat) else None
        file = f"{folder}/{part.anchor}.html"
        views.append(View(file, f"{title} · Ablation report", False, (part,), siblings, before, after))
    head = View(overview, f"Ablation report · {moment(story.created)}", True, (), siblings)
    files = {a: v.file for v in views for p in v.parts for a in (p.anchor, *(r.anchor for r in p.runs))}
    return (*views, head), Links(overview, overview, files)


def _part(
    ablation: AblationStory, number: int, of: int, settings: Sequence[str], runs: Sequence[RunStory], first: int
) -> Part:
    return Part(ablation, number, of, tuple(settings), tuple(runs), first)


def _parts(ablation: AblationStory, most: int) -> tuple[Part, ...]:
    """Slices of at most ``most`` runs; a setting's curves stand where its first run does, or in the first slice."""
    slices = [ablation.runs[n : n + most] for n in range(0, len(ablation.runs), most)] or [()]
    home = dict.fromkeys(ablation.frame.settings, 0)
    for n in reversed(range(len(slices))):
        home |= {run.member.record.setting: n for run in slices[n]}
    return tuple(
        _part(
            ablation,
            n + 1,
            len(slices),
            [setting for setting, place in home.items() if place == n],
            runs,
            n * most + 1,
        )
        for n, runs in enumerate(slices)
    )
