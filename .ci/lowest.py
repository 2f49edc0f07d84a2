"""Write the lower bounds of pyproject.toml as exact versions, for ``pip install -c``.

Usage: python .ci/lowest.py FILE
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lower_bounds(pyproject: str) -> list[str]:
    r"""Each run-time dependency with a lower bound, pinned to it.

    Example:
        >>> lower_bounds('dependencies = [\n  "numpy>=1.24", # why\n  "filelock", # why\n]')
        ['numpy==1.24']
    """
    # Read as text: Python 3.10 has no TOML reader.
    declared = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    if declared is None:
        raise SystemExit("pyproject.toml has no list of dependencies")
    bounds = re.findall(r'^\s*"([\w-]+)>=([\w.]+)', declared[1], re.MULTILINE)
    return [f"{name}=={version}" for name, version in bounds]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(lower_bounds(PYPROJECT.read_text(encoding="utf-8"))) + "\n")
