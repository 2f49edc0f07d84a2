"""Servers that answer in odd ways: what can be read is right, what cannot is told, and no secret goes elsewhere."""

import base64
import gzip
import logging
import socket
from contextlib import closing
from urllib.parse import quote

import pytest
from far import far_server
from folders import make_folder
from hub_server import hub_server, online
from test_remote import put

from irtd_datasets.errors import IrtdDatasetsError, ReleaseError, ShardChangedError
from irtd_datasets.remote import retry
from irtd_datasets.training import stream
from irtd_datasets.training.storage import split_name

ROWS = 60
KEYS = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}
PAGE = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body>Log in</body></html>'


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A place with a folder of 60 rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("odd")
    make_folder(root / "bucket" / "made", ROWS, shards=2)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses that are not asked for take no time; the tests are offline by a setting, which is lifted here."""
    online(monkeypatch)
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.001)


def read(place, **options):
    return {row["id"]: row["image"] for row in stream(place, storage_options=options)}


def in_shard(handler, start, stop):
    return "/data/" in handler.path and stop - start > 300


def old(handler, data, start, stop):
    """HTTP/1.0: no length, and the connection ends with the answer."""
    handler.protocol_version, handler.close_connection = "HTTP/1.0", True
    ranged = handler.headers.get("Range")
    handler.send_response(206 if ranged else 200)
    if ranged:
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
    handler.end_headers()
    handler.wfile.write(data[start:stop])
    return True


def chunked(handler, data, start, stop):
    """No length, but pieces that tell theirs."""
    handler.send_response(206 if handler.headers.get("Range") else 200)
    handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for first in range(start, stop, 1000):
        piece = data[first : min(first + 1000, stop)]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")
    return True


def whole(handler, data, *_):
    """No ranges."""
    handler.plain(200, data, Accept_Ranges="none")
    return True


def compressed(handler, data, start, stop):
    """Small files compressed, whether asked for or not."""
    if "/data/" in handler.path or "/index/" in handler.path:
        return False
    handler.plain(200, gzip.compress(data), Content_Encoding="gzip")
    return True


def weak(handler, data, start, stop):
    """Marks that are weak at one time and strong at another, as of a server that compresses now and then."""
    handler.part(data, start, stop, ETag='W/"x"' if handler.server.far.asked[1::2] else '"x"')
    return True


class Sometimes:
    """An answer in place of the first ones of shards."""

    def __init__(self, times, status, **headers):
        self.left, self.status, self.headers = times, status, headers

    def __call__(self, handler, data, start, stop):
        if not self.left or not in_shard(handler, start, stop):
            return False
        self.left -= 1
        handler.plain(self.status, b"busy", **self.headers)
        return True


@pytest.mark.parametrize(
    "instead",
    [
        old,
        chunked,
        whole,
        compressed,
        weak,
        Sometimes(3, 429),
        Sometimes(20, 503),
        Sometimes(12, 429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"),
        Sometimes(2, 502, Retry_After="soon"),
    ],
    ids=lambda one: getattr(one, "__name__", "") or f"{one.status} {one.left}",
)
def test_what_can_be_read(root, instead):
    """However a server answers that can be understood, the rows are those of the folder."""
    with far_server(root) as far:
        far.instead = instead
        assert read(f"http://{far.address}/bucket/made") == read(root / "bucket/made")
        assert not getattr(instead, "left", 0)


def test_whole_files_are_told_once(root, caplog):
    """That a server knows no ranges costs much, and is said once for a file."""
    with far_server(root) as far, caplog.at_level(logging.WARNING, "irtd_datasets"):
        far.instead = whole
        read(f"http://{far.address}/bucket/made")
    assert 1 <= caplog.text.count("gives whole files only") <= 2


def packed(handler, data, start, stop):
    if not in_shard(handler, start, stop):
        return False
    handler.part(gzip.compress(data), start, stop, Content_Encoding="gzip")
    return True


def longer(handler, data, start, stop):
    if not in_shard(handler, start, stop):
        return False
    handler.part(data, start, stop, Content_Range=f"bytes {start}-{stop - 1}/{len(data) + 1}")
    return True


def empty(handler, data, start, stop):
    if not in_shard(handler, start, stop):
        return False
    handler.plain(206, b"", Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
    return True


def page(handler, data, start, stop):
    if not in_shard(handler, start, stop):
        return False
    handler.plain(200, PAGE, "text/html; charset=utf-8")
    return True


def everywhere(handler, *_):
    handler.plain(200, PAGE, "text/html")
    return True


def replaced(handler, data, start, stop):
    handler.part(data, start, stop, ETag=f'"{len(handler.server.far.asked)}"')
    return True


def circle(handler, data, start, stop):
    if not in_shard(handler, start, stop):
        return False
    handler.plain(302, b"", Location=handler.path)
    return True


TOLD = [
    (packed, ReleaseError, "compresses parts of files"),
    (longer, ShardChangedError, "replaced"),
    (empty, ReleaseError, "cannot be read"),
    (page, ReleaseError, "web page"),
    (everywhere, ReleaseError, "web page"),
    (replaced, ShardChangedError, "replaced"),
    (circle, ReleaseError, "redirects"),
]


@pytest.mark.parametrize(("instead", "kind", "said"), TOLD, ids=[one[0].__name__ for one in TOLD])
def test_what_cannot_be_read(root, instead, kind, said):
    """What is not the file is never taken for it, and the error says what came."""
    with far_server(root) as far:
        far.instead = instead
        with pytest.raises(kind, match=said):
            read(f"http://{far.address}/bucket/made", retries=1)


def test_what_cannot_be_read_of_a_bucket(root):
    """The same through the client of S3."""
    pytest.importorskip("s3fs")
    with far_server(root) as far:
        for instead, kind, said in TOLD:
            if instead in {longer, empty, page, everywhere}:
                far.instead = instead
                with pytest.raises(kind, match=said):
                    read("s3://bucket/made", retries=1, endpoint_url=f"http://{far.address}", **KEYS)


def test_a_login_page_in_place_of_the_hub(root, tmp_path):
    """A proxy that answers for the Hub is told as one, whichever of its requests it takes."""
    with far_server(content=lambda _: PAGE) as far:
        far.instead = everywhere
        with pytest.raises(ReleaseError, match="web page"):
            read("tester/made", retries=1, endpoint=f"http://{far.address}", token="x")
    with hub_server(tmp_path / "hub") as hub:
        put(hub, root / "bucket/made")
        with far_server(content=lambda _: PAGE) as store:
            store.instead = everywhere
            hub.store_endpoint = f"http://localhost:{store.address.rpartition(':')[2]}"
            with pytest.raises(ReleaseError, match="web page"):
                read("tester/made", retries=1, endpoint=hub.endpoint, token=hub.token)


SECRETS = {"headers": {"Authorization": "Bearer tok", "X-Api-Key": "tok"}}


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize("way", ["headers", "userinfo"])
def test_secrets_stay_with_their_server(root, status, way):
    """To where a server redirects goes no header that a user gave, and no password; the rows are right."""
    seen = {"here": set(), "there": set()}

    def noting(where, status=0, there=None):
        def answer(handler, data, start, stop):
            seen[where].update(
                f"{name}: {value}" for name, value in handler.headers.items() if "tok" in _plain(value)
            )
            if there is None:
                return False
            handler.plain(status, b"", Location=f"http://{there.address}{handler.path}")
            return True

        return answer

    with far_server(root) as far, far_server(root) as there:
        there.instead = noting("there")
        far.instead = noting("here", status, there)
        user = "me:tok@" if way == "userinfo" else ""
        options = SECRETS if way == "headers" else {}
        found = read(f"http://{user}{far.address}/bucket/made", **options)
    assert found == read(root / "bucket/made")
    assert len(seen["here"]) == (2 if way == "headers" else 1)
    assert not seen["there"]


def _plain(value):
    kind, _, rest = value.partition(" ")
    return base64.b64decode(rest).decode() if kind == "Basic" else value


@pytest.mark.parametrize("status", [403, 500])
def test_secrets_are_not_shown(root, status, caplog):
    """Neither error nor log has the password or the query of a URL; nor has the name of the source."""
    with far_server(root) as far, caplog.at_level(logging.WARNING):
        place = f"http://me:pass%21@{far.address}/bucket/made"
        one = stream(f"{place}:all?sig=hush")
        assert "pass" not in one.sources[0].name + repr(one.sources[0].storage)
        far.instead = Sometimes(10**6, status)
        with pytest.raises(IrtdDatasetsError) as told:
            read(f"{place}?sig=hush", retries=1)
    link = told.value
    while link is not None:
        assert not {"pass", "hush"} & {word for word in ("pass", "hush") if word in f"{link} {link!r}"}
        link = link.__cause__ or link.__context__
    assert "hush" not in caplog.text


def test_names_with_signs(root, tmp_path):
    """Folders of any name are read: quoted in a URL, as they are in a bucket."""
    pytest.importorskip("s3fs")
    (tmp_path / "bucket").mkdir()
    expected = read(root / "bucket/made")
    with far_server(tmp_path) as far:
        for name in ("a b", "100%", "a+b", "a#b", "Bäume 東", "a&b=c", "q?r"):
            (tmp_path / "bucket" / name).symlink_to(root / "bucket/made")
            assert read(f"http://{far.address}/bucket/{quote(name)}") == expected
            if "?" not in name:
                found = read(f"s3://bucket/{name}", endpoint_url=f"http://{far.address}", **KEYS)
                assert found == expected


def test_a_host_that_has_ipv6_alone(root):
    """An address in brackets is a host, with a config behind the path or without."""
    assert split_name("http://[::1]") == ("http://[::1]", None)
    assert split_name("http://[::1]/irtd:all") == ("http://[::1]/irtd", "all")
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    with far_server(root, host="::1") as far:
        assert read(f"http://{far.address}/bucket/made:all") == read(root / "bucket/made")
