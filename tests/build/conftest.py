"""What several tests of shards need."""

from __future__ import annotations

import pytest


@pytest.fixture
def target(tmp_path):
    return tmp_path / "train-00000-of-00001.parquet"
