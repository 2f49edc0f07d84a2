"""Dataset folders of the remote-sensing samples."""

import pytest


@pytest.fixture(scope="session")
def remote_sensing(tmp_path_factory):
    """The folder of each remote-sensing sample by name. Read them, do not change them."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.testing import write_sample_release
    from irtd_datasets.writing.engine import build

    folders = {}
    for name in ("mmrs_1m", "rs_gpt4v"):
        sample = write_sample_release(name, tmp_path_factory.mktemp(name) / "release", rows=130, seed=1)
        folders[name] = tmp_path_factory.mktemp(name) / name
        build(name, ["default"], absolute_options(sample.folder), folders[name])
    return folders
