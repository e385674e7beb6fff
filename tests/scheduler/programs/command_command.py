"""Works off keys with pretending workers as lines of a shell: ``command_command.py DATABASE LINE KEY…``."""

from __future__ import annotations

import sys
from pathlib import Path

from mmad.scheduler.executors.command import CommandExecutor, check_template, command_slots
from mmad.scheduler.jobs import Job
from mmad.scheduler.progress import choose_view
from mmad.scheduler.scheduler import run_jobs
from mmad.scheduler.supervisor_link import TrainRequest
from mmad.store.store import Store


def main() -> int:
    database, line, *keys = sys.argv[1:]
    with Store.open(database, create=False) as store:
        records = [store.run(key) for key in keys]
    jobs = [Job(run.key, "a", f"s{run.protocol['seed']}", "CXR", 0, int(run.protocol["epochs"])) for run in records]
    program = str(Path(__file__).with_name("pretending_worker.py"))
    slots = command_slots(line, 2, "cpu")
    executor = CommandExecutor(slots, TrainRequest(database, ""), check_template(line), (program,))
    return run_jobs(database, jobs, executor.slots, choose_view(), executor=executor).exit_code


if __name__ == "__main__":
    sys.exit(main())
