"""One file from a URL onto this disk: resumed, verified, and in place by one rename.

What has come waits beside the target as ``NAME.part``, with a note of which file it is of. It is gone on with where the
server still has that file: its size and mark are the same, and the last bytes that came are those that it sends again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

from irtd_datasets.documents import read_json
from irtd_datasets.errors import (
    AnnotationError,
    ArchiveError,
    BuildError,
    IrtdDatasetsError,
    ReleaseError,
    ReleaseNotFoundError,
)
from irtd_datasets.releases.sniff import HEAD_SIZE, no_archive, sniff
from irtd_datasets.remote import Retry, asked_wait, passes
from irtd_datasets.remote.files import hub_file, open_answer, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from irtd_datasets.remote.files import Files, RemoteFile

__all__ = ["PART", "download", "have_part", "sha256_of"]

PART = ".part"
_BLOCK = 1 << 20
_RANGE = 8 << 20
_OVERLAP = 64 << 10
_RETRY = Retry(8, 0.5)
_PAGES = ("html", "json-error", "lfs-pointer")


def download(
    files: Files, facts: RemoteFile, target: Path, sha256: str, advance: Callable[[int], None]
) -> tuple[str, str]:
    """Fetch a file.

    Args:
        files: Where it lies.
        facts: What the server says of it.
        target: Where it goes; its folder is made.
        sha256: What it has to be; empty where nobody knows.
        advance: Told how many bytes have come since the last call.

    Returns:
        Its SHA-256, and what else there is to say of the way.

    Raises:
        ReleaseError: The server fails or refuses, a page came in place of the file, or it is not the file of the hash.
        BuildError: It cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, found = target.with_name(target.name + PART), ""
    try:
        hub = hub_file(files, facts.name)
        if hub is not None:
            note = ""
            _from_hub(files, facts.name, hub, part, advance)
        else:
            transfer = _Transfer(files, facts, part, advance)
            try:
                note = transfer.run()
                found = transfer.sha256
            finally:
                if (
                    part.exists() and not part.stat().st_size
                ):  # nothing came; an empty file is complete as it is
                    _forget(part, whole=facts.size != 0)
        size = part.stat().st_size
        if facts.size is not None and size != facts.size:
            _forget(part)
            raise _differs(files, facts, f"{size:,} bytes came, the server said {facts.size:,}")
        _check_kind(files, facts.name, part)
        found = found or sha256_of(part)
        expected = sha256 or facts.sha256
        if expected and found != expected:
            _forget(part)
            raise _differs(files, facts, f"its SHA-256 is {found}, the released file has {expected}")
        part.replace(target)
        _note_of(part).unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, (ReleaseError, BuildError)):
            raise
        raise BuildError(
            f"cannot be written: {error.strerror or error}",
            where=str(target),
            remedy="Check the permissions and the free space; the same command goes on from what has come.",
        ) from error
    return found, note


def have_part(facts: RemoteFile, target: Path) -> int:
    """Bytes of a file that an earlier run has brought and that are of the file which the server has now."""
    part = target.with_name(target.name + PART)
    try:
        values = read_json(_note_of(part), "")
        same = (values["size"].count(), values["mark"].text()) == (facts.size, facts.mark)
        return min(part.stat().st_size, facts.size or 0) if same else 0
    except (AnnotationError, ReleaseNotFoundError, OSError):
        return 0


def sha256_of(path: Path) -> str:
    """SHA-256 of a file of this disk."""
    with path.open("rb") as file:
        if hasattr(hashlib, "file_digest"):  # Python 3.11
            return str(hashlib.file_digest(file, "sha256").hexdigest())
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()


