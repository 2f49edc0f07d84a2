"""Zips that are odd, damaged or hostile."""

from __future__ import annotations

import io
import random
import stat
import struct
import subprocess
import sys
import zipfile
import zlib

import pytest
from make_archives import CONTENT, central_record, patch, write_zip

from irtd_datasets.errors import ArchiveError, ReleaseError, UnsafePathError
from irtd_datasets.releases import zips
from irtd_datasets.releases.containers import ZipContainer


def test_truncated_anywhere(tmp_path):
    """A zip cut at any byte is an error, and never delivers other content than it had."""
    whole = write_zip(tmp_path / "whole.zip").read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError):
            ZipContainer(path).find("a/1.jpg")


def test_damaged_anywhere(tmp_path):
    """With any byte changed, each member is delivered as it was, or there is an error of this library."""
    whole = write_zip(tmp_path / "whole.zip").read_bytes()
    path = tmp_path / "damaged.zip"
    rng = random.Random(6)
    outcomes = {"read": 0, "refused": 0}
    for at in range(0, len(whole), 11):
        data = bytearray(whole)
        data[at] = rng.randrange(256)
        path.write_bytes(bytes(data))
        try:
            container = ZipContainer(path)
            for name in list(container.names()):
                content = container.read(name, limit=2**20)
                with container.open(name, limit=2**20) as file:
                    assert file.read() == content
                assert name not in CONTENT or content == CONTENT[name]
            outcomes["read"] += 1
        except ReleaseError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 15


def test_a_damaged_directory_loses_and_renames_nothing(tmp_path):
    """Whichever bit of the directory is wrong: every member comes under its own name, or there is an error."""
    content = {f"folder/{number}.txt": b"content %d " % number * 9 for number in range(3)}
    whole = write_zip(tmp_path / "whole.zip", content).read_bytes()
    path = tmp_path / "damaged.zip"
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[at] ^= 1 << bit
            path.write_bytes(bytes(data))
            container = ZipContainer(path)
            try:
                found = {name: container.read(name) for name in container.names()}
            except ReleaseError:
                continue
            assert found == content, (at, bit)


def test_names_are_asked_for_in_any_spelling(tmp_path):
    """A name with a doubled or a turned slash is that of the member, read whole or forwards."""
    container = ZipContainer(write_zip(tmp_path / "x.zip", {"a/b/1.txt": b"one"}))
    for name in ("a//b/1.txt", "a\\b\\1.txt", "./a/b/1.txt"):
        assert container.read(name) == b"one"
        with container.open(name) as file:
            assert file.read() == b"one"


def test_wrong_crc(tmp_path):
    """Content that does not match its CRC is refused, read whole or forwards."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "x.zip", {"a": b"content " * 50}, method)
        data = path.read_bytes()
        patch(path, central_record(data, "a") + 16, "<L", 12345)
        with pytest.raises(ArchiveError, match=r"x\.zip: member 'a' has a wrong CRC-32"):
            ZipContainer(path).read("a")
        with ZipContainer(path).open("a") as file, pytest.raises(ArchiveError, match="wrong CRC-32"):
            file.read()


def test_encrypted_member(tmp_path):
    """An encrypted member is refused with what to do; the others are read."""
    path = write_zip(tmp_path / "x.zip", {"a": b"1", "b": b"2"})
    patch(path, central_record(path.read_bytes(), "a") + 8, "<H", 1)
    container = ZipContainer(path)
    with pytest.raises(ArchiveError, match="'a' is encrypted\nUnpack the zip once with its password"):
        container.read("a")
    assert container.read("b") == b"2"


def test_unknown_compression(tmp_path):
    """A compression that is not read is named."""
    path = write_zip(tmp_path / "x.zip", {"a": b"1"}, zipfile.ZIP_LZMA)
    with pytest.raises(ArchiveError, match="compressed with LZMA"):
        ZipContainer(path).read("a")


def test_duplicate_names(tmp_path):
    """Two different members of one name are refused; the same content twice is not."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"one")
        archive.writestr("./a/1.jpg", b"two")
    with pytest.raises(ArchiveError, match=r"two different members are named 'a/1\.jpg'"):
        ZipContainer(path).find("a/1.jpg")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.jpg", b"one")
        archive.writestr("./a//1.jpg", b"one")
    assert ZipContainer(path).read("a/1.jpg") == b"one"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "C:/x", "a\\..\\x"])
def test_unsafe_member_names(tmp_path, name):
    """A zip with a member that would leave its folder is refused as a whole, naming archive and member."""
    path = write_zip(tmp_path / "x.zip", {"good": b"1", name: b"2"})
    with pytest.raises(UnsafePathError, match=r"x\.zip, name ") as caught:
        ZipContainer(path).find("good")
    assert repr(name) in str(caught.value)


