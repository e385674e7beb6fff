"""Kills operations at the calls that change the disk, runs them again, and compares what is there in the end.

``killing()`` does it in a process under the shim: at every call, or, with ``--sample 5 --seed 3``, at five calls of
each operation, chosen by chance; it prints a ``Tally`` of each as JSON. The process loads what an operation needs once,
and forks a child for each attempt, which ``shim.c`` kills with SIGKILL just before the Nth call, or, where that writes,
in the middle of it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import importlib
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EPOCHS = 2

#: Of no result: moments, how long, by whom and how often something was tried, numbers of rows.
_COLUMNS = re.compile(
    "created|started|finished|committed|imported|added|heartbeat|measured|seconds|peak_memory|attempts|device|"
    "(evaluation_)?id|path|sha256|size|owner_.*"
)
_TABLES = {"environments", "sqlite_sequence"}
#: What SQLite itself keeps beside a database that is open, or was when its process died.
_SQLITE = ("-wal", "-shm")


@dataclass(frozen=True)
class Operation:
    """What is killed: ``prepare`` makes the folder in which ``run`` works; ``run`` gives an exit code."""

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[], int]
    trains: bool = False
    suspended: bool = False


@dataclass
class Tally:
    """What happened to one operation: its calls that change the disk, and what the kills did to it."""

    operation: str
    calls: int
    tries: int = 0
    torn: int = 0
    locked: int = 0  # was suspended while it had the database locked: nobody can take anything over
    lost: int = 0
    doubled: int = 0
    left_over: int = 0
    different: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.left_over or self.different or self.failed)


# The shim.


def build_shim(folder: Path) -> Path | None:
    """The shim as a library in ``folder``; None where there is no C compiler, or none that makes one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "shim.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    return library if subprocess.run(words, capture_output=True, check=False).returncode == 0 else None


