"""Draw the images of the README and of the dataset pages: rows of the sample releases with their boxes and points.

Usage:
    python docs/draw_rows.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout that is not installed

from irtd_datasets.folder.card_images import example_sheet  # noqa: E402 - needs the path
from irtd_datasets.folder.contact_sheet import sample_rows  # noqa: E402
from irtd_datasets.rows.release import absolute_options  # noqa: E402
from irtd_datasets.testing import write_sample_release  # noqa: E402
from irtd_datasets.writing.engine import build  # noqa: E402

SHOWN = {
    "rows.jpg": (
        ("irtd", "/grounding/", 2),
        ("irtd", "/location/", 0),
        ("rs_gpt4v", "/DIOR-RSVG_grounding/", 0),
    ),
    "datasets/irtd.jpg": (("irtd", "/grounding/", 0), ("irtd", "/location/", 1), ("irtd", "/reid/", 0)),
    "datasets/mmrs_1m.jpg": (
        ("mmrs_1m", "/hit_uav/", 0),
        ("mmrs_1m", "/ssdd/", 0),
        ("mmrs_1m", "/far1m/", 0),
    ),
    "datasets/rs_gpt4v.jpg": (
        ("rs_gpt4v", "/DIOR-RSVG_grounding/", 1),
        ("rs_gpt4v", "/RSVQA_LR/", 0),
        ("rs_gpt4v", "/Conversation_Complex_Reasoning/", 0),
    ),
}
"""For each image its tiles: the dataset, a part of the row's id, and which of those rows."""


def main() -> None:
    """Write the images under ``docs``."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with TemporaryDirectory() as folder:
        for name in ("irtd", "mmrs_1m", "rs_gpt4v"):
            release, out = Path(folder) / f"{name}-release", Path(folder) / name
            write_sample_release(name, release)
            configs = ["instruct"] if name == "irtd" else ["default"]
            build(name, configs, absolute_options(release), out)
            rows[name] = list(sample_rows(out))
    for file, tiles in SHOWN.items():
        chosen = [[row for row in rows[name] if part in row["id"]][number] for name, part, number in tiles]
        drawn = example_sheet(chosen, len(chosen), len(chosen))
        assert drawn is not None
        (ROOT / "docs" / file).write_bytes(drawn)


if __name__ == "__main__":
    main()
