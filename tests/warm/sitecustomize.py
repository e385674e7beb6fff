"""Python reads this first where it is on the path: what runs mmad is forked from the process that waits with torch.

``warm`` of tests/conftest.py puts it there. A worker of more than one thread begins by itself: what counts cores is
told their number before it is loaded.
"""

import os
import sys

_MODULES = ("mmad.scheduler.worker", "mmad.training.rank_process", "mmad.report.figure_drawing")
_SCRIPTS = ("/bin/mmad", "/benchmarks/gpu.py", "_command.py", "/pretending_mmad.py", "/pretending_worker.py")

if "WARM" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
    _program, _words = sys.orig_argv[1:2], sys.orig_argv[2:]
    if (
        (sys.orig_argv[1:3] == ["-P", "-m"] and sys.orig_argv[3] in _MODULES)
        or (sys.orig_argv[1:3] == ["-P", "-c"] and "from mmad" in sys.orig_argv[3])
        or (_program == ["-c"] and ("import mmad" in _words[0] or "from mmad" in _words[0]))
        or sys.orig_argv[1:3] == ["-m", "mmad"]
        or (_program and _program[0].endswith(_SCRIPTS))
    ):
        import marshal
        import signal
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as _link:
            _link.connect(os.environ["WARM"])
            _cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
            _state = marshal.dumps((sys.orig_argv[1:], os.getcwd(), dict(os.environ), _cores))  # noqa: PTH109
            socket.send_fds(_link, [_state], [0, 1, 2])
            _other = int(_link.recv(16))
            with open(f"{os.environ['WARM']}.{os.getpid()}", "w") as _file:  # noqa: PTH123
                _file.write(str(_other))
            for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(_number, lambda number, _: os.kill(_other, number))
            _status = int(_link.recv(16) or b"9")  # as waitpid gives it
        for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(_number, signal.SIG_DFL)
        if os.WIFSIGNALED(_status):
            os.kill(os.getpid(), os.WTERMSIG(_status))
        os._exit(os.waitstatus_to_exitcode(_status))
