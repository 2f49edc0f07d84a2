"""A dataset repository on the Hub, as publishing needs it: its state, uploads, one commit, a tag.

Everything goes through ``huggingface_hub`` from 0.30 to 2.x. What goes wrong is told in one kind of error that never
holds a secret: tokens and signed addresses are blanked in its text, and in what the client writes into its log.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import logging
import os
import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from irtd_datasets.errors import HubError
from irtd_datasets.remote import Retry, asked_wait, error_header, error_status
from irtd_datasets.remote.answers import chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Account", "Remote", "RemoteFile", "RemoteState", "Upload", "quiet_client", "redact", "xet_in_use"]

T = TypeVar("T")

ATTEMPTS = 4
"""How often a step is tried; the client's own retries of single requests come on top."""
LOST_ANSWER = frozenset({409, 412})
"""Answers to a commit after which the repository has to be looked at again."""
_KIND = "dataset"
_HASHING = 4  # threads that read files for their SHA-256, at most


def redact(text: str, *secrets: str | None) -> str:
    """Blank secrets, everything that looks like a token, and queries and passwords in addresses.

    Example:
        >>> redact("PUT https://store/x?signature=abc with hf_abcdefghijkl failed")
        'PUT https://store/x?*** with hf_*** failed'
        >>> redact("password is swordfish", "swordfish")
        'password is ***'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = re.sub(r"\b(hf|api)_[A-Za-z0-9]{8,}", r"\1_***", text)
    text = re.sub(r"(https?://)[^/\s@]+@", r"\1***@", text)
    return re.sub(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>)]+", r"\1?***", text)


@dataclass(frozen=True, slots=True)
class Account:
    """Who a token belongs to.

    Attributes:
        name: Account.
        organisations: Organisations of the account.
        role: ``write``, ``read``, ``fineGrained``, or empty where the Hub does not say.
    """

    name: str
    organisations: tuple[str, ...]
    role: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a repository.

    Attributes:
        size: Its size in bytes.
        sha256: SHA-256 of a large object; empty for a small file.
        git: SHA-1 that git gives to a small file (of the pointer, for a large object).
    """

    size: int
    sha256: str
    git: str


@dataclass(frozen=True, slots=True)
class RemoteState:
    """A repository at one commit.

    Attributes:
        head: The commit that ``main`` is at.
        private: Whether it is private.
        files: Its files by path.
        tags: Commits by tag.
    """

    head: str
    private: bool
    files: Mapping[str, RemoteFile]
    tags: Mapping[str, str]


@dataclass(slots=True)
class Upload:
    """A file on its way; made by `Remote.upload`.

    Attributes:
        path: Its path in the repository.
        file: The local file.
        size: Its size when the upload was planned.
        sha256: What its SHA-256 has to be; empty where nothing says so.
        operation: What the client knows of it.
    """

    path: str
    file: Path
    size: int
    sha256: str
    operation: Any = field(default=None, repr=False)


