"""The visible partner of an image on its way into a row: where it lies, and what the row shows of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from irtd_datasets.errors import AmbiguousImageError, ImageError
from irtd_datasets.images.files import viewable_image
from irtd_datasets.images.pairs.partner import cut_image, fit_partner, refused
from irtd_datasets.releases.resolve import ImageResolver, Located, Mount, mounts_from_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from irtd_datasets.images.files import PreparedImage
    from irtd_datasets.releases.places import Place
    from irtd_datasets.releases.resolve import Layout

__all__ = ["MadePartners", "Partner", "Partners", "Shown", "partner_layouts", "show", "visible_mounts"]


class Partner(NamedTuple):
    """Where the partner of an image lies.

    Attributes:
        located: Its file.
        alignment: What is declared of the pair, of `irtd_datasets.images.pairs.partner.ALIGNMENTS`.
        decided: How the pair was registered before, as JSON of the column ``registration``; empty where it was not.
    """

    located: Located
    alignment: str = "unknown"
    decided: str = ""

    @classmethod
    def unpacked(cls, values: Sequence[Any] | None) -> Partner | None:
        """The inverse of `packed`."""
        return None if values is None else cls(Located(*values[0]), *values[1:])

    def packed(self) -> tuple[Any, ...]:
        """Plain tuples."""
        return tuple(self.located), self.alignment, self.decided


class Shown(NamedTuple):
    """A partner as a row shows it.

    Attributes:
        registration: The column of that name.
        name: Its name.
        data: The bytes to store; None where the pair was refused.
        note: What was done to the file besides.
    """

    registration: dict[str, Any]
    name: str
    data: bytes | memoryview | None
    note: str = ""


class Partners:
    """Finds and reads the partners of images.

    Args:
        resolver: Finds them by the names of their images.
        alignment: What is declared of the pair of an image, by its name.
    """

    def __init__(self, resolver: ImageResolver, alignment: Callable[[str], str]) -> None:
        self.resolver = resolver
        self._alignment = alignment

    def find(self, image: str) -> Partner | None:
        """The partner of an image; None where it has none.

        Raises:
            AmbiguousImageError: Two files claim to be it.
            UnsafePathError: The name leaves its folder.
        """
        try:
            located = self.resolver.resolve(image)
        except AmbiguousImageError as error:
            raise AmbiguousImageError(
                error.problem,
                where=f"visible partner of {error.where}",
                remedy="Remove or rename all but one of them, or leave one place out of --visible.",
            ) from error
        return None if located is None else Partner(located, self._alignment(image))

    def read_into(self, partner: Partner, room: Callable[[int], memoryview]) -> bytes | memoryview:
        """The bytes of a partner's file."""
        return self.resolver.read_into(partner.located, room)


class MadePartners(Partners):
    """Finds the visible partners of constructed records, which lie beside them.

    Args:
        resolver: Finds them by their own names.
        known: For each image the name of its partner and what is declared of the pair.
    """

    def __init__(self, resolver: ImageResolver, known: Mapping[str, Sequence[str]]) -> None:
        # Names of images are those of the folder, or of the folder in it that holds the images.
        names = {short: known[name] for name in known for short in (name, name.partition("/")[2])}
        super().__init__(resolver, lambda image: names[image][1])
        self._names = names

    def find(self, image: str) -> Partner | None:
        """The partner of an image; None where it has none, or the file is gone."""
        located = self.resolver.resolve(self._names[image][0]) if image in self._names else None
        return None if located is None else Partner(located, self._alignment(image))


def visible_mounts(
    visible: Mapping[str, str], known_dirs: Sequence[str], open_place: Callable[[str], Place]
) -> tuple[Mount, ...]:
    """Places where a user keeps visible partners; see `irtd_datasets.releases.resolve.mounts_from_options`."""
    return mounts_from_options(visible, known_dirs, open_place, what="visible images")


def partner_layouts(layouts: Mapping[str, Layout]) -> Mapping[str, Layout]:
    """The layouts of infrared images without the names and the grey that visible files do not have."""
    return {
        name: replace(
            one, rename_from="", rename_to="", transform=one.transform if one.when == "always" else ""
        )
        for name, one in layouts.items()
    }


def show(
    image: PreparedImage, partner: Partner, data: bytes | memoryview, decode: bool
) -> tuple[PreparedImage, Shown]:
    """Bring an image and its partner to one view.

    Args:
        image: The image, upright.
        partner: Its partner.
        data: The bytes of the partner's file.
        decode: Whether the partner is decoded to see that it is whole.

    Returns:
        The image, which is cut only where that was decided when its record was made, and the partner. A partner that
        cannot be used is a refusal with its reason.
    """
    name, transform = partner.located.member, partner.located.transform or None
    try:
        visible = viewable_image(data, name, transform=transform, verify="decode" if decode else "header")
        registration = (
            json.loads(partner.decided)
            if partner.decided
            else fit_partner(image.data, visible.data, name, partner.alignment)
        )
        if registration["status"] not in {"aligned", "cropped"}:
            return image, Shown(registration, name, None)
        shown = cut_image(visible.data, registration["visible_box"], name, store="as-file")
        cut = _cut(image, registration["image_box"])
    except ImageError as error:
        return image, Shown(refused(error.code, name), name, None)
    return cut, Shown(registration, name, shown, visible.note)


def _cut(image: PreparedImage, box: Sequence[int]) -> PreparedImage:
    if list(box) == [0, 0, image.width, image.height]:
        return image
    data = cut_image(image.data, box, "the infrared image")
    where = ", ".join(map(str, box))
    note = f"cut to what its visible partner shows, pixels {where} of {image.width}x{image.height}"
    return image._replace(
        data=data,
        width=box[2] - box[0],
        height=box[3] - box[1],
        note=f"{image.note}, {note}" if image.note else note,
        original=None,
    )
