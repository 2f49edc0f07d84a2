"""The command line: each command parses arguments, calls one function, and prints what it returns."""
# ruff: noqa: F401, I001 - importing a module registers its commands; their order is that of `irtd --help`

import os

# Before NumPy is imported: no command does linear algebra, and the threads that it would start for that cost each
# process 0.04 s and keep a build from forking its workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from irtd_datasets.cli import (
    releases,
    sources,
    construction,
    pairs,
    training,
    evaluation,
    publishing,
    demonstration,
    scaffold,
)
from irtd_datasets.cli.app import main

__all__ = ["main"]
