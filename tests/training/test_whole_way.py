"""The script that walks the whole way: construct, caption, load, stream, train, ask and score, on real source sets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT, environment

from irtd_datasets.hub.check import check_folder

TABLE = Path(__file__).parents[1] / "construct/whole_table.csv"


@pytest.mark.slow
def test_the_whole_way_on_real_source_sets(real, tmp_path):
    """One script makes the three subsets, and each later step has what it needs; a second run asks nothing again."""
    command = [
        *(sys.executable, ROOT / "examples/whole_way.py", "--sources", real, "--source-table", TABLE),
        *("--limit", "12", "--steps", "3", "--out", tmp_path / "way"),
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)),
        env=environment(HF_HUB_OFFLINE="0"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / "way/irtd"
    for subset in ("instruct", "pretrain", "benchmark"):
        assert f"{subset}: " in done.stdout
    assert "Table 2 of the IRGPT paper" in done.stdout
    assert not check_folder(folder).errors
    totals = {
        line["part"]: line["kept"] for line in json.loads((folder / "ledger.json").read_text())["files"]
    }
    wanted = {"grounding", "location", "security", "scene", "conversation", "reasoning", "model_captions"}
    assert {part for part in wanted if totals.get(part)} == wanted
    journal = (tmp_path / "way/irtd.captions.jsonl").read_text()
    assert len(journal.splitlines()) > 20
