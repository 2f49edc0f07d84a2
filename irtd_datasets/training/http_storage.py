"""A dataset folder on a web server, read by ranges, with what it says of each answer looked at."""

from __future__ import annotations

import logging
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irtd_datasets.remote.session import answer, is_page, plain_session
from irtd_datasets.remote.urls import full_url
from irtd_datasets.training.storage import FileFacts, Pace, RemoteStorage, Wanted, facts_of, page_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.remote import Transfer
    from irtd_datasets.remote.session import Answer

__all__ = ["HttpStorage", "receive"]

_OF_URLS = "%/:?#[]@!$&'()*+,;=~"  # what a URL may have, and the sign of what is quoted already
_log = logging.getLogger(__name__)
_whole: set[str] = set()


@dataclass
class HttpStorage(RemoteStorage):
    """A folder on a web server, which cannot list it.

    Attributes:
        headers: In ``options``: sent with each request to this server, and to none to which it redirects; for example
            ``{"Authorization": "Bearer ..."}``. User and password may stand in the URL, too.
    """

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Yes."""
        return True

    def files(self) -> dict[str, FileFacts]:
        """Nothing: the manifest says what is there."""
        return {}

    def facts(self, name: str) -> FileFacts:
        """Size and identity of a file as the server tells it."""

        def once() -> FileFacts:
            wanted = Wanted(self.where(name), 0, 1, None, None, "")
            with self.line.transfer(1) as transfer, self._ask(name, wanted) as found:
                transfer.answered()
                whole = found.headers.get("Content-Range", "")
                if found.status == 206:
                    wanted.check(whole)
                size = whole.rpartition("/")[2] or found.headers.get("Content-Length", "")
                return facts_of(
                    name,
                    {"size": int(size) if size.isdigit() else None, "ETag": found.mark.removeprefix("W/")},
                )

        facts: FileFacts = self._try(once, self.where(name))
        self._marks[name] = facts.token
        return facts

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
        with self._ask(name, wanted) as found:
            transfer.answered()
            self.remember(name, found.mark.removeprefix("W/"))
            return receive(found, wanted, self.patience, transfer)

    @contextmanager
    def _ask(self, name: str, wanted: Wanted) -> Iterator[Answer]:
        url = f"{urllib.parse.quote(self.place, safe=_OF_URLS)}/{urllib.parse.quote(name)}"
        headers = {"Range": wanted.header} if wanted.header else {}
        url, own = full_url(url, self.options), self.options.get("headers", {})
        with answer(plain_session(), url, headers, own=own, timeout=self.patience) as found:
            found.check()
            yield found


def receive(found: Answer, wanted: Wanted, patience: float, transfer: Transfer) -> bytes | memoryview:
    """The wanted bytes of an answer, as long as it comes faster than from a server that only keeps a connection open.

    Args:
        found: An answer of 200 or 206.
        wanted: What was asked for.
        patience: Seconds over which its rate is looked at.
        transfer: Told of what comes.

    Raises:
        EOFError: Other bytes came, fewer, or a web page.
        TimeoutError: It came too slowly.
        ShardChangedError: The file has another size than it had.
    """
    partial = bool(wanted.header) and found.status == 206
    if partial and found.encoded:
        raise EOFError(f"the server compresses parts of files ({found.encoded}), which nobody asked it for")
    if partial:
        wanted.check(found.headers.get("Content-Range", ""))
    told = found.headers.get("Content-Length", "")
    length = int(told) if told.isdigit() and not found.encoded else None
    # A server that knows no ranges sends all of the file, of which the first bytes are dropped as they come.
    skipped = 0 if partial else wanted.start
    if not partial and wanted.header and length is not None and wanted.size not in (None, length):
        _refuse_page(found, next(found.pieces(), b""))
        raise EOFError(f"{length} bytes came of a file of {wanted.size}")
    if skipped and found.url not in _whole:
        _whole.add(found.url)
        _log.warning(
            "%s: the server gives whole files only, so that each part costs all that stands before it: download the "
            "folder, or ask for a server that knows ranges",
            wanted.url,
        )
    stop = wanted.limit if partial or wanted.stop is None else wanted.stop
    pace, came, data = Pace(patience), 0, transfer.body()
    for piece in found.pieces():
        if not came:
            _refuse_page(found, piece)
        came += len(piece)
        data.add(piece[max(skipped - (came - len(piece)), 0) :])
        transfer.came(len(piece))
        if stop is not None and came >= stop and came != length:  # a connection whose answer was read is kept
            break
        pace.came(len(piece))
    else:
        if length is not None and came != length:
            raise EOFError(f"{came} bytes came of {length}")
    return data.part(0, None if stop is None else stop - skipped)


def _refuse_page(found: Answer, begin: bytes) -> None:
    if is_page(found.headers.get("Content-Type", ""), begin):
        raise page_error(found.url.partition("?")[0])
