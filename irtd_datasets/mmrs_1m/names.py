"""Names of images and annotation files, in every spelling that is known, to what they belong to.

Folders are told by their last two levels, ``<task>/<source>``, without regard to case, hyphens and underscores;
``aliases.csv`` has the spellings that differ in letters. Whatever stands before (``data/``, ``data/data/``, a folder of
somebody's machine) does not matter.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from functools import cache

from irtd_datasets.mmrs_1m.spec import COMPONENTS, Component
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.spec import read_table

__all__ = ["BASES", "ImageName", "below_base", "directory_of", "home_of", "is_merged", "read_image_name"]

BASES = frozenset({"data", "mmrs1m", "mmrs-1m", "mmrs_1m"})
"""Names, in small letters, of folders that only hold the release."""

_JSON_SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class ImageName:
    """What the name of an image tells.

    Attributes:
        name: The name with its folder in the released spelling, without ``data/``.
        directory: Its folder, ``<task>/<source>``; empty when it is none of the known ones.
        components: The rows of Table I with images in it; two for DIOR-RSVG, none for an unknown folder.
        by_alias: Whether it names the folder in another spelling than the release.
    """

    name: str
    directory: str
    components: tuple[Component, ...]
    by_alias: bool


def read_image_name(name: str) -> ImageName:
    r"""Read the name of an image as a record gives it.

    Raises:
        UnsafePathError: It leads out of the release.

    Example:
        >>> found = read_image_name(r"data\data\classification\DSCR\train\cargo\1.jpg")
        >>> found.name, found.components[0].part, found.by_alias
        ('classification/DCSR/train/cargo/1.jpg', 'dscr', True)
        >>> read_image_name("data/Sentinel-9/1.jpg").components
        ()
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    for position in range(len(parts) - 2):
        directory = directory_of(parts[position], parts[position + 1])
        if directory:
            rest = "/".join(parts[position + 2 :])
            as_released = f"{parts[position]}/{parts[position + 1]}" == directory
            components = _tables().by_directory[directory]
            return ImageName(safe_name(f"{directory}/{rest}"), directory, components, not as_released)
    return ImageName(below_base(safe_name(name)), "", (), by_alias=False)


def directory_of(task: str, source: str) -> str:
    """The released spelling of the folder ``task/source``; empty when it is none of the known ones.

    Example:
        >>> directory_of("Caption", "Sydney-Captions"), directory_of("detection", "SARV3")
        ('caption/syndney_caption', '')
    """
    return _tables().directories.get((_key(task), _key(source)), "")


def below_base(name: str) -> str:
    """A name without the folders that only hold the release.

    Example:
        >>> below_base("mmrs1m/data/json/total.json")
        'json/total.json'
    """
    parts = name.split("/")
    while len(parts) > 1 and parts[0].lower() in BASES:
        parts.pop(0)
    return "/".join(parts)


def is_merged(json_name: str) -> bool:
    """Whether an annotation file repeats what others have, by its name.

    Example:
        >>> is_merged("total.json"), is_merged("detection/IR/ir_Total.json"), is_merged("caption/caption_ucm.json")
        (True, True, False)
    """
    return "total" in json_name.rpartition("/")[2].lower()


def home_of(json_name: str) -> tuple[Component, ...]:
    """The row of Table I whose annotation a file holds, by its name below ``json/``; empty when that tells nothing.

    Example:
        >>> [one.part for one in home_of("detection/sar/HRISD_OBB.json")]
        ['hrisd']
        >>> [one.part for one in home_of("VQA/sydney_vqa.json")], home_of("total.json")
        (['rsivqa'], ())
    """
    lowered = json_name.lower()
    if is_merged(json_name):
        return ()
    found = [one for one in COMPONENTS if any(fnmatch.fnmatchcase(lowered, pattern) for pattern in one.json)]
    return tuple(found) if len({one.title for one in found}) == 1 else ()


def is_annotation(name: str) -> bool:
    """Whether a file of the release, named below its base, holds records.

    Example:
        >>> is_annotation("json/caption/caption_ucm.json"), is_annotation("caption/ucm_caption/readme.json")
        (True, False)
    """
    return name.lower().startswith("json/") and name.lower().endswith(_JSON_SUFFIXES)


@dataclass(frozen=True, slots=True)
class _Tables:
    directories: dict[tuple[str, str], str]
    by_directory: dict[str, tuple[Component, ...]]


@cache
def _tables() -> _Tables:
    by_directory: dict[str, tuple[Component, ...]] = {}
    for one in COMPONENTS:
        for directory in one.directories:
            by_directory[directory] = (*by_directory.get(directory, ()), one)
    spellings = [(directory, directory) for directory in by_directory]
    spellings += [
        (row["directory"], row["alias"]) for row in read_table("irtd_datasets.mmrs_1m", "aliases.csv")
    ]
    directories = {}
    for directory, spelling in spellings:
        task, _, source = spelling.partition("/")
        directories[_key(task), _key(source)] = directory
    return _Tables(directories, by_directory)


_PLURALS = {"captions": "caption"}


def _key(name: str) -> str:
    lowered = re.sub(r"[^a-z0-9]+", "", name.lower())
    return _PLURALS.get(lowered, lowered)
