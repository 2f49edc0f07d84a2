"""Archives cut into pieces: their order, and reading them as one stream."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tarfile
import threading
import zlib
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_archives import CONTENT, special, tar_bytes

from irtd_datasets.errors import ArchiveError, BuildError, ReleaseNotFoundError, UnsafePathError
from irtd_datasets.releases.streams import JoinedParts, extract_tar, find_parts, stream_tar

WHOLE = tar_bytes(CONTENT.items())
GZIPPED = gzip.compress(WHOLE, mtime=0)
ITEMS = list(CONTENT.items())


def cut(folder, data, count, name="data.tar.gz.{}"):
    """Cut as `split` does: pieces of one size, the last one smaller."""
    size = -(-len(data) // count)
    paths = []
    for number in range(count):
        path = folder / name.format(number)
        path.write_bytes(data[number * size : (number + 1) * size])
        paths.append(path)
    return paths


def pairs(stream):
    return [(member.name, member.data) for member in stream]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("irtd-inflate")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not threads()


# --- the order of pieces


@pytest.mark.parametrize(
    "names",
    [
        [f"data.tar.gz.{i}" for i in range(12)],
        [f"x.tar.gz{i:02d}" for i in range(12)],
        [f"x.tar.gz_{i:03d}" for i in range(12)],
        [f"x.tar.gz.part{i}" for i in range(1, 12)],
        [f"x.tgz-part-{i}" for i in range(1, 12)],
        ["x.tar.gzaa", "x.tar.gzab", "x.tar.gzac"],
        ["x.tar.gz.aaa", "x.tar.gz.aab"],
        [f"x.tar.gz.{a}{b}" for a in "ab" for b in "abcdefghijklmnopqrstuvwxyz"],
        ["x.tar.00", "x.tar.01"],
        ["IR-TD-version250724.tar.gz"],
    ],
)
def test_order(tmp_path, names):
    """Pieces come in the order of their numbers or letters, however `split` or a person numbered them."""
    for name in reversed(names):
        (tmp_path / name).write_bytes(b"\x1f\x8b bytes")
    (tmp_path / (names[0] + ".md5")).write_bytes(b"0123")
    (tmp_path / "other.zip").write_bytes(b"")
    assert [path.name for path in find_parts(tmp_path, "*.t*gz*" if "gz" in names[0] else "*.tar*")] == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["d.tar.gz.0", "d.tar.gz.2"], r"missing among the pieces: d\.tar\.gz\.1 "),
        (["d.tar.gz.00", "d.tar.gz.03"], r"d\.tar\.gz\.01, d\.tar\.gz\.02 "),
        (["d.tar.gz.2", "d.tar.gz.3"], r"d\.tar\.gz\.1 "),
        (["d.tar.gzaa", "d.tar.gzac"], r"d\.tar\.gzab "),
        (["d.tar.gzab", "d.tar.gzac"], r"d\.tar\.gzaa "),
        ([f"d.tar.gz.{i}" for i in range(11) if i != 7], r"d\.tar\.gz\.7 "),
        (["d.tar.gz.0", "d.tar.gz.999999999"], r"and 99\d more"),
        (["d.tar.gz.1", "d.tar.gz.01"], "are both piece 1"),
        (["d.tar.gz", "d.tar.gz.0"], "either the joined archive or its pieces"),
        (["d.tar.gz.0", "e.tar.gz.1"], "order of the pieces is not certain"),
        (["d.tar.gz.0", "d.tar.gz.ab"], "order of the pieces is not certain"),
        (["d.tar.gz.0", "d.tar.gz_1"], "order of the pieces is not certain"),
        (["d.tar.gz.0", "d.tar.gz.1 (1)"], r"the place of 'd\.tar\.gz\.1 \(1\)' among the pieces"),
        (["d.tar.gz.0", "d.tar.gz.1.crdownload"], "not finished"),
        (["d.tar.gz.0", "d.tar.gz.1.part"], "not finished"),
    ],
)
def test_uncertain_order(tmp_path, names, message):
    """Missing pieces are named, and an order that is not certain is refused rather than guessed."""
    for name in names:
        (tmp_path / name).write_bytes(b"\x1f\x8b bytes")
    with pytest.raises(ArchiveError, match=message):
        find_parts(tmp_path, "*.tar.gz*")


def test_pieces_from_one_without_the_first(tmp_path):
    """Pieces that begin with number 1 and no archive header lack number 0."""
    for number in (1, 2):
        (tmp_path / f"d.tar.gz.{number}").write_bytes(b"bytes")
    with pytest.raises(ArchiveError, match=r"missing among the pieces: d\.tar\.gz\.0 "):
        find_parts(tmp_path, "d.tar.gz.*")


def test_no_pieces(tmp_path):
    """No matching file, or no folder, is its own error."""
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ReleaseNotFoundError):
            find_parts(folder, "*.tar.gz*")
    with pytest.raises(ReleaseNotFoundError):
        stream_tar(tmp_path / "absent.tar")
    with pytest.raises(ArchiveError, match="no pieces"):
        stream_tar([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"d\.tar\.gz\.1: it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            r"d\.tar\.gz\.1: a git-lfs pointer",
        ),
        (b"<!doctype html><p>Sign in", r"d\.tar\.gz\.1: a web page"),
        (b'{"error": "quota"}', "answered with an error"),
    ],
)
def test_pieces_that_are_none(tmp_path, content, message):
    """An empty piece, a pointer or a web page in place of a piece is named before anything is read."""
    cut(tmp_path, GZIPPED, 3, "d.tar.gz.{}")
    (tmp_path / "d.tar.gz.1").write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        find_parts(tmp_path, "d.tar.gz.*")


# --- joined pieces


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=6), st.lists(st.integers(-3, 60), max_size=6))
def test_joined_reads_as_joined(tmp_path_factory, contents, seeks):
    """Reading and seeking in the joined pieces gives what a joined copy gives, empty pieces included."""
    folder = tmp_path_factory.getbasetemp()
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"piece{number}")
        paths[-1].write_bytes(content)
    whole = b"".join(contents)
    with io.BufferedReader(JoinedParts(paths), 4) as joined:
        assert joined.read() == whole
        for seek in seeks:
            place = min(max(seek, 0), len(whole))
            joined.seek(place)
            assert joined.read(5) == whole[place : place + 5]
        assert joined.raw.locate(len(whole))[0] == len(contents) - 1
    with JoinedParts(paths) as joined:
        for offset in range(len(whole)):
            part, at = joined.locate(offset)
            assert contents[part][at : at + 1] == whole[offset : offset + 1]


def test_piece_that_shrinks(tmp_path):
    """A piece that became shorter after it was opened is an error that names it."""
    paths = cut(tmp_path, GZIPPED, 3)
    stream = stream_tar(paths)
    paths[1].write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz\.1: became shorter"):
        list(stream)


# --- reading


@pytest.mark.parametrize("data", [WHOLE, GZIPPED, gzip.compress(WHOLE, 0), gzip.compress(WHOLE) + bytes(600)])
@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_reads_all_members(tmp_path, data, count):
    """Plain or gzipped, whole or in any number of pieces, all members come in stored order."""
    stream = stream_tar(cut(tmp_path, data, count))
    assert pairs(stream) == ITEMS


def test_single_path(tmp_path):
    """One path, as text or Path, is an archive in one piece."""
    (tmp_path / "x.tar").write_bytes(WHOLE)
    assert pairs(stream_tar(str(tmp_path / "x.tar"))) == pairs(stream_tar(tmp_path / "x.tar")) == ITEMS


def test_concatenated_gzip_members(tmp_path):
    """A gzip file of several members, as parallel compressors write it, is one stream."""
    data = b"".join(gzip.compress(WHOLE[at : at + 3000]) for at in range(0, len(WHOLE), 3000))
    assert pairs(stream_tar(cut(tmp_path, data, 3))) == ITEMS


def test_highly_compressed(tmp_path):
    """Output that is a thousand times its input comes through in bounded blocks, whole."""
    content = {f"{i}": bytes(3_000_000) for i in range(3)}
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_bytes(content.items())))
    assert pairs(stream_tar(tmp_path / "x.tar.gz")) == list(content.items())


@pytest.mark.parametrize("data", [WHOLE, GZIPPED])
def test_wanted(tmp_path, data):
    """Unwanted members are passed over, whatever their size; the others keep their order."""
    asked = []
    stream = stream_tar(
        cut(tmp_path, data, 3),
        wanted=lambda name: asked.append(name) or name.startswith("a/"),
        member_limit=5000,
    )
    assert pairs(stream) == [item for item in ITEMS if item[0].startswith("a/")]
    assert asked == list(CONTENT)


def test_delivered_once_confirmed(tmp_path):
    """A member comes as soon as the next header is there, whether or not that member is wanted."""
    (tmp_path / "x.tar").write_bytes(WHOLE[: len(WHOLE) // 2])
    stream = stream_tar(tmp_path / "x.tar", wanted=lambda name: name == "readme.txt")
    assert next(stream).name == "readme.txt"
    stream.close()


def test_member_limit(tmp_path):
    """A wanted member above the limit is an error that names it and both sizes."""
    (tmp_path / "x.tar.gz").write_bytes(GZIPPED)
    stream = stream_tar(tmp_path / "x.tar.gz", member_limit=4999)
    with pytest.raises(ArchiveError, match=r"'a/b/3\.jpg' has 5,000 bytes, the limit is 4,999"):
        list(stream)


def test_links_and_devices_are_passed_over(tmp_path):
    """Links, devices, pipes and folders are no files, and what stands behind them is read."""
    members = [
        special("folder", tarfile.DIRTYPE),
        ("a", b"1"),
        special("hard", tarfile.LNKTYPE, "a"),
        special("../soft", tarfile.SYMTYPE, "/etc/passwd"),
        special("pipe", tarfile.FIFOTYPE),
        special("disk", tarfile.BLKTYPE),
        ("b", b"2"),
    ]
    (tmp_path / "x.tar").write_bytes(tar_bytes(members))
    assert pairs(stream_tar(tmp_path / "x.tar")) == [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_unsafe_member_name(tmp_path, pack):
    """A member that would leave the archive's folder stops the reading, naming archive and member."""
    (tmp_path / "x.tar").write_bytes(pack(tar_bytes([("a", b"1"), ("../b", b"2")])))
    with pytest.raises(UnsafePathError, match=r"x\.tar, name '\.\./b'"):
        list(stream_tar(tmp_path / "x.tar"))


