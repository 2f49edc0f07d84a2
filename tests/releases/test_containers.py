"""What every container promises, and folders."""

from __future__ import annotations

import errno
import json
import os
import pickle
import threading
import zipfile
from pathlib import Path

import pytest
from make_archives import CONTENT, write_folder, write_tar, write_zip

from irtd_datasets.errors import ArchiveError, ReleaseNotFoundError, UnsafePathError
from irtd_datasets.releases.containers import (
    Container,
    FolderContainer,
    TarContainer,
    ZipContainer,
    common_folder,
    open_container,
)


@pytest.fixture(params=["folder", "zip", "stored zip", "tar"])
def container(request, tmp_path):
    path = tmp_path / "release"
    if request.param == "folder":
        path.mkdir()
        return open_container(write_folder(path))
    if request.param == "tar":
        return open_container(write_tar(path))
    method = zipfile.ZIP_STORED if request.param == "stored zip" else zipfile.ZIP_DEFLATED
    return open_container(write_zip(path, method=method))


def test_delivers_every_file(container):
    """Each file is found with its size, read whole, and read forwards with the same bytes."""
    assert isinstance(container, Container)
    assert container.label == "release"
    for name, data in CONTENT.items():
        entry = container.find(name)
        assert (entry.name, entry.size) == (name, len(data))
        assert container.read(name) == data
        with container.open(name) as file:
            assert file.read(10) + file.read() == data


def test_lists_alike(container):
    """Names come in one order from every kind of container, and folders list what lies directly in them."""
    assert list(container.names()) == sorted(CONTENT)
    assert list(container.folder()) == ["a.txt", "readme.txt"]
    assert list(container.folders()) == ["a", "红外"]
    assert list(container.folder("a/")) == ["1.jpg", "2.jpg"]
    assert list(container.folders("a")) == ["b"]
    assert list(container.folder("absent")) == list(container.folders("a/1.jpg")) == []


def test_absent_names(container):
    """A name that is not there, or is a folder, is None to find and an error to read."""
    for name in ("absent", "a", "a/1.jpg/x", "A/1.JPG", "x" * 250 + "/y"):
        assert container.find(name) is None
        with pytest.raises(ReleaseNotFoundError, match=r"release: holds no file"):
            container.read(name)
        with pytest.raises(ReleaseNotFoundError):
            container.open(name)


def test_other_spellings_of_a_name(container):
    """Names are normalised before they are looked up, and unsafe ones are refused."""
    assert container.read(r".\a\1.jpg") == CONTENT["a/1.jpg"]
    for name in ("../release/readme.txt", "/etc/passwd", "a/../readme.txt", ""):
        with pytest.raises(UnsafePathError):
            container.find(name)
        with pytest.raises(UnsafePathError):
            container.read(name)


def test_limit_is_checked_before_reading(container):
    """A file above the limit is an error that names both sizes; one at the limit is read."""
    assert len(container.read("a/b/3.jpg", limit=5000)) == 5000
    for reader in (container.read, container.open):
        with pytest.raises(ArchiveError, match=r"'a/b/3\.jpg' has 5,000 bytes, the limit is 4,999"):
            reader("a/b/3.jpg", limit=4999)


def test_pickles_without_its_handle(container):
    """A used container can be sent to another process and works there; so does one that was closed."""
    container.read("a/1.jpg")
    twin = pickle.loads(pickle.dumps(container))
    container.close()
    assert twin.read("a/1.jpg") == container.read("a/1.jpg") == CONTENT["a/1.jpg"]
    assert twin.label == container.label
    assert twin.find("a/1.jpg") == container.find("a/1.jpg")


