"""The command line: each command parses arguments, calls one function, and prints what it returns."""

# Importing a module registers its commands; their order is that of `irtd --help`.
from irtd_datasets.cli import releases, construction, training, evaluation, publishing, demonstration  # noqa: F401, I001
from irtd_datasets.cli.app import run as main

__all__ = ["main"]
