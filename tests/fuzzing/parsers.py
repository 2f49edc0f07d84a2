"""Every parser of foreign or stored bytes as one function of bytes, with files to start from.

A parser either gives something or raises an error of the library; anything else is a finding. `benchmarks/fuzz.py`
looks for findings by coverage and `benchmarks/mutants.py` by blind damage; the small corpus beside this file holds what
they reached, and is read by every run of the tests.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import struct
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from irtd_datasets.annotations.boxes_csv import parse_boxes_csv
from irtd_datasets.annotations.captions import parse_captions, parse_scene_captions
from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.conversations import parse_conversation
from irtd_datasets.annotations.dota import parse_dota, parse_ucas, parse_vedai
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.annotations.kaist import parse_bbgt, parse_visdrone
from irtd_datasets.annotations.points import parse_points
from irtd_datasets.annotations.voc import parse_voc
from irtd_datasets.annotations.vqa import parse_question_lines, parse_question_records, unwrap_javascript
from irtd_datasets.annotations.yolo import parse_yolo
from irtd_datasets.boxes.text import parse_boxes
from irtd_datasets.errors import ImageError, IrtdDatasetsError
from irtd_datasets.folder.front_matter import parse_front_matter
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.pages import ColumnChunk, locate_values
from irtd_datasets.folder.row_groups import card_configs
from irtd_datasets.images.headers import read_size
from irtd_datasets.images.inspection import inspect_image
from irtd_datasets.images.preparation import viewable_image
from irtd_datasets.releases.containers import open_container
from irtd_datasets.releases.streams import stream_tar
from irtd_datasets.sources.masks import parse_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CORPUS", "PARSERS", "Parser", "read"]

CORPUS = Path(__file__).parent / "corpus"
_PIXELS = 1 << 20
_MEMBERS = 1000  # of an archive that is read


@dataclass(frozen=True)
class Parser:
    """A parser.

    Attributes:
        parse: Reads all that the bytes have.
        seeds: Files that are read without an error.
        binary: Whether its format is binary.
    """

    parse: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    binary: bool = True


def read(name: str, data: bytes) -> str:
    """Read bytes with a parser: the class of the library's error that refuses them, or nothing.

    Raises:
        Exception: Any other error: a finding.
    """
    try:
        PARSERS[name].parse(data)
    except IrtdDatasetsError as error:
        return type(error).__name__
    return ""


# ------------------------------------------------------------------------------------------------ what is parsed


def _image(data: bytes) -> None:
    read_size(data)
    try:
        info = inspect_image(data, "fuzz", max_pixels=_PIXELS)
    except ImageError:
        viewable_image(
            data, "fuzz", max_pixels=_PIXELS
        )  # some that Pillow does not open are shown all the same
        return
    if info.width * info.height <= 1 << 14:
        viewable_image(data, "fuzz", max_pixels=_PIXELS)


@cache
def _place() -> Path:
    """A file in memory where the system has such."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)) / "archive"


def _archive(data: bytes) -> None:
    _place().write_bytes(data)
    container = open_container(_place())
    try:
        for name in itertools.islice(container.names(), _MEMBERS):
            container.read(name, limit=1 << 20)
    finally:
        container.close()


def _stream(data: bytes) -> None:
    _place().write_bytes(data)
    for _ in itertools.islice(stream_tar(_place(), member_limit=1 << 20), _MEMBERS):
        pass


def _pages(data: bytes) -> None:
    """The first two bytes are the number of values and the level of a value that is there."""
    if len(data) >= 2:
        locate_values(data[2:], ColumnChunk(0, len(data) - 2, data[0], data[1] % 3, "UNCOMPRESSED"))


def _records(data: bytes) -> None:
    for number, record in read_records(data, name="fuzz.json", on_bad=lambda *_: None, on_truncated="keep"):
        with contextlib.suppress(IrtdDatasetsError):
            parse_conversation(record, number, name="fuzz.json")


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


def _all(parse: Callable[..., Any]) -> Callable[[bytes], object]:
    def run(data: bytes) -> None:
        found = parse(data, "fuzz")
        if not hasattr(found, "objects"):
            for _ in found:
                pass

    return run