def test_threads_share_a_container(container):
    """Reads from several threads do not disturb each other."""
    wrong = []

    def work():
        wrong.extend(
            name for _ in range(50) for name, data in CONTENT.items() if container.read(name) != data
        )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_process_reads_on(container):
    """A forked worker and its parent read from one container without moving each other's place."""
    container.read("a/1.jpg")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(container.read(name) == data for name, data in CONTENT.items()) else 1)
    assert container.read("a/b/3.jpg") == CONTENT["a/b/3.jpg"]
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_common_folder(tmp_path, write):
    """The one folder an archive was made of is known, whatever macOS put beside it."""
    inner = {"json_sft/ReID.json": b"[]", "json_sft/sub/x": b"", "__MACOSX/json_sft/._ReID.json": b""}
    assert common_folder(open_container(write(tmp_path / "one", inner))) == "json_sft"
    assert common_folder(open_container(write(tmp_path / "two", {**inner, "b/x": b""}))) == ""
    assert common_folder(open_container(write(tmp_path / "top", {**inner, "x": b""}))) == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "a web page, not an archive"),
        (b"<html>" + bytes(2000), "a web page, not an archive"),
        (b'{"errno":31066,"error_msg":"no such file"}', "the download host answered with an error"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"\x1f\x8b\x08" + bytes(100), "gunzip it once: random access needs a plain tar, a zip or a folder"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive"),
        (b"Rar!\x1a\x07\x01", "rar archive"),
        (b"\xfd7zXZ\x00", "unxz"),
        (b"BZh9", "bunzip2"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (bytes(4096), "zero bytes"),
        (b"plain text", "not an archive: expected a folder, a zip or a tar"),
        (b"PK\x03\x04" + bytes(100), "cut short"),
    ],
)
def test_content_decides_what_a_file_is(tmp_path, data, message):
    """A file that is no archive, whatever its extension, is refused with what it is and what to do."""
    path = tmp_path / "json_sft.zip"
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=message) as caught:
        open_container(path).find("x")
    assert "json_sft.zip" in str(caught.value)


def test_extension_does_not_matter(tmp_path):
    """A zip named .tar and a tar named .zip are opened for what they are."""
    assert isinstance(open_container(write_zip(tmp_path / "x.tar")), ZipContainer)
    assert isinstance(open_container(write_tar(tmp_path / "x.zip")), TarContainer)
    with pytest.raises(ArchiveError, match="a tar file, expected a zip"):
        ZipContainer(tmp_path / "x.zip").find("a")
    with pytest.raises(ArchiveError, match="a zip file, expected a tar"):
        TarContainer(tmp_path / "x.tar").find("a")


