"""A process with torch imported, of which workers are forked: ``server.py SOCKET``, until its standard input ends.

A worker so begins at once in place of importing for four seconds. It is a process of its own; whoever asked for it
(``sitecustomize``) stands for it in the scheduler's eyes: it ends as the worker does, and when it is killed, so is the
worker.
"""

from __future__ import annotations

import gc
import marshal
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import NoReturn

import torch._dynamo  # noqa: F401  # an optimiser's first call imports it

import mmad.training.trainer  # noqa: F401
from mmad.scheduler import worker


def serve(place: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(place)
    listener.listen()
    ready = selectors.DefaultSelector()
    ready.register(0, selectors.EVENT_READ)
    ready.register(listener, selectors.EVENT_READ)
    clients: dict[int, socket.socket] = {}  # by the worker's number
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj == 0:
                for pid in clients:
                    os.kill(pid, signal.SIGKILL)
                return
            if key.fileobj is listener:
                client, _ = listener.accept()
                words, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 3)
                if (pid := os.fork()) == 0:
                    begin(*marshal.loads(words), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                clients[pid] = client
                ready.register(client, selectors.EVENT_READ, pid)
                ready.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            elif isinstance(key.fileobj, socket.socket):  # killed
                ready.unregister(key.fileobj)
                os.kill(key.data, signal.SIGKILL)
            else:
                client = clients.pop(key.data)
                _, status = os.waitpid(key.data, 0)
                ready.unregister(key.fileobj)
                os.close(key.fd)
                if client in ready.get_map():
                    ready.unregister(client)
                    client.send(str(status).encode())
                client.close()


def begin(folder: str, environment: dict[str, str], descriptors: list[int]) -> NoReturn:
    """Be the worker."""
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, 1 << 16)
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        worker._leave(worker.main(["--serve"]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    serve(sys.argv[1])
