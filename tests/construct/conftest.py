"""Sources to construct from."""

import pytest
from source_sets import Sources


@pytest.fixture
def sources(tmp_path):
    """An empty folder of source sets."""
    return Sources(tmp_path / "sources")
