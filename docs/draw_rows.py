"""Draw the image at the top of the README: rows of the sample release with their boxes and points.

Usage:
    python docs/draw_rows.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout that is not installed

from irtd_datasets.demo import run_demo  # noqa: E402 - needs the path
from irtd_datasets.folder.contact_sheet import contact_sheet, sample_rows  # noqa: E402

SHOWN = (("grounding", 0), ("location", 1), ("aerial_counting", 1), ("grounding", 2))
"""For each tile the task it comes from and which of that task's sample rows it shows."""


def main() -> None:
    """Write ``docs/rows.jpg``."""
    with TemporaryDirectory() as folder:
        run_demo(Path(folder), quiet=True)
        rows: dict[str, list[dict[str, object]]] = {}
        for row in sample_rows(Path(folder) / "irtd"):
            rows.setdefault(str(row["id"]).split("/")[2], []).append(row)
    sheet = contact_sheet([rows[task][number] for task, number in SHOWN])
    sheet.save(ROOT / "docs" / "rows.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    main()
