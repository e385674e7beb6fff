"""100,000 runs on a PostgreSQL server, with pretended workers: what each costs, and what many do to the server.

Run it with `make bench`, or `python benchmarks/scale.py`. A server of its own is started, as for the tests, but with
fsync. Pretended workers make the transactions of real ones at their rates (a look for `mmad stop` each second, a
heartbeat each 20 seconds), and commit epochs that nobody trained. CPU time is counted, since walls say what else works.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from scheduling import epoch, members
from sqlalchemy import Connection, text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import postgresql_server

from mmad.base.clock import now
from mmad.base.records import EnvironmentRecord, ParameterCount
from mmad.config.runs import Ablation
from mmad.scheduler.worker import BEAT, LOOK
from mmad.store import schema
from mmad.store.claims import Owner
from mmad.store.store import Store

_FIRST = 1000
#: Seconds of a pretended epoch, and epochs of a pretended run.
EPOCH, EPOCHS = 10.0, 3


def owner(number: int) -> Owner:
    """A process of another machine."""
    return Owner(f"node{number % 64:02d}", number, 1.0, f"boot/{number % 64}/1")


def fill(store: Store, count: int) -> None:
    """``count`` queued runs: a thousand as `mmad ablate` queues them, the others copies with keys of their own."""
    store.add_ablation(Ablation("many", "many.toml", "Many", "", "", ("CXR",), (), tuple(members(_FIRST, 100))))
    key = "encode(sha256(convert_to({} || g, 'UTF8')), 'hex')"
    with store.database.writing() as connection:
        _copy(connection, schema.runs, count, key=key.format("key"), content=key.format("key"))
        _copy(connection, schema.members, count, run_key=key.format("run_key"), seed=f"seed + g * {_FIRST}")
        connection.execute(text("ANALYZE"))


def _copy(connection: Connection, table: Any, count: int, **other: str) -> None:
    names = [column.name for column in table.columns]
    for name in ("id", "position"):
        if name in names:
            other[name] = f"{name} + g * {_FIRST}"
    chosen = ", ".join(other.get(name, f'"{name}"') for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    times = f"generate_series(1, {count // _FIRST - 1}) AS g"
    connection.execute(text(f"INSERT INTO {table.name} ({listed}) SELECT {chosen} FROM {table.name}, {times}"))


class Meter:
    """CPU time of this process and of the server's, since it was made."""

    def __init__(self, server: postgresql_server.Server) -> None:
        number = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        self._postmaster = psutil.Process(number)
        self._began, self._own, self._wall = self._server(), time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float, float]:
        """Seconds: the server's, ours, and by the clock."""
        return self._server() - self._began, time.process_time() - self._own, time.perf_counter() - self._wall

    def _server(self) -> float:
        """Of the processes that live: connections are kept open while something is measured."""
        whole = 0.0
        for process in [self._postmaster, *self._postmaster.children()]:
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()
                whole += used.user + used.system
        return whole


def each(server: postgresql_server.Server, name: str, work: Callable[[int], Any], times: int) -> None:
    """What one of ``times`` calls costs."""
    work(0)
    meter, took = Meter(server), []
    for number in range(1, times + 1):
        begun = time.perf_counter()
        work(number)
        took.append(time.perf_counter() - begun)
    there, here, _ = meter.read()
    middle = 1000 * statistics.median(took)
    print(f"  {name:44} {1000 * there / times:7.2f} {1000 * here / times:7.2f} {middle:8.2f}", flush=True)


def bench_single(server: postgresql_server.Server, url: str) -> None:
    """One after the other, of one worker."""
    print("one after the other, ms each                   server's CPU  ours, by the clock")
    with Store.open(url) as store:
        with store.database.reading() as connection:
            query = text("SELECT key FROM runs WHERE status = 'queued' ORDER BY position DESC LIMIT 400")
            keys = [str(key) for key in connection.scalars(query)]
        me = owner(0)
        each(server, "a run is claimed by its key", lambda n: store.claim([keys[n]], me), 100)
        each(server, "its training begins", lambda n: begin(store, keys[n], me), 100)
        each(server, "a look whether it is to stop", lambda n: store.beat(keys[n], me, renew=False), 200)
        each(server, "a heartbeat", lambda n: store.beat(keys[n % 100], me), 100)
        one = keys[0]
        each(server, "an epoch with 27 metrics is committed", lambda n: store.commit_epoch(one, *epoch(n + 1), me), 100)
        each(server, "its end", lambda n: store.end(keys[n], me, "finished"), 100)


def begin(store: Store, key: str, me: Owner) -> None:
    environment = EnvironmentRecord(now(), me.host, "linux", "3", {}, "cuda:0", 1, None, None, "mmad ablate", 0)
    store.begin(key, me, environment, [ParameterCount("model", 7)])


