"""What a user wants done when a queue has come to its end: a mail, a message, the report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.engine import make_url

from mmad.base.paths import DEFAULT_DATABASE, StorePaths
from mmad.queue.jobs import Job, Summary

#: Seconds the command may take before it is ended.
HOOK_SECONDS = 600.0


def run_hook(
    command: str,
    summary: Summary,
    *,
    database: str = str(DEFAULT_DATABASE),
    ablations: Sequence[str] | None = None,
    timeout: float = HOOK_SECONDS,
) -> str | None:
    """Runs ``command`` through the shell and waits for it; what it prints goes to standard error.

    It finds ``MMAD_FINISHED``, ``MMAD_FAILED``, ``MMAD_INTERRUPTED`` (numbers of runs), ``MMAD_EXIT_CODE``,
    ``MMAD_DB`` (so that ``mmad report`` reads the same database) and ``MMAD_ABLATIONS`` (names, a space between)
    in its environment, and ``hook_summary`` as one line of JSON on its standard input.

    Args:
        ablations: names of the ablations asked for; by default those that the runs of ``summary`` belong to.
        timeout: seconds after which the command, and what it started, is killed.

    Returns:
        One line of warning when the command could not be started, failed or took too long, else None.
    """
    summed = hook_summary(summary, database=database, ablations=ablations)
    environment = os.environ | {
        "MMAD_FINISHED": str(len(summary.finished)),
        "MMAD_FAILED": str(len(summary.failed)),
        "MMAD_INTERRUPTED": str(len(summary.interrupted)),
        "MMAD_EXIT_CODE": str(summary.exit_code),
        "MMAD_DB": _absolute(database),
        "MMAD_ABLATIONS": " ".join(summed["ablations"]),
    }
    name = f"--on-finish {command!r}"
    try:
        process = subprocess.Popen(
            command, shell=True, stdin=subprocess.PIPE, stdout=2, env=environment, text=True, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return f"{name} could not be started: {error}"
    try:
        process.communicate(json.dumps(summed, ensure_ascii=True) + "\n", timeout=timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        return f"{name} was ended after {timeout:g} s"
    except BaseException:  # Ctrl-C while it works
        _kill(process)
        raise
    if process.returncode < 0:
        return f"{name} was killed by signal {-process.returncode}"
    return f"{name} failed with exit code {process.returncode}" if process.returncode else None


def hook_summary(summary: Summary, *, database: str, ablations: Sequence[str] | None = None) -> dict[str, Any]:
    """How a queue ended, as plain JSON; a password in the database's URL is left out."""
    jobs = [*summary.finished, *(failure.job for failure in summary.failed), *summary.interrupted]
    names = ablations if ablations is not None else dict.fromkeys(job.ablation for job in jobs)
    return {
        "database": _without_password(_absolute(database)),
        "ablations": list(names),
        "exit_code": summary.exit_code,
        "stopped": summary.stopped,
        "finished": [_plain(job) for job in summary.finished],
        "failed": [{**_plain(failure.job), "error": failure.error} for failure in summary.failed],
        "interrupted": [_plain(job) for job in summary.interrupted],
    }


def _plain(job: Job) -> dict[str, Any]:
    whole = asdict(job)
    return {name: whole[name] for name in ("key", "ablation", "setting", "arm", "seed")}


def _absolute(database: str) -> str:
    file = StorePaths(database).file
    return database if file is None or "://" in database else str(file.absolute())


def _without_password(database: str) -> str:
    return make_url(database).render_as_string(hide_password=True) if "://" in database else database


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
