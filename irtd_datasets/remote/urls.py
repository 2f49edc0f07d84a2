"""What is read from a URL before anything is asked of it: whether it is one, and what of it may be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["full_url", "is_url", "local_path", "shown_url", "without_secrets"]

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_USER, _QUERY = "userinfo", "query"
_STORES = frozenset(
    {"abfs", "abfss", "az", "file", "gcs", "gs", "hf", "local", "memory", "oss", "s3", "s3a", "wasb", "wasbs"}
)


def is_url(place: object) -> bool:
    """Whether a place is a URL and no path of this machine.

    Example:
        >>> is_url("s3://bucket/irtd"), is_url("./irtd"), is_url("C:/irtd"), is_url("file:///data/irtd")
        (True, False, False, True)
    """
    return isinstance(place, str) and _URL.match(place) is not None


def local_path(place: str) -> str | None:
    """The path that a ``file://`` or ``local://`` URL names; None for other URLs.

    Example:
        >>> local_path("file:///data/irtd"), local_path("s3://bucket/irtd")
        ('/data/irtd', None)
    """
    scheme, _, rest = place.partition("://")
    return rest if scheme.lower() in {"file", "local"} else None


def shown_url(url: str) -> str:
    """A URL without what stands before an ``@`` in its host, which may be a password, and without its query.

    Example:
        >>> shown_url("sftp://me:secret@host/data?token=x")
        'sftp://host/data'
    """
    return without_secrets(url)[0]


def without_secrets(url: str) -> tuple[str, dict[str, str]]:
    """A URL that may be shown and kept, and what was taken out of it; `full_url` puts it in again.

    Example:
        >>> shown, secrets = without_secrets("sftp://me:secret@host/data?token=x")
        >>> shown, full_url(shown, secrets)
        ('sftp://host/data', 'sftp://me:secret@host/data?token=x')
        >>> without_secrets("s3://bucket/a#b?c")
        ('s3://bucket/a#b?c', {})
    """
    scheme, separator, rest = url.partition("://")
    if scheme.lower() in _STORES:  # what they hold has names, in which all of these signs are letters
        return url, {}
    rest, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = rest.partition("/")
    user, _, host = host.rpartition("@")
    secrets = {name: value for name, value in ((_USER, user), (_QUERY, query)) if value}
    return f"{scheme}{separator}{host}{slash}{path}", secrets


def full_url(shown: str, secrets: Mapping[str, Any]) -> str:
    """The URL to ask, from the one that is shown and what `without_secrets` took out of it."""
    scheme, separator, rest = shown.partition("://")
    user = f"{secrets[_USER]}@" if secrets.get(_USER) else ""
    query = f"?{secrets[_QUERY]}" if secrets.get(_QUERY) else ""
    return f"{scheme}{separator}{user}{rest}{query}"
