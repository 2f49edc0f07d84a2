"""A dataset repository on the Hub, read by ranges at one revision.

The revision is resolved once, to a commit, so that a push during a run changes nothing: each file is then fetched by
one request per range with the client of `huggingface_hub`, whose token is read again for every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.training.storage import FileFacts, RemoteStorage, check_range

__all__ = ["HubStorage"]

_KINDS = {"datasets": "dataset", "models": "model", "spaces": "space"}


@dataclass
class HubStorage(RemoteStorage):
    """A repository of the Hub at one commit; made by `open`."""

    repo: str = ""
    kind: str = "dataset"
    commit: str = ""
    folder: str = ""
    patience: float = 10.0

    @classmethod
    def open(cls, url: str, options: dict[str, Any]) -> HubStorage:
        """Resolve a URL such as ``hf://datasets/you/irtd@v1.0`` to a commit.

        Raises:
            UnknownNameError: The URL names no repository.
            ReleaseNotFoundError: There is no such repository or revision, or it is private.
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
        storage = cls(f"hf://{_plural(kind)}/{name}@{revision}", options, repo=name, kind=kind, folder=folder)
        info = storage._try(
            lambda: storage._api().repo_info(
                name, repo_type=kind, revision=revision, timeout=storage.patience
            ),
            storage.place,
        )
        storage.commit = info.sha
        storage.place = f"hf://{_plural(kind)}/{name}@{info.sha}" + (f"/{folder}" if folder else "")
        return storage

    def _api(self) -> Any:  # noqa: ANN401
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.options.get("endpoint"), token=self.options.get("token"))

    def files(self) -> dict[str, FileFacts]:
        """All files of the folder at the commit, by name."""

        def listing() -> list[Any]:
            return list(
                self._api().list_repo_tree(
                    self.repo,
                    path_in_repo=self.folder or None,
                    recursive=True,
                    revision=self.commit,
                    repo_type=self.kind,
                )
            )

        found = {}
        for entry in self._try(listing, self.place):
            if hasattr(entry, "blob_id"):
                name = entry.path.removeprefix(self.folder).lstrip("/")
                sha256 = entry.lfs.sha256 if entry.lfs else ""
                found[name] = FileFacts(name, entry.size, sha256, sha256 or entry.blob_id)
        return found

    def facts(self, name: str) -> FileFacts:
        """What the Hub says of a file; its SHA-256 where it is a large one."""
        path = f"{self.folder}/{name}" if self.folder else name
        entries = self._try(
            lambda: self._api().get_paths_info(self.repo, [path], revision=self.commit, repo_type=self.kind),
            self.where(name),
        )
        if not entries:
            raise ReleaseNotFoundError("there is no such file", where=self.where(name))
        sha256 = entries[0].lfs.sha256 if entries[0].lfs else ""
        return FileFacts(name, entries[0].size, sha256, sha256 or entries[0].blob_id)

    def _get(self, name: str, start: int, stop: int | None) -> bytes:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_backoff,
        )

        path = f"{self.folder}/{name}" if self.folder else name
        url = hf_hub_url(
            self.repo, path, repo_type=self.kind, revision=self.commit, endpoint=self.options.get("endpoint")
        )
        headers = build_hf_headers(token=self.options.get("token"))
        if start or stop is not None:
            headers["range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        # Waiting and trying again is `_try`'s business, which knows of `Retry-After` in all versions.
        response = http_backoff(
            "GET",
            url,
            headers=headers,
            timeout=self.patience,
            max_retries=0,
            retry_on_exceptions=(),
            retry_on_status_codes=(),
        )
        hf_raise_for_status(response)
        if "range" in headers and response.status_code == 206:
            check_range(response.headers.get("Content-Range", ""), start, stop)
        data: bytes = response.content
        return data

    def _server(self) -> str:
        """Host and port of the Hub."""
        from huggingface_hub import constants

        return urlsplit(str(self.options.get("endpoint") or constants.ENDPOINT)).netloc


def _plural(kind: str) -> str:
    return next(plural for plural, name in _KINDS.items() if name == kind)
