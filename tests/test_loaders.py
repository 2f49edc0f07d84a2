"""The loading scripts for `datasets` 3.x."""

import importlib.util
from pathlib import Path

import datasets
import pytest

from irtd_datasets import Irtd
from irtd_datasets.testing import write_sample_release

SCRIPT = Path(__file__).parents[1] / "loaders" / "irtd" / "irtd.py"
SCRIPTS_WORK = int(datasets.__version__.partition(".")[0]) < 4


def test_script_has_the_builders_configs():
    """The script's class is the registered builder under another module's name."""
    spec = importlib.util.spec_from_file_location("irtd_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert issubclass(script.Irtd, Irtd)
    assert script.Irtd.BUILDER_CONFIGS == Irtd.BUILDER_CONFIGS


@pytest.mark.skipif(not SCRIPTS_WORK, reason="datasets 4.0 and later refuse loading scripts")
def test_script_gives_the_rows_of_the_registered_name(tmp_path):
    """In `datasets` 3.x the script loads what the name loads, mapped and streaming."""
    write_sample_release("irtd", tmp_path / "R", rows=30, captions=0)
    options = {"data_dir": str(tmp_path / "R"), "split": "train"}
    script = {"trust_remote_code": True, **options}
    named = datasets.load_dataset("irtd", "instruct", cache_dir=tmp_path / "named", **options)
    loaded = datasets.load_dataset(str(SCRIPT.parent), "instruct", cache_dir=tmp_path / "script", **script)
    streamed = datasets.load_dataset(str(SCRIPT.parent), "instruct", streaming=True, **script)
    assert loaded["id"] == named["id"] == [row["id"] for row in streamed]
