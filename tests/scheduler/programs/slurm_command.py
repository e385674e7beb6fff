"""Works off keys with pretending workers as jobs: ``slurm_command.py DATABASE local|slurm OPTIONS KEY…``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mmad.scheduler.executors.slurm import SlurmExecutor, slurm_slots
from mmad.scheduler.jobs import Job
from mmad.scheduler.progress import choose_view
from mmad.scheduler.scheduler import run_jobs
from mmad.scheduler.supervisor_link import TrainRequest
from mmad.store.store import Store


def main() -> int:
    database, cluster, options, *keys = sys.argv[1:]
    with Store.open(database, create=False) as store:
        records = [store.run(key) for key in keys]
    jobs = [Job(run.key, "a", f"s{run.protocol['seed']}", "CXR", 0, int(run.protocol["epochs"])) for run in records]
    given = [options] if options else []
    folder, program = os.environ["PRETEND"], str(Path(__file__).with_name("pretending_worker.py"))
    path = f"os.environ['PRETEND'] = {folder!r}; sys.path.insert(0, {str(Path(program).parent)!r})"
    text = f"import os, runpy, sys; {path}; runpy.run_path({program!r}, run_name='__main__')"
    executor = SlurmExecutor(slurm_slots(given), TrainRequest(database, ""), given, cluster, ("-c", text))
    return run_jobs(database, jobs, executor.slots, choose_view(), executor=executor).exit_code


if __name__ == "__main__":
    sys.exit(main())
