"""Reading through fsspec: file systems that are kept, and what their clients leave out.

All protocols are read by the client that fsspec has for them. S3's is asked one level lower, because its `cat_file`
looks neither at which bytes came nor at which version of the object they are of, and waits for ever for a server that
sends a byte now and then.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from irtd_datasets.remote.arriving import Body
from irtd_datasets.remote.session import is_page
from irtd_datasets.training.storage import LEAST_RATE, Pace, page_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from irtd_datasets.remote import Transfer
    from irtd_datasets.training.storage import Wanted

    Bytes = bytes | memoryview

__all__ = ["file_system", "forget", "information", "listing", "read_range"]

_CONNECTIONS = 32
_PIECE = 1 << 18
_S3 = ("s3://", "s3a://")
_systems: dict[str, Any] = {}
_lock = threading.Lock()


def forget() -> None:
    """Keep no file system: another process, or a test, makes its own."""
    global _lock  # noqa: PLW0603 - it may be held by a thread that is not here
    _systems.clear()  # their event loop does not survive a fork
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


def file_system(place: str, options: Mapping[str, Any], patience: float) -> Any:  # noqa: ANN401 - fsspec has no types
    """The file system of a URL, made once in a process for the same options."""
    import fsspec

    given = dict(options)
    if place.startswith(_S3):
        # Trying again is `Retry`'s business, which knows how long a server asks to wait; ten connections are too few.
        config = {"max_pool_connections": _CONNECTIONS, "retries": {"max_attempts": 0}}
        config |= {"connect_timeout": patience, "read_timeout": patience}
        given["config_kwargs"] = {**config, **given.get("config_kwargs", {})}
    key = fsspec.utils.tokenize(
        place.partition("://")[0], place if "://" not in place else "", given, os.getpid()
    )
    with _lock:
        if key not in _systems:
            made, _ = fsspec.core.url_to_fs(place, skip_instance_cache=True, **given)
            if place.startswith(_S3):
                made.retries = 1
            _systems[key] = made
        return _systems[key]


def listing(fs: Any, place: str) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """What a folder holds now, by path."""
    with _alone(fs):
        fs.invalidate_cache()
        found: dict[str, dict[str, Any]] = fs.find(fs._strip_protocol(place).rstrip("/"), detail=True)  # noqa: SLF001
    return found


def information(fs: Any, url: str) -> dict[str, Any]:  # noqa: ANN401
    """What a file system says of a file now."""
    with _alone(fs):
        fs.invalidate_cache()  # of the listing, which tells what was
        found: dict[str, Any] = fs.info(url)
    return found


def read_range(fs: Any, wanted: Wanted, patience: float, transfer: Transfer) -> tuple[Bytes, str]:  # noqa: ANN401
    """A part of a file, and what its server says that the file is (empty where the client does not tell)."""
    from fsspec.asyn import sync

    stop = wanted.limit if wanted.stop is None else wanted.stop
    if not getattr(fs, "async_impl", False):
        with _alone(fs):
            data = fs.cat_file(wanted.url, start=wanted.start, end=stop)
    elif wanted.url.startswith(_S3) and hasattr(fs, "_call_s3"):
        found: tuple[Bytes, str] = sync(fs.loop, _from_s3, fs, wanted, patience, transfer)
        return found
    else:
        path = fs._strip_protocol(wanted.url)  # noqa: SLF001
        longest = patience + (transfer.left or 1 << 20) / (16 * LEAST_RATE)
        data = sync(fs.loop, fs._cat_file, path, start=wanted.start, end=stop, timeout=longest)  # noqa: SLF001
    transfer.answered()
    transfer.came(len(data))
    return data, ""


def _alone(fs: Any) -> AbstractContextManager[object]:  # noqa: ANN401
    """A client that is not asynchronous has one connection, which serves one request at a time."""
    if getattr(fs, "async_impl", False) or type(fs).__name__ == "MemoryFileSystem":
        return nullcontext()
    with _lock:
        if not hasattr(fs, "irtd_lock"):
            fs.irtd_lock = threading.Lock()
        lock: threading.Lock = fs.irtd_lock
        return lock


async def _from_s3(fs: Any, wanted: Wanted, patience: float, transfer: Transfer) -> tuple[Bytes, str]:  # noqa: ANN401
    bucket, key, version = fs.split_path(fs._strip_protocol(wanted.url))  # noqa: SLF001
    asked = {"VersionId": version} if version else {}
    if wanted.header:
        asked["Range"] = wanted.header
    if wanted.mark:
        asked["IfMatch"] = wanted.mark
    found = await fs._call_s3("get_object", Bucket=bucket, Key=key, **asked)  # noqa: SLF001
    transfer.answered()
    pace, body = Pace(patience), found["Body"]
    partial = found["ResponseMetadata"]["HTTPStatusCode"] == 206
    data = transfer.body() if partial else Body()
    kind = str(found.get("ContentType", ""))
    try:
        start, stop = 0, wanted.limit
        if wanted.header:
            if partial:
                wanted.check(found.get("ContentRange", ""))
            else:  # a server that knows no ranges
                start, stop = wanted.start, wanted.stop
        while stop is None or len(data) < stop:
            piece = await asyncio.wait_for(body.read(_PIECE), patience)
            if not piece:
                break
            if not len(data) and is_page(kind, piece):
                raise page_error(wanted.url)
            data.add(piece)
            transfer.came(len(piece))
            pace.came(len(piece))
    finally:
        body.close()
    return data.part(start, stop), str(found.get("ETag", ""))
