"""Names from outside."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets.errors import UnsafePathError
from irtd_datasets.releases.paths import inside, safe_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        (r"a\b\c.jpg", "a/b/c.jpg"),
        ("a/./b/", "a/b"),
        (".hidden/x", ".hidden/x"),
        ("a/...x", "a/...x"),
        ("a..b/c", "a..b/c"),
        ("红外/图 1.jpg", "红外/图 1.jpg"),
        ("12:30/x.jpg", "12:30/x.jpg"),
        ("x" * 255, "x" * 255),
    ],
)
def test_normalises(name, expected):
    """Harmless spellings of one name become the same relative POSIX name."""
    assert safe_name(name) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "names no file"),
        (".", "names no file"),
        ("./", "names no file"),
        ("/", "absolute"),
        ("/etc/passwd", "absolute"),
        (r"\etc\passwd", "absolute"),
        (r"\\host\share\x", "absolute"),
        ("C:/x", "Windows drive"),
        (r"c:\x", "Windows drive"),
        ("c:x", "Windows drive"),
        ("..", "climbs"),
        ("../x", "climbs"),
        ("a/../b", "climbs"),
        (r"a\..\..\b", "climbs"),
        ("a/..", "climbs"),
        ("a/.. /b", "climbs"),
        ("a/...", "climbs"),
        ("a\0b", "NUL"),
        ("\ud800.jpg", "surrogate"),
        ("x" * 256, "255"),
        ("图" * 90, "255"),
        ("a/" * 3000 + "b", "4096"),
    ],
)
def test_refuses(name, reason):
    """A name that could leave its folder, or fits no file system, is refused with its reason."""
    with pytest.raises(UnsafePathError, match=reason) as caught:
        safe_name(name)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_error_repeats_the_name():
    """The refused name stands in the message, shortened where it is very long."""
    with pytest.raises(UnsafePathError, match=r"name '\.\./secret\.txt'"):
        safe_name("../secret.txt")
    with pytest.raises(UnsafePathError, match=r"\(5000 characters\)") as caught:
        safe_name("y" * 5000)
    assert len(str(caught.value)) < 500


@given(st.text(alphabet=st.sampled_from("ab./\\: \0é"), max_size=12))
def test_result_never_leaves_its_folder(name):
    """Whatever comes out is relative, has no special component and is left alone the second time."""
    try:
        safe = safe_name(name)
    except UnsafePathError:
        return
    assert safe_name(safe) == safe
    assert not set(safe.split("/")) & {"", ".", ".."}
    assert "\\" not in safe
    assert os.path.normpath("/base/" + safe).startswith("/base/")


def test_inside_follows_links_that_stay(tmp_path):
    """A link within the release is followed, and the root itself may be one."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "sub" / "x").write_bytes(b"x")
    (tmp_path / "real" / "link").symlink_to("sub")
    (tmp_path / "root").symlink_to("real")
    assert inside(tmp_path / "root", "link/x") == (tmp_path / "real" / "sub" / "x").resolve()
    assert inside(tmp_path / "root", "absent/y") == (tmp_path / "real").resolve() / "absent" / "y"


@pytest.mark.parametrize("target", ["../outside", "../outside/x", "/etc", "../real-not"])
def test_inside_refuses_links_that_leave(tmp_path, target):
    """A link out of the release is refused, also to a folder whose name begins like the root's."""
    for name in ("real", "outside", "real-not"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"x")
    (tmp_path / "real" / "link").symlink_to(target)
    with pytest.raises(UnsafePathError, match="leads out of the release"):
        inside(tmp_path / "real", "link")


def test_inside_refuses_circles(tmp_path):
    """Links that lead in a circle are an error, not an endless search."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnsafePathError, match="circle"):
        inside(tmp_path, "a")


def test_inside_knows_the_hub_cache(tmp_path):
    """A snapshot of the Hugging Face cache may link to the blobs of its own repository, and nowhere else."""
    snapshot = tmp_path / "datasets--x--y" / "snapshots" / "0123"
    blobs = tmp_path / "datasets--x--y" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "hash").write_bytes(b"x")
    (snapshot / "file").symlink_to("../../blobs/hash")
    (snapshot / "other").symlink_to("../../refs")
    assert inside(snapshot, "file").read_bytes() == b"x"
    with pytest.raises(UnsafePathError, match="leads out"):
        inside(snapshot, "other")
