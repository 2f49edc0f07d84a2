"""Patterns of file names with named parts, such as ``{split}/trainimgr/{stem}.*``: matched, walked and filled in."""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.resolve import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from irtd_datasets.releases.entries import Container

__all__ = ["IMAGE_SUFFIXES", "Folders", "Found", "Pattern", "composed", "folded"]

_BESIDE = frozenset(
    {
        "txt",
        "xml",
        "json",
        "jsonl",
        "csv",
        "md",
        "html",
        "yaml",
        "yml",
        "names",
        "data",
        "cfg",
        "ini",
        "log",
        "db",
        "cache",
        "pdf",
        "zip",
        "py",
        "sh",
        "aux",
        "ovr",
        "tfw",
        "pgw",
        "jgw",
    }
)
"""Extensions of what lies beside images and is none; any other is counted."""

_part = re.compile(r"\{([a-z_]+)(?::([^{}]+))?\}|(\.\*$)").finditer
_IMAGE = "(?:" + "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES) + ")"


def composed(name: str) -> str:
    """A name with each letter and its accents in one character: macOS writes them apart, label files do not."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """A name as names are compared: composed, in small letters."""
    return composed(name).lower()


class Found(NamedTuple):
    """A file that fits a pattern.

    Attributes:
        name: Its name below the folder.
        fields: What its named parts stand for.
    """

    name: str
    fields: dict[str, str]


class Folders:
    """Listings of a container's folders, the last few kept, so that a set of any size takes little memory.

    Args:
        container: Where the files are.
        kept: Listings that are kept.
    """

    def __init__(self, container: Container, kept: int = 8) -> None:
        self.container = container
        self._kept = kept
        self._listings: OrderedDict[str, tuple[tuple[str, ...], tuple[str, ...]]] = OrderedDict()
        self._spelled: OrderedDict[str, str] = OrderedDict()
        self._lookups: OrderedDict[str, dict[str, str]] = OrderedDict()

    def listing(self, folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sorted names of the files and of the folders directly in a folder; empty where there is none."""
        known = self._listings.get(folder)
        if known is None:
            scan = getattr(self.container, "scan", None)
            if scan is not None:
                known = scan(folder)
            else:
                known = tuple(self.container.folder(folder)), tuple(self.container.folders(folder))
            self._listings[folder] = known
            if len(self._listings) > self._kept:
                self._listings.popitem(last=False)
        else:
            self._listings.move_to_end(folder)
        return known

    def find(self, name: str) -> str | None:
        """The file of this name in whatever case; ``.*`` at its end stands for any extension of an image."""
        folder, _, last = name.rpartition("/")
        folder = self.spelled(folder)
        lookup = self._lookup(folder)
        if not last.endswith(".*"):
            found = lookup.get(folded(last))
        else:
            stem, found = folded(last[:-2]), None
            for suffix in IMAGE_SUFFIXES:
                if (found := lookup.get(stem + suffix)) is not None:
                    break
        if found is None:
            return None
        return f"{folder}/{found}" if folder else found

    def spelled(self, folder: str) -> str:
        """A folder as it is spelled on disk, where it is there in another case; else as it is."""
        if not folder or self.listing(folder) != ((), ()):
            return folder
        known = self._spelled.get(folder)
        if known is None:
            above, _, last = folder.rpartition("/")
            above = self.spelled(above)
            inner = next((one for one in self.listing(above)[1] if folded(one) == folded(last)), last)
            known = self._spelled[folder] = f"{above}/{inner}" if above else inner
            if len(self._spelled) > 8 * self._kept:
                self._spelled.popitem(last=False)
        return known

    def _lookup(self, folder: str) -> dict[str, str]:
        known = self._lookups.get(folder)
        if known is None:
            known = {folded(file): file for file in self.listing(folder)[0]}
            self._lookups[folder] = known
            if len(self._lookups) > self._kept:
                self._lookups.popitem(last=False)
        return known


