"""Works off keys with pretending workers on a Ray cluster: ``ray_command.py DATABASE ADDRESS KEY…``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mmad.queue.jobs import Job
from mmad.queue.orders import Order
from mmad.queue.ray_engine import RayEngine, ray_slots
from mmad.queue.scheduler import work_off
from mmad.queue.view import choose_view
from mmad.store.gateway import Store


def main() -> int:
    database, address, *keys = sys.argv[1:]
    with Store.open(database, create=False) as store:
        records = [store.run(key) for key in keys]
    jobs = [Job(run.key, "a", f"s{run.protocol['seed']}", "CXR", 0, int(run.protocol["epochs"])) for run in records]
    slots = ray_slots(address, "cpu")
    folder, program = os.environ["PRETEND"], str(Path(__file__).with_name("pretending_worker.py"))
    text = f"import os, runpy; os.environ['PRETEND'] = {folder!r}; runpy.run_path({program!r}, run_name='__main__')"
    engine = RayEngine(database, slots, Order(database, "", said="the words"), address, ("-c", text))
    return work_off(database, jobs, slots, choose_view(), engine=engine).exit_code


if __name__ == "__main__":
    sys.exit(main())
