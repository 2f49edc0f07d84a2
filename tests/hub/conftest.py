"""A Hub on loopback, and clients that talk to it in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import hub_server

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import sample_names, write_sample_release
from irtd_datasets.writing.engine import build


@pytest.fixture
def hub(tmp_path):
    """A running, empty Hub."""
    with hub_server(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def client(hub, tmp_path):
    """Runs a program with plain `datasets` and `huggingface_hub` against the Hub; returns what it prints as JSON.

    ``client(code, *arguments, env={}, python=…)``; settings of value None are left out.
    """

    def run(code, *arguments, env=None, python=sys.executable, expect=0):
        settings = {**os.environ, **hub.environment(tmp_path / "home"), **(env or {})}
        settings.pop("PYTHONPATH", None)
        found = subprocess.run(
            [python, "-c", f"{CLIENT}{code}{END}", *map(str, arguments)],
            env={name: value for name, value in settings.items() if value is not None},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert found.returncode == expect, found.stderr[-4000:]
        return json.loads(found.stdout) if found.stdout.strip() else None

    return run


CLIENT = f"""
import json, os, sys
sys.path.append({str(Path(__file__).parents[1])!r})
from huggingface_hub import HfApi
api = HfApi()

def load(*arguments, **options):
    import datasets
    datasets.config.USE_PARQUET_EXPORT = False
    return datasets.load_dataset(*arguments, **options)

def say(value):
    print(json.dumps(value))
"""

# A thread of pyarrow that lets go of a file while the interpreter ends aborts it now and then; see `facts.py`.
END = """
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Dataset folders of the samples, with every config, by name. Read them, do not change them."""
    folders = {}
    for name in sorted(set(DATASETS) & set(sample_names())):
        place = tmp_path_factory.mktemp("whole")
        options = {"captions": 12, "benchmark": True} if name == "irtd" else {}
        sample = write_sample_release(name, place / "release", rows=60 if name == "irtd" else 200, **options)
        build(
            name,
            [config.name for config in spec(name).configs],
            absolute_options(sample.folder),
            place / name,
        )
        folders[name] = place / name
    return folders
