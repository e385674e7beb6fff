"""Works off keys with pretending workers: ``pretending_command.py DATABASE CORES KEY…``."""

from __future__ import annotations

import sys
from pathlib import Path

import pretending_machine  # noqa: F401

from mmad.scheduler.devices import Slots
from mmad.scheduler.jobs import Job
from mmad.scheduler.progress import choose_view
from mmad.scheduler.scheduler import Options, run_jobs
from mmad.store.store import Store


def main() -> int:
    database, cores, *keys = sys.argv[1:]
    with Store.open(database, create=False) as store:
        records = [store.run(key) for key in keys]
    jobs = [Job(run.key, "a", f"s{run.protocol['seed']}", "CXR", 0, int(run.protocol["epochs"])) for run in records]

    program = str(Path(__file__).with_name("pretending_worker.py"))
    options = Options(command_line="the words of the user", command=(sys.executable, program, "--serve"))
    return run_jobs(database, jobs, Slots(cores=int(cores)), choose_view(), options).exit_code


if __name__ == "__main__":
    sys.exit(main())
