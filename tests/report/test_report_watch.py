"""Watching: rebuilt when something is recorded, not more often than requested; a live page ends as a static one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from page_browser import MARKS, Browser
from page_parser import Page
from report_fixtures import _epoch
from undrawn import Undrawn

from mmad.base.errors import ReportError
from mmad.config.load import load_ablation
from mmad.config.runs import DataSource
from mmad.report.sections import PageForm, ReportModel
from mmad.report.watch import live, settle, still, watch
from mmad.report.writers.html import render_html, render_pages
from mmad.store.claims import Owner
from mmad.store.store import Store

FILE = """
title = "{title}"
[setup]
pretrained = false
[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true
[[settings]]
name = "only"
lr = {lr}
[protocol]
epochs = 2
"""
#: A process that works off the queue: a claim, two epochs and the end of each run; it waits for the page once.
WORKER = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
from report_fixtures import _epoch
from mmad.store.store import Store
from mmad.store.claims import Owner
rng, page = np.random.default_rng(0), Path("r.html")
with Store.open("db/mmad.sqlite") as store:
    before = page.read_text()
    while (run := store.claim(None, Owner.current())) is not None:
        for n in (1, 2):
            store.commit_epoch(run.key, _epoch(n, rng, 0.5, 1e-3))
            while page.read_text() == before:
                time.sleep(0.02)
        store.end(run.key, Owner.current(), "finished")
"""


def queue(folder: Path, name: str = "one", lr: float = 1e-3) -> Path:
    """A database with a queued pair."""
    (folder / f"{name}.toml").write_text(FILE.format(title=name, lr=lr))
    data = DataSource(path="data", name="phantom", fingerprint="5f" * 32)
    with Store.open(folder / "db" / "mmad.sqlite") as store:
        store.add_ablation(load_ablation(folder / f"{name}.toml").on(data))
    return folder / "db" / "mmad.sqlite"


@dataclass
class Time:
    """A clock that advances only in waits, at each of which something may happen."""

    happens: dict[int, Callable[[], object]] = field(default_factory=dict)
    now: float = 0.0
    waits: int = 0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        if self.waits > 100:
            raise KeyboardInterrupt
        self.happens.get(self.waits, lambda: None)()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(queue(tmp_path)) as opened:
        yield opened


def watched(store: Store, happens: dict[int, Callable[[], object]], **words: object) -> list[tuple[float, bool]]:
    """When (by the clock) it was built, and whether more was to follow."""
    times, built = Time(happens), []
    ways: dict[str, object] = {"every": 5.0, "until_done": True, "wait": times.wait, "clock": times.clock} | words
    watch(store, lambda more: built.append((times.now, more)), **ways)  # type: ignore[arg-type]
    return built


def finish(store: Store) -> None:
    for run in store.run_records():
        store.end_free(run.key, "finished")


def test_it_is_rebuilt_only_after_a_change_and_not_too_often(store: Store) -> None:
    import numpy as np

    def epoch(n: int) -> Callable[[], object]:
        return lambda: store.commit_epoch(store.run_records()[0].key, _epoch(n, np.random.default_rng(0), 0.5, 1e-3))

    built = watched(store, {2: epoch(1), 3: epoch(2), 12: epoch(3), 30: lambda: finish(store)})
    assert built == [(0.0, True), (5.0, True), (12.0, True), (30.0, False)]


def test_the_end_of_the_queue_ends_it_at_once(store: Store) -> None:
    assert watched(store, {2: lambda: finish(store)}) == [(0.0, True), (2.0, False)]
    assert watched(store, {}) == [(0.0, False)]


def test_a_run_without_a_living_process_is_not_waited_for(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner.of(child.pid)
    first, second = (run.key for run in store.run_records())
    store.end_free(second, "finished")
    assert store.claim([first], owner) is not None

    def kill() -> None:
        child.communicate()

    try:
        assert watched(store, {8: kill}) == [(0.0, True), (8.0, False)]
    finally:
        child.kill()


def test_only_the_selected_ablations_are_waited_for(store: Store, tmp_path: Path) -> None:
    queue(tmp_path, "two", lr=1e-2)
    for member in next(a for a in store.ablations() if a.name == "one").members:
        store.end_free(member.key, "finished")
    assert watched(store, {}, ablations=["one"]) == [(0.0, False)]
    with pytest.raises(KeyboardInterrupt):
        watched(store, {}, ablations=["two"])


def test_without_until_done_it_keeps_watching(store: Store) -> None:
    finish(store)
    with pytest.raises(KeyboardInterrupt):
        watched(store, {}, until_done=False)


def test_a_failed_build_is_retried_but_the_first_failure_is_raised(store: Store) -> None:
    times, calls, heard = Time(), [], []
    times.happens = {2: lambda: store.add_warning(store.run_records()[0].key, "x"), 20: lambda: finish(store)}

    def build(more: bool) -> None:
        calls.append(times.now)
        if len(calls) == 2:
            raise ReportError("cannot be written")

    watch(store, build, every=5, until_done=True, failed=heard.append, wait=times.wait, clock=times.clock)
    assert calls == [0.0, 5.0, 10.0, 20.0]
    assert [str(error) for error in heard] == ["cannot be written"]

    def refuse(more: bool) -> None:
        raise ReportError("no run to report on")

    with pytest.raises(ReportError):
        watch(store, refuse, every=5, wait=times.wait, clock=times.clock)


def test_a_live_page_differs_only_by_its_refresh_and_can_be_made_static(page: str) -> None:
    alive = live(page, 7)
    assert still(alive) == page
    assert still(page) == page
    parsed = Page(alive)
    assert [m["content"] for m in parsed.all("meta") if m.get("name") == "mmad:watch"] == ["7"]
    assert len(parsed.all("script")) == 2
    policy = next(m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert len(re.findall(r"'sha256-[^']+'", str(policy))) == 2
    assert "http" not in re.sub(r"http-equiv", "", alive.split("<title>")[0])


@pytest.mark.parametrize("which", ["hostile_page", pytest.param("drawn_hostile_page", marks=pytest.mark.slow)])
def test_hostile_words_cannot_pass_for_the_refresh(which: str, request: pytest.FixtureRequest) -> None:
    page: str = request.getfixturevalue(which)
    assert still(page) == page
    assert still(live(page, 5)) == page


def test_linked_pages_become_static_with_the_overview_and_other_files_do_not_change(
    model: ReportModel, tmp_path: Path
) -> None:
    plain = dict(render_pages(model, PageForm("index.html", "index_pages"), renderer=Undrawn()))
    (tmp_path / "index_pages").mkdir()
    for name, text in plain.items():
        (tmp_path / name).write_text(live(text, 5), "utf-8")
    mine = live("<title>mine</title>", 5)
    (tmp_path / "index_pages" / "mine.html").write_text(mine, "utf-8")
    settle(tmp_path / "index.html")
    assert {name: (tmp_path / name).read_text("utf-8") for name in plain} == plain
    assert (tmp_path / "index_pages" / "mine.html").read_text("utf-8") == mine
    settle(tmp_path / "nothing.html")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    code = "import sys; from mmad.cli.app import main; sys.exit(main())"
    environment = os.environ | {"MMAD_CACHE": str(folder / "cache")}
    environment.pop("MMAD_DB", None)
    return subprocess.Popen(
        [sys.executable, "-c", code, "report", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_it_follows_another_process_that_trains_and_ends_with_it(tmp_path: Path) -> None:
    queue(tmp_path)
    command = start(tmp_path, "--watch", "--every", "1", "--until-done", "--out", "r.html", "--no-log")
    assert command.stdout is not None
    first = command.stdout.readline()
    assert re.fullmatch(r"\d\d:\d\d:\d\d r\.html: 1 ablation, 2 runs, 2 of them not finished \(.* s\)\n", first)
    assert 'name="mmad:watch" content="2"' in (tmp_path / "r.html").read_text("utf-8")
    worker = WORKER.format(tests=str(Path(__file__).parent))
    subprocess.run([sys.executable, "-c", worker], cwd=tmp_path, check=True)
    out, errors = command.communicate(timeout=600)
    assert (command.returncode, errors) == (0, "")
    lines = out.splitlines()
    assert len(lines) >= 2
    assert "2 of them not finished" in lines[0]
    assert "r.html: 1 ablation, 2 runs (" in lines[-1]
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "mmad:watch" not in page
    assert page.count("2 of 2 epochs") >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_ctrl_c_ends_it_with_130_and_a_static_page(tmp_path: Path) -> None:
    queue(tmp_path)
    command = start(tmp_path, "--watch", "--json", "--html", "--out", "r.html", "--csv", "tables")
    assert command.stdout is not None
    written = json.loads(command.stdout.readline())
    assert (written["html"], written["runs"]) == ("r.html", 2)
    assert "tables/one--runs.csv" in written["csv"]
    assert "mmad:watch" in (tmp_path / "r.html").read_text("utf-8")
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=600)
    assert (command.returncode, errors) == (130, "")
    assert "mmad:watch" not in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--watch", "--db", "nowhere.sqlite"), "mmad: nowhere.sqlite: no such database"),
        (("--watch", "--ablation", "on"), "mmad: no ablation 'on'; did you mean one?"),
        (("--watch", "--paper"), "mmad: --watch: --paper is written once; leave out one of the two"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call_mmad: Callable[..., Any],
    words: tuple[str, ...],
    line: str,
) -> None:
    queue(tmp_path)
    monkeypatch.chdir(tmp_path)
    called = call_mmad("report", *words)
    assert called.code == 2
    assert called.err.startswith(line)


@pytest.mark.slow
@MARKS[1]
def test_an_open_page_shows_the_next_build_where_its_reader_left_it(
    browser: Browser, model: ReportModel, tmp_path: Path
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    path, page = tmp_path / "index.html", render_html(model)
    path.write_text(live(page, 2), "utf-8")
    browser.show(path, width=1280)
    assert browser.log("browser") == []
    anchor = model.runs[-2].anchor
    browser.run(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "const run = document.getElementById(arguments[0]).closest('article');"
        "run.querySelectorAll('details').forEach((fold) => { fold.open = true; });"
        "document.getElementById(arguments[0]).scrollIntoView(); scrollBy(0, 40);",
        anchor,
    )
    where = "return Math.round(document.getElementById(arguments[0]).getBoundingClientRect().top)"
    top = browser.run(where, anchor)
    later = replace(model, attention=model.runs)  # longer above: a raw scroll position would be another place
    path.write_text(live(render_html(later).replace("<h1>", "<h1>Second: "), 2), "utf-8")
    second = (
        "return document.readyState === 'complete' && document.querySelector('h1').textContent.startsWith(arguments[0])"
    )
    WebDriverWait(browser.driver, 600).until(lambda driver: driver.execute_script(second, "Second: "))
    browser.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert abs(browser.run(where, anchor) - top) <= 3
    folded = (
        "return document.getElementById(arguments[0]).closest('article').querySelectorAll('details:not([open])').length"
    )
    assert browser.run(folded, anchor) == 0
    path.write_text(render_html(later).replace("<h1>", "<h1>Last: "), "utf-8")
    WebDriverWait(browser.driver, 600).until(lambda driver: driver.execute_script(second, "Last: "))
    assert browser.run("return document.querySelectorAll('script').length") == 1
    assert browser.log("browser") == []
    assert {url for url in browser.requests() if not url.startswith("data:")} == {path.as_uri()}


@pytest.mark.slow
@MARKS[1]
def test_a_paused_page_stays(browser: Browser, model: ReportModel, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    path, page = tmp_path / "index.html", render_html(model)
    path.write_text(live(page, 2), "utf-8")
    browser.show(path)
    button = browser.driver.find_element("css selector", "button.live")
    assert button.text == "Live, every 2 s: pause"
    button.click()
    path.write_text(live(page.replace("<h1>", "<h1>Second: "), 2), "utf-8")
    time.sleep(4.5)  # longer than a page that is not paused waits
    second = "return document.querySelector('h1').textContent.startsWith('Second')"
    assert not browser.run(second)
    button.click()
    WebDriverWait(browser.driver, 600).until(lambda driver: driver.execute_script(second))
