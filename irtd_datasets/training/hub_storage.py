"""A dataset repository on the Hub, read by ranges at one revision.

The revision is resolved once, to a commit, so that a push during a run changes nothing. Large files lie in a file store
to which the Hub sends with a signed link: the link is kept for each file until the store refuses it, so that the Hub,
which limits how often an account may ask it, is asked once for each file and not for each range.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.names import INDEX_FOLDER
from irtd_datasets.remote import error_status
from irtd_datasets.remote.session import answer, hub_session
from irtd_datasets.training.http_storage import receive
from irtd_datasets.training.storage import FileFacts, RemoteStorage, Wanted, changed, page_error, readers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.remote import Transfer

__all__ = ["HubStorage"]

_KINDS = {"datasets": "dataset", "models": "model", "spaces": "space"}
_PRIMED = 16
_HOPS = 5  # redirects within the Hub
_RAN_OUT = frozenset({401, 403, 404, 410})


@dataclass
class HubStorage(RemoteStorage):
    """A repository of the Hub, at one commit from `opening` on; made by `open`."""

    repo: str = ""
    kind: str = "dataset"
    revision: str = "main"
    commit: str = ""
    folder: str = ""
    patience: float = 10.0
    _sha256: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    # Links of the file store; empty for a file that the Hub hands out itself.
    _links: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_locks": {}}

    def _lock_of(self, name: str) -> threading.Lock:
        key = f"{os.getpid()} {name}"  # after a fork, a lock may be held by a thread that is not here
        return self._locks.setdefault(key, threading.Lock())

    @classmethod
    def open(cls, url: str, options: dict[str, Any]) -> HubStorage:
        """Take a URL such as ``hf://datasets/you/irtd@v1.0``; the Hub is not asked yet.

        Raises:
            UnknownNameError: The URL names no repository.
        """
        rest = url.removeprefix("hf://").strip("/")
        head, _, tail = rest.partition("/")
        kind, rest = (_KINDS[head], tail) if head in _KINDS else ("model", rest)
        name, at, revision = rest.partition("@")
        folder = ""
        if at:
            # A revision may contain slashes only where it is written with %2F, as in huggingface_hub.
            revision, _, folder = revision.partition("/")
            revision = revision.replace("%2F", "/")
        else:
            parts = name.split("/", 2)
            name, folder = "/".join(parts[:2]), parts[2] if len(parts) > 2 else ""
        if name.count("/") != 1:
            raise UnknownNameError(
                f"{url!r} names no repository",
                remedy="Write hf://datasets/owner/name, with @revision if needed.",
            )
        revision = options.pop("revision", None) or revision or "main"
        place = f"hf://{_plural(kind)}/{name}@{revision}"
        return cls(place, options, repo=name, kind=kind, folder=folder, revision=revision)

    def _api(self) -> Any:  # noqa: ANN401
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.options.get("endpoint"), token=self.options.get("token"))

    def opening(self, limits: Mapping[str, int]) -> tuple[dict[str, FileFacts], dict[str, bytes]]:
        """The listing and some small files at the commit that the revision is now, all at once."""
        commits: dict[str, str] = {}

        def small(name: str) -> bytes | None:
            found: bytes | None = self._try(
                lambda: self._small(name, self.commit or self.revision, limits[name], commits),
                self.where(name),
            )
            return found

        def listed() -> dict[str, FileFacts]:
            files = self.files()
            # The Hub sends on to another address for small files, too; meanwhile it is asked for these links.
            self.prime([name for name in files if name.startswith(f"{INDEX_FOLDER}/")])
            return files

        files, *found = readers().map(
            lambda task: task(), [listed, *(partial(small, name) for name in limits)]
        )
        for place, name in enumerate(limits):
            if commits.get(name) not in (None, self.commit):  # somebody pushed just then
                found[place] = small(name)
        return files, {name: data for name, data in zip(limits, found, strict=True) if data is not None}

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Yes."""
        return True

    def files(self) -> dict[str, FileFacts]:
        """All files of the folder, by name, at the commit that the revision is when this is called first."""
        from huggingface_hub.errors import HFValidationError

        def listing() -> Any:  # noqa: ANN401
            revision = self.commit or self.revision
            how: dict[str, Any] = {"files_metadata": True, "timeout": self.patience}
            with self.line.transfer(0) as transfer:
                try:
                    found = self._api().repo_info(self.repo, repo_type=self.kind, revision=revision, **how)
                except ValueError as error:
                    if error_status(error) is not None or isinstance(error, HFValidationError):
                        raise
                    raise page_error(self.place) from error  # no JSON
                transfer.answered()
            return found

        info = self._try(listing, self.place)
        if not self.commit:
            self.commit = info.sha
            self.place = f"hf://{_plural(self.kind)}/{self.repo}@{info.sha}" + (
                f"/{self.folder}" if self.folder else ""
            )
        root = f"{self.folder}/" if self.folder else ""
        found = {}
        for entry in info.siblings or ():
            if entry.rfilename.startswith(root) and entry.size is not None:
                name = entry.rfilename.removeprefix(root)
                lfs: Any = entry.lfs or {}
                sha256 = lfs.get("sha256", "") if isinstance(lfs, dict) else lfs.sha256
                found[name] = FileFacts(name, entry.size, sha256, sha256 or entry.blob_id or "")
                self._sha256[name] = sha256
        return found

    def prime(self, names: Sequence[str]) -> None:
        """Ask for the links of some files, as reading them would."""
        for name in names if len(names) <= _PRIMED else ():
            readers().submit(partial(self._prime, name))

    def _prime(self, name: str) -> None:
        with contextlib.suppress(Exception), self._lock_of(name):  # who reads it is told what is wrong
            if name not in self._links:
                wanted = Wanted(self.where(name), 0, 1, None, None, "")
                with self.line.transfer(0) as transfer:
                    if self._walk(name, self.commit, wanted, transfer, {}) is not None:
                        self._links[name] = ""

    def _small(self, name: str, revision: str, limit: int, commits: dict[str, str]) -> bytes | None:
        """A small file at a revision, and in ``commits`` which commit that is; None where there is none."""
        wanted = Wanted(self.where(name), 0, None, None, limit, "")
        try:
            with self.line.transfer(0) as transfer:
                found = self._walk(name, revision, wanted, transfer, commits)
                link = self._links.pop(name, "")
                return bytes(found if found is not None else self._stored(name, link, wanted, transfer))
        except Exception as error:
            if error_status(error) == 404:  # where it is the repository that is missing, the listing says so
                return None
            raise

    def _get(
        self,
        name: str,
        start: int,
        stop: int | None,
        size: int | None,
        limit: int | None,
        transfer: Transfer,
    ) -> bytes | memoryview:
        wanted = Wanted(self.where(name), start, stop, size, limit, "")
        link = self._links.get(name)
        if link is None:
            with self._lock_of(name):  # of many threads one asks for the link
                link = self._links.get(name)
                if link is None:
                    direct = self._walk(name, self.commit or self.revision, wanted, transfer, {})
                    link = self._links.get(name)
                    if direct is not None:
                        self._links[name] = ""
                        return direct
        if not link:
            found = self._walk(name, self.commit or self.revision, wanted, transfer, {})
            if found is not None:
                return found
            link = self._links[name]
        return self._stored(name, link, wanted, transfer)

    def _stored(self, name: str, link: str, wanted: Wanted, transfer: Transfer) -> bytes | memoryview:
        """A part of a file out of the file store."""
        headers = {"Range": wanted.header} if wanted.header else {}
        with answer(hub_session(), link, headers, timeout=self.patience) as store:
            transfer.answered()
            if store.status in _RAN_OUT and self._links.get(name) == link:
                del self._links[name]
            store.check()
            return receive(store, wanted, self.patience, transfer)

    def _walk(
        self, name: str, revision: str, wanted: Wanted, transfer: Transfer, commits: dict[str, str]
    ) -> bytes | memoryview | None:
        """Ask the Hub for a file: its bytes, or None where it sent to a file store, whose link is then kept."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        path = f"{self.folder}/{name}" if self.folder else name
        endpoint = self.options.get("endpoint")
        url = hf_hub_url(self.repo, path, repo_type=self.kind, revision=revision, endpoint=endpoint)
        headers = dict(build_hf_headers(token=self.options.get("token")))
        if wanted.header:
            headers["Range"] = wanted.header
        for _ in range(_HOPS):
            with answer(hub_session(), url, headers, timeout=self.patience, follow=False) as found:
                transfer.answered()
                commit = found.headers.get("X-Repo-Commit")
                if commit:
                    commits[name] = commit
                if not 300 <= found.status < 400:
                    found.check()
                    return receive(found, wanted, self.patience, transfer)
                self._compare(name, found.headers.get("X-Linked-ETag") or "")
                url = urljoin(url, found.headers.get("Location") or "")
                transfer.again()
            if urlsplit(url).netloc != self._server():
                self._links[name] = url
                return None
        raise EOFError(f"the Hub redirects {_HOPS} times")

    def _compare(self, name: str, told: str) -> None:
        """Refuse a file that is not the one of the listing."""
        known, told = self._sha256.get(name, ""), told.strip('"')
        if known and told and known != told:
            raise changed(self.where(name), f"its SHA-256 is {told[:16]}..., the listing has {known[:16]}...")

    def _link_ran_out(self, error: BaseException) -> bool:
        """Whether the file store refuses a link."""
        url = str(getattr(getattr(error, "response", None), "url", "") or "")
        return error_status(error) in _RAN_OUT and bool(url) and urlsplit(url).netloc != self._server()

    def _server(self) -> str:
        """Host and port of the Hub."""
        from huggingface_hub import constants

        return urlsplit(str(self.options.get("endpoint") or constants.ENDPOINT)).netloc


def _plural(kind: str) -> str:
    return next(plural for plural, name in _KINDS.items() if name == kind)