class Pattern:
    """A name below the folder of a source, some of whose parts are named.

    ``{stem}`` stands for any characters but a slash; ``{split:train|val}`` for one of these; ``.*`` at the end for
    any extension of an image. Letters match in either case.

    Args:
        text: The pattern.

    Raises:
        UnknownNameError: The pattern is malformed.
        UnsafePathError: It leads out of the folder.

    Example:
        >>> Pattern("{split}/trainimgr/{stem}.*").match("train/trainimgr/00001.jpg")
        {'split': 'train', 'stem': '00001'}
        >>> Pattern("{split}/trainlabelr/{stem}.xml").fill({"split": "train", "stem": "00001"})
        'train/trainlabelr/00001.xml'
    """

    def __init__(self, text: str) -> None:
        self.text = safe_name(composed(re.sub(r"\{[^{}]*\}", lambda part: part[0].replace("/", "?"), text)))
        self.parts = self.text.split("/")
        self._compiled = [self._compile(part) for part in self.parts]
        self._template = re.sub(r"\{([a-z_]+)(?::[^{}]+)?\}", r"%(\1)s", self.text.replace("%", "%%"))
        self._folder_template = self._template.rpartition("/")[0]
        self.fields = frozenset(
            match[1] for part in self.parts for match in _part(part) if match[1] is not None
        )

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def _compile(self, part: str) -> re.Pattern[str] | str:
        """The regular expression of a part, or the part itself where nothing in it is named."""
        pieces, end = [], 0
        seen: set[str] = set()
        for match in _part(part):
            pieces.append(re.escape(part[end : match.start()]))
            end = match.end()
            if match[3]:
                pieces.append(_IMAGE)
            elif match[1] in seen:
                pieces.append(f"(?P={match[1]})")
            else:
                seen.add(match[1])
                pieces.append(f"(?P<{match[1]}>{match[2] or '[^/]+'})")
        rest = part[end:]
        if "{" in rest or "}" in rest:
            raise UnknownNameError(
                f"pattern {self.text!r} has an unclosed or misnamed part in {part!r}",
                remedy="Write parts as {name} in lower-case letters, or {name:one|other}.",
            )
        if not pieces:
            return part
        try:
            return re.compile("".join(pieces) + re.escape(rest), re.IGNORECASE)
        except re.error as error:
            raise UnknownNameError(
                f"pattern {self.text!r}: {error}", remedy="See {name:one|other}."
            ) from error

    def match(self, name: str) -> dict[str, str] | None:
        """What the named parts of a name stand for; None where it does not fit."""
        parts = name.split("/")
        if len(parts) != len(self.parts):
            return None
        fields: dict[str, str] = {}
        for part, compiled in zip(parts, self._compiled, strict=True):
            if not _fits(part, compiled, fields):
                return None
        return fields

    def walk(
        self, folders: Folders, base: str = "", unseen: Callable[[str], object] | None = None
    ) -> Iterator[Found]:
        """Files that fit, in the order of their names, one folder listed at a time.

        Args:
            folders: Where to look.
            base: Folder of the container that the pattern starts at.
            unseen: Told of each file that would fit ``.*`` if its extension were that of an image.
        """
        return self._walk(folders, base, 0, {}, unseen)

    def _walk(
        self,
        folders: Folders,
        base: str,
        depth: int,
        fields: dict[str, str],
        unseen: Callable[[str], object] | None,
    ) -> Iterator[Found]:
        compiled = self._compiled[depth]
        last = depth == len(self.parts) - 1
        names = folders.listing(base)[0 if last else 1]
        if isinstance(compiled, str):
            lower = folded(compiled)
            names = tuple(name for name in names if folded(name) == lower)
        prefix = f"{base}/" if base else ""
        for name in names:
            inner = dict(fields)
            if _fits(name, compiled, inner):
                if last:
                    yield Found(prefix + name, inner)
                else:
                    yield from self._walk(folders, prefix + name, depth + 1, inner, unseen)
            elif last and unseen is not None and self._would_fit(name, compiled, fields):
                unseen(prefix + name)

    def _would_fit(self, name: str, compiled: re.Pattern[str] | str, fields: dict[str, str]) -> bool:
        stem, dot, suffix = name.rpartition(".")
        if not (stem and dot and self.text.endswith(".*")) or suffix.lower() in _BESIDE:
            return False
        return _fits(stem + IMAGE_SUFFIXES[0], compiled, dict(fields))

    def fill(self, fields: Mapping[str, str], *, folder: bool = False) -> str | None:
        """The name with its parts filled in; None where one is not known.

        Args:
            fields: What the parts stand for.
            folder: Whether only the folder is wanted.
        """
        try:
            return (self._folder_template if folder else self._template) % fields
        except KeyError:
            return None


def _fits(part: str, compiled: re.Pattern[str] | str, fields: dict[str, str]) -> bool:
    if isinstance(compiled, str):
        return folded(part) == folded(compiled)
    match = compiled.fullmatch(composed(part))
    if match is None:
        return False
    for key, value in match.groupdict().items():
        known = fields.setdefault(key, value)
        if known is not value and known.lower() != value.lower():
            return False
    return True
