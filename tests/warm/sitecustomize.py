"""Python reads this first where it is on the path: what runs mmad is forked from the process that waits with torch.

``warm`` of tests/conftest.py puts it there. A worker of more than one thread begins by itself: what counts cores is
told their number before it is loaded.
"""

import os
import sys

if "WARM" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
    _program, _words = sys.orig_argv[1:2], sys.orig_argv[2:]
    if (
        sys.orig_argv[1:4] in (["-P", "-m", "mmad.scheduler.worker"], ["-P", "-m", "mmad.training.rank_process"])
        or (sys.orig_argv[1:3] == ["-P", "-c"] and "from mmad" in sys.orig_argv[3])
        or (_program == ["-c"] and ("import mmad" in _words[0] or "from mmad" in _words[0]))
        or (_program and _program[0].endswith(("/bin/mmad", "/benchmarks/gpu.py", "/pretending_worker.py")))
    ):
        import marshal
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as _link:
            _link.connect(os.environ["WARM"])
            _state = marshal.dumps((sys.orig_argv[1:], os.getcwd(), dict(os.environ)))  # noqa: PTH109
            socket.send_fds(_link, [_state], [0, 1, 2])
            _status = int(_link.recv(16) or b"9")  # as waitpid gives it
        if os.WIFSIGNALED(_status):
            os.kill(os.getpid(), os.WTERMSIG(_status))
        os._exit(os.waitstatus_to_exitcode(_status))