def test_nothing_there(tmp_path):
    """A path with nothing at it is its own error, for each kind."""
    for make in (open_container, FolderContainer):
        with pytest.raises(ReleaseNotFoundError):
            make(tmp_path / "absent")
    for make in (ZipContainer, TarContainer):
        with pytest.raises(ReleaseNotFoundError):
            make(tmp_path / "absent").find("x")
        with pytest.raises(ArchiveError):
            make(tmp_path).find("x")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ArchiveError, match="not a folder"):
        FolderContainer(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_do_not_block(tmp_path):
    """A pipe is no file: neither finding nor opening waits for a writer."""
    os.mkfifo(tmp_path / "pipe")
    assert FolderContainer(tmp_path).find("pipe") is None
    with pytest.raises(ReleaseNotFoundError):
        FolderContainer(tmp_path).read("pipe")
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        open_container(tmp_path / "pipe")


def test_folder_find_costs_one_stat(tmp_path, monkeypatch):
    """Finding never lists a folder and resolves each folder once, however many images are asked for."""
    folder = FolderContainer(write_folder(tmp_path, {f"images/{i}.jpg": b"x" for i in range(50)}))
    calls = {"lstat": 0, "realpath": 0, "scandir": 0, "listdir": 0, "stat": 0}

    def counted(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    folder.find("images/0.jpg")
    for name in ("lstat", "scandir", "listdir", "stat"):
        counted(os, name)
    counted(os.path, "realpath")
    assert all(folder.find(f"images/{i}.jpg") for i in range(50))
    assert calls == {"lstat": 50, "realpath": 0, "scandir": 0, "listdir": 0, "stat": 0}


def test_folder_lists_once(tmp_path):
    """A listing is kept: a file that appears later is found by name but not listed again."""
    folder = FolderContainer(write_folder(tmp_path))
    assert list(folder.folder("a")) == ["1.jpg", "2.jpg"]
    (tmp_path / "a" / "9.jpg").write_bytes(b"9")
    assert list(folder.folder("a")) == ["1.jpg", "2.jpg"]
    assert folder.find("a/9.jpg").size == 1


def test_folder_created_later_is_found(tmp_path):
    """That a folder was absent is not remembered."""
    folder = FolderContainer(tmp_path)
    assert folder.find("later/x") is None
    write_folder(tmp_path, {"later/x": b"1"})
    assert folder.read("later/x") == b"1"


def test_stamp_changes_with_content(tmp_path):
    """The stamp of a file differs after its content was replaced by one of the same size."""
    for write, make in ((write_zip, ZipContainer), (write_tar, TarContainer)):
        before = make(write(tmp_path / "x", {"a": b"1"})).find("a")
        write(tmp_path / "x", {"a": b"2"})
        os.utime(tmp_path / "x", ns=(1, 1))
        assert make(tmp_path / "x").find("a").stamp != before.stamp
    (tmp_path / "x").write_bytes(b"1")
    before = FolderContainer(tmp_path).find("x")
    os.utime(tmp_path / "x", ns=(2, 2))
    assert FolderContainer(tmp_path).find("x").stamp != before.stamp


def test_folder_links(tmp_path):
    """Links within the folder are followed; those out of it are refused, for a file and for a folder."""
    root = tmp_path / "release"
    write_folder(root, {"real/1.jpg": b"one"})
    write_folder(tmp_path / "outside", {"1.jpg": b"secret"})
    (root / "file-in").symlink_to("real/1.jpg")
    (root / "folder-in").symlink_to("real")
    (root / "broken").symlink_to("nothing")
    (root / "file-out").symlink_to("../outside/1.jpg")
    (root / "folder-out").symlink_to("../outside")
    (root / "circle").symlink_to("circle")
    (tmp_path / "alias").symlink_to("release")
    folder = FolderContainer(tmp_path / "alias")
    assert folder.read("file-in") == folder.read("folder-in/1.jpg") == b"one"
    assert folder.find("broken") is None
    for name in ("file-out", "folder-out/1.jpg"):
        for ask in (folder.find, folder.read, folder.open):
            with pytest.raises(
                UnsafePathError, match=r"alias, '.*': a symbolic link leads out of the release"
            ):
                ask(name)
    for name in ("circle", "circle/x"):
        with pytest.raises(UnsafePathError):
            folder.find(name)
    with pytest.raises(UnsafePathError):
        folder.folder("folder-out")


def test_folder_walk_with_links(tmp_path):
    """Walking follows links inside, ends where a link leads back up, and does not leave in silence."""
    write_folder(tmp_path / "r", {"a/1": b"", "a-b": b"", "a.b": b"", "a0": b""})
    (tmp_path / "r" / "a" / "up").symlink_to("..")
    (tmp_path / "r" / "z").symlink_to("a")
    names = list(FolderContainer(tmp_path / "r").names())
    assert names == sorted(names) == ["a-b", "a.b", "a/1", "a0", "z/1"]
    (tmp_path / "out").mkdir()
    (tmp_path / "r" / "out").symlink_to("../out")
    with pytest.raises(UnsafePathError):
        list(FolderContainer(tmp_path / "r").names())


@pytest.mark.parametrize("call", ["open", "lstat", "read", "scandir"])
def test_failing_disk_is_told(tmp_path, monkeypatch, call):
    """Where the system refuses or fails, the error names folder, file and the system's reason."""
    write_folder(tmp_path / "release")
    folder = FolderContainer(tmp_path / "release")

    def fail(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ArchiveError, match=r"release: '.*' cannot be read: Permission denied"):
        {"scandir": lambda: list(folder.names()), "lstat": lambda: folder.find("a/1.jpg")}.get(
            call, lambda: folder.read("a/1.jpg")
        )()


def test_released_zip():
    """The zip that the IR-TD authors released opens, with its eight task files under one folder."""
    real = Path(os.environ.get("IRTD_REAL", Path(__file__).resolve().parents[2] / ".." / "shared" / "real"))
    path = real / "irtd_json_sft" / "json_sft.zip"
    if not path.exists():
        pytest.skip("the released json_sft.zip is not beside the checkout")
    container = open_container(path)
    folder = common_folder(container)
    assert folder == "json_sft"
    assert len([name for name in container.folder(folder) if name.endswith(".json")]) == 8
    assert len(json.loads(container.read("json_sft/ReID.json"))) == 3733