class _CountedFile(io.FileIO):
    """A file that reports how far it was read; going back for another try does not count again."""

    def __init__(self, path: str, advance: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._advance = advance
        self._seen = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        position = self.tell()
        if data and position > self._seen:
            self._advance(position - self._seen)
            self._seen = position
        return data


class _CountedAdd(CommitOperationAdd):
    """An addition that reports the bytes that the client reads for sending."""

    advance: Callable[[int], None] | None = None

    @contextlib.contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
        """Open the file; the client asks for a bar only where it sends it."""
        if with_tqdm and self.advance is not None and isinstance(self.path_or_fileobj, str):
            with _CountedFile(self.path_or_fileobj, self.advance) as file:
                yield file
            return
        with super().as_file() as file:
            yield file


class Remote:
    """One dataset repository.

    Args:
        repo_id: ``owner/name``.
        token: A token; None takes the one that the user is logged in with.
        sleep: How to wait.
    """

    def __init__(
        self, repo_id: str, *, token: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.repo_id = repo_id
        self.token = token or get_token()
        self._api = HfApi(token=self.token or False)
        self._sleep = sleep

    @property
    def url(self) -> str:
        """Address of its page."""
        return f"{self._api.endpoint}/datasets/{self.repo_id}"

    def account(self) -> Account:
        """Who the token belongs to.

        Raises:
            HubError: There is no token, or the Hub does not take it.
        """
        if not self.token:
            raise HubError(
                "no token: nobody is logged in to the Hub",
                remedy="Run `hf auth login`, or set HF_TOKEN to a token with write access.",
            )
        found = self._call("asking whose token this is", lambda: self._api.whoami(token=self.token))
        token = (found.get("auth") or {}).get("accessToken") or {}
        names = tuple(str(entry.get("name")) for entry in found.get("orgs") or ())
        return Account(str(found.get("name")), names, str(token.get("role") or ""))

    def state(self) -> RemoteState | None:
        """The repository as it is now; None where there is none that the token may see.

        Raises:
            HubError: The Hub refuses or cannot be reached.
        """

        def read() -> RemoteState | None:
            try:
                info = self._api.repo_info(self.repo_id, repo_type=_KIND)
            except RepositoryNotFoundError as error:
                if error_status(error) == 401 and self.token:
                    raise  # the Hub does not take the token any more
                return None
            head = str(info.sha)
            files = self._list(head)
            refs = self._api.list_repo_refs(self.repo_id, repo_type=_KIND)
            tags = {tag.name: str(tag.target_commit) for tag in refs.tags}
            return RemoteState(head, bool(info.private), files, tags)

        return self._call("reading the repository", read)

    def files_at(self, revision: str) -> dict[str, RemoteFile]:
        """Files of a commit or tag, by path."""
        return self._call(f"listing the files at {revision}", lambda: self._list(revision))

    def _list(self, revision: str) -> dict[str, RemoteFile]:
        tree = self._api.list_repo_tree(self.repo_id, repo_type=_KIND, recursive=True, revision=revision)
        return {
            item.path: RemoteFile(item.size, item.lfs.sha256 if item.lfs else "", item.blob_id)
            for item in tree
            if isinstance(item, RepoFile)
        }

    def text(self, path: str, revision: str) -> str:
        """Content of a small file."""

        def read() -> str:
            found = self._api.hf_hub_download(self.repo_id, path, repo_type=_KIND, revision=revision)
            return Path(found).read_text(encoding="utf-8")

        return self._call(f"reading {path}", read)

    def create(self, *, private: bool) -> None:
        """Make the repository; one that was made meanwhile is as good."""
        self._call(
            "making the repository",
            lambda: self._api.create_repo(self.repo_id, repo_type=_KIND, private=private, exist_ok=True),
        )

    def upload(self, files: Iterable[Upload], advance: Callable[[int], None]) -> None:
        """Upload the large ones of some files; nothing is visible yet. What the Hub has already is not sent again.

        Args:
            files: The files; each gets its `Upload.operation`.
            advance: Called with the bytes that were read for sending.
        """
        batch = list(files)

        def hashed(file: Upload) -> None:
            file.operation = _CountedAdd(file.path, str(file.file))
            file.operation.advance = advance

        def send() -> None:
            # Each is read through for its SHA-256, which the bare client does one after another.
            with ThreadPoolExecutor(min(os.cpu_count() or 1, _HASHING)) as pool:
                list(pool.map(hashed, [file for file in batch if file.operation is None]))
            self._api.preupload_lfs_files(
                self.repo_id,
                [file.operation for file in batch],
                repo_type=_KIND,
                free_memory=False,
                gitignore_content="",
            )

        self._call("uploading", send)

    def commit(self, files: Iterable[Upload], deleted: Iterable[str], *, parent: str, message: str) -> str:
        """Make the one commit that shows everything; tried once, since an answer can be lost after it was made.

        Returns:
            Its id.

        Raises:
            HubError: It was refused, or nobody knows; `HubError.status` is in `LOST_ANSWER` when somebody else
                committed meanwhile.
        """
        operations = [*(file.operation for file in files), *(CommitOperationDelete(path) for path in deleted)]
        made = self._call(
            "committing",
            lambda: self._api.create_commit(
                self.repo_id,
                operations,
                repo_type=_KIND,
                commit_message=message,
                parent_commit=parent,
            ),
            attempts=1,
        )
        return str(made.oid)

    def tag(self, name: str, commit: str, message: str) -> None:
        """Give a commit a tag."""
        self._call(
            f"tagging {name}",
            lambda: self._api.create_tag(
                self.repo_id, tag=name, tag_message=message, revision=commit, repo_type=_KIND
            ),
        )

    def _call(self, what: str, function: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
        """Call, wait and call again where that can help, and tell what remains as a `HubError`."""

        def ask() -> T:
            with quiet_client(self.token):
                return function()

        try:
            return Retry(attempts, 2.0).call(ask, self._sleep)
        except HubError:
            raise
        except Exception as error:  # noqa: BLE001 - clients raise whatever their HTTP library does
            # Not `from error`: its text may hold what `redact` took out of ours.
            raise self._told(what, error) from None

    def _told(self, what: str, error: Exception) -> HubError:
        status = error_status(error)
        said = error_header(error, "X-Error-Message") or _first_line(error)
        said = redact(said, self.token)
        answer = f"the Hub answered {status}" if status else "no answer from the Hub"
        if _is_local(error):
            answer = "on this machine"
        return HubError(
            f"{what}: {answer}: {said}" if said else f"{what}: {answer}",
            status=status,
            where=self.repo_id,
            remedy=self._remedy(status, error),
        )

    def _remedy(self, status: int | None, error: Exception) -> str:
        again = "Run the same command again: what has arrived is not sent again."
        if type(error).__name__ == "OfflineModeIsEnabled":
            return "HF_HUB_OFFLINE is set: unset it to publish."
        if _is_local(error):
            return f"The client cannot write its cache: free some space, or set HF_HOME to another folder. {again}"
        if isinstance(error, LocalTokenNotFoundError) or (status == 401 and not self.token):
            return "Run `hf auth login`, or set HF_TOKEN to a token with write access."
        return self._remedy_of_status(status, error, again)

    def _remedy_of_status(self, status: int | None, error: Exception, again: str) -> str:
        """What to do about an answer, or about none."""
        if status == 401:
            return f"The token is not valid, or not any more: make a new one, log in with it (`hf auth login`). {again}"
        if status == 403:
            owner = self.repo_id.partition("/")[0]
            return f"The token may not write to {owner}: use one with write access (`hf auth login`)."
        if status == 429:
            asked = asked_wait(error)
            return f"Too many requests. Wait{f' {asked:.0f} seconds' if asked else ' a while'}. {again}"
        if status in LOST_ANSWER:
            return f"Somebody else committed meanwhile. {again}"
        if status is not None and status >= 500:
            return f"The Hub has a problem of its own; see https://status.huggingface.co. {again}"
        if status == 400:
            return "The Hub does not take it as it is: `irtd check` may say why."
        if xet_in_use() and (status is None or status == 404):
            again = f"{again} Should the Hub not know Xet, set HF_HUB_DISABLE_XET=1."
        return f"Check the connection and HF_ENDPOINT. {again}" if status is None else again


@contextlib.contextmanager
def quiet_client(token: str | None) -> Iterator[None]:
    """Keep secrets out of what the client logs meanwhile."""

    class Blank(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.msg, record.args = redact(record.getMessage(), token), ()
            return True

    blank = Blank()
    logger = logging.getLogger("huggingface_hub")
    handlers = [*logger.handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(blank)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(blank)


def xet_in_use() -> bool:
    """Whether the client uploads by Xet: in chunks of which the Hub takes those it does not have."""
    disabled = getattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    return not disabled and importlib.util.find_spec("hf_xet") is not None


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Switch the client's own bars off meanwhile."""
    before = are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said where the environment decides about bars
        disable_progress_bars()
        try:
            yield
        finally:
            if not before:
                enable_progress_bars()


def _is_local(error: BaseException) -> bool:
    """Whether the disk, not the network, is what failed."""
    local = {errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS}
    return error_status(error) is None and any(
        isinstance(link, OSError) and link.errno in local and link.filename is not None
        for link in chain(error)
    )


def _first_line(error: BaseException) -> str:
    """What the innermost error says: outer ones only tell which file it was about."""
    links = list(chain(error))
    texts = [next((line for line in str(link).splitlines() if line.strip()), "") for link in links]
    outer, inner = texts[0], next((text for text in reversed(texts) if text), "")
    said = outer if outer == inner or not outer else f"{outer.rstrip('.')}: {inner}"
    return said or type(error).__name__
