"""A process with torch and mmad imported, of which others are forked: ``server.py SOCKET``, until its input ends.

Workers, ``mmad`` and programs that import mmad so begin at once in place of importing for up to five seconds. Each is
a process of its own; whoever asked for it (``sitecustomize``) stands for it in its parent's eyes: it passes signals on,
it ends as the other does, and when it is killed, so is the other. The file ``SOCKET.PID`` holds the other's number.

They wait for no disk, as what they write need not outlive the machine, and look at one another five times a second.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import logging
import marshal
import multiprocessing.util
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sqlite3
import sys
import threading
from pathlib import Path
from typing import NoReturn

import alembic.command  # noqa: F401  # a new database calls it
import matplotlib.backends.backend_svg  # noqa: F401
import pandas.io.formats.style  # noqa: F401
import pyarrow.pandas_compat  # noqa: F401
import scipy.ndimage  # a data set is checked with these before its first training
import scipy.spatial
import scipy.stats  # noqa: F401
import torch._dynamo  # noqa: F401  # an optimiser's first call imports it

import mmad
from mmad.scheduler import scheduler, supervisor_link, worker
from mmad.scheduler.executors import command, polling, slurm
from mmad.store import engine

for _module in pkgutil.walk_packages(mmad.__path__, "mmad."):
    if "migrations" not in _module.name and _module.name != "mmad.__main__":
        with contextlib.suppress(ModuleNotFoundError):  # of an extra that is not installed
            importlib.import_module(_module.name)

scheduler.BACK_OFF = supervisor_link.ORPHAN_GRACE = 0.2
scheduler._LOOK = worker.LOOK = polling._LOOK = command._LOOK = slurm._LOOK = 0.2
slurm._LATE = 0.6
_prepare_writing = engine._prepare_writing


def _unsynced(connection: sqlite3.Connection, file: Path) -> None:
    _prepare_writing(connection, file)
    connection.execute("PRAGMA synchronous = OFF")


engine._prepare_writing, os.fsync = _unsynced, lambda handle: None


def serve(place: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(place)
    listener.listen()
    ready = selectors.DefaultSelector()
    ready.register(0, selectors.EVENT_READ)
    ready.register(listener, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}  # by the number of the process that they stand for
    outputs: dict[int, int] = {}  # kept open until that is gone, so that its output does not end before itself
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj == 0:
                for pid in clients:
                    os.kill(pid, signal.SIGKILL)
                return
            if key.fileobj is listener:
                client, _ = listener.accept()
                words, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 3)
                if not words:  # killed before it asked
                    client.close()
                    continue
                if (pid := os.fork()) == 0:
                    begin(*marshal.loads(words), descriptors)
                with contextlib.suppress(OSError):  # killed since
                    client.send(str(pid).encode())
                for descriptor in (descriptors[0], *descriptors[2:]):
                    os.close(descriptor)
                clients[pid], outputs[pid] = client, descriptors[1]
                ready.register(client, selectors.EVENT_READ, pid)
                ready.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            elif isinstance(key.fileobj, socket.socket):
                if key.data in clients:  # killed before the other ended
                    ready.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
            else:
                client = clients.pop(key.data)
                _, status = os.waitpid(key.data, 0)
                os.close(outputs.pop(key.data))
                ready.unregister(key.fileobj)
                os.close(key.fd)
                if client in ready.get_map():
                    ready.unregister(client)
                    with contextlib.suppress(OSError):
                        client.send(str(status).encode())
                client.close()


def begin(
    program: list[str], folder: str, environment: dict[str, str], cores: set[int], descriptors: list[int]
) -> NoReturn:
    """Be the program of this command line."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 1 << 16)
    os.setsid()
    os.chdir(folder)
    if cores:
        os.sched_setaffinity(0, cores)
    os.environ.clear()
    os.environ.update(environment)
    del sys.path[0]
    atexit._clear()  # what the libraries imported before have, which takes longer than most commands
    atexit.register(logging.shutdown)
    atexit.register(multiprocessing.util._exit_function)
    code: object = None
    try:
        match program:
            case ["-P", "-c", text, *words]:
                sys.argv = ["-c", *words]
                exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
            case ["-c", text, *words]:
                sys.path.insert(0, "")
                sys.argv = ["-c", *words]
                exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
            case ["-P", "-m", module, *words] | ["-m", module, *words]:
                sys.argv = [module, *words]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case [script, *words]:
                sys.path.insert(0, os.path.dirname(script))  # noqa: PTH120
                sys.argv = [script, *words]
                runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            raise
    # Nothing else is torn down, which would take longer than most commands: half a second for torch alone.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    serve(sys.argv[1])
