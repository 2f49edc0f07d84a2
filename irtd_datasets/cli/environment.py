"""What a report of a bug should say of the place where it happened."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, print_json
from irtd_datasets.report.console import make_console
from irtd_datasets.version import __version__

__all__ = ["env"]

_PACKAGES = (
    "datasets",
    "pyarrow",
    "numpy",
    "pillow",
    "huggingface_hub",
    "fsspec",
    "pyyaml",
    "typer",
    "simplejpeg",
    "s3fs",
    "distributed",
    "torch",
    "transformers",
)
_VARIABLES = (
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HF_DATASETS_CACHE",
    "HTTPS_PROXY",
    "PYTHONPATH",
    "AWS_PROFILE",
    "IRTD_ENDPOINT_TOKEN",
)


@app.command()
def env(as_json: Json = False) -> None:
    """Show versions and the system, for a report of a bug; no path, name or secret of yours is in it."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    console = make_console()
    for name, value in facts.items():
        shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        console.print(f"{name}: {', '.join(shown) if isinstance(shown, list) else shown}")


def _facts() -> dict[str, Any]:
    from irtd_datasets.catalog import dataset_names
    from irtd_datasets.schema import SCHEMA_VERSION

    return {
        "irtd-datasets": __version__,
        "schema": SCHEMA_VERSION,
        "datasets known": dataset_names(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count() or 0,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "in a notebook": "ipykernel" in sys.modules,
        "variables that are set": [name for name in _VARIABLES if os.environ.get(name)] or ["none"],
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
