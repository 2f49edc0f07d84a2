from __future__ import annotations

import datasets
import pytest


@pytest.fixture(autouse=True)
def _own_caches(tmp_path, monkeypatch):
    """Nothing of `datasets` is written outside the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    datasets.disable_progress_bars()
