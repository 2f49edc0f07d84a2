"""Write the lower bounds of pyproject.toml as exact versions, as constraints of a resolver.

Usage: python .ci/lowest.py FILE
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lower_bounds(pyproject: str) -> list[str]:
    r"""Each dependency of users with a lower bound, pinned to it, also those of the extras ``dask`` and ``s3``.

    Example:
        >>> lower_bounds('dependencies = [\n  "numpy>=1.24", # why\n  "filelock", # why\n]')
        ['numpy==1.24']
    """
    # Read as text: Python 3.10 has no TOML reader.
    declared = re.findall(r"^(?:dependencies|dask|s3) = \[(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    if not declared:
        raise SystemExit("pyproject.toml has no list of dependencies")
    bounds = re.findall(r'^\s*"([\w-]+)>=([\w.]+)', "\n".join(declared), re.MULTILINE)
    return [f"{name}=={version}" for name, version in bounds]


if __name__ == "__main__":
    pins = lower_bounds(PYPROJECT.read_text(encoding="utf-8"))
    Path(sys.argv[1]).write_text("\n".join(pins) + "\n")
