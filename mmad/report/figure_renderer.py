"""Draws the figures of a report on all cores; what was drawn before comes from the store's cache of results."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import pickle
import queue
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmad.base.cores import usable_cores
from mmad.report.figures import FigureFile, FigureTask, ReportFigure
from mmad.store.measurements import analysis_key
from mmad.store.store import Store

#: Fewer figures are drawn sooner than other processes have begun.
FEW = 8
#: More helpers than this would wait for the one that writes.
MOST = 16
#: So many drawings are remembered by a process, for a report that is written again without a cache.
_REMEMBERED = 500
#: Drawings that are written at once: each waiting for the disk takes longer than many of them.
_TOGETHER = 12
_KIND = "figure"


class FigureRenderer:
    """Draws figures for pages and as files; to be closed, which ends its helpers.

    Args:
        store: whose cache keeps the figures of pages, one drawing of each name; None keeps none.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._helpers: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> FigureRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._started.clear()

    def page(
        self, figures: Sequence[ReportFigure], progress: Callable[[int], None] = lambda done: None
    ) -> list[tuple[str, ...]]:
        """The SVG elements of each figure (see ``draw_page``). ``progress`` hears how many are there."""
        found: dict[int, tuple[str, ...]] = {}
        digests = [_digest(figure) for figure in figures]
        for n, digest in enumerate(digests):
            if (kept := self._kept(figures[n].name, digest)) is not None:
                found[n] = kept
                progress(len(found))
        missing = [n for n in range(len(figures)) if n not in found]
        waiting: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        for n, drawn in zip(missing, self._drawn([figures[n] for n in missing]), strict=True):
            found[n] = drawn
            progress(len(found))
            value = {"digest": digests[n], "svg": _packed(drawn)}
            _remember(figures[n].name, value)
            waiting.append((_KIND, _subject(figures[n].name), value))
            if len(waiting) >= _TOGETHER:
                self._keep(waiting)
        self._keep(waiting)
        return [found[n] for n in range(len(figures))]

    def files(self, files: Sequence[FigureFile]) -> Iterator[bytes]:
        """The content of each file, in order."""
        return self._drawn(files)

    def _kept(self, name: str, digest: str) -> tuple[str, ...] | None:
        """The drawing that is cached, unless the figure or what draws it has changed since, or it was damaged."""
        value: Mapping[str, Any] | None = _recent.get(name)
        if (value is None or value["digest"] != digest) and self._store is not None:
            found = self._store.get_analysis(analysis_key(_KIND, _subject(name)))
            value = None if found is None else found.value
        try:
            return None if value is None or value["digest"] != digest else _unpacked(value["svg"])
        except (LookupError, TypeError, ValueError, AttributeError, zlib.error):
            return None

    def _keep(self, waiting: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        if waiting and self._store is not None and not self._store.read_only:
            self._store.put_analyses(waiting)
        waiting.clear()

    def _drawn(self, tasks: Sequence[FigureTask]) -> Iterator[Any]:
        """What ``_draw`` makes of each, in order; by helpers where there are many."""
        count = min(usable_cores(), MOST, len(tasks))
        if len(tasks) < FEW or count < 2:
            yield from map(_draw, tasks)
            return
        with contextlib.suppress(OSError):
            while len(self._started) < count:
                self._started.append(process := _start())
                self._helpers.put(process)
        if not self._started:
            yield from map(_draw, tasks)
            return
        with ThreadPoolExecutor(len(self._started)) as threads:
            yield from threads.map(self._by_helper, tasks)

    def _by_helper(self, task: FigureTask) -> Any:
        """Drawn by the next helper that is free; here where it has died."""
        process = self._helpers.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            return _draw(task)
        finally:
            self._helpers.put(process)


_recent: dict[str, dict[str, str]] = {}


def _remember(name: str, value: dict[str, str]) -> None:
    _recent.pop(name, None)
    _recent[name] = value
    if len(_recent) > _REMEMBERED:
        del _recent[next(iter(_recent))]


def _packed(drawn: tuple[str, ...]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(drawn).encode())).decode()


def _unpacked(packed: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(zlib.decompress(base64.b64decode(packed)))))


def _subject(name: str) -> dict[str, Any]:
    return {"figure": name}


def _digest(figure: ReportFigure) -> str:
    """Of all that decides the drawing."""
    return hashlib.sha256(f"{_drawing()}{figure!r}".encode("utf-8", "surrogatepass")).hexdigest()


@functools.cache
def _drawing() -> str:
    """Of what draws: our code and matplotlib's version."""
    code = Path(__file__).with_name("figure_drawing.py").read_bytes()
    return f"{hashlib.sha256(code).hexdigest()} {version('matplotlib')}"


def _draw(task: FigureTask) -> Any:
    from mmad.report.figure_drawing import draw

    return draw(task)


def _start() -> subprocess.Popen[bytes]:
    """A process that draws, which ends with its standard input; a core each."""
    command = [sys.executable, "-P", "-m", "mmad.report.figure_drawing"]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