def test_symbolic_link_member(tmp_path):
    """A member that is a symbolic link is never followed."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("file", b"1")
    for ask in (ZipContainer(path).find, ZipContainer(path).read):
        with pytest.raises(ArchiveError, match="'link' is a symbolic link"):
            ask("link")
    assert ZipContainer(path).read("file") == b"1"


def test_bomb_by_declared_size(tmp_path):
    """A member that grows more than 200-fold is refused before anything is inflated."""
    path = write_zip(tmp_path / "bomb.zip", {"zeros": bytes(40 * 2**20)})
    for ask in (ZipContainer(path).read, ZipContainer(path).open):
        with pytest.raises(ArchiveError, match="zip bomb"):
            ask("zeros")


def test_bomb_that_lies(tmp_path):
    """A member that inflates to more than it declares is stopped at the declared size."""
    path = write_zip(tmp_path / "bomb.zip", {"zeros": bytes(2**20)})
    patch(path, central_record(path.read_bytes(), "zeros") + 24, "<L", 100)
    with pytest.raises(ArchiveError, match="inflates to more than the 100 bytes that it declares"):
        ZipContainer(path).read("zeros")
    with ZipContainer(path).open("zeros") as file, pytest.raises(ArchiveError):
        file.read()


def test_declared_total(tmp_path, monkeypatch):
    """A zip whose members declare more than the total limit is refused when it is opened."""
    monkeypatch.setattr(zips, "TOTAL_LIMIT", 1000)
    path = write_zip(tmp_path / "x.zip", {"a": bytes(600), "b": bytes(600)})
    with pytest.raises(ArchiveError, match="declare 1,200 bytes, the limit is 1,000"):
        ZipContainer(path).find("a")


def test_overlapping_members(tmp_path):
    """Members that share stored bytes, as in bombs that multiply one block, are refused."""
    path = tmp_path / "x.zip"
    block = random.Random(3).randbytes(1000)
    local = (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, zlib.crc32(block), 1000, 1000, 1, 0) + b"0"
    )
    directory = b"".join(
        struct.pack(
            "<4s2B5H3L5H2L",
            b"PK\x01\x02",
            20,
            3,
            20,
            0,
            0,
            0,
            0,
            zlib.crc32(block),
            1000,
            1000,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        + bytes([48 + number])
        for number in range(9)
    )
    data = local + block
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(directory), len(data), 0)
    path.write_bytes(data + directory + end)
    with pytest.raises(ArchiveError, match="its members overlap"):
        ZipContainer(path).find("0")


def test_zip64(tmp_path):
    """Sizes and offsets of the zip64 form are read."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a", "w", force_zip64=True) as file:
        file.write(b"content")
    data = path.read_bytes()
    # The form that large archives have: all values of member and directory in their zip64 records.
    at = central_record(data, "a")
    record = bytearray(data[at : at + 46])
    struct.pack_into("<2L", record, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", record, 30, 28)
    struct.pack_into("<L", record, 42, 0xFFFFFFFF)
    central = bytes(record) + b"a" + struct.pack("<2H3Q", 1, 24, 7, 7, 0)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(central), at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(central), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:at] + central + end64 + locator + end)
    assert zipfile.ZipFile(path).read("a") == b"content"
    assert ZipContainer(path).read("a") == b"content"


def test_odd_but_valid(tmp_path):
    """Bytes in front, a comment that looks like an end record, and sizes after the data do not disturb."""
    buffer = io.BytesIO()

    class Unseekable(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return buffer.write(data)

    with zipfile.ZipFile(Unseekable(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"content" * 10)
        archive.comment = b"PK\x05\x06 is where it ends"
    path = tmp_path / "x.zip"
    path.write_bytes(b"#!/bin/sh\n" * 5 + buffer.getvalue())
    assert ZipContainer(path).read("a") == b"content" * 10


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_names_without_declared_encoding(tmp_path, encoding):
    """Chinese names that older programs stored without saying how are read as they were meant."""
    path = tmp_path / "x.zip"
    raw = "红外.jpg".encode(encoding)
    stand_in = "x" * len(raw)
    write_zip(path, {stand_in: b"1"})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    assert list(ZipContainer(path).names()) == ["红外.jpg"]
    assert ZipContainer(path).read("红外.jpg") == b"1"


def test_split_zip(tmp_path):
    """One piece of a split zip is refused with how to join the pieces."""
    path = write_zip(tmp_path / "x.zip", {"a": b"1"})
    data = path.read_bytes()
    patch(path, data.rindex(b"PK\x05\x06") + 4, "<H", 3)
    with pytest.raises(ArchiveError, match="one piece of a split zip"):
        ZipContainer(path).find("a")


def test_same_as_zipfile(tmp_path):
    """A zip of many members reads as the standard library reads it."""
    rng = random.Random(5)
    content = {f"{rng.randrange(9)}/{i}.bin": rng.randbytes(rng.randrange(3000)) for i in range(300)}
    path = write_zip(tmp_path / "x.zip", content)
    container = ZipContainer(path)
    with zipfile.ZipFile(path) as archive:
        assert list(container.names()) == sorted(archive.namelist())
        for info in archive.infolist():
            assert container.read(info.filename) == archive.read(info)
            assert container.find(info.filename).stamp == info.CRC


def test_memory_while_inflating(tmp_path):
    """Reading a large member forwards, or a bomb, holds neither its content nor its packed bytes."""
    program = """
import sys, tracemalloc, zipfile
from irtd_datasets.errors import ArchiveError
from irtd_datasets.releases.containers import ZipContainer
tracemalloc.start()
with ZipContainer(sys.argv[1]).open("large") as file:
    size = 0
    while data := file.read(65536):
        size += len(data)
assert size == 64 * 2**20, size
try:
    ZipContainer(sys.argv[1]).read("liar", limit=2**20)
except ArchiveError as error:
    print(error.problem)
print(tracemalloc.get_traced_memory()[1])
"""
    path = tmp_path / "x.zip"
    block = random.Random(4).randbytes(2**14) + bytes(2**20 - 2**14)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("large", "w") as file:
            for _ in range(64):
                file.write(block)
        archive.writestr("liar", bytes(64 * 2**20))
    patch(path, central_record(path.read_bytes(), "liar") + 24, "<L", 1000)
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    message, peak = done.stdout.splitlines()
    assert "inflates to more than" in message
    assert int(peak) < 4 * 2**20