def _card(text: str) -> None:
    parse_front_matter(text, "fuzz")
    card_configs(text, "fuzz")


# ------------------------------------------------------------------------------------------------ where they start


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _noise(mode: str = "L", side: int = 24) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    return Image.fromarray(values).convert(mode)


def _jpegs() -> Iterable[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    yield _saved(_noise(), "JPEG")
    yield _saved(_noise("RGB"), "JPEG", progressive=True)
    yield _saved(_noise("CMYK"), "JPEG", exif=exif)
    yield _saved(_noise("RGB"), "JPEG") + b"FLIR" + _saved(_noise(), "JPEG")[:200]


def _pngs() -> Iterable[bytes]:
    yield _saved(_noise(), "PNG")
    yield _saved(_noise("P"), "PNG")
    yield _saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900), "PNG")
    yield _saved(_noise("RGBA"), "PNG", dpi=(72, 72))


def _tiffs() -> Iterable[bytes]:
    yield _saved(_noise(), "TIFF")
    yield _saved(_noise("RGB"), "TIFF", compression="tiff_lzw")
    yield _saved(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF")
    yield _saved(_noise(), "TIFF", compression="tiff_adobe_deflate")
    yield bytes(_bands())


def _bands() -> bytearray:
    """Four 64-bit floats as one strip, which only our own reader takes."""
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 64), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 2), (279, 4, 1, 32), (339, 3, 1, 3)]  # fmt: skip
    file = bytearray(struct.pack("<2sHI", b"II", 42, 40) + np.arange(4, dtype="<f8").tobytes())
    file += struct.pack("<H", len(entries))
    for entry in entries:
        file += struct.pack("<HHII", *entry)
    return file + bytes(4)


def _others() -> Iterable[bytes]:
    for kind in ("BMP", "GIF", "WEBP", "PPM"):
        yield _saved(_noise("RGB" if kind == "PPM" else "L"), kind)


