"""Upload overhead: `irtd publish` against the bare client's `upload_folder`, to a Hub on loopback.

    python benchmarks/publish.py --corpus /tmp/irtd-benchmark
    python benchmarks/publish.py --corpus /tmp/irtd-benchmark --xet

The Hub is that of the tests, in a process of its own on the same machine: it takes as much processor time as the
client, which any way pays alike. Each run uploads to an empty Hub. Needs the library's ``dev`` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = "tester/irtd"


def bare(folder: Path) -> dict[str, Any]:
    """What one would use instead: make the repository, upload the folder."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    start = time.perf_counter()
    api = HfApi()
    api.create_repo(NAME, repo_type="dataset")
    api.upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset")
    return {"seconds": time.perf_counter() - start}


def publish(folder: Path) -> dict[str, Any]:
    """Check, upload, one commit, read back, tag; ``uploaded`` is the time until the commit stands."""
    import datasets  # noqa: F401 - its import is no part of the upload

    from irtd_datasets.hub.publish import PublishOptions
    from irtd_datasets.hub.publish import publish as publish_folder
    from irtd_datasets.writing.progress import Progress

    class Stages(Progress):
        def __init__(self) -> None:
            self.times: dict[str, float] = {}

        def stage(self, text: str) -> None:
            self.times[text] = time.perf_counter()

    stages, start = Stages(), time.perf_counter()
    publish_folder(folder, NAME, PublishOptions(accept_terms=True), progress=stages)
    uploaded = stages.times["reading back"] - start
    return {"seconds": time.perf_counter() - start, "uploaded": uploaded}


def publish_upload(folder: Path) -> dict[str, Any]:
    """The same, of which only the time until the commit stands counts."""
    found = publish(folder)
    return {"seconds": found["uploaded"], "whole": found["seconds"]}


WAYS = {"upload_folder": bare, "publish": publish, "publish until the commit": publish_upload}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="where the corpus is kept and outputs are written"
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--xet", action="store_true", help="by Xet instead of plain LFS")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = (
            "0"  # before the client is imported
        )
        print(json.dumps(WAYS[args.way](args.corpus)), flush=True)
        os._exit(0)  # reads that `datasets` left behind hang or abort an interpreter that shuts down
    _compare(args)


def _folder(args: argparse.Namespace) -> Path:
    """The dataset folder of the corpus, built once."""
    import corpus

    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    folder = Path(args.corpus / f"published-{args.images}").resolve()
    if not (folder / "manifest.json").is_file():
        release = corpus.instruct_release(args.corpus, args.images)
        build("irtd", ["instruct"], absolute_options(release), folder, workers=2)
    return folder


def _compare(args: argparse.Namespace) -> None:
    from measure import alternate, machine, table, verdict

    folder = _folder(args)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    outputs = args.corpus / "out"
    hub: list[subprocess.Popen[str]] = []

    def fresh() -> None:
        _stop(hub)
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir(parents=True)
        for path in folder.rglob("*.parquet"):
            path.read_bytes()
        os.sync()
        server = [sys.executable, str(ROOT / "tests" / "hub_server"), str(outputs / "hub")]
        hub.append(subprocess.Popen(server, stdout=subprocess.PIPE, text=True))
        told = json.loads(hub[0].stdout.readline() if hub[0].stdout else "{}")
        os.environ.update(
            HF_ENDPOINT=told["endpoint"],
            HF_TOKEN=told["token"],
            HF_HOME=str(outputs / "home"),
            HF_DATASETS_CACHE=str(outputs / "home" / "datasets"),
            HF_XET_CACHE=str(outputs / "home" / "xet"),
            HF_HUB_DISABLE_XET="0" if args.xet else "1",
            HF_HUB_DISABLE_TELEMETRY="1",
        )

    try:
        ways = {way: (lambda way=way: [__file__, "--corpus", str(folder), "--way", way]) for way in WAYS}
        results = alternate(ways, args.runs, before=fresh)
    finally:
        _stop(hub)
        shutil.rmtree(outputs, ignore_errors=True)
    base = results["upload_folder"].median
    rows = [
        [way, f"{result.median:.2f}", f"{size / result.median / 1e6:.0f}", f"{result.median / base:.2f}"]
        for way, result in results.items()
    ]
    print(f"{size / 1e6:,.0f} MB by {'Xet' if args.xet else 'LFS'}")
    print(table(["way", "seconds", "MB/s", "of the bare client"], rows))
    overhead = results["publish until the commit"].median / base - 1
    print(verdict("upload overhead", overhead, 0.10, at_least=False))
    print(verdict("with everything read back", results["publish"].median / base - 1, 0.10, at_least=False))
    if args.json:
        figures = {"machine": machine(), **{way: result.as_dict() for way, result in results.items()}}
        args.json.write_text(json.dumps(figures, indent=1))


def _stop(hub: list[subprocess.Popen[str]]) -> None:
    while hub:
        process = hub.pop()
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main()