def _note_of(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _forget(part: Path, *, whole: bool = True) -> None:
    if whole:
        part.unlink()
        _note_of(part).unlink(missing_ok=True)


def _check_kind(files: Files, name: str, part: Path) -> None:
    with part.open("rb") as file:
        kind = sniff(file.read(HEAD_SIZE))
    if kind in _PAGES:
        _forget(part)
        raise _page(files, name, kind)


def _page(files: Files, name: str, kind: str = "html") -> ArchiveError:
    error = no_archive(kind, files.where(name), "the file")
    error.remedy += (
        " The link may have moved: `irtd list DATASET` has the project's page, `--from URL` takes a mirror."
    )
    return error


def _differs(files: Files, facts: RemoteFile, problem: str) -> ReleaseError:
    return ReleaseError(
        f"{problem}; what came was deleted",
        where=files.where(facts.name),
        remedy="Start the same command again. If it comes again, that place has another file: take another one "
        "(`--from URL`), and tell its owner.",
    )


def _from_hub(
    files: Files, name: str, hub: tuple[str, str, str, str], part: Path, advance: Callable[[int], None]
) -> None:
    """Let `huggingface_hub` bring a file, which resumes by itself."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    repo, kind, revision, path = hub
    room = part.parent / ".fetch"
    options: dict[str, Any] = {"token": files.options.get("token"), "endpoint": files.options.get("endpoint")}
    disable_progress_bars()

    def once() -> str:
        try:
            return str(
                hf_hub_download(repo, path, repo_type=kind, revision=revision, local_dir=room, **options)
            )
        except OSError as error:
            if str(error).startswith("Consistency check failed"):  # before 1.0 an answer that was cut
                raise ConnectionResetError(str(error)) from error
            raise

    with _watching(room, advance):
        found = files.asking(once, name)
    os.replace(found, part)  # noqa: PTH105 - from a path as text
    if not any(path.suffix == ".incomplete" for path in room.rglob("*")):
        shutil.rmtree(room, ignore_errors=True)


@contextlib.contextmanager
def _watching(room: Path, advance: Callable[[int], None]) -> Iterator[None]:
    """Tell how much of a file has come that a library brings into a folder."""
    ended, told = threading.Event(), 0

    def look() -> None:
        nonlocal told
        while not ended.wait(0.5):
            with contextlib.suppress(OSError):
                size = sum(path.stat().st_size for path in room.rglob("*.incomplete"))
                advance(max(size - told, 0))
                told = max(told, size)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        size = max((path.stat().st_size for path in room.glob("*") if path.is_file()), default=told)
        advance(max(size - told, 0))


class _Transfer:
    """A file on its way, by one answer as long as it comes and by further ones from where that was cut."""

    def __init__(self, files: Files, facts: RemoteFile, part: Path, advance: Callable[[int], None]) -> None:
        self._files = files
        self._facts = facts
        self._part = part
        self._advance = advance
        self._have = have_part(facts, part.with_name(part.name.removesuffix(PART)))
        self._unsure = self._have > 0
        self._notes: list[str] = []
        self._digest, self._hashed = hashlib.sha256(), 0
        self._web = files.url.lower().startswith(("http://", "https://"))

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole; empty where not all of it came in this run."""
        return self._digest.hexdigest() if self._hashed == self._have else ""

    def run(self) -> str:
        """Bring what is missing; returns what there is to say."""
        if self._have:
            self._notes.append(f"went on from byte {self._have:,}")
            self._advance(self._have)
        _note_of(self._part).write_text(
            json.dumps({"size": self._facts.size, "mark": self._facts.mark}),
            encoding="utf-8",
        )
        with self._part.open("r+b" if self._have else "w+b", buffering=0) as file:
            attempt = 0
            while self._facts.size is None or self._have < self._facts.size:
                before = self._have
                try:
                    if not (self._stream if self._web else self._ranges)(file):
                        break
                except IrtdDatasetsError:
                    raise
                except Exception as error:  # noqa: BLE001 - any library's; judged below
                    # A server that sends a few bytes with each answer would keep this going for ever.
                    attempt = 1 if self._have - before > _OVERLAP else attempt + 1
                    self._wait(error, attempt)
        return "; ".join(dict.fromkeys(self._notes))

    def _wait(self, error: Exception, attempt: int) -> None:
        pause = _RETRY.wait(attempt, asked_wait(error)) if passes(error) else None
        if pause is not None:
            time.sleep(pause)
            return
        told = self._files.told(error, self._facts.name)
        kept = f"{self._have:,} bytes have come and are kept in {self._part.name}"
        told.remedy += f" {kept}; the same command goes on from there."
        raise told from None

    def _ranges(self, file: Any) -> bool:  # noqa: ANN401
        """Read a stretch through fsspec."""
        facts, size = self._facts, self._facts.size
        assert size is not None  # every such file system tells it
        if self._unsure:
            first = max(self._have - _OVERLAP, 0)
            self._compare(file, first, self._files.read(facts.name, first, self._have, facts.mark))
        file.seek(self._have)
        while self._have < size:
            stop = min(self._have + _RANGE, size)
            self._took(file, memoryview(self._files.read(facts.name, self._have, stop, facts.mark)))
        return False

    def _stream(self, file: Any) -> bool:  # noqa: ANN401
        """Read one answer of a web server; True where more has to be asked for."""
        facts = self._facts
        start = max(self._have - _OVERLAP, 0) if self._unsure else self._have
        headers = {}
        if start or self._unsure:
            headers["Range"] = f"bytes={start}-"
            if facts.mark.startswith('"'):  # a weak mark must not be sent
                headers["If-Range"] = facts.mark
        with contextlib.closing(open_answer(self._files.full(facts.name), headers)) as answer:
            self._begin(file, answer, start if headers else None)
            file.seek(self._have)
            for piece in pieces(answer):
                self._took(file, memoryview(piece))
        if facts.size is not None and self._have < facts.size:
            raise EOFError(f"the connection ended at byte {self._have:,} of {facts.size:,}")
        return False

    def _begin(self, file: Any, answer: Any, start: int | None) -> None:  # noqa: ANN401
        """Look at what an answer is before its body is taken; ``start`` is the byte that was asked for, if one was."""
        if answer.moved:
            self._notes.append(f"the link has moved for good, to {answer.moved}")
        page = "html" in answer.headers.get("Content-Type", "")
        if page and not self._facts.name.endswith((".html", ".htm")):
            raise _page(self._files, self._facts.name)
        if start is None:
            return
        if answer.status != 206:
            self._notes.append("the server began again")
            self._restart(file)
            return
        sent = answer.headers.get("Content-Range", "")
        if not sent.startswith(f"bytes {start}-"):
            raise EOFError(f"bytes from {start} were asked for, the server sent {sent!r}")
        if self._unsure:
            self._compare(file, start, answer.read(self._have - start))

    def _took(self, file: Any, data: memoryview) -> None:  # noqa: ANN401
        try:
            written = 0
            while written < len(data):  # a file without a buffer may take a part
                written += file.write(data[written:])
        except OSError as error:
            raise BuildError(
                f"cannot be written: {error.strerror or error}",
                where=str(self._part),
                remedy="Free some space; the same command goes on from what has come.",
            ) from error
        self._digest.update(data)
        self._have += len(data)
        self._hashed += len(data)
        self._advance(len(data))

    def _compare(self, file: Any, start: int, again: bytes) -> None:  # noqa: ANN401
        """Compare the end of what is here with what the server sends for it; other bytes are of another file."""
        file.seek(start)
        self._unsure = False
        if file.read(self._have - start) != again:
            self._notes.append("what had come was of another file, or damaged, so it began again")
            self._restart(file)
            raise EOFError("what was here did not fit")

    def _restart(self, file: Any) -> None:  # noqa: ANN401
        self._advance(-self._have)
        self._have, self._unsure = 0, False
        self._digest, self._hashed = hashlib.sha256(), 0
        file.seek(0)
        file.truncate()