@pytest.mark.parametrize("data", [WHOLE, GZIPPED])
def test_early_close(tmp_path, data):
    """Closing, leaving the block, or dropping the iterator ends the thread and closes the piece."""
    paths = cut(tmp_path, data, 4)
    with closing(stream_tar(paths)) as stream:
        assert next(stream).name == ITEMS[0][0]
    assert not threads()
    assert list(stream) == []
    stream = stream_tar(paths)
    next(stream)
    del stream
    assert not threads()
    stream_tar(paths).close()


def test_early_close_of_a_full_channel(tmp_path):
    """The thread ends also where it waits because the reader is far behind."""
    content = {f"{i}": random.Random(i).randbytes(2**20) for i in range(12)}
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_bytes(content.items()), 1))
    stream = stream_tar(tmp_path / "x.tar.gz")
    next(stream)
    assert len(threads()) == 1
    stream.close()
    assert not threads()


# --- damage


def whole_members(stream):
    """Return what was delivered, and the error that ended it."""
    got = []
    try:
        got.extend((member.name, member.data) for member in stream)
    except ArchiveError as error:
        return got, error
    return got, None


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("count", [1, 4])
def test_truncated_gzip_anywhere(tmp_path, level, count):
    """A gzipped cut archive that ends at any byte delivers whole members only and says that it is cut."""
    data = gzip.compress(WHOLE, level, mtime=0)
    delivered = set()
    size = -(-len(data) // count)
    for length in [*range(1, len(data), 61), *range(len(data) - 12, len(data))]:
        paths = []
        for start in range(0, length, size):
            paths.append(tmp_path / f"x.{start}")
            paths[-1].write_bytes(data[start : min(start + size, length)])
        try:
            stream = stream_tar(paths)
        except ArchiveError:
            assert length < 2
            continue
        got, error = whole_members(stream)
        assert got == ITEMS[: len(got)]
        delivered.add(len(got))
        assert error is not None
        assert f"after {len(got)} members" in str(error)
        assert paths[-1].name in str(error)
    if level == 0:  # deflated, so few bytes are one block, which comes out as a whole
        assert delivered == set(range(len(ITEMS)))


def test_truncated_plain_anywhere(tmp_path):
    """A plain tar that ends at any byte before its end mark does the same, also right between two members."""
    end = len(WHOLE.rstrip(b"\0")) + 511 & ~511
    path = tmp_path / "x.tar"
    for length in sorted({*range(512, end, 37), *range(512, end + 1, 512)}):
        path.write_bytes(WHOLE[:length])
        for wanted in (None, lambda name: False):
            got, error = whole_members(stream_tar(path, wanted=wanted))
            assert wanted or got == ITEMS[: len(got)]
            assert error is not None
            assert "ends early" in str(error)
    path.write_bytes(WHOLE[: end + 512])
    assert whole_members(stream_tar(path)) == (ITEMS, None)


def test_changed_anywhere(tmp_path):
    """With any byte changed, what is delivered before the error is whole; the checksum catches the rest."""
    rng = random.Random(8)
    path = tmp_path / "x.tar.gz"
    for at in range(10, len(GZIPPED), 17):
        data = bytearray(GZIPPED)
        data[at] ^= 1 + rng.randrange(255)
        path.write_bytes(bytes(data))
        try:
            got, error = whole_members(stream_tar(path))
        except UnsafePathError:
            continue
        assert error is not None
        assert all(len(data) == len(CONTENT[name]) for name, data in got if name in CONTENT)


def test_missing_last_piece(tmp_path):
    """A missing last piece is told as such: the last one there, its end, the members read, what to check."""
    paths = cut(tmp_path, GZIPPED, 4)[:-1]
    size = paths[-1].stat().st_size
    got, error = whole_members(stream_tar(paths))
    text = str(error)
    assert text.startswith("data.tar.gz.2 (piece 3 of 3): the gzip stream is cut: it ends early, at byte")
    assert f"at byte {size:,} of {size:,}, after {len(got)} members" in text
    assert "the last one may be missing" in text


def test_wrong_order(tmp_path):
    """Swapped pieces end in an error near where the order broke; no member is made of wrong bytes."""
    content = {f"{i}.jpg": random.Random(i).randbytes(40_000) for i in range(20)}
    for data in (gzip.compress(tar_bytes(content.items()), 6), tar_bytes(content.items())):
        paths = cut(tmp_path, data, 5)
        got, error = whole_members(stream_tar([paths[0], paths[2], paths[1], *paths[3:]]))
        assert got == list(content.items())[: len(got)]
        assert "data.tar.gz.2 (piece 2 of 5)" in str(error)
        assert "order" in str(error)
        with pytest.raises(ArchiveError, match=r"data\.tar\.gz\.0 looks like the first"):
            stream_tar([paths[1], paths[0], *paths[2:]])
        got, error = whole_members(stream_tar([*paths[:3], paths[4], paths[3]]))
        assert error is not None
        assert "data.tar.gz.4" in str(error)
        uneven = paths[4].stat().st_size != paths[0].stat().st_size
        assert ("Bytes differ from the first piece's" in str(error)) == uneven


def test_missing_middle_piece_given_by_hand(tmp_path):
    """A list that lacks a middle piece ends in an error near the gap."""
    content = {f"{i}.jpg": random.Random(i).randbytes(40_000) for i in range(20)}
    paths = cut(tmp_path, gzip.compress(tar_bytes(content.items()), 6), 5)
    got, error = whole_members(stream_tar([*paths[:2], *paths[3:]]))
    assert got == list(content.items())[: len(got)]
    assert "data.tar.gz.3 (piece 3 of 4)" in str(error)


def test_first_piece_missing(tmp_path):
    """Pieces none of which begins an archive are refused at once."""
    paths = cut(tmp_path, gzip.compress(random.Random(9).randbytes(5000)), 5)[1:]
    with pytest.raises(ArchiveError, match="not the beginning of a tar"):
        stream_tar(paths)


def test_wrong_checksum(tmp_path):
    """A wrong gzip checksum, which stands at the very end, is an error although everything inflates."""
    data = bytearray(GZIPPED)
    data[-8] ^= 1
    paths = cut(tmp_path, bytes(data), 2)
    got, error = whole_members(stream_tar(paths))
    assert got == ITEMS[: len(got)]
    assert "incorrect data check" in str(error)
    assert f"after {len(got)} members" in str(error)


def test_bytes_after_the_gzip_stream(tmp_path):
    """Anything but zeros behind a gzip stream is not passed over."""
    (tmp_path / "x.tar.gz").write_bytes(GZIPPED + b"more")
    assert "what follows the end of the gzip stream is no gzip" in str(
        whole_members(stream_tar(tmp_path / "x.tar.gz"))[1]
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_second_archive(tmp_path, pack):
    """A second archive behind the first is an error, as its members would be lost."""
    (tmp_path / "x.tar").write_bytes(pack(WHOLE + WHOLE))
    got, error = whole_members(stream_tar(tmp_path / "x.tar"))
    assert got == ITEMS[:-1]
    assert "a second archive follows" in str(error)


def test_gzip_of_something_else(tmp_path):
    """A gzip file that holds no tar is an error, and so is an empty one."""
    for content, message in ((b"[{}]" * 500, "no tar header"), (b"", "end-of-archive mark is missing")):
        (tmp_path / "x.tar.gz").write_bytes(gzip.compress(content))
        assert message in str(whole_members(stream_tar(tmp_path / "x.tar.gz"))[1])


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", b"BZh91AY", b"{}", b"\x1f"])
def test_no_tar(tmp_path, content):
    """A file that is neither a tar nor a gzip file is refused at once, by name."""
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"x\.tar\.gz: "):
        stream_tar(tmp_path / "x.tar.gz")


def test_error_in_the_callback(tmp_path):
    """An error of the caller's own function comes through as it is, and the thread ends."""
    (tmp_path / "x.tar.gz").write_bytes(GZIPPED)

    def wanted(name):
        raise RuntimeError(name)

    with pytest.raises(RuntimeError, match=r"readme\.txt"):
        list(stream_tar(tmp_path / "x.tar.gz", wanted=wanted))


# --- memory and extraction


def test_memory_is_bounded(tmp_path):
    """Delivering 100 members, skipping one of 40 MB, and extracting that one each take a few megabytes."""
    with (tmp_path / "x.tar.gz").open("wb") as file:
        packer = zlib.compressobj(1, wbits=31)
        block = random.Random(10).randbytes(2**18)
        for name, size in (("huge", 160), *((f"{i}", 1) for i in range(100))):
            info = tarfile.TarInfo(name)
            info.size = size * 2**18
            file.write(packer.compress(info.tobuf()))
            for _ in range(size):
                file.write(packer.compress(block))
        file.write(packer.compress(bytes(1024)) + packer.flush())
    program = """
import sys, tracemalloc
from irtd_datasets.releases.streams import extract_tar, stream_tar
tracemalloc.start()
stream = stream_tar(sys.argv[1], wanted=lambda name: name != "huge", member_limit=2**18)
assert sum(member.size for member in stream) == 100 * 2**18
print(tracemalloc.get_traced_memory()[1])
tracemalloc.reset_peak()
path, = extract_tar(sys.argv[1], sys.argv[2], wanted=lambda name: name == "huge")
assert path.stat().st_size == 160 * 2**18
print(tracemalloc.get_traced_memory()[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.tar.gz", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(int(peak) < 12 * 2**20 for peak in done.stdout.split())


def test_extract(tmp_path):
    """Wanted members are written below the folder, whole, and nothing else is left there."""
    paths = cut(tmp_path, GZIPPED, 3)
    out = tmp_path / "out"
    written = extract_tar(paths, out, wanted=lambda name: name.startswith("a"))
    assert [path.relative_to(out.resolve()).as_posix() for path in written] == [
        n for n in CONTENT if n[0] == "a"
    ]
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == {
        name: data for name, data in CONTENT.items() if name[0] == "a"
    }


def test_extract_from_a_cut_archive(tmp_path):
    """Where the archive ends early, only whole files are there and no unfinished one."""
    content = {f"{i}": random.Random(i).randbytes(3000) for i in range(9)}
    paths = cut(tmp_path, gzip.compress(tar_bytes(content.items())), 2)[:1]
    with pytest.raises(ArchiveError, match=r"after \d members"):
        extract_tar(paths, tmp_path / "out", wanted=lambda name: True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert files
    assert files == dict(list(content.items())[: len(files)])


def test_extract_does_not_follow_links_out(tmp_path):
    """A link that stands in the folder does not lead what is written elsewhere."""
    (tmp_path / "x.tar").write_bytes(WHOLE)
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="leads out"):
        extract_tar(tmp_path / "x.tar", tmp_path / "out", wanted=lambda name: True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_extract_cannot_write(tmp_path):
    """Where the folder cannot be made, the error names the file that was to be written."""
    (tmp_path / "x.tar").write_bytes(WHOLE)
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(BuildError, match=r"out.readme\.txt: cannot be written"):
        extract_tar(tmp_path / "x.tar", tmp_path / "out", wanted=lambda name: True)


def test_unreadable_piece(tmp_path):
    """A piece that is a folder is an error of this library."""
    paths = cut(tmp_path, GZIPPED, 3)
    paths[1].unlink()
    paths[1].mkdir()
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz\.1"):
        list(stream_tar(paths))
