"""Caption files of remote sensing: Karpathy's JSON (RSICD, UCM, Sydney), COCO captions, JSON lines, pairs of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.annotations.json_members import EVERY_MEMBER, read_member_lists
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.annotations.label_file import (
    LabelFile,
    LabelProblem,
    integer_of,
    quoted,
    text_of,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.annotations.json_records import Record, Source

__all__ = ["parse_caption_lists", "parse_captions", "parse_scene_captions"]

_NAMES = ("filename", "file_name", "image", "image_path", "im_name")


def parse_captions(source: Source, name: str) -> Iterator[LabelFile]:
    """Read a file of captions.

    Args:
        source: The bytes of the file, its path, or a binary file object. ``dataset_rsicd.json`` and its like have
            ``images`` with ``sentences`` and their ``raw`` text; COCO captions have ``annotations`` with ``caption``;
            in JSON lines each object has ``captions``.
        name: Its name, for messages; ``.jsonl`` names JSON lines.

    Yields:
        One label file for each image, with its captions stripped of blanks and the split as written. A list of
        captions is several. A caption that is empty, or no text, is left out and listed.

    Raises:
        JsonRecordsError: The file is of none of these forms, or cut.

    Example:
        >>> file = b'{"images": [{"filename": "1.tif", "split": "val", "sentences": [{"raw": "A pond ."}]}]}'
        >>> [(found.image, found.split, found.captions) for found in parse_captions(file, "dataset.json")]
        [('1.tif', 'val', ('A pond .',))]
    """
    if name.lower().endswith((".jsonl", ".ndjson")):
        for _, record in read_records(source, name=name):
            yield _file(record, _texts(record))
        return
    images: dict[object, LabelFile] = {}
    texts: dict[object, list[object]] = {}
    for key, record in read_member_lists(source, name=name, keys={"images", "annotations"}):
        if key == "annotations":
            texts.setdefault(_key(record.get("image_id")), []).extend(_texts(record))
        elif "sentences" in record or "captions" in record:
            yield _file(record, _texts(record))
        else:
            images.setdefault(_key(record.get("id")), _file(record, []))
    for identifier, found in images.items():
        _add(found, texts.pop(identifier, []))
        yield found
    lost = sum(map(len, texts.values()))
    if lost:
        yield LabelFile(
            problems=[LabelProblem("label-without-image", "caption of an image not listed")] * lost
        )


def parse_scene_captions(source: Source, name: str) -> Iterator[LabelFile]:
    """Read ``dataset_nwpu.json`` of NWPU-Captions: a list for each scene, captions as ``raw``, ``raw_1`` ...

    Yields:
        One label file for each image, which is named with its scene as its folder; faults are listed as in
        `parse_captions`.

    Raises:
        JsonRecordsError: The file is no object of lists, or cut.

    Example:
        >>> file = b'{"beach": [{"filename": "beach_1.jpg", "split": "test", "raw": "Sand .", "raw_1": "A sea ."}]}'
        >>> [(found.image, found.scene, found.captions) for found in parse_scene_captions(file, "dataset_nwpu.json")]
        [('beach/beach_1.jpg', 'beach', ('Sand .', 'A sea .'))]
    """
    for scene, record in read_member_lists(source, name=name, keys=EVERY_MEMBER):
        texts = [text for key, text in record.items() if key == "raw" or key.startswith("raw_")]
        found = _file(record, texts or [None])
        found.image, found.scene = (f"{scene}/{found.image}" if found.image else ""), scene
        yield found


def _key(value: object) -> object:
    number = integer_of(value)
    return number if number is not None else text_of(value)


def _texts(record: Record) -> list[object]:
    """Captions of a record as they stand, which may be no text; one that is missing is null."""
    sentences = next((record[key] for key in ("sentences", "captions", "caption") if key in record), None)
    listed = sentences if isinstance(sentences, list) else [sentences]
    return [one["raw"] if isinstance(one, dict) and "raw" in one else one for one in listed]


def _file(record: Record, texts: list[object]) -> LabelFile:
    image = next((text for key in _NAMES if (text := text_of(record.get(key)))), "")
    found = LabelFile(image=image, split=text_of(record.get("split")))
    for key in ("width", "height"):
        value = integer_of(record.get(key))
        if value and value > 0:
            setattr(found, key, value)
    _add(found, texts)
    return found


def _add(found: LabelFile, texts: Sequence[object]) -> None:
    kept = []
    for one in texts:
        text = text_of(one)
        if text:
            kept.append(text)
        elif text == "" or one is None:
            found.lose("caption-empty", found.image)
        else:
            found.lose("caption-malformed", f"{found.image}: {quoted(one)}")
    found.captions = tuple(kept)


def parse_caption_lists(names: str, captions: str, name: str) -> list[LabelFile]:
    r"""Join a list of image names and a list of captions (``train_filename.txt`` and ``train_caps.txt`` of RSITMD).

    Either each caption has its own line of the names, or each name stands for the same number of captions, five in
    the train lists.

    Raises:
        AnnotationError: The number of captions is no multiple of the number of names.

    Example:
        >>> parse_caption_lists("1.tif\n1.tif\n", "A pond.\nWater.\n", "train_caps.txt")[0].captions
        ('A pond.', 'Water.')
    """
    images, texts = names.split("\n"), captions.split("\n")
    images = [line.strip() for line in images]
    while images and not images[-1]:
        images.pop()
    while len(texts) > len(images) and not texts[-1].strip():
        texts.pop()
    if not images or len(texts) % len(images):
        raise unreadable(name, f"{len(texts)} captions for {len(images)} names of images")
    each = len(texts) // len(images)
    joined: dict[str, list[str]] = {}
    for number, text in enumerate(texts):
        joined.setdefault(images[number // each], []).append(text)
    files = []
    for image, lines in joined.items():
        found = LabelFile(image=image)
        _add(found, lines)
        files.append(found)
    return files
