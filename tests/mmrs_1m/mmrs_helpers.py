"""Shared by the tests of MMRS-1M: small releases, builds, and rows read back with pyarrow alone."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing.engine import build

REAL = Path(os.environ.get("IRTD_REAL") or Path(__file__).resolve().parents[3] / "shared" / "real")


def sample_image(width=64, height=48, colour=90):
    """The bytes of a plain grey image."""
    file = io.BytesIO()
    Image.new("L", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def record(image, *texts):
    """A record whose turns alternate, the human's first."""
    roles = ("human", "gpt")
    turns = [{"from": roles[number % 2], "value": text} for number, text in enumerate(texts)]
    return {"image": image, "conversations": turns}


def write_release(root, files, images):
    """Write annotation files (name below json/ to records or text) and images (name below data/ to bytes)."""
    for name, content in files.items():
        path = root / "data" / "json" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    for name, content in images.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def build_rows(root, out, *configs, **options):
    """Build configs and return the report and the rows of each part, images included."""
    workers = options.pop("workers", 1)
    report = build(
        "mmrs_1m", configs or ("default",), absolute_options(root, **options), out, workers=workers
    )
    return report, read_rows(out)


def read_rows(out):
    """Rows of each part of a built folder, in stored order."""
    rows = {}
    for path in sorted(Path(out).glob("*/*/*.parquet")):
        rows.setdefault(path.parent.name, []).extend(pq.read_table(path).to_pylist())
    return rows


def line_of(report, part):
    """The tally of a part."""
    return next(line.record_counts for line in report.ledger.lines if line.part == part)
