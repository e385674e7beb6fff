"""Python reads this first where it is on the path: a worker is then forked from the process that waits with torch.

``warm`` of tests/conftest.py puts it there. A worker of more than one thread begins by itself: what counts
cores is told their number before it is loaded.
"""

import os
import sys

_WORKER = ["-P", "-m", "mmad.scheduler.worker", "--serve"]
if sys.orig_argv[1:] == _WORKER and "WARM" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
    import marshal
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.connect(os.environ["WARM"])
        words = marshal.dumps((os.getcwd(), dict(os.environ)))  # noqa: PTH109
        socket.send_fds(link, [words], [0, 1, 2])
        status = int(link.recv(16) or b"9")  # as waitpid gives it
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))
