"""A source dataset on disk, read image by image."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from irtd_datasets.annotations.label_file import LabelFile, decode_text, numbers_of, text_of
from irtd_datasets.annotations.labelled import OPEN, LabelledImage, LabelledObject
from irtd_datasets.errors import (
    AnnotationError,
    ImageError,
    ReleaseNotFoundError,
    UnknownNameError,
)
from irtd_datasets.images.bands import read_directory
from irtd_datasets.images.files import MAX_PIXELS, inspect_image, prepare_image, read_size
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.sources.channels import channels
from irtd_datasets.sources.classes import class_names, plain_class
from irtd_datasets.sources.patterns import IMAGE_SUFFIXES, Folders, Pattern, folded
from irtd_datasets.sources.placing import cut, moved, turned
from irtd_datasets.sources.problems import Problems
from irtd_datasets.sources.readers import READERS
from irtd_datasets.sources.table import Layout, SourceRow, Splits, wrong_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from irtd_datasets.releases.containers import Container

__all__ = ["ImageFile", "Source", "SourceOptions"]

_SHORT_HEAD, _HEAD = 4 << 10, 64 << 10
_UNBOUNDED = sys.maxsize, sys.maxsize
"""The size of an image that nobody has said: what is empty or left of it is out all the same."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image of a source as its name says it, before labels.

    Attributes:
        name: Its name below the folder of the source.
        fields: What the named parts of the pattern stand for.
        splits: Splits that it stands in; more than one is a problem of the source.
    """

    name: str
    fields: Mapping[str, str]
    splits: tuple[str | None, ...]


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        unlabelled: Whether images without labels are handed out, with ``label_file`` None and nothing exhaustive.
        check_images: Whether the header of every image is read: images that cannot be opened are left out,
            sizes compared, and boxes cut at the edge. Without it, images whose format does not need their size
            are never opened.
        check_contents: Whether the bytes of every image are compared, to find the same image in two splits
            under different names; reads every file in full.
    """

    unlabelled: bool = False
    check_images: bool = True
    check_contents: bool = False