def _zips() -> Iterable[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("a/1.txt", b"one" * 20)
            archive.writestr("a/\u00e4.txt", b"two")
            archive.mkdir("b") if hasattr(archive, "mkdir") else None
        yield file.getvalue()


def _tars() -> Iterable[bytes]:
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for name in ("a/1.txt", "b/" + "n" * (90 if kind == tarfile.USTAR_FORMAT else 150)):
                info = tarfile.TarInfo(name)
                info.size = 5
                archive.addfile(info, io.BytesIO(b"bytes"))
        yield file.getvalue()


def _columns() -> Iterable[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from irtd_datasets.folder.pages import chunk_of

    for dictionary, version in itertools.product((False, True), ("1.0", "2.0")):
        for values in ([b"one", None, b"three", b"one"], [b"x" * 40] * 9):
            file = io.BytesIO()
            pq.write_table(pa.table({"a": values}), file, compression="none", use_dictionary=dictionary,
                           data_page_version=version)  # fmt: skip
            chunk = chunk_of(pq.read_metadata(file), 0, 0)
            yield bytes([chunk.values, chunk.max_definition]) + file.getvalue()[chunk.start : chunk.stop]


def _masks() -> Iterable[bytes]:
    mask = np.zeros((24, 24), np.uint8)
    mask[3:9, 4:12] = 255
    yield _saved(Image.fromarray(mask), "PNG")
    yield _saved(Image.fromarray(mask // 255 * 3).convert("P"), "PNG")


_TURN = {"from": "human", "value": "<image>\nWhere is the car?"}
_RECORD = {
    "id": "0",
    "image": "a/1.jpg",
    "conversations": [_TURN, {"from": "gpt", "value": "<box>[1,2,3,4]</box>"}],
}
_COCO = {
    "images": [{"id": 1, "file_name": "1.jpg", "width": 9, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
    "categories": [{"id": 2, "name": "car"}],
}
_VOC = (
    b"<annotation><filename>1.png</filename><size><width>9</width><height>8</height></size><object><name>car</name>"
    b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object><object><name>ship</name>"
    b"<robndbox><cx>4</cx><cy>4</cy><w>2</w><h>1</h><angle>0.3</angle></robndbox></object></annotation>"
)
_CARD = (
    b"---\nlicense: cc-by-4.0\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    "
    b"path: a/*.parquet\n---\n# Card\n"
)


def _given(*files: bytes | dict[str, Any] | list[Any]) -> Callable[[], Iterable[bytes]]:
    return lambda: [file if isinstance(file, bytes) else json.dumps(file).encode() for file in files]


def _documents(name: str) -> Iterable[bytes]:
    """The manifest or ledger of a folder that is built from a sample."""
    from irtd_datasets.rows.release import ReleaseOptions
    from irtd_datasets.testing import write_sample_release
    from irtd_datasets.writing.engine import build

    with tempfile.TemporaryDirectory() as folder:
        write_sample_release("irtd", Path(folder, "release"), rows=8, captions=0)
        options = ReleaseOptions(Path(folder, "release"))
        build("irtd", ["instruct-location"], options, Path(folder, "irtd"))
        yield Path(folder, "irtd", name).read_bytes()


_TEXTS: dict[str, tuple[Callable[[bytes], object], Callable[[], Iterable[bytes]]]] = {
    "records": (_records, _given([_RECORD, _RECORD], json.dumps(_RECORD).encode() + b",\n{}\n")),
    "coco": (_all(parse_coco), _given(_COCO)),
    "voc": (_all(parse_voc), _given(_VOC)),
    "yolo": (
        _all(partial(parse_yolo, width=640, height=512)),
        _given(b"0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1 0.9 7\n", b"0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n"),
    ),
    "dota": (_all(parse_dota), _given(b"imagesource:x\ngsd:0.1\n1 1 9 1 9 5 1 5 small-vehicle 0\n")),
    "ucas": (_all(parse_ucas), _given(b"1 1 9 1 9 5 1 5 0.3 1 1 8 4\n")),
    "vedai": (_all(parse_vedai), _given(b"10 10 0.3 9 11 11 9 8 8 12 12 1 1 0\n")),
    "bbgt": (_all(parse_bbgt), _given(b"% bbGt version=3\nperson 1 2 3 4 0 0 0 0 0 0 0\n")),
    "visdrone": (_all(parse_visdrone), _given(b"684,8,273,116,1,4,0,0\n")),
    "points": (
        _all(parse_points), _given({"shapes": [{"label": "a", "points": [[1, 2]], "shape_type": "point"}]})
    ),
    "boxes-csv": (_all(parse_boxes_csv), _given(b"image,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3,4,car\n")),
    "captions": (
        _all(parse_captions), _given({"images": [{"filename": "a.jpg", "sentences": [{"raw": "A car."}]}]})
    ),
    "scene-captions": (
        _all(parse_scene_captions), _given({"airport": [{"filename": "a.jpg", "raw": "A car."}]})
    ),
    "questions": (
        _all(parse_question_records), _given([{"image": "a.jpg", "question": "How many?", "answer": "2"}])
    ),
    "question-lines": (_all(parse_question_lines), _given(b"a.jpg: How many? 2\n")),
    "javascript": (_all(unwrap_javascript), _given(b'var a = [{"b": 1}];')),
    "card": (_text(_card), _given(_CARD)),
    "manifest": (Manifest.parse, partial(_documents, "manifest.json")),
    "ledger": (Ledger.parse, partial(_documents, "ledger.json")),
    "box-text": (_text(parse_boxes), _given(b"<ref>car</ref><box>[[1,2,3,4]]</box> (5,6) {<1><2><3><4>}")),
}  # fmt: skip

PARSERS = {
    "jpeg": Parser(_image, _jpegs),
    "png": Parser(_image, _pngs),
    "tiff": Parser(_image, _tiffs),
    "image": Parser(_image, _others),
    "mask": Parser(lambda data: parse_mask(data, "fuzz", size=(24, 24)), _masks),
    "zip": Parser(_archive, _zips),
    "tar": Parser(_archive, _tars),
    "compressed-tar": Parser(_stream, lambda: [gzip.compress(data, 1, mtime=0) for data in _tars()]),
    "pages": Parser(_pages, _columns),
    **{name: Parser(parse, seeds, binary=False) for name, (parse, seeds) in _TEXTS.items()},
}
