"""Processes that need not import what takes long: one has done so, and becomes each of them by forking.

    python warm.py serve SOCKET MODULE...    import the modules, then wait; ends when its standard input does
    python -S -E warm.py run SOCKET ...      as `python ...`: ``-c CODE`` or ``-m irtd_datasets ARGUMENT...``

The library is not among the modules, so that each process imports it as it would by itself. Folder, environment,
standard streams and exit code are those of the second form.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path


def serve(path, modules):
    """Import modules and fork for each request; returns what to run, in the process that is to run it."""
    import importlib
    import selectors

    for module in modules:
        importlib.import_module(module)
    with socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as waiting:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for others
        waiting.register(server, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while all(key.fd != 0 for key, _ in waiting.select()):
            connection = server.accept()[0]
            if os.fork() == 0:
                return accept(connection)
            connection.close()
    os._exit(0)


def accept(connection):
    """Read a request and fork again: one process runs it, the other waits and says how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(json.dumps(code).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request = json.loads(data)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return request["arguments"]


def become(arguments):
    """Do what the interpreter does with its arguments."""
    import runpy

    kind, what, *rest = arguments
    sys.argv = [kind, *rest]
    sys.path[0] = ""
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def request(path, arguments):
    """Have a program run; returns its exit code."""
    facts = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        data = json.dumps(facts).encode() + b"\n"
        sent = socket.send_fds(connection, [data], [0, 1, 2])
        connection.sendall(data[sent:])
        answer = connection.recv(100)
    code = json.loads(answer) if answer else 1
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    action, place, *words = sys.argv[1:]
    if action == "serve":
        become(serve(place, words))
    else:
        sys.exit(request(place, words))