class Source:
    """A source dataset that lies on disk.

    Args:
        row: What the table of sources says of it.
        container: The folder, zip or tar that it lies in.
        base: Folder of the container that the patterns of `layout` start at.
        layout: The way in which its files lie.
        options: How it is read.

    Attributes:
        row: What the table of sources says of it.
        problems: What was not as it should be, counted; of the last call of `images`, complete at its end.
    """

    def __init__(
        self, row: SourceRow, container: Container, base: str, layout: Layout, options: SourceOptions
    ) -> None:
        self.row = row
        self.container = container
        self.base = base
        self.layout = layout
        self.options = options
        self.folders = Folders(container)
        self.problems = Problems()
        self._classes: dict[str, str | None] = {}
        self._alike: dict[str, str] = {}
        self._lists: dict[str, dict[str, tuple[str, ...]]] | None = None
        self._unseen: set[str] = set()

    def __repr__(self) -> str:
        return f"Source({self.row.name!r}, {str(self.container.path)!r})"

    @property
    def name(self) -> str:
        """Its name in the table of sources."""
        return self.row.name

    # --------------------------------------------------------------------------------------------------------
    # Images.

    def images(self) -> Iterator[LabelledImage]:
        """Images with their labels, in an order that is the same on every machine.

        Raises:
            ArchiveError: A folder or a file cannot be read.
        """
        self.problems.clear()
        self._classes = self._class_names()
        self._lists = None
        self._unseen.clear()
        contents: dict[bytes, tuple[str, str]] = {}
        apart: dict[str, dict[str, str]] = {"sequence": {}, "identity": {}}
        for image in READERS[self.layout.reader](self):
            for kind, value in (("sequence", image.sequence), ("identity", image.identity)):
                if value is None or image.split is None:
                    continue
                first = apart[kind].setdefault(value, image.split)
                if first != image.split:
                    self.problems.add(
                        f"{kind}-in-two-splits", image.image, f"{value} in {first} and {image.split}"
                    )
            if self.options.check_contents and image.split is not None:
                self._compare(image, contents)
            yield image
        for name in sorted(self._unseen):
            self.problems.add("extension-unknown", self._below(name))

    def _compare(self, image: LabelledImage, contents: dict[bytes, tuple[str, str]]) -> None:
        """Count an image whose very bytes were met in another split."""
        digest = hashlib.blake2b(self.read(image.image), digest_size=16).digest()
        split, first = contents.setdefault(digest, (str(image.split), image.image))
        if split != image.split and first != image.image:
            self.problems.add(
                "same-image-in-two-splits", image.image, f"as {first} in {split} and {image.split}"
            )

    def path(self, name: str) -> Path:
        """Path of a file of the source.

        Raises:
            UnsafePathError: The name leads out of the folder.
            UnknownNameError: The source lies in an archive, whose files have no path.
        """
        path = self.container.path
        if not isinstance(path, Path) or not path.is_dir():
            raise UnknownNameError(
                f"{name!r} lies in an archive and has no path", remedy="Use `read`, or unpack the archive."
            )
        return path / self._full(safe_name(name))

    def read(self, name: str) -> bytes:
        """Content of a file of the source, as it is."""
        return self.container.read(self._full(safe_name(name)))

    def open(self, name: str) -> BinaryIO:
        """A file of the source to read forwards from."""
        return self.container.open(self._full(safe_name(name)))

    def image_bytes(self, image: LabelledImage) -> bytes:
        """An image as `image` describes it: the file's bytes, but for sources whose row names a transform."""
        data = self.read(image.image)
        transform = self.row.transform
        if not transform:
            return data
        if transform == "fourth-channel":
            return channels(data, image.image, "infrared")
        return bytes(prepare_image(data, image.image, transform=transform).data)

    def visible_bytes(self, image: LabelledImage) -> bytes | None:
        """The visible partner of an image; None without one."""
        if image.visible is None:
            return None
        data = self.read(image.visible)
        if self.row.transform == "fourth-channel":
            return channels(data, image.visible, "visible")
        if self.row.transform == "crop-border-100":
            return bytes(prepare_image(data, image.visible, transform="crop-border-100").data)
        return data

    # --------------------------------------------------------------------------------------------------------
    # What readers are made of.

    def _full(self, name: str) -> str:
        return f"{self.base}/{name}" if self.base else name

    def _below(self, name: str) -> str:
        return name[len(self.base) + 1 :] if self.base else name

    def walk(self, pattern: Pattern) -> Iterator[tuple[str, dict[str, str]]]:
        """Files that fit a pattern, below the folder of the source, in the order of their names."""
        unseen = self._unseen.add if pattern is self.layout.infrared else None
        for found in pattern.walk(self.folders, self.base, unseen):
            name = self._below(found.name)
            if text_of(name) is None:
                self.problems.add("image-unreadable", ascii(name), "its name is no text in UTF-8")
            else:
                yield name, found.fields

    def find(self, name: str) -> str | None:
        """The file of this name in whatever case and, for ``.*``, of whatever extension."""
        found = self.folders.find(self._full(name))
        return None if found is None else self._below(found)

    def partner(self, pattern: Pattern | None, fields: Mapping[str, str]) -> str | None:
        """The file that belongs to an image by another pattern; None where there is none."""
        if pattern is None:
            return None
        name = pattern.fill(fields)
        return None if name is None else self.find(name)

    def beside(self, pattern: Pattern, fields: Mapping[str, str]) -> list[str]:
        """Files of one folder that fit a pattern whose folders are known, in the order of their names."""
        filled = pattern.fill(fields, folder=True)
        if filled is None:
            return []
        full = self.folders.spelled(self._full(filled) if filled else self.base)
        prefix = f"{self._below(full)}/" if filled else ""
        files = self.folders.listing(full)[0]
        return [prefix + file for file in files if pattern.match(prefix + file) is not None]

    def image_files(self) -> Iterator[ImageFile]:
        """Images of the source with their splits."""
        for name, fields in self.walk(self.layout.infrared):
            yield ImageFile(name, fields, self.splits_of(name, fields))

    def splits_of(self, name: str, fields: Mapping[str, str]) -> tuple[str | None, ...]:
        """Splits that an image stands in, by its name or by the files that list it."""
        splits = self.layout.splits
        if splits.lists and splits.field != "split":
            return self._listed_by(name, fields.get(splits.field, ""))
        if not splits.lists:
            split = splits.of(fields)
            if split is None and splits.field in fields:
                self.problems.add("split-unknown", name, f"{splits.field} {fields[splits.field]!r}")
            return (split,)
        stem = fields.get("stem", name)
        listed = self._listed()
        found = listed.get(folded(stem))
        if found is None:
            plain = folded(name.rsplit(".", 1)[0])
            whole = folded(f"{self.row.name}/{plain}")
            sequence = folded(self.layout.sequence_of(fields) or "")
            found = listed.get(plain) or listed.get(whole) or (listed.get(sequence) if sequence else None)
        if found is None:
            if splits.values:
                return (splits.of(fields),)
            self.problems.add("split-unknown", name, "no split lists it")
            return (None,)
        if len(found) > 1:
            self.problems.add("image-in-two-splits", name, " and ".join(found))
        return found

    def split_named(self, written: str, name: str) -> str | None:
        """The split that a label file puts an image in; None, and counted, where the name is unknown."""
        split = Splits.parse("").of({"split": written})
        if split is None:
            self.problems.add("split-unknown", name, repr(written))
        return split

    def _listed_by(self, name: str, value: str) -> tuple[str | None, ...]:
        """Splits whose lists have the value of a part of the name, such as an identity, with or without zeros."""
        listed = self._listed()
        found = listed.get(value.lower()) or listed.get(value.lstrip("0") or "0")
        if found is None:
            self.problems.add("split-unknown", name, f"no split lists {value!r}")
            return (None,)
        if len(found) > 1:
            self.problems.add("image-in-two-splits", name, f"{value} in " + " and ".join(found))
        return found

    def _listed(self) -> dict[str, tuple[str, ...]]:
        """Splits by stem and by name without extension, of the files that list them."""
        if self._lists is None:
            listed: dict[str, tuple[str, ...]] = {}
            for file, split in self.layout.splits.lists:
                name = self.find(file)
                if name is None:
                    self.problems.add("split-list-missing", file)
                    continue
                for entry in self._entries(decode_text(self.read(name), name)):
                    for key in {entry, entry.rsplit("/", 1)[-1]}:
                        known = listed.get(key, ())
                        if split not in known:
                            listed[key] = (*known, split)
            self._lists = {"": listed}
        return self._lists[""]

    def _entries(self, text: str) -> Iterator[str]:
        """What a list names: one image a line, or values separated by commas."""
        values = self.layout.splits.field != "split"
        for line in folded(text).splitlines():
            words = line.split(",") if values else line.split()[:1]
            for word in filter(None, map(str.strip, words)):
                entry = word.replace("\\", "/").removeprefix("./")
                stem, dot, suffix = entry.rpartition(".")
                yield stem if f"{dot}{suffix}" in (*IMAGE_SUFFIXES, ".xml", ".txt") else entry

    def size(self, name: str) -> tuple[int, int, int] | None:
        """Width and height of the upright image, and its EXIF orientation; None, and counted, where it is none."""
        full = self._full(name)
        try:
            with self.container.open(full) as file:
                head = file.read(_SHORT_HEAD)
                known = read_size(head) or read_size(head + file.read(_HEAD - _SHORT_HEAD))
            if known is None:
                known = _size_of(self.container.read(full), name)
        except ImageError as error:
            self.problems.add("image-unreadable", name, f"{error.code}: {error.problem}")
            return None
        if self.row.transform == "crop-border-100" and known[:2] == (840, 712):
            known = 640, 512, known[2]
        return known

    def read_labels(self, name: str, parse: Any) -> LabelFile | None:  # noqa: ANN401 - a parser of any format
        """A label file parsed; None, and counted, where it cannot be read."""
        try:
            data = self.container.read(self._full(name))
            if not data.strip():
                self.problems.add("label-empty", name)
            found: LabelFile = parse(data, name)
        except AnnotationError as error:
            if data.strip():
                self.problems.add("label-unreadable", name, error.problem)
            return None
        return found

    def unlabelled(self, image: ImageFile) -> Iterator[LabelledImage]:
        """Count an image that has no label, and hand it out where that is asked for."""
        self.problems.add("image-without-label", image.name)
        if self.options.unlabelled:
            yield from self.build(image, None, None)

    def build(
        self,
        image: ImageFile,
        found: LabelFile | None,
        label_file: str | None,
        visible_found: LabelFile | None = None,
        **more: Any,  # noqa: ANN401 - fields of LabelledImage
    ) -> Iterator[LabelledImage]:
        """Join an image and its labels: sizes, classes, edges, partner, splits.

        Args:
            image: The image.
            found: Its labels; None without.
            label_file: Where they come from.
            visible_found: Labels of the visible partner.
            **more: Further fields of `LabelledImage`, such as ``frame``.

        Yields:
            One image for each split that the image stands in; none where the image cannot be used.
        """
        where = label_file or image.name
        self.problems.doubts()  # what was met before concerns other images
        placed = self._placed(image, found, where)
        if placed is None:
            return
        objects, size = placed
        frame = image.fields.get("frame", "")
        values: dict[str, Any] = {
            "sequence": self.layout.sequence_of(image.fields),
            "frame": int(frame) if frame.isdecimal() else None,
            "identity": image.fields.get("identity"),
            "camera": image.fields.get("camera"),
            "scene": self._scene(image),
            "modality": self.row.modality,
        }
        if found is not None:
            wrong = wrong_labels(self.row.name)
            stem = image.name.rpartition("/")[2].rpartition(".")[0] if wrong else ""
            if stem in wrong:
                self.problems.add("label-wrong", image.name, wrong[stem])
            doubts = self.problems.doubts()
            values.update(
                captions=found.captions,
                questions=found.questions,
                exhaustive=frozenset() if doubts else self.row.exhaustive,
                doubts=doubts,
            )
            if found.scene:
                values["scene"] = found.scene
        if "visible" not in more:
            visible = self.partner(self.layout.visible, image.fields)
            if visible is None and self.layout.visible is not None:
                self.problems.add("image-without-pair", image.name)
            values["visible"] = visible
        values.update(more)
        if visible_found is not None:
            for problem in visible_found.problems:
                self.problems.add(problem.code, values["visible"] or image.name, problem.detail)
            theirs = self._cropped(visible_found.objects, (visible_found.width, visible_found.height))[0]
            values["visible_objects"] = tuple(
                self.classified(theirs, values["visible"] or image.name, image.fields)
            )
        for split in image.splits:
            yield LabelledImage(
                source=self.row.name,
                image=image.name,
                objects=tuple(objects),
                width=size[0] if size else None,
                height=size[1] if size else None,
                split=split,
                label_file=label_file,
                **values,
            )

    def _placed(
        self, image: ImageFile, found: LabelFile | None, where: str
    ) -> tuple[Sequence[LabelledObject], tuple[int, int] | None] | None:
        """Objects in pixels of the image, and its size; None, and counted, where the image cannot be used."""
        objects: Sequence[LabelledObject] = ()
        size: tuple[int, int] | None = None
        if found is not None:
            for problem in found.problems:
                self.problems.add(problem.code, where, problem.detail)
            objects = self.classified(self._once(found.objects, where), where, image.fields)
            objects, size = self._cropped(objects, (found.width, found.height))
        if self.options.check_images:
            actual = self.size(image.name)
            if actual is None:
                return None
            fitted = self._fitted(objects, size, actual, where)
            if fitted is None:
                return None
            objects, size = fitted, actual[:2]
        return self.inside(objects, size or _UNBOUNDED, where), size

    def _once(self, objects: list[LabelledObject], where: str) -> list[LabelledObject]:
        """Objects, each once, that are in pixels; ignored ones are counted."""
        boxes = [item.box for item in objects if item.box is not None]
        if len(boxes) > 1 and len(set(boxes)) < len(boxes):  # faster than to compare whole objects
            # Two people of a crowd may stand at one point.
            once = dict.fromkeys(item for item in objects if item.box is not None)
            kept = [item for item in objects if item.box is None or once.pop(item, True) is None]
            if len(kept) < len(objects):
                self.problems.add("object-listed-twice", where, count=len(objects) - len(kept))
            objects = kept
        for item in objects:
            if item.attributes and item.attributes & OPEN:
                self.problems.add("object-ignored", where, item.label)
        if boxes and max(map(max, boxes)) <= 1:
            self.problems.add("box-in-shares", where, str(boxes[0]), len(boxes))
            objects = [item for item in objects if item.box is None]
        return objects

    def _cropped(
        self, objects: Sequence[LabelledObject], size: tuple[int | None, int | None]
    ) -> tuple[Sequence[LabelledObject], tuple[int, int] | None]:
        """Objects and size without the border that the row's transform cuts off."""
        width, height = size
        if not width or not height:
            return objects, None
        if self.row.transform == "crop-border-100" and size == (840, 712):
            return [moved(item, -100, -100) for item in objects], (640, 512)
        return objects, (width, height)

    def _scene(self, image: ImageFile) -> str | None:
        scene = image.fields.get("scene")
        return scene if scene is None else self._label(scene, image.name)

    def _fitted(
        self,
        objects: Sequence[LabelledObject],
        said: tuple[int, int] | None,
        actual: tuple[int, int, int],
        where: str,
    ) -> Sequence[LabelledObject] | None:
        """Objects in pixels of the upright image; None where the sizes contradict each other."""
        width, height, orientation = actual
        if orientation != 1:
            self.problems.add("image-turned", where, f"orientation {orientation}")
            stored = (height, width) if orientation >= 5 else (width, height)
            if said == stored and (orientation < 5 or said != (width, height)):
                return [turned(item, orientation, *stored) for item in objects]
        if said is None or said == (width, height):
            return objects
        detail = f"{said[0]}x{said[1]} said, {width}x{height} found"
        if all(
            item.box is None or (item.box[2] <= width + 1 and item.box[3] <= height + 1) for item in objects
        ):
            self.problems.add("size-differs", where, detail)
            return objects
        self.problems.add("size-contradicts", where, detail)
        return None

    def inside(
        self, objects: Iterable[LabelledObject], size: tuple[int, int], where: str
    ) -> list[LabelledObject]:
        """Objects with their boxes cut at the edge of the image; those without area or outside are left out."""
        kept = []
        for item in objects:
            code, inner = cut(item, *size)
            if code:
                self.problems.add(code, where, f"{item.label} {item.box or item.point}")
            if inner is not None:
                kept.append(inner)
        return kept

    def classified(
        self, objects: Iterable[LabelledObject], where: str, fields: Mapping[str, str]
    ) -> list[LabelledObject]:
        """Objects with the labels that the table of sources gives their classes."""
        kept = []
        classes = self._classes
        for item in objects:
            known = classes.get(item.label) if item.label else None
            if known is not None:
                kept.append(item if known == item.label else item.labelled(known))
                continue
            name = item.label or re.sub(
                r"\{([a-z_]+)\}", lambda part: fields.get(part[1], ""), self.row.label
            )
            label = self._label(name, where)
            if label == item.label:
                kept.append(item)
            elif label is not None:
                kept.append(item.labelled(label))
        return kept

    def _class_names(self) -> dict[str, str | None]:
        names: dict[str, str | None] = {}
        if self.row.class_file:
            file = self.find(self.row.class_file)
            if file is None:
                raise ReleaseNotFoundError(
                    f"no file {self.row.class_file!r}, which names the classes",
                    where=str(self.container.path),
                    remedy="Get it from where the source is from, or write its row with classes of its own.",
                )
            names.update(class_names(decode_text(self.read(file), file), file))
        for name, label in self.row.class_map.items():
            names[name] = None if label in ("-", "?") else label
        self._alike = {plain_class(name): name for name in reversed(names)}
        return names

    def _label(self, name: str, where: str) -> str | None:
        """The label of a class as a file writes it; None, and counted, where its objects are left out."""
        classes = self._classes
        if name in classes:
            label = classes[name]
        elif (known := self._alike.get(plain_class(name))) is not None:
            self.problems.add("class-other-case", where, f"{name!r} for {known!r}")
            label = classes[known]
        else:
            # A class that is a number, or nothing, is known nowhere unless it is listed.
            named = name.strip() and numbers_of([name]) is None
            if classes and (not named or (name not in classes.values() and classes.get("*") != "*")):
                self.problems.add("class-unknown", where, repr(name))
            elif not named:  # the row has no classes, and does not say what the numbers are
                self.problems.doubt("class-unknown")
            return name
        if label is None:
            unclear = name.lower() in self.row.unclear_classes or self.row.class_map.get(name) == "?"
            self.problems.add("class-left-out", where, name, doubt=unclear)
        return label


def _size_of(data: bytes, name: str) -> tuple[int, int, int]:
    try:
        info = inspect_image(data, name)
    except ImageError:
        bands = read_directory(data, MAX_PIXELS)  # what Pillow does not open, a build shows all the same
        if bands is None:
            raise
        return bands.width, bands.height, 1
    return info.width, info.height, info.orientation
