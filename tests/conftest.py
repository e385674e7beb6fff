"""What every test starts from: one thread, a cache of its own, no settings of whoever runs it.

Random searches (Hypothesis) look at the same examples every time; ``--hypothesis-profile=long`` looks at others, and at
twenty times as many.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from postgresql_server import Server, started
from random_search import FEW
from sqlalchemy import Connection, Dialect, Engine, event

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch or numpy is imported: other numbers of threads give other bits
for _name in ("MMAD_DB", "MMAD_DATA", "MMAD_RUNS", "MMAD_WEIGHTS", "MMAD_SET"):
    os.environ.pop(_name, None)
# Without byte code every process would compile torch anew, for some ten seconds each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
gc.set_threshold(100_000)
# Files in memory, where there is room for them: a disk takes milliseconds to remove each of the many thousand files.
_memory = Path("/dev/shm")
if _memory.is_dir() and os.access(_memory, os.W_OK) and shutil.disk_usage(_memory).free > 4 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_memory)
# A shell's background job is started with Ctrl-C ignored, and so would be the commands whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
_steady = settings(deadline=None, max_examples=FEW, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", _steady, derandomize=True, database=None)
settings.register_profile("long", _steady, max_examples=20 * FEW, print_blob=True)
settings.load_profile("steady")

ROOT = Path(__file__).parents[1]
#: Files that take more than twenty seconds of CPU, each by one process, from the longest.
_LONGEST = (
    "test_docs_pages", "test_scheduler_ray_engine", "test_training_idle", "test_docs_tutorial", "test_detector_family",
    "test_kills", "test_detector_model", "test_cli_eval_trained", "test_scheduler_scheduler",
    "test_scheduler_reuse", "test_docs_readme", "test_training_continuing", "test_scheduler_two_users",
)  # fmt: skip
_schemas = count(1)
_cache = tempfile.mkdtemp(prefix="mmad-tests-")
os.environ["MMAD_CACHE"] = _cache


#: A file of runs that take seconds.
_TINY = """\
title = "Tiny"
[phantom]
studies = 16
image_size = 64
[setup]
backbone = "custom1"
pretrained = false
image_size = 64
lr = 0.01
[arms.CXR]
use_clinical = false
{pair}
[protocol]
epochs = {epochs}
"""


class Called(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def pytest_unconfigure() -> None:
    shutil.rmtree(_cache, ignore_errors=True)
    gc.unfreeze()  # or else a library under torch reports all that was frozen as leaked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then others with slow tests: at the end no process is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: (first.get(item.path.stem, len(first)), item.path not in slow))


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the collector need not look at it again."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; the test skips where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the real X-rays and the documented log do not stand beside this checkout")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _quick_schema() -> Iterator[None]:
    """Give every empty database the tables by the statements that the migrations wrote into the first of its kind.

    Alembic takes twenty times as long to find the same statements again.
    """
    from mmad.store import migrate

    upgrade, scripts = migrate.upgrade, migrate.SCRIPTS
    written: dict[str, list[tuple[str, Any]]] = {}

    def quick(connection: Any, target: str = "head") -> None:
        if target != "head" or scripts != migrate.SCRIPTS or migrate.revision(connection) is not None:
            return upgrade(connection, target)
        kind = connection.dialect.name
        if kind == "postgresql" and kind in written:  # in one message
            together = ";".join(statement for statement, _ in written[kind])
            connection.exec_driver_sql(together, execution_options={"no_parameters": True})
            return None
        if kind in written:
            for statement, parameters in written[kind]:
                connection.exec_driver_sql(statement, parameters)
            return None
        found: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if not statement.lstrip().startswith(("SELECT", "PRAGMA main.", "PRAGMA temp.")):
                found.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        try:
            upgrade(connection, target)
        finally:
            event.remove(connection, "before_cursor_execute", note)
        written[kind] = found
        assert kind != "postgresql" or not any(parameters for _, parameters in found)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "upgrade", quick)
        yield


@pytest.fixture(scope="session", autouse=True)
def _copied(tmp_path_factory: pytest.TempPathFactory, _quick_schema: None) -> Iterator[None]:
    """Make a new SQLite database by copying an empty one, which takes a fifth of the time."""
    from mmad.store import engine, migrate, store

    empty = tmp_path_factory.mktemp("empty") / "mmad.sqlite"
    scripts, kept = migrate.SCRIPTS, dict[str, bytes]()

    def content() -> bytes:
        if not kept:
            store.Store.open(empty).close()
            kept["content"] = empty.read_bytes()
        return kept["content"]

    def prepare(database: engine.Database, *, create: bool) -> migrate.Prepared:
        file = database.file
        if create and file is not None and file != empty and not file.exists() and scripts == migrate.SCRIPTS:
            with contextlib.suppress(OSError):  # what cannot be written is found out by what is tested
                file.write_bytes(content())
        return migrate.prepare(database, create=create)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "prepare", prepare)
        yield


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Wait for no disk: what this process writes need not outlive the machine."""
    from mmad.store import engine

    begin = engine._prepare_writing

    @functools.wraps(begin)
    def unsynced(connection: sqlite3.Connection, file: Path) -> None:
        begin(connection, file)
        connection.execute("PRAGMA synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_prepare_writing", unsynced)
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_helpers() -> Iterator[None]:
    """Let reports of this process draw and count by themselves: the other cores have tests of their own."""
    from mmad.analysis import prefetch
    from mmad.report import figure_renderer

    with pytest.MonkeyPatch.context() as patch:
        for module in (prefetch, figure_renderer):
            patch.setattr(module, "usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _built_once() -> Iterator[None]:
    """Build the commands of ``mmad`` once, unless they are to complete words: a process of a user calls one."""
    import typer.main

    from mmad.cli import app as command_line

    build, built = typer.main.get_command, functools.cache(typer.main.get_command)

    def once(part: Any) -> Any:
        lasting = part is command_line.app and command_line.VARIABLE not in os.environ
        return built(part) if lasting else build(part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", once)
        yield


class _Compiled(dict[Any, Any]):
    """Compiled statements of all engines: their keys name a kind of database in place of the engine's own dialect."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._of_kind(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._of_kind(key), value)

    def _of_kind(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.name if isinstance(part, Dialect) else part for part in key)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Compile a statement once for all databases of a kind: each has an engine, which would compile its own."""
    found = _Compiled()

    def share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=found)

    event.listen(Engine, "engine_connect", share)
    yield
    event.remove(Engine, "engine_connect", share)


@pytest.fixture(scope="session", autouse=True)
def _drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Draw a figure that many tests show once, for all their processes."""
    from mmad.report import figure_renderer

    base, draw = tmp_path_factory.getbasetemp(), figure_renderer._draw
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(task: Any) -> Any:
        drawing = folder / f"drawing-{hashlib.sha256(repr(task).encode('utf-8', 'surrogatepass')).hexdigest()}"
        if not drawing.exists():
            part = base / drawing.name
            part.write_bytes(pickle.dumps(draw(task)))
            part.replace(drawing)
        return pickle.loads(drawing.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_renderer, "_draw", once)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server; the test skips where none is installed."""
    running = started()
    yield running
    running.remove()


@pytest.fixture
def postgresql(server: Server) -> Iterator[str]:
    """The URL of an empty schema of a PostgreSQL server."""
    with server.schema(f"test_{next(_schemas)}") as url:
        yield url


@pytest.fixture
def second_postgresql(server: Server) -> Iterator[str]:
    """The URL of another empty schema of the server."""
    with server.schema(f"test_{next(_schemas)}") as url:
        yield url


@pytest.fixture(scope="session")
def write_tiny() -> Callable[..., None]:
    """Write ``tiny.toml``, a pair (or its first arm) that is trained in seconds, into a folder."""

    def write(folder: Path, epochs: int = 2, pair: bool = True) -> None:
        other = '[arms."CXR+Clinical"]\nuse_clinical = true' if pair else ""
        (folder / "tiny.toml").write_text(_TINY.format(epochs=epochs, pair=other))

    return write


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables under which mmad and its workers are forked from a process that has imported all they need."""
    place = str(tmp_path_factory.mktemp("warm") / "socket")
    program = [sys.executable, str(ROOT / "tests" / "warm" / "server.py"), place]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        path = os.pathsep.join(filter(None, (str(ROOT / "tests" / "warm"), os.environ.get("PYTHONPATH"))))
        yield {"WARM": place, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def warm_workers(warm: dict[str, str]) -> Iterator[None]:
    """Let the commands of this module, and their workers, begin at once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in warm.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def call_mmad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Run the console script's ``main`` in this process: the exit code and what it wrote."""

    def call(*words: str | Path) -> Called:
        from mmad.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mmad", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capsys.readouterr()
        return Called(0 if exit_.value.code is None else int(exit_.value.code), written.out, written.err)

    return call


@pytest.fixture
def run_mmad(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the ``mmad`` console script in a process of its own, in an empty folder."""

    def run(*words: str | Path, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from mmad.cli.app import main; main()", *map(str, words)],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "160"} | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run