def killing(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """This program under the shim in ``folder``."""
    library = build_shim(folder)
    assert library is not None, "needs a C compiler on Linux"
    path = os.pathsep.join(str(ROOT / part) for part in ("", "tests/scheduler", "tests/data"))
    extra = {"LD_PRELOAD": str(library), "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MMAD_CACHE": "cache"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMAD_")} | extra
    program = [sys.executable, str(HERE / "killing.py"), "--folder", str(folder / "work"), *words]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)


# The operations.


def command(*words: str) -> Callable[[], int]:
    """The command line's ``main`` with ``words``; its exit code."""

    def run() -> int:
        from mmad.cli.app import main

        sys.argv = ["mmad", *words]
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        return 0

    return run


def _nothing(folder: Path) -> None:
    """A folder that is empty."""


def _queued(folder: Path) -> None:
    """A data set, its decoded images, and a run that waits."""
    from queue_training import member, phantom, queue_small

    from mmad.data.image_cache import image_cache

    dataset = phantom(Path("data"))
    _settle(dataset.root)
    image_cache(dataset, 64, workers=1)
    queue_small("mmad.sqlite", [member(dataset, 0, epochs=EPOCHS)])


def _settle(folder: Path) -> None:
    """As if the files had been there for a day, so that their digests are remembered."""
    yesterday = time.time() - 86400
    for path in folder.rglob("*"):
        os.utime(path, (yesterday, yesterday))


def _train() -> int:
    from mmad.scheduler.supervisor_link import SupervisorLink, TrainRequest
    from mmad.scheduler.worker import work
    from mmad.store.store import Store

    with Store.open("mmad.sqlite", create=False) as store:
        (run,) = store.run_records()
    if run.status == "finished":
        return 0
    request = TrainRequest("mmad.sqlite", run.key, checkpoint_every=1)
    return 0 if work(request, SupervisorLink(os.open(os.devnull, os.O_RDONLY))).status == "finished" else 1


def _elsewhere() -> int:
    """Trains as a process of which others cannot ask whether it lives."""
    from mmad.store import claims

    claims._process_table = lambda: "elsewhere"
    return _train()


def _take_over() -> int:
    """Trains the run when its heartbeat was silent for a lease, of 0.2 s here."""
    from mmad.store import claims

    observer = claims.Observer()
    claims.LEASE, claims.Observer = 0.2, lambda: observer  # type: ignore[misc, assignment]
    while (code := _train()) != 0 and not _finished():
        time.sleep(0.05)
    return code


def _finished() -> bool:
    with closing(sqlite3.connect("mmad.sqlite")) as bare:
        return bare.execute("SELECT status FROM runs").fetchone() == ("finished",)


def _is_locked() -> bool:
    with closing(sqlite3.connect("mmad.sqlite", timeout=0, isolation_level=None)) as bare:
        try:
            bare.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def _trained(folder: Path) -> None:
    """A run that is finished, with what a prune deletes: checkpoints set aside, a part, a folder of no run."""
    _queued(folder)
    Child(_train).end()
    (run,) = Path("runs/mmad.sqlite").glob("*/*")
    aside = run / "checkpoints.unknown-1"
    aside.mkdir()
    for number in (1, 2):
        (aside / f"epoch-0000{number}-0123456789abcdef.pt").write_bytes(b"older")
    (run / "detections" / ".epoch-00001-val-clean.npz.0a.part").write_bytes(b"half")
    orphan = Path("runs/mmad.sqlite/ab") / ("ab" * 32)
    (orphan / "checkpoints").mkdir(parents=True)
    (orphan / "checkpoints" / "epoch-00001-0123456789abcdef.pt").write_bytes(b"nobody's")


def _two(folder: Path) -> None:
    """A finished run in another database, and one's own without it."""
    from mmad.store.store import Store

    _trained(folder)
    Path("mmad.sqlite").rename("theirs.sqlite")
    Path("runs/mmad.sqlite").rename("runs/theirs.sqlite")
    Store.open("mmad.sqlite").close()


def _older(folder: Path) -> None:
    """A database of the first schema."""
    with closing(sqlite3.connect("mmad.sqlite")) as old:
        old.executescript((ROOT / "tests/store/mmad-0001.sql").read_text("utf-8"))


def _log(folder: Path) -> None:
    from mmad.store.store import Store

    Store.open("mmad.sqlite").close()
    lines = ("# Mine", "## Slower (best_v=0.4100)", "ModelSetup(name='slow', lr=0.0001)", "[model]: 1,040,729")
    Path("mine.md").write_text("\n".join(lines), "utf-8")


def _csv_folder(folder: Path) -> None:
    from PIL import Image
    from test_data_csv_import import BOXES, SOURCES, SUBJECTS

    Path("src/pics").mkdir(parents=True)
    for name in ("one", "two", "three", "four"):
        Image.new("L", (40, 20), 7).save(f"src/pics/{name}.png")
    for name, text in (("subjects", SUBJECTS), ("boxes", BOXES), ("provenance", SOURCES)):
        Path(f"src/{name}.csv").write_text(text, "utf-8")


def _coco_folder(folder: Path) -> None:
    from coco_fixtures import write_world

    write_world(Path("src"))


def _data_set(folder: Path) -> None:
    from queue_training import phantom

    _settle(phantom(Path("data")).root)


def _decode() -> int:
    from mmad.data.image_cache import image_cache
    from mmad.data.reader import load_dataset

    image_cache(load_dataset("data"), 64, workers=1)
    return 0


def _detections() -> int:
    import numpy as np

    from mmad.base.records import Detections
    from mmad.evaluation.detections_file import write_detections

    boxes = np.array([[0.0, 0, 1, 1], [1, 1, 2, 2]])
    found = Detections(("a", "b"), np.array([0, 1]), boxes, np.array([0.5, 0.25]), np.array([1, 2]))
    write_detections(Path("detections/epoch-00001-val-clean.npz"), found)
    return 0


OPERATIONS = (
    Operation("training: checkpoints, within an epoch too, detections, rows", _queued, _train, trains=True),
    Operation("training, suspended for longer than the lease", _queued, _train, trains=True, suspended=True),
    Operation("a file of detections", _nothing, _detections),
    Operation("decoded images (the cache)", _data_set, _decode),
    Operation(
        "`mmad data phantom`",
        _nothing,
        command("data", "phantom", "--out", "out", "--studies", "10", "--image-size", "64"),
    ),
    Operation("`mmad data import csv`", _csv_folder, command("data", "import", "csv", "src", "--out", "out")),
    Operation(
        "`mmad data import coco`",
        _coco_folder,
        command("data", "import", "coco", "src/ann.json", "--images", "src/pics", "--out", "out"),
    ),
    Operation("`mmad data export coco`", _data_set, command("data", "export", "coco", "data", "--out", "out.json")),
    Operation("`mmad db backup`", _trained, command("db", "backup", "copies/b.sqlite", "--db", "mmad.sqlite")),
    Operation("`mmad db copy --files`", _trained, command("db", "copy", "mmad.sqlite", "other/new.sqlite", "--files")),
    Operation(
        "`mmad db merge --files`", _two, command("db", "merge", "theirs.sqlite", "--db", "mmad.sqlite", "--files")
    ),
    Operation("`mmad db export`", _trained, command("db", "export", "tables", "--db", "mmad.sqlite")),
    Operation(
        "`mmad predict`",
        _trained,
        command(
            "predict",
            "small/threads 1/CXR/0",
            "data/images/s000000.png",
            "data/images/s000001.png",
            "--out",
            "boxes",
            "--device",
            "cpu",
            "--db",
            "mmad.sqlite",
        ),
    ),
    Operation("`mmad db upgrade`", _older, command("db", "upgrade", "--db", "mmad.sqlite")),
    Operation("`mmad log import`", _log, command("log", "import", "mine.md", "--db", "mmad.sqlite")),
    Operation(
        "`mmad prune --yes --orphans`",
        _trained,
        command("prune", "--keep", "final", "--orphans", "--yes", "--db", "mmad.sqlite"),
    ),
)


# A child for each attempt.


@dataclass(frozen=True)
class Ended:
    """How a child ended; ``kinds`` has a letter for each call that was counted, ``w`` for one that writes bytes."""

    code: int | None
    killed: bool
    kinds: str
    said: str


class Child:
    """A forked child that runs something, and gets the signal ``word`` at the call ``at``.

    ``at`` is 0 where it only counts, None where it does not even count; ``half`` lets the call write half of its bytes.
    """

    def __init__(
        self, run: Callable[[], int], at: int | None = None, half: bool = False, word: signal.Signals = signal.SIGKILL
    ) -> None:
        self._said = Path(tempfile.mkstemp()[1])
        self._pipe, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(run, at, half, word, write)
        os.close(write)

    def _live(self, run: Callable[[], int], at: int | None, half: bool, word: signal.Signals, write: int) -> NoReturn:
        shim, code = ctypes.CDLL(None), 3
        sys.dont_write_bytecode = True  # no call of the operation's
        try:
            heard = os.open(self._said, os.O_WRONLY)
            os.dup2(heard, 1)
            os.dup2(heard, 2)
            if at is not None:
                shim.kills_arm(at, int(half), int(word))
            code = run()
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            if at is not None:
                shim.kills_kinds.restype = ctypes.c_char_p
                kinds = shim.kills_kinds()
                shim.kills_arm(-1, 0, 0)
                os.write(write, kinds[:60000])
            os._exit(code)

    def suspended(self) -> bool:
        """Waits until it is suspended; False when it came to its end."""
        found = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return found is not None and found.si_code == os.CLD_STOPPED

    def end(self) -> Ended:
        """Waits for its end."""
        with os.fdopen(self._pipe, "rb") as pipe:
            kinds = pipe.read().decode()
        _, status = os.waitpid(self.pid, 0)
        text = self._said.read_text("utf-8", "replace")
        self._said.unlink()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return Ended(os.WEXITSTATUS(status) if os.WIFEXITED(status) else None, killed, kinds, text)


# What is there.


def rows_of(database: Path) -> dict[str, list[str]]:
    """The rows of every table, without what differs between two undisturbed runs."""
    with closing(sqlite3.connect(database)) as bare:
        bare.row_factory = sqlite3.Row
        names = [row[0] for row in bare.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {
            name: sorted(
                json.dumps({k: row[k] for k in row.keys() if not _COLUMNS.fullmatch(k)}, default=str)  # noqa: SIM118
                for row in bare.execute(f'SELECT * FROM "{name}"')
            )
            for name in names
            if name not in _TABLES
        }


def _tensors(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for name in value:
            yield str(name).encode()
            yield from _tensors(value[name])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif hasattr(value, "numpy"):
        yield value.contiguous().numpy().tobytes()


def _content(path: Path) -> object:
    """What a file holds, as far as it is a result."""
    if path.suffix in (".sqlite", ".backup"):
        return rows_of(path)
    if path.name.startswith("run.log"):
        return "log"
    data = path.read_bytes()
    if path.suffix == ".pt" and len(data) > 100:
        import torch

        held = torch.load(path, weights_only=True)["tensors"]
        return hashlib.sha256(b"".join(_tensors(held))).hexdigest()
    if path.name == "pruned":
        return sorted(_nameless(name) for name in data.decode().splitlines())
    if path.parent.name == "fingerprints" or (path.suffix == ".json" and "cache" in path.parts):
        return "remembered"
    return hashlib.sha256(data).hexdigest()


def _nameless(name: str) -> str:
    """A checkpoint's name without its digest, which covers how long its epochs took."""
    return re.sub(r"-[0-9a-f]{16}\.pt", ".pt", name)


def contents(folder: Path) -> dict[str, object]:
    """Every file and folder below ``folder`` with what it holds; SQLite's own files beside a database are left out."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(_SQLITE) and path.with_name(path.name[:-4]).exists():
            continue
        found[_nameless(path.relative_to(folder).as_posix())] = _content(path) if path.is_file() else "folder"
    return found


def _committed() -> tuple[int, list[int]]:
    """Epochs in the database, and after which epoch each attempt began."""
    with closing(sqlite3.connect("mmad.sqlite")) as bare:
        (epochs,) = bare.execute("SELECT count(*) FROM epochs").fetchone()
        return epochs, [row[0] for row in bare.execute("SELECT from_epoch FROM environments ORDER BY id")]


def _replaced() -> int:
    with closing(sqlite3.connect("mmad.sqlite")) as bare:
        (replaced,) = bare.execute("SELECT total(replaced) FROM epochs").fetchone()
        return int(replaced)


# The kills.


class Bench:
    """The folder in which one operation is killed again and again."""

    def __init__(self, operation: Operation, work: Path) -> None:
        self.operation, self.seed, self.now = operation, work / operation.prepare.__name__, work / "now"
        if not self.seed.exists():  # made for an operation before this one
            os.chdir(work)
            shutil.rmtree(self.now, ignore_errors=True)
            self.now.mkdir()
            os.chdir(self.now)
            operation.prepare(self.now)
            self.now.rename(self.seed)
        self._again()
        gc.freeze()
        undisturbed = self._attempt(0)
        assert undisturbed.code == 0, undisturbed.said
        self.kinds = undisturbed.kinds
        self.expected = contents(self.now)
        self.tally = Tally(operation.name, len(self.kinds))

    def points(self) -> list[tuple[int, bool]]:
        """Every call at which the operation can be killed, those that write also in the middle."""
        return [
            (at, half)
            for at, kind in enumerate(self.kinds, start=1)
            for half in ((False, True) if kind == "w" and not self.operation.suspended else (False,))
        ]

    def _attempt(self, at: int | None, half: bool = False) -> Ended:
        return Child(self.operation.run, at, half).end()

    def _again(self) -> None:
        os.chdir(self.seed)
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.seed, self.now)
        os.chdir(self.now)

    def _suspend(self, at: int) -> Ended | None:
        """Suspends it there, has another process take the run over, and wakes it; how the other one ended."""
        first = Child(_elsewhere, at, word=signal.SIGSTOP)
        second = None
        if first.suspended():
            if _is_locked():
                self.tally.locked += 1
            else:
                second = Child(_take_over).end()
            os.kill(first.pid, signal.SIGCONT)
        first.end()
        return second

    def kill(self, at: int, half: bool) -> None:
        """Kills it there, runs it again, and counts what is wrong then."""
        tally = self.tally
        self._again()
        if self.operation.suspended:
            second, before = self._suspend(at), 0
            if second is None:
                return
        else:
            if not self._attempt(at, half).killed:  # it made fewer calls this time: a thread was faster
                return
            before = _committed()[0] if self.operation.trains else 0
            second = self._attempt(None)
        tally.tries += 1
        tally.torn += half
        there = second.code == 2 and re.search("exists already|is not empty", second.said) is not None
        found = contents(self.now)
        left_over = sorted(found.keys() - self.expected.keys())
        missing = sorted(self.expected.keys() - found.keys())
        changed = sorted(name for name in found.keys() & self.expected.keys() if found[name] != self.expected[name])
        words = []
        if second.code != 0 and not there:
            tally.failed += 1
            words.append(f"exit code {second.code}: {second.said[-300:]}")
        if left_over:
            tally.left_over += 1
            words.append(f"left over: {left_over}")
        if missing or changed:
            tally.different += 1
            words.append(f"missing: {missing}, changed: {changed}")
        if self.operation.trains:
            epochs, begun = _committed()
            if epochs != EPOCHS or (before < EPOCHS and begun and begun[-1] < before):
                tally.lost += 1
                words.append(f"{epochs} epochs; {before} at the kill, resumed after {begun}")
            if _replaced():
                tally.doubled += 1
                words.append("an epoch was recorded twice")
        if words:
            call = f"call {at} of {len(self.kinds)}{', half written' * half}"
            tally.wrong.append(f"{call}: {'; '.join(words)}")


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--only", default="", help="operations whose name has this text")
    options.add_argument("--sample", type=int, default=0, help="tries of each operation; 0: at all calls")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    rooms = importlib.import_module("mmad.cli").__path__
    commands = (f"mmad.cli.{module.name}" for module in pkgutil.iter_modules(rooms))
    others = ("alembic.command", "mmad.report.figure_drawing", "mmad.training.trainer", "pyarrow", "scipy.stats")
    for module in (*others, *commands):
        importlib.import_module(module)  # once, not in every child
    chance = random.Random(given.seed)
    tallies = []
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    for operation in OPERATIONS:
        if given.only not in operation.name:
            continue
        bench = Bench(operation, given.folder.absolute())
        points = bench.points()
        chance.shuffle(points)  # so that the first ones of a long run are a sample too
        for at, half in points:
            if given.sample and bench.tally.tries == given.sample:
                break
            bench.kill(at, half)
            if bench.tally.tries % 20 == 0:
                print(json.dumps(asdict(bench.tally) | {"of": len(points)}), file=sys.stderr, flush=True)
        tallies.append(bench.tally)
    print(json.dumps([asdict(tally) for tally in tallies]))
    return 0 if all(tally.sound for tally in tallies) else 1


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    os._exit(ended)  # tearing torch down only takes time
