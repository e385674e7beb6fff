"""A Ray cluster of a head without places and two nodes of one core each, until standard input ends.

Prints its address; a line ``replace PID`` on standard input kills the node that the process PID runs on, and another
one joins.
"""

from __future__ import annotations

import os
import shutil
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import psutil
import ray
from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    print(f"address {cluster.address}", flush=True)
    for line in sys.stdin:
        above = {process.pid for process in psutil.Process(int(line.split()[1])).parents()}
        node = next(one for one in nodes if above & {p.process.pid for p in one.all_processes["raylet"]})
        cluster.remove_node(node, allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20))
        print("replaced", flush=True)
    session = cluster.head_node.get_session_dir_path()
    cluster.shutdown()
    ray.shutdown()
    shutil.rmtree(session, ignore_errors=True)


if __name__ == "__main__":
    main()
