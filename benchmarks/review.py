"""How long after the key the page of `irtd review` shows the next row, for a folder of 100,000 rows.

    python benchmarks/review.py --folder /tmp/irtd-review

Makes the folder (two images of 640 x 512 in turn, every second row with a partner: 0.3 GB), serves it and drives a
headless Chromium: each key is timed inside the page, from the event to the frame in which the next row stands with its
image decoded. Rows are judged one after another (prefetched), and jumped to anywhere (not prefetched). Needs Chromium;
the variable CHROMIUM names its program.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/review")]

from browser import start  # noqa: E402 - needs the path
from paired_folder import write_paired  # noqa: E402

from irtd_datasets.review.rows import Choice, ReviewRows  # noqa: E402
from irtd_datasets.review.server import Review, ReviewServer  # noqa: E402
from irtd_datasets.review.verdicts import VerdictFile  # noqa: E402

TIMED = """
new Promise((done) => {
  const begun = performance.now();
  const before = document.body.dataset.position;
  const look = () => {
    const image = document.querySelector('figure img');
    const there = document.body.dataset.position !== before && image && image.complete && image.naturalWidth;
    if (there) requestAnimationFrame(() => done(performance.now() - begun));
    else if (performance.now() - begun > 10000) done(-1);
    else setTimeout(look, 1);
  };
  ACTION
  look();
})
"""
KEY = "dispatchEvent(new KeyboardEvent('keydown', { key: 'a' }));"
JUMP = "document.getElementById('number').value = ROW; document.getElementById('number').onchange();"


def main() -> None:
    """Make, serve, judge and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=100)
    arguments = parser.parse_args()
    folder = arguments.folder / "irtd"
    if not folder.is_dir():
        write_paired(arguments.folder, arguments.rows, distinct=2)
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        rows = ReviewRows(folder, "pretrain", Choice(), "bench")
        verdicts = VerdictFile(Path(scratch) / "verdicts.jsonl")
        with verdicts, ReviewServer(Review(rows, verdicts, "bench")) as server:
            opened = time.perf_counter() - begun
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = start(Path(scratch) / "profile")
            try:
                tab = browser.tab(server.link)
                tab.wait("document.body.dataset.position === '0'")
                time.sleep(1)
                keys = [tab.run(TIMED.replace("ACTION", KEY)) for _ in range(arguments.keys)]
                draw = np.random.default_rng(0).integers(1, len(rows), arguments.keys)
                jumps = [tab.run(TIMED.replace("ACTION", JUMP.replace("ROW", str(one)))) for one in draw]
            finally:
                browser.close()
                server.shutdown()
            written = len((Path(scratch) / "verdicts.jsonl").read_text().splitlines())
    found = {"rows": len(rows), "verdicts": written, "open_seconds": round(opened, 2)}
    for name, values in (("key", keys), ("jump", jumps)):
        found[f"{name}_ms"] = {
            "median": round(float(np.median(values)), 1),
            "p95": round(float(np.percentile(values, 95)), 1),
            "most": round(max(values), 1),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
