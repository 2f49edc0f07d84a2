"""Dataset folders to review."""

import pytest
from browser import start
from paired_folder import write_paired

from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing.engine import build


@pytest.fixture(scope="session")
def built(tmp_path_factory, sample):
    """A folder with 18 captions and 80 instructions, as a build makes it; nobody may change it."""
    out = tmp_path_factory.mktemp("review") / "irtd"
    build("irtd", ["pretrain", "instruct"], absolute_options(sample.folder), out)
    return out


@pytest.fixture(scope="session")
def paired(tmp_path_factory):
    """A folder of 12 rows with boxes, of which every second has a visible partner; nobody may change it."""
    return write_paired(tmp_path_factory.mktemp("paired"), 12)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser for all tests."""
    browser = start(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
