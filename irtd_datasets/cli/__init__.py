"""The command line: each command parses arguments, calls one function, and prints what it returns."""
# ruff: noqa: E402, F401, I001 - importing a module registers its commands; their order is that of `irtd --help`

import os
import signal
import threading

# Before NumPy is imported: no command does linear algebra, and the threads that it would start for that cost each
# process 0.04 s and keep a build from forking its workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Ctrl-C while the modules below are imported ends the process without a traceback.
_INTERRUPT = signal.getsignal(signal.SIGINT)
_CAREFUL = _INTERRUPT is signal.default_int_handler and threading.current_thread() is threading.main_thread()
if _CAREFUL:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from irtd_datasets.cli import (
    releases,
    fetching,
    sources,
    construction,
    pairs,
    reviewing,
    folders,
    training,
    evaluation,
    publishing,
    demonstration,
    scaffold,
    environment,
)
from irtd_datasets.cli.app import main

if _CAREFUL:
    signal.signal(signal.SIGINT, _INTERRUPT)

__all__ = ["main"]
