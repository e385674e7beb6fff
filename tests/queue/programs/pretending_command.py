"""Works off keys with pretending workers: ``pretending_command.py DATABASE CORES KEY…``."""

from __future__ import annotations

import sys
from pathlib import Path

from mmad.queue.jobs import Job
from mmad.queue.scheduler import Options, work_off
from mmad.queue.slots import Slots
from mmad.queue.view import choose_view
from mmad.store.gateway import Store


def main() -> int:
    database, cores, *keys = sys.argv[1:]
    with Store.open(database, create=False) as store:
        records = [store.run(key) for key in keys]
    jobs = [Job(run.key, "a", f"s{run.protocol['seed']}", "CXR", 0, int(run.protocol["epochs"])) for run in records]

    program = str(Path(__file__).with_name("pretending_worker.py"))
    options = Options(said="the words of the user", command=(sys.executable, program, "--serve"))
    return work_off(database, jobs, Slots(cores=int(cores)), choose_view(), options).exit_code


if __name__ == "__main__":
    sys.exit(main())
