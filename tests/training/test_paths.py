"""Folders are found under whatever names people give them, written in any of the ways that paths are written."""

from pathlib import Path

import pytest
from folders import make_folder

from irtd_datasets.errors import ReleaseNotFoundError
from irtd_datasets.training import stream, table

NAMES = ["a[1]", "[ab]", "~x", "a~b", "50%", "a%20b", "a b", "a#b", "{x}", "ü"]


@pytest.mark.parametrize("name", [*NAMES, "a*b", "a?b", "a:b"])
def test_names(tmp_path, monkeypatch, name):
    """Brackets, tildes, percent signs, blanks and colons are part of a name, not of a pattern or a URL."""
    try:
        make_folder(tmp_path / name, 20)
    except OSError:
        pytest.skip("no name of this file system")
    monkeypatch.chdir(tmp_path)
    for place in (name, f"./{name}", f"{tmp_path}/{name}", Path(name), tmp_path / name, f"./{name}:all"):
        assert len(list(stream(place, columns=["id", "image"]))) == 20
        assert len(list(table(place, columns=["id", "image"], cache=tmp_path / "cache"))) == 20
    if ":" not in name:
        assert len(list(stream(f"file://{tmp_path}/{name}:all", columns=["id"]))) == 20


def test_a_home_and_a_quoted_url(tmp_path, monkeypatch):
    """A tilde is the home where no such folder lies here; %20 in a URL is a blank where no such folder lies there."""
    make_folder(tmp_path / "home" / "a b", 20)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for place in ("~/a b", "~/a b:all", f"file://{tmp_path}/home/a%20b"):
        assert len(list(stream(place, columns=["id"]))) == 20
    for place in ("~nobody-of-that-name/x", "~/x", "./50%", "./[ab]"):
        with pytest.raises(ReleaseNotFoundError, match="no such folder"):
            stream(place)
