"""The side of the Hub that takes and gives files in chunks: the content-addressed store of Xet.

A client cuts files into chunks, packs them into xorbs, uploads the xorbs that it does not know to be there, and then a
shard that says of which chunks each file consists. Here a file is put together as soon as its shard arrives, so that it
can be read without Xet, too. Formats are those of xet-core: ``cas_object_format`` (a chunk has a header of 8 bytes) and
``file_structs`` (a shard consists of records of 48 bytes).
"""

import hashlib
import json
import re
import struct
import tempfile
from pathlib import Path

import pyarrow as pa

from hub_server.store import RefusedError

RECORD = 48
WITH_VERIFICATION, WITH_METADATA = 1 << 31, 1 << 30


def text_of(digest):
    """A hash as Xet writes it: four little-endian numbers in hexadecimal digits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def chunks_of(xorb):
    """Offset, packed length, kind of packing and length of each chunk of a xorb."""
    at = 0
    while at + 8 <= len(xorb) and xorb[at : at + 7] != b"XETBLOB":
        version, packed, kind, length = xorb[at], *_numbers(xorb[at + 1 : at + 8])
        if version:
            raise RefusedError(400, f"chunk of version {version}")
        yield at, packed, kind, length
        at += 8 + packed


def _numbers(header):
    return int.from_bytes(header[:3], "little"), header[3], int.from_bytes(header[4:7], "little")


def unpack(xorb, chunk):
    """The bytes of a chunk."""
    at, packed, kind, length = chunk
    data = xorb[at + 8 : at + 8 + packed]
    if kind == 0:
        return data
    data = _lz4(data, length)
    if kind == 2:  # every fourth byte stands together
        mixed, start = bytearray(length), 0
        for lane in range(4):
            size = (length - lane + 3) // 4
            mixed[lane::4] = data[start : start + size]
            start += size
        data = bytes(mixed)
    return data


def _lz4(data, length):
    # A frame as the command line program writes it.
    with pa.input_stream(pa.BufferReader(data), compression="lz4") as stream:
        found = stream.read()
    if len(found) != length:
        raise RefusedError(400, "a chunk of another length")
    return found


def files_of(shard):
    """Files of a shard: hash, terms of ``(xorb, bytes, first chunk, last chunk + 1)``, and SHA-256."""
    at = RECORD  # after the header
    while shard[at : at + 32] != b"\xff" * 32:
        digest, flags, count = struct.unpack_from("<32sII", shard, at)
        at += RECORD
        terms = []
        for _ in range(count):
            xorb, _, size, first, end = struct.unpack_from("<32sIIII", shard, at)
            terms.append((text_of(xorb), size, first, end))
            at += RECORD
        at += RECORD * count if flags & WITH_VERIFICATION else 0
        sha256 = None
        if flags & WITH_METADATA:
            sha256 = shard[at : at + 32]
            at += RECORD
        yield text_of(digest), terms, sha256


class XetStore:
    """Xorbs of the whole Hub, and the files of one repository that consist of them."""

    def __init__(self, repository):
        self.repository = repository
        # A client that has sent a chunk for one repository does not send it for another.
        self.folder = repository.folder.parents[2] / "xet"
        self.folder.mkdir(exist_ok=True)

    def xorb(self, name):
        return self.folder / f"{name}.xorb"

    def add_xorb(self, name, content):
        list(chunks_of(content))
        known = self.xorb(name).is_file()
        self.xorb(name).write_bytes(content)
        return not known

    def add_shard(self, content):
        """Put the files of a shard together."""
        for name, terms, sha256 in files_of(content):
            digest = hashlib.sha256()
            with tempfile.NamedTemporaryFile(dir=self.repository.folder / "parts", delete=False) as file:
                for xorb, size, first, end in terms:
                    data = self._read(xorb, first, end)
                    if len(data) != size:
                        raise RefusedError(400, "a term of another length")
                    digest.update(data)
                    file.write(data)
            # The client keeps it as one of its own hashes, whose text is the SHA-256.
            if sha256 is not None and digest.hexdigest() not in {text_of(sha256), sha256.hex()}:
                raise RefusedError(400, "a file of another SHA-256")
            Path(file.name).replace(self.repository.object(digest.hexdigest()))
            (self.folder / f"{name}.file").write_text(json.dumps(terms))
            (self.folder / f"{digest.hexdigest()}.hash").write_text(name)

    def _read(self, xorb, first, end):
        if not self.xorb(xorb).is_file():
            raise RefusedError(400, f"there is no xorb {xorb}")
        content = self.xorb(xorb).read_bytes()
        chunks = list(chunks_of(content))
        return b"".join(unpack(content, chunk) for chunk in chunks[first:end])

    def hash_of(self, sha256):
        """What Xet calls a file; None where it came in another way."""
        path = self.folder / f"{sha256}.hash"
        return path.read_text() if path.is_file() else None

    def terms(self, name):
        path = self.folder / f"{name}.file"
        if not path.is_file():
            raise RefusedError(404, "no such file")
        return json.loads(path.read_text())


def repository_of(hub, request):
    """The repository whose token a request of a Xet client has, and whether it may write."""
    found = re.fullmatch(
        r"Bearer xet\.(\w+)\.([^ ]+)\.([rw])\.(\w+)", request.headers.get("Authorization", "")
    )
    if not found or found[4] != hub.sign("xet", *found.groups()[:3]):
        raise RefusedError(401, "no such Xet token")
    kind, name, mode, _ = found.groups()
    return XetStore(hub.store.repositories[kind, name]), mode == "w"


def token(hub, request, repository, mode):
    """Answer with a token for the store."""
    parts = (repository.kind, repository.name, mode)
    access = f"xet.{'.'.join(parts)}.{hub.sign('xet', *parts)}"
    expires = 4_000_000_000
    request.answer_json(
        {"casUrl": hub.store_endpoint, "exp": expires, "accessToken": access},
        headers={
            "X-Xet-Cas-Url": hub.store_endpoint,
            "X-Xet-Access-Token": access,
            "X-Xet-Token-Expiration": str(expires),
        },
    )


def absent(hub, request, **_):
    raise RefusedError(404, "not known")


def post_xorb(hub, request, name):
    store, writes = repository_of(hub, request)
    if not writes:
        raise RefusedError(403, "a token for reading")
    content = request.body.read()
    with hub.lock:
        hub.xorbs.append(len(content))
    request.answer_json({"was_inserted": store.add_xorb(name, content)})


def post_shard(hub, request):
    store, writes = repository_of(hub, request)
    if not writes:
        raise RefusedError(403, "a token for reading")
    store.add_shard(request.body.read())
    request.answer_json({"result": 1})


def reconstruction(hub, request, name):
    """Where the chunks of a file, or of a range of it, are."""
    store, _ = repository_of(hub, request)
    terms = store.terms(name)
    size = sum(term[1] for term in terms)
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    start, end = (int(asked[1]), min(int(asked[2] or size - 1) + 1, size)) if asked else (0, size)
    if asked and start >= size:
        raise RefusedError(416, "behind the end")
    found, fetch, at, skipped = [], {}, 0, None
    for xorb, _, first, last in terms:
        chunks = list(chunks_of(store.xorb(xorb).read_bytes()))
        wanted = []
        for number in range(first, last):
            if at < end and at + chunks[number][3] > start:
                skipped = start - at if skipped is None else skipped
                wanted.append(number)
            at += chunks[number][3]
        if wanted:
            spans = {"start": wanted[0], "end": wanted[-1] + 1}
            length = sum(chunks[number][3] for number in wanted)
            found.append({"hash": xorb, "unpacked_length": length, "range": spans})
            last_chunk = chunks[wanted[-1]]
            path = f"/xorb/{store.repository.kind}/{store.repository.name}/{xorb}"
            fetch.setdefault(xorb, []).append(
                {
                    "range": spans,
                    "url": f"{hub.store_endpoint}{path}?signature={hub.sign('get', path)}",
                    "url_range": {
                        "start": chunks[wanted[0]][0],
                        "end": last_chunk[0] + 8 + last_chunk[1] - 1,
                    },
                }
            )
    request.answer_json({"offset_into_first_range": skipped or 0, "terms": found, "fetch_info": fetch})


def get_xorb(hub, request, kind, name, xorb):
    path = f"/xorb/{kind}/{name}/{xorb}"
    if request.values.get("signature") != hub.sign("get", path):
        raise RefusedError(403, "Wrong signature")
    store = XetStore(hub.store.repositories[kind, name])
    request.answer_file(store.xorb(xorb), {"Content-Type": "application/octet-stream"})


def taken(hub, request):
    request.body.read()
    request.answer_json({})


ROUTES = [
    ("GET", r"/v1/chunks/[\w-]+/\w+", absent),
    ("POST", r"/v1/xorb-grants/.*", absent),
    ("POST", r"/v1/xorbs/[\w-]+/(?P<name>\w+)", post_xorb),
    ("POST", r"/v2/shards", absent),
    ("POST", r"/v1/shards", post_shard),
    ("GET", r"/v2/reconstructions/.*", absent),
    ("GET", r"/v1/reconstructions/(?P<name>\w+)", reconstruction),
    ("GET HEAD", r"/xorb/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/(?P<xorb>\w+)", get_xorb),
    ("POST", r"/v1/telemetry", taken),
]
