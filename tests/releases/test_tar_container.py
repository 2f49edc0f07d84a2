"""Tars with random access: forms of headers, links, damage."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
import tarfile

import pytest
from make_archives import CONTENT, special, tar_bytes, write_tar

from irtd_datasets.errors import ArchiveError, UnsafePathError
from irtd_datasets.releases.containers import TarContainer
from irtd_datasets.releases.streams import stream_tar

LONG = "/".join(["folder-of-a-long-name"] * 15) + "/图.jpg"


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_formats(tmp_path, tar_format):
    """pax, GNU and ustar archives are read as the standard library reads them."""
    rng = random.Random(7)
    content = {f"{'d' * rng.randrange(1, 60)}/{i}": rng.randbytes(rng.randrange(2000)) for i in range(60)}
    content["p" * 90 + "/" + "n" * 90] = b"needs the prefix field"
    if tar_format != tarfile.USTAR_FORMAT:
        content[LONG] = b"long"
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(content.items(), tar_format))
    container = TarContainer(path)
    with tarfile.open(path) as archive:
        assert list(container.names()) == sorted(archive.getnames())
    for name, data in content.items():
        assert container.read(name) == data


def test_old_header(tmp_path):
    """A header older than POSIX, with no magic and a signed checksum, is read."""
    data = bytearray(tar_bytes([("caf\xe9", b"old")], tarfile.USTAR_FORMAT))
    data[156] = 0
    data[257:512] = bytes(255)
    data[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in data[:512])
    assert signed != sum(data[:512])
    data[148:156] = b"%06o\0 " % signed
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(data))
    assert TarContainer(path).read("caf\xe9") == b"old"


def _with_header(data: bytes, start: int, value: bytes) -> bytes:
    header = bytearray(data[:512])
    header[start : start + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


def test_binary_size(tmp_path):
    """Sizes in base 256, which GNU tar writes for large members, are read; a negative one is refused."""
    path = tmp_path / "x.tar"
    data = tar_bytes([("a", b"content")], tarfile.GNU_FORMAT)
    path.write_bytes(_with_header(data, 124, b"\x80" + struct.pack(">3xQ", 7)))
    assert TarContainer(path).read("a") == b"content"
    path.write_bytes(_with_header(data, 124, b"\xff" * 12))
    with pytest.raises(ArchiveError, match="declares -1 bytes"):
        TarContainer(path).find("a")
    path.write_bytes(_with_header(data, 124, b"12345678abc\0"))
    with pytest.raises(ArchiveError, match="not an archive"):
        TarContainer(path).find("a")


def test_size_without_terminator(tmp_path):
    """A size that fills its field with octal digits is octal."""
    path = tmp_path / "x.tar"
    path.write_bytes(_with_header(tar_bytes([("a", b"x" * 8)]), 124, b"000000000010"))
    assert TarContainer(path).read("a") == b"x" * 8


@pytest.mark.parametrize("member_first", [True, False])
def test_sparse_is_refused(tmp_path, member_first):
    """A sparse member, whose stored bytes are not its content, is refused by name."""
    path = tmp_path / "x.tar"
    if member_first:
        path.write_bytes(_with_header(tar_bytes([("holes", b"x")], tarfile.GNU_FORMAT), 156, b"S"))
    else:
        info = tarfile.TarInfo("holes")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        path.write_bytes(tar_bytes([info]))
    with pytest.raises(ArchiveError, match=r"x\.tar: member 'holes' is stored sparse"):
        TarContainer(path).find("holes")


def test_links(tmp_path):
    """A hard link is the file it names; symbolic links and devices are refused by name."""
    path = tmp_path / "x.tar"
    path.write_bytes(
        tar_bytes(
            [
                ("a/1", b"one"),
                special("a/hard", tarfile.LNKTYPE, "a/1"),
                special("hard-out", tarfile.LNKTYPE, "absent"),
                special("soft", tarfile.SYMTYPE, "/etc/passwd"),
                special("device", tarfile.CHRTYPE),
                special("folder", tarfile.DIRTYPE),
                ("a/2", b"two"),
            ]
        )
    )
    container = TarContainer(path)
    assert container.read("a/hard") == b"one"
    assert list(container.names()) == ["a/1", "a/2", "a/hard"]
    assert container.find("folder") is None
    for name, kind in (("hard-out", "hard link"), ("soft", "symbolic link"), ("device", "character device")):
        for ask in (container.find, container.read):
            with pytest.raises(ArchiveError, match=f"'{name}' is a {kind}"):
                ask(name)


def test_last_of_a_name_counts(tmp_path):
    """Of several members of one name the last one is read, as `tar` unpacks them."""
    path = tmp_path / "x.tar"
    path.write_bytes(
        tar_bytes([("a", b"old"), ("a", b"newer"), special("a2", tarfile.SYMTYPE, "x"), ("a2", b"file")])
    )
    assert TarContainer(path).read("a") == b"newer"
    assert TarContainer(path).read("a2") == b"file"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_unsafe_member_names(tmp_path, name):
    """A tar with a member that would leave its folder is refused, naming archive and member."""
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes([("good", b"1"), (name, b"2")]))
    with pytest.raises(UnsafePathError, match=rf"x\.tar, name '{name}'"):
        TarContainer(path).find("good")


def test_truncated_anywhere(tmp_path):
    """A tar cut at any byte before its end mark is an error with the byte, also right between two members."""
    whole = write_tar(tmp_path / "whole.tar").read_bytes()
    end = len(whole.rstrip(b"\0")) + 512 & ~511
    path = tmp_path / "cut.tar"
    for length in sorted({*range(0, end, 101), *range(0, end + 1, 512), *range(511, end, 512)}):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError):
            TarContainer(path).find("a")
    path.write_bytes(whole[:1000])
    with pytest.raises(ArchiveError, match=r"ends early.*byte 1,000 of 1,000"):
        TarContainer(path).find("a")


def test_damaged_header(tmp_path):
    """A damaged header is an error with its byte; nothing after it is guessed."""
    data = bytearray(tar_bytes([("a", b"1"), ("b", b"2")]))
    data[1024 + 10] ^= 0xFF
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match=r"no tar header where one must stand \(byte 1,024"):
        TarContainer(path).find("a")


def test_damaged_pax_header(tmp_path):
    """A pax record with a wrong length is an error, not a wrong name."""
    path = tmp_path / "x.tar"
    data = bytearray(tar_bytes([(LONG, b"1")]))
    data[512:514] = b"99"
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="damaged pax header"):
        TarContainer(path).find("a")


def test_enormous_long_name(tmp_path):
    """A long name of more bytes than any name has is refused before it is read."""
    path = tmp_path / "x.tar"
    path.write_bytes(_with_header(tar_bytes([("a", b"1")]), 124, b"77777777777\0")[:156] + b"L" + bytes(2000))
    fixed = bytearray(path.read_bytes())
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed[:512])
    path.write_bytes(bytes(fixed))
    with pytest.raises(ArchiveError, match="a name or pax header of 8589934591 bytes"):
        TarContainer(path).find("a")


def test_empty_archive(tmp_path):
    """A tar of no members is a container without files."""
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes([]))
    assert list(TarContainer(path).names()) == []


def test_walk_does_not_read_contents(tmp_path):
    """Finding the members of a tar of 200 MB, and reading one forwards, takes less than 2 MB."""
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}")
            info.size = 10 * 2**20
            file.write(info.tobuf())
            file.seek(info.size, 1)
        file.write(bytes(1024))
    program = (
        "import sys, tracemalloc; from irtd_datasets.releases.containers import TarContainer;"
        "tracemalloc.start();"
        "t = TarContainer(sys.argv[1]); assert len(list(t.names())) == 20;"
        "f = t.open('7'); assert sum(len(d) for d in iter(lambda: f.read(65536), b'')) == 10 * 2**20;"
        "f.close();"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 2**20


def test_unicode(tmp_path):
    """Names in Chinese are read, stored as UTF-8 or, by older programs, as GBK."""
    assert TarContainer(write_tar(tmp_path / "x.tar")).read("红外/图 1.jpg") == CONTENT["红外/图 1.jpg"]
    raw = "红外.jpg".encode("gbk")
    data = tar_bytes([("x" * len(raw), b"1")], tarfile.USTAR_FORMAT)
    (tmp_path / "gbk.tar").write_bytes(_with_header(data, 0, raw))
    assert list(TarContainer(tmp_path / "gbk.tar").names()) == ["红外.jpg"]


def holes():
    """Where zeros may stand in a tar of an unfinished download: first byte and length, and how long the tar is."""
    members = [(f"{n}.jpg", bytes([1 + n]) * 30_000) for n in range(6)]
    whole = tar_bytes(members)
    starts = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    yield whole, starts[3], 512  # a header alone
    yield whole, starts[5], 512  # that of the last member, so that no other one follows
    yield whole, starts[2], 40_000  # a member and the header behind it
    yield whole, starts[1] + 10_240, 50_000  # beginning and ending inside of members
    yield whole, starts[1], len(whole) - starts[1]  # all that was still to come


@pytest.mark.parametrize("hole", range(5))
def test_a_hole_of_zeros_is_no_end(tmp_path, hole):
    """Zeros where members were never end an archive silently, with random access, as a stream, and gzipped."""
    whole, start, length = list(holes())[hole]
    damaged = bytearray(whole)
    damaged[start : start + length] = bytes(length)
    (tmp_path / "x.tar").write_bytes(damaged)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(damaged))
    with pytest.raises(ArchiveError, match="zeros"):
        list(TarContainer(tmp_path / "x.tar").names())
    for name in ("x.tar", "x.tar.gz"):
        with pytest.raises(ArchiveError, match="zeros"):
            list(stream_tar(tmp_path / name))


def test_two_joined_tars_are_refused(tmp_path):
    """Members behind the end mark, as `cat` leaves them, are not lost without a word."""
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes([("a", b"1")]) + tar_bytes([("b", b"2")]))
    with pytest.raises(ArchiveError, match="a second archive follows"):
        TarContainer(path).find("a")


@pytest.mark.parametrize("tail", [b"", bytes(512), bytes(30_000), bytes(512) + b"what was in memory"])
def test_what_writers_leave_behind_the_mark(tmp_path, tail):
    """One block of zeros, records of another size, and a record that was filled up with memory are an end."""
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes([("a", b"1")])[:1536] + tail)
    assert list(TarContainer(path).names()) == ["a"]
    assert [member.name for member in stream_tar(path)] == ["a"]