def bench_scheduler(server: postgresql_server.Server, url: str, attempts: int) -> None:
    """What a scheduler and `mmad watch` ask while ``attempts`` runs are trained."""
    with Store.open(url) as store:
        with store.database.reading() as connection:
            query = text(f"SELECT key FROM runs WHERE status = 'queued' ORDER BY position LIMIT {attempts}")
            keys = [str(key) for key in connection.scalars(query)]
        with store.database.writing() as connection:
            connection.execute(
                text("UPDATE runs SET status = 'running', heartbeat = now(), started = now(), attempts = 1, "
                     "owner_host = 'node' || (position % 64), owner_pid = position, owner_started = 1, "
                     "owner_boot = 'boot' WHERE key = ANY(:keys)"),
                {"keys": keys},
            )  # fmt: skip
        print(f"with {attempts:,} runs in training, ms each           server's CPU  ours, by the clock")
        each(server, "a scheduler's look at its attempts (1/s)", lambda n: (store.owners(), store.some_runs(keys)), 3)
        each(server, "its look at the priorities (1/s)", lambda n: store.priorities(), 3)
        each(server, "a frame of mmad watch (every 2 s)", lambda n: store.queue_status(shown=20, costs=()), 3)
        each(server, "mmad status", lambda n: store.status(), 1)


def bench_workers(server: postgresql_server.Server, url: str, count: int, seconds: float) -> None:
    """``count`` pretended workers for ``seconds``, each with one connection; a real one's heartbeat may add one."""
    late: list[float] = []
    counts = {"claims": 0, "looks": 0, "beats": 0, "epochs": 0}
    over, lock, ready = threading.Event(), threading.Lock(), threading.Barrier(count + 1)

    def note(name: str) -> None:
        with lock:
            counts[name] += 1

    def work(number: int, keys: Sequence[str]) -> None:
        with Store.open(url) as store:
            me, mine = owner(number), iter(keys)
            ready.wait()
            while not over.is_set():
                key = next(mine)
                store.claim([key], me)
                begin(store, key, me)
                note("claims")
                live(store, key, me, number)
                store.end(key, me, "finished")

    def live(store: Store, key: str, me: Owner, number: int) -> None:
        began = due = time.perf_counter() + number % 100 / 100
        done, beat = 0, began
        while done < EPOCHS and not over.wait(max(0.0, due - time.perf_counter())):
            moment = time.perf_counter()
            late.append(moment - due)
            renew = moment - beat >= BEAT
            beat = moment if renew else beat
            store.beat(key, me, renew=renew)
            note("beats" if renew else "looks")
            if moment - began >= (done + 1) * EPOCH:
                done += 1
                store.commit_epoch(key, *epoch(done), me)
                note("epochs")
            due += LOOK

    with Store.open(url) as store, store.database.reading() as connection:
        chosen = "SELECT key FROM runs WHERE status = 'queued' ORDER BY position DESC OFFSET 1000 LIMIT :many"
        keys = [str(key) for key in connection.scalars(text(chosen), {"many": 10 * count})]
    threads = [threading.Thread(target=work, args=(n, keys[10 * n : 10 * n + 10])) for n in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    with server.connected() as connection:
        asked = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'mmad'"
        meter, before = Meter(server), connection.execute(asked).fetchone()[0]
        time.sleep(seconds)
        there, here, wall = meter.read()
        time.sleep(1.0)  # the server counts a little later
        commits = connection.execute(asked).fetchone()[0] - before
        open_now = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'mmad'").fetchone()[0]
    over.set()
    for thread in threads:
        thread.join()
    late.sort()
    done = ", ".join(f"{n} {name}" for name, n in counts.items())
    rate, middle, most = commits / (wall + 1), 1000 * late[len(late) // 2], 1000 * late[len(late) * 99 // 100]
    print(f"{count} workers for {wall:.0f} s, epochs of {EPOCH:g} s: {done}")
    print(f"  transactions           {rate:7.1f} a second, {rate / count:.2f} a worker")
    for name, used in (("the server's CPU time", there), ("the workers' own", here)):
        print(
            f"  {name:22} {100 * used / wall:7.1f} % of a core, {1000 * used / wall / count:.2f} ms a worker and second"
        )
    print(f"  late by                {middle:7.1f} ms, 99 % by {most:.0f} ms")
    print(f"  connections            {open_now:7}", flush=True)


@contextlib.contextmanager
def running() -> Iterator[tuple[postgresql_server.Server, str]]:
    postgresql_server.SETTINGS = ("listen_addresses=127.0.0.1", "max_connections=400")
    server = postgresql_server.started()
    try:
        with server.schema("scale") as url:
            yield server, url
    finally:
        server.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--attempts", type=int, default=1_000)
    parser.add_argument("--workers", type=int, nargs="*", default=[16, 64])
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    if postgresql_server.programs() is None:
        print("no PostgreSQL server is installed")
        return
    with running() as (server, url):
        used = time.process_time()
        with Store.open(url) as store:
            fill(store, given.runs)
            with store.database.reading() as connection:
                size = connection.scalar(text("SELECT pg_database_size('mmad')"))
            with server.connected() as connection:
                found = connection.execute("SELECT boot_val FROM pg_settings WHERE name = 'max_connections'").fetchone()
        print(f"PostgreSQL lets {found[0]} connections in unless it is told otherwise")
        print(f"{given.runs:,} runs queued: {size / 2**20:.0f} MiB, {time.process_time() - used:.1f} s of our CPU time")
        bench_single(server, url)
        for count in given.workers:
            bench_workers(server, url, count, given.seconds)
        bench_scheduler(server, url, given.attempts)


if __name__ == "__main__":
    main()
