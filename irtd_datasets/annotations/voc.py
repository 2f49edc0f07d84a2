"""Pascal VOC XML and what has been made of it.

One parser reads all dialects, because files of one dataset mix them:

- ``<bndbox>`` with ``xmin ymin xmax ymax`` (LLVIP, M3FD, HIT-UAV ``normal_xml``, SIRST), or ``x y w h`` (KAIST);
- ``<robndbox>`` with ``cx cy w h angle`` in radians (HIT-UAV ``rotate_xml``, made with roLabelImg);
- ``<polygon>`` with ``x1 y1 .. x4 y4`` (DroneVehicle), ``<robndbox>`` with ``x_left_top y_left_top ..`` (DIOR-R);
- ``<point>`` with ``x y`` (DroneRGBT), ``<centroid>`` with ``xc yc`` (SIRST-V2);
- ``<HRSC_Object>`` with ``box_xmin .. mbox_ang`` (HRSC2016).

Numbers are read as they stand and taken as half-open: the files of the sources here give ``xmax = xmin + width``,
unlike those of the PASCAL VOC challenge itself, which count from 1 and include the last pixel. For a source of that
kind, its row in the table of sources says ``one-based``.

XML is data from outside: a document type declaration, which is what entity bombs need and no label file has, is
refused before anything is parsed.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from irtd_datasets.annotations.label_file import (
    LabelFile,
    LabelProblem,
    numbers_of,
    oriented_corners,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = ["XML_LIMIT", "parse_voc", "parse_xml"]

XML_LIMIT = 16 << 20
"""Most bytes of one XML file; the largest label file of the sources has well below 1 MB."""

_NO_FLAGS: frozenset[str] = frozenset()
_FLAGS = frozenset({"difficult", "truncated", "occluded", "occlusion", "crowd"})
_UNSET = frozenset({"", "0", "no", "false", "none", "unspecified"})
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
_DIOR_CORNERS = (
    "x_left_top",
    "y_left_top",
    "x_right_top",
    "y_right_top",
    "x_right_bottom",
    "y_right_bottom",
    "x_left_bottom",
    "y_left_bottom",
)
_encoding = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*\?>""").match
_declaration = re.compile(r"\s*<\?xml.*?\?>", re.DOTALL)
# What expat reads itself, and East Asian encodings that it does not; anything else is refused.
_OWN_ENCODINGS = frozenset({b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1", b"latin1", b"utf8"})
_OTHER_ENCODINGS = frozenset(
    {"gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "windows-1252", "cp1252"}
)


def parse_xml(data: bytes, name: str) -> Element:
    """Parse an XML file without a document type declaration.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Raises:
        AnnotationError: The file is empty, larger than `XML_LIMIT`, no XML, or declares a document type.

    Example:
        >>> parse_xml(b'<!DOCTYPE a [<!ENTITY b "bomb">]><a>&b;</a>', "1.xml")
        Traceback (most recent call last):
        ...
        irtd_datasets.errors.AnnotationError: 1.xml: it declares a document type or an entity, which no label file needs
        Do not trust where this file comes from.
    """
    if len(data) > XML_LIMIT:
        raise unreadable(name, f"{len(data):,} bytes of XML, the limit is {XML_LIMIT:,}")
    text: bytes | str = data
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = _without_declaration(data, "utf-16", name)
    elif b"\0" in data:
        raise unreadable(name, "no XML: it has NUL bytes")
    elif (found := _encoding(data)) and found[1].lower() not in _OWN_ENCODINGS:
        encoding = found[1].decode().lower()
        if encoding not in _OTHER_ENCODINGS:
            raise unreadable(name, f"its encoding {encoding!r} is not read", "Save it as UTF-8.")
        text = _without_declaration(data, encoding, name)
    kinds = (b"<!DOCTYPE", b"<!ENTITY") if isinstance(text, bytes) else ("<!DOCTYPE", "<!ENTITY")
    if any(kind in text for kind in kinds):  # type: ignore[operator]
        raise unreadable(
            name,
            "it declares a document type or an entity, which no label file needs",
            "Do not trust where this file comes from.",
        )
    try:
        return ET.fromstring(text)  # noqa: S314 - see above
    except ET.ParseError as error:
        if not data.strip():
            raise unreadable(name, "the file is empty", "Get the file again, or delete it.") from None
        raise unreadable(name, f"no XML: {error}") from error
    except (ValueError, LookupError) as error:
        raise unreadable(name, f"no XML: {error}", "Save it as UTF-8.") from error


def _without_declaration(data: bytes, encoding: str, name: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise unreadable(name, f"no {encoding} text: {error}", "Save it as UTF-8.") from error
    return _declaration.sub("", text, count=1)


def parse_voc(data: bytes, name: str) -> LabelFile:
    """Read one XML label file of any dialect.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Returns:
        Objects in the order of the file, in pixels. An object without a place or with one that cannot be read is
        left out, and its problem listed. ``<description>`` of an object (DIOR-RSVG) becomes its description.

    Raises:
        AnnotationError: The file is no XML, or no label file of any known dialect.

    Example:
        >>> xml = b'''<annotation><filename>1.png</filename><object><name>person</name>
        ...   <bndbox><x>549</x><y>205</y><w>22</w><h>53</h></bndbox></object></annotation>'''
        >>> parse_voc(xml, "1.xml").objects[0].box
        (549.0, 205.0, 571.0, 258.0)
    """
    root = parse_xml(data, name)
    found = LabelFile()
    if root.tag == "HRSC_Image":
        _read_hrsc(root, found)
        return found
    seen = False
    path = ""
    for element in root:
        tag = element.tag
        if tag == "object":
            seen = True
            _read_object(element, found)
        elif tag == "filename":
            seen = True
            found.image = (element.text or "").strip()
        elif tag == "size":
            seen = True
            found.width, found.height = _size(element)
        elif tag == "path":
            path = (element.text or "").strip()
    if not seen and root.tag.lower() not in {"annotation", "annotations"}:
        raise unreadable(
            name, f"no label file: its element <{root.tag}> has no <object>, <filename> or <size>"
        )
    if not found.image:
        found.image = path
    return found


def _size(element: Element) -> tuple[int | None, int | None]:
    sizes: dict[str, int | None] = {"width": None, "height": None}
    for child in element:
        if child.tag in sizes:
            numbers = numbers_of([child.text or ""])
            sizes[child.tag] = int(numbers[0]) if numbers and numbers[0] >= 1 else None
    return sizes["width"], sizes["height"]


def _read_object(element: Element, found: LabelFile) -> None:
    label = description = ""
    box: tuple[float, float, float, float] | None = None
    polygon: tuple[float, ...] | None = None
    point: tuple[float, float] | None = None
    flags = _NO_FLAGS
    broken = ""
    for child in element:
        tag = child.tag
        try:
            if tag == "name":
                label = (child.text or "").strip()
            elif tag == "bndbox":
                box = _box(child)
            elif tag in _FLAGS:
                text = (child.text or "").strip().lower()
                if text not in _UNSET:
                    flags |= {"occluded" if tag == "occlusion" else tag}
            elif tag in {"polygon", "robndbox", "rbndbox"}:
                polygon = _polygon(child)
            elif tag in {"point", "centroid"}:
                point = _point(child)
            elif tag == "description":
                description = (child.text or "").strip()
        except (ValueError, TypeError, KeyError):
            broken = f"<{tag}> of {label or 'an object'}"
    if box is None and polygon is not None:
        box = min(polygon[0::2]), min(polygon[1::2]), max(polygon[0::2]), max(polygon[1::2])
    if box is None and point is None:
        code = "box-malformed" if broken else "object-without-box"
        found.problems.append(LabelProblem(code, broken or f"object {label!r} has no place"))
        return
    if broken:
        found.problems.append(LabelProblem("box-malformed", broken))
    found.objects.append(
        LabelledObject(label, box, polygon, point, attributes=flags, description=description)
        if description
        else LabelledObject(label, box, polygon, point, None, flags)
    )


def _box(element: Element) -> tuple[float, float, float, float]:
    # Files list the four in any order: xmin, xmax, ymin, ymax occurs.
    values = {child.tag: float(child.text or "") for child in element}
    if "xmin" in values:
        box = values["xmin"], values["ymin"], values["xmax"], values["ymax"]
    elif "w" in values:
        box = values["x"], values["y"], values["x"] + values["w"], values["y"] + values["h"]
    elif "width" in values:
        box = values["x"], values["y"], values["x"] + values["width"], values["y"] + values["height"]
    else:
        raise ValueError
    if not math.isfinite(sum(box)):
        raise ValueError
    return box


def _polygon(element: Element) -> tuple[float, ...]:
    values = {child.tag: float(child.text or "") for child in element}
    if "cx" in values:
        corners = oriented_corners(values["cx"], values["cy"], values["w"], values["h"], values["angle"])
    else:
        keys = _CORNERS if "x1" in values else _DIOR_CORNERS
        if keys[0] not in values:
            raise ValueError
        corners = tuple(values[key] for key in keys)
    if not math.isfinite(sum(corners)):
        raise ValueError
    return corners


def _point(element: Element) -> tuple[float, float]:
    values = {child.tag: float(child.text or "") for child in element}
    point = (values["xc"], values["yc"]) if "xc" in values else (values["x"], values["y"])
    if not math.isfinite(sum(point)):
        raise ValueError
    return point


def _read_hrsc(root: Element, found: LabelFile) -> None:
    texts = {child.tag: (child.text or "").strip() for child in root}
    found.image = ".".join(
        part for part in (texts.get("Img_FileName", ""), texts.get("Img_FileFmt", "")) if part
    )
    size = numbers_of([texts.get("Img_SizeWidth", ""), texts.get("Img_SizeHeight", "")])
    if size and min(size) >= 1:
        found.width, found.height = int(size[0]), int(size[1])
    for item in _hrsc_objects(root):
        numbers = numbers_of([item.get(f"box_{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")])
        turned = numbers_of([item.get(f"mbox_{key}", "") for key in ("cx", "cy", "w", "h", "ang")])
        if numbers is None:
            found.problems.append(
                LabelProblem("box-malformed", f"HRSC_Object {item.get('Object_ID', 'without number')}")
            )
            continue
        flags = frozenset(flag for flag in ("difficult", "truncated") if item.get(flag, "0") not in _UNSET)
        polygon = oriented_corners(*turned) if turned else None
        x_min, y_min, x_max, y_max = numbers
        found.objects.append(
            LabelledObject(item.get("Class_ID", ""), (x_min, y_min, x_max, y_max), polygon, attributes=flags)
        )


def _hrsc_objects(root: Element) -> Iterator[dict[str, str]]:
    for item in root.iter("HRSC_Object"):
        yield {child.tag: (child.text or "").strip() for child in item}
