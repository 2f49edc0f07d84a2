"""A Hub on loopback, and clients that talk to it in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import hub_server


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
