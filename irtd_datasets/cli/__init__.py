"""The command line: each command parses arguments, calls one function, and prints what it returns."""
# ruff: noqa: E402 - what is done first has to be

import importlib
import os
import signal
import sys
import threading
from pathlib import Path

# Before NumPy is imported: no command does linear algebra, and the threads that it would start for that cost each
# process 0.04 s and keep a build from forking its workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Ctrl-C while the modules below are imported ends the process without a traceback.
_INTERRUPT = signal.getsignal(signal.SIGINT)
_CAREFUL = _INTERRUPT is signal.default_int_handler and threading.current_thread() is threading.main_thread()
if _CAREFUL:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from irtd_datasets.cli.app import main

__all__ = ["main"]

COMMANDS = {
    "releases": ("list", "doctor", "build", "frames"),
    "fetching": ("fetch",),
    "sources": ("sources",),
    "construction": ("construct",),
    "pairs": ("pairs",),
    "reviewing": ("review",),
    "folders": ("info", "stats", "subset", "split", "merge", "dedup"),
    "training": ("export", "bench-stream"),
    "evaluation": ("score", "compare", "predict"),
    "publishing": ("overlap", "card", "check", "publish", "preview"),
    "demonstration": ("demo",),
    "scaffold": ("new",),
    "environment": ("env",),
}
"""The module of each command, in the order of `irtd --help`."""


def _modules() -> list[str]:
    """The modules to import, which registers their commands: the one that this process was started for, or all.

    A command that is built with its options alone saves each start a quarter of its time.
    """
    main_module = getattr(sys.modules["__main__"], "__spec__", None)
    started = Path(sys.argv[0]).stem == "irtd" or getattr(main_module, "name", "") == "irtd_datasets.__main__"
    named = sys.argv[1] if started and len(sys.argv) > 1 else ""
    return [module for module, commands in COMMANDS.items() if named in commands] or list(COMMANDS)


for _module in _modules():
    importlib.import_module(f"{__name__}.{_module}")

if _CAREFUL:
    signal.signal(signal.SIGINT, _INTERRUPT)
