"""The command line: each command parses arguments, calls one function, and prints what it returns."""
# ruff: noqa: F401, I001 - importing a module registers its commands; their order is that of `irtd --help`

from irtd_datasets.cli import (
    releases,
    sources,
    construction,
    pairs,
    training,
    evaluation,
    publishing,
    demonstration,
)
from irtd_datasets.cli.app import main

__all__ = ["main"]
