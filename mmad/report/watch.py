"""A report that is written again whenever the database changes, and a page that reloads itself."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Collection
from importlib.resources import files
from pathlib import Path

from mmad.base.clock import seconds
from mmad.base.errors import MmadError
from mmad.base.files import write_atomically
from mmad.base.records import HELD
from mmad.report.sections import PAGE_MARK
from mmad.store.lookup import ablation_called
from mmad.store.store import Store, StoreState

#: Seconds between two checks of the database.
POLL = 1.0
_POLICY = "script-src '"
_BEGIN = '<meta name="mmad:watch" content="'


def watch(
    store: Store,
    build: Callable[[bool], None],
    *,
    every: float,
    ablations: Collection[str] = (),
    until_done: bool = False,
    failed: Callable[[MmadError], None] = lambda error: None,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = seconds,
) -> None:
    """Build now, and again whenever something new was recorded, at most once in ``every`` seconds.

    Args:
        build: writes the report; True while more may follow.
        ablations: the ablations whose runs count for ``until_done``; all when empty.
        until_done: return after a last build once no run is queued and no living process trains one.
        failed: is called with the error of a failed build, which is tried again. An error of the first build is
            raised.
        wait, clock: sleep and monotonic seconds, for tests.
    """
    queue = _Queue(store, ablations)
    built: StoreState | None = None
    begun: float | None = None
    while True:
        state = store.state()
        done = until_done and not queue.busy(state)
        if (state != built or done) and (begun is None or done or clock() - begun >= every):
            first, begun = begun is None, clock()
            try:
                build(not done)
                built = state
            except MmadError as error:
                if first or done:
                    raise
                failed(error)
            if done:
                return
        wait(min(POLL, every))


class _Queue:
    """Whether runs are still to finish; statuses are read only when the state has changed."""

    def __init__(self, store: Store, ablations: Collection[str]) -> None:
        self._store, self._ablations = store, ablations
        self._state: StoreState | None = None
        self._queued = False
        self._running: set[str] = set()

    def busy(self, state: StoreState) -> bool:
        if state != self._state:
            members = {ablation.name: ablation.members for ablation in self._store.ablations()}
            names = [ablation_called(name, list(members), self._store.where) for name in self._ablations]
            keys = {member.key for name in names or members for member in members[name]}
            statuses = {run.key: run.status for run in self._store.run_records() if run.key in keys}
            self._queued = "queued" in statuses.values()
            self._running = {key for key, status in statuses.items() if status in HELD}
            self._state = state
        if self._queued or not self._running:
            return self._queued
        return not self._running <= self._store.free(list(self._running))


def live(page: str, every: float) -> str:
    """``page`` with a script that reloads it every so many seconds and keeps the reader's place.

    Without scripts a refresh element reloads it. The page's policy allows the script by its hash.
    """
    script = (files("mmad.report") / "templates" / "watch.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    wait = max(2, round(every))
    head = (
        f'{_BEGIN}{wait}">\n<noscript><meta http-equiv="refresh" content="{wait}"></noscript>\n'
        f"<script>{script}</script>\n<title>"
    )
    return page.replace(_POLICY, f"{_POLICY}sha256-{digest}' '", 1).replace("<title>", head, 1)


def still(page: str) -> str:
    """The page without what ``live`` added to it; any other page unchanged."""
    found = re.match(rf"(.*?){re.escape(_BEGIN)}\d+\">\n.*?</script>\n(<title>.*)", page, re.DOTALL)
    if found is None:
        return page
    return re.sub(r"(script-src )'sha256-[^']+' (?=')", r"\1", found[1], count=1) + found[2]


def settle(html: Path) -> None:
    """Stop a live page, and the pages linked beside it, from reloading themselves.

    Raises:
        OSError: a page that cannot be written.
    """
    for path in [html, *(html.parent / f"{html.stem}_pages").glob("*.html")]:
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            if path == html or PAGE_MARK in content[:10_000]:
                page = content.decode("utf-8")
                if (quiet := still(page)) != page:
                    write_atomically(path, quiet.encode("utf-8"))
