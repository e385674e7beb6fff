"""Processes that tests start, and what tests wait for."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest


def one_core() -> None:
    """Leaves the calling process one of the cores it may use, and so one run at once."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})


def children_of(pid: int) -> list[psutil.Process]:
    """The living children of a process, or of the one that was forked in its place (tests/warm)."""
    place = Path(f"{os.environ.get('WARM')}.{pid}")
    try:
        parent = psutil.Process(int(place.read_text()) if place.exists() else pid)
        return [child for child in parent.children() if child.is_running()]
    except psutil.NoSuchProcess:
        return []


def wait_for(truth: Callable[[], object], seconds: float = 600.0) -> None:
    """Waits until ``truth`` holds. Only what never comes takes ``seconds``, however busy the machine is.

    It asks a quarter of the time at most, so that who is waited for has the machine.
    """
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if truth():
            return
        assert time.monotonic() < end, "waited in vain"
        time.sleep(min(0.25, max(0.02, 3 * (time.monotonic() - asked))))


def pid_namespace() -> tuple[str, ...]:
    """A program that starts another one where it sees no process but its own, as in a container of this host's name.

    The test skips where that is forbidden.
    """
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    why = ""
    for rights in ((), ("--user", "--map-root-user")):
        program = ("unshare", *rights, "--pid", "--fork", "--kill-child", "--mount-proc")
        tried = subprocess.run([*program, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return program
        why = tried.stderr.strip()
    pytest.skip(f"no pid namespace can be made: {why}")
