"""Images with a sound header and broken pixels: a build finds all with ``decode``, and says how many it read."""

import io
import struct
import sys
import zlib

import pytest
from PIL import Image
from processes import irtd_here, python
from test_leftovers import digests

from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.hub.check import check_folder
from irtd_datasets.rows.assembly import is_decoded
from irtd_datasets.testing import write_sample_release


def broken_png(size):
    """A PNG with every checksum right, whose compressed pixels are none."""
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    whole = file.getvalue()
    start = whole.index(b"IDAT") - 4
    pixels = b"\x78\x9c" + bytes(range(1, 255))
    chunk = b"IDAT" + pixels
    idat = struct.pack(">I", len(pixels)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return whole[:start] + idat + whole[whole.index(b"IEND") - 4 :]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release with images of broken pixels: one that the sample decodes, and three that it does not."""
    folder = tmp_path_factory.mktemp("decode") / "release"
    write_sample_release("irtd", folder, rows=200, captions=0, form="folder")
    images = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.jp*g"))}
    looked_at = [name for name in images if is_decoded(name, "sample")][:1]
    passed = [name for name in images if "FLIR" in name and name not in looked_at][:3]
    assert looked_at
    for name in (*looked_at, *passed):
        images[name].write_bytes(broken_png((640, 512)))
    return folder, set(looked_at), set(passed)


def built(release, out, *options):
    done = irtd_here("build", "irtd", "instruct", "--release", release, "--out", out, "-q", *options)
    assert done.returncode == 0, done.stderr
    return Ledger.read(out).lines


def lost(lines):
    return {
        message.partition(": ")[0]
        for line in lines
        if line.record_counts
        for message in line.record_counts.messages
    }


def looked_at(lines):
    return sum(line.record_counts.decoded for line in lines if line.record_counts)


def test_every_image_is_decoded(release, tmp_path):
    """With ``--decode`` each broken image is left out, counted and named; a check of all images passes."""
    folder, in_sample, others = release
    lines = built(folder, tmp_path / "all", "--decode")
    assert in_sample | others <= lost(lines)
    assert sum(line.record_counts.dropped["image-unreadable"] for line in lines if line.record_counts) >= 4
    assert looked_at(lines) >= 50
    assert not check_folder(tmp_path / "all", images="all").errors


def test_a_sample_is_decoded(release, tmp_path):
    """Without it one image of 64 is: the same ones in every build, with any number of workers."""
    folder, in_sample, others = release
    lines = built(folder, tmp_path / "one")
    assert in_sample <= lost(lines)
    assert not others & lost(lines)
    assert 0 < looked_at(lines) < 20
    built(folder, tmp_path / "two", "--workers", "2")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_threads_change_nothing(release, tmp_path):
    """Rows and bytes with ``--decode`` do not depend on workers; a folder that was built without it is made anew."""
    folder, _, others = release
    built(folder, tmp_path / "one")
    assert others <= lost(built(folder, tmp_path / "one", "--decode"))
    built(folder, tmp_path / "two", "--decode", "--workers", "2")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(("files", "workers"), [(16, "2"), (20, "4"), (24, "4")])
def test_too_few_open_files(release, tmp_path, files, workers):
    """A build that may open few files ends with its rows or with words, and waits for no worker without end."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    code = f"{limit}; from irtd_datasets.cli.app import main; main()"
    command = ["build", "irtd", "instruct", "--release", release[0], "--out", tmp_path / "out", "-q"]
    done = python(code, *map(str, command), "--workers", workers)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "ulimit -n" in done.stderr, done.stderr
