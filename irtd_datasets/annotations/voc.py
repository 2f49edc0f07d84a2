"""Pascal VOC XML and what has been made of it.

One parser reads all dialects, because files of one dataset mix them:

- ``<bndbox>`` with ``xmin ymin xmax ymax`` (LLVIP, M3FD, HIT-UAV ``normal_xml``, SIRST), or ``x y w h`` (KAIST);
- ``<robndbox>`` with ``cx cy w h angle`` in radians (HIT-UAV ``rotate_xml``, made with roLabelImg);
- ``<polygon>`` with ``x1 y1 .. x4 y4`` (DroneVehicle), ``<robndbox>`` with ``x_left_top y_left_top ..`` (DIOR-R);
- ``<point>`` with ``x y`` (DroneRGBT), ``<centroid>`` with ``xc yc`` (SIRST-V2);
- ``<objects>`` around the objects, ``<possibleresult>`` around the name and ``<points>`` with ``x,y`` (FAIR1M), or
  ``<polygon>`` with ``<pt>`` (LabelMe);
- ``<HRSC_Object>`` with ``box_xmin .. mbox_ang`` (HRSC2016).

Tags are compared without regard to case. A file without an object says that there is none only where all that it has
is what heads of label files have; anything else with parts is refused, or makes the image unclear.

Numbers are read as they stand and taken as half-open: the files of the sources here give ``xmax = xmin + width``,
unlike those of the PASCAL VOC challenge itself, which count from 1 and include the last pixel. For a source of that
kind, its row in the table of sources says ``one-based``.

XML is data from outside: a document type declaration, which is what entity bombs need and no label file has, is
refused before anything is parsed.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from irtd_datasets.annotations.label_file import (
    FULL_TURN,
    LabelFile,
    decode_text,
    enclosing,
    numbers_of,
    oriented_corners,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from xml.etree.ElementTree import Element

__all__ = ["XML_LIMIT", "parse_voc", "parse_xml"]

XML_LIMIT = 16 << 20
"""Most bytes of one XML file; the largest label file of the sources has well below 1 MB."""

_NO_FLAGS: frozenset[str] = frozenset()
_FLAGS = {
    "difficult": "difficult",
    "truncated": "truncated",
    "occluded": "occluded",
    "occlusion": "occluded",
    "crowd": "crowd",
    "iscrowd": "crowd",
    "ignore": "ignored",
    "ignored": "ignored",
}
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
    text = _decoded(data, name)
    if isinstance(text, bytes):
        declares = b"<!DOCTYPE" in text or b"<!ENTITY" in text
    else:
        declares = "<!DOCTYPE" in text or "<!ENTITY" in text
    if declares:
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


def _decoded(data: bytes, name: str) -> bytes | str:
    """The file as the parser of XML takes it: bytes in an encoding that it reads itself, else text."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return _without_declaration(data, "utf-16", name)
    if b"\0" in data:
        raise unreadable(name, "no XML: it has NUL bytes")
    found = _encoding(data)
    if found is None or found[1].lower() in _OWN_ENCODINGS:
        return data if data.isascii() else _as_told(data, name, found[1].lower() if found else b"utf-8")
    encoding = found[1].decode().lower()
    if encoding in _OTHER_ENCODINGS:
        return _without_declaration(data, encoding, name)
    if encoding.startswith(("utf-16", "utf-32", "utf16", "utf32")):  # said, but not so
        return _declaration.sub("", decode_text(data, name), count=1)
    raise unreadable(name, f"its encoding {encoding!r} is not read", "Save it as UTF-8.")


def _as_told(data: bytes, name: str, encoding: bytes) -> bytes | str:
    """The bytes where they are in their encoding; the text where it says UTF-8 and is not, as Chinese tools write."""
    if not encoding.startswith(b"utf"):
        return data
    try:
        data.decode("utf-8-sig")
    except UnicodeError:
        return _declaration.sub("", decode_text(data, name), count=1)
    return data


def _without_declaration(data: bytes, encoding: str, name: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise unreadable(name, f"no {encoding} text: {error}", "Save it as UTF-8.") from error
    return _declaration.sub("", text, count=1)


def parse_voc(data: bytes, name: str) -> LabelFile:  # noqa: C901 - a branch for each element of the head
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
    head: dict[str, str] = {}
    odd = []
    for element in root:
        tag = element.tag if element.tag in _HEAD else element.tag.lower()
        if tag == "object":
            head[tag] = ""
            _read_object(element, found, name)
        elif tag == "objects":
            head[tag] = ""
            odd += [f"objects/{inner.tag}" for inner in element if inner.tag.lower() != "object"]
            for inner in element:
                if inner.tag.lower() == "object":
                    _read_object(inner, found, name)
        elif tag == "size":
            head[tag] = ""
            found.width, found.height = _size(element)
        elif tag == "source":
            head.setdefault("filename", _text(element.find("filename")))
        elif tag in {"filename", "path"}:
            head[tag] = _text(element)
        elif tag not in _HEAD and len(element):
            odd.append(element.tag)
    _check(root, found, odd, name, known=bool({"object", "objects", "size", "filename"} & set(head)))
    found.image = head.get("filename") or head.get("path", "")
    return found


def _check(root: Element, found: LabelFile, odd: list[str], name: str, *, known: bool) -> None:
    """Refuse a file of another kind; list what it has beside its objects and is read nowhere."""
    if not known and (odd or root.tag.lower() not in {"annotation", "annotations"}):
        raise unreadable(
            name, f"no label file: its element <{root.tag}> has no <object>, <filename> or <size>"
        )
    if odd and not found.objects and not found.problems:
        raise unreadable(
            name, f"it has no <object>, but <{odd[0]}>, which is read nowhere", "Convert it to Pascal VOC."
        )
    for tag in odd:
        found.lose("object-without-box", f"<{tag}> is read nowhere")


_HEAD = frozenset(
    {"object", "objects", "filename", "size", "path", "source", "owner", "folder", "segmented", "research"}
)


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _size(element: Element) -> tuple[int | None, int | None]:
    sizes: dict[str, int | None] = {"width": None, "height": None}
    for child in element:
        tag = child.tag.lower()
        if tag in sizes:
            text = child.text or ""
            numbers = [int(text)] if text.isdecimal() and len(text) < 10 else numbers_of([text])
            sizes[tag] = int(numbers[0]) if numbers and numbers[0] >= 1 else None
    return sizes["width"], sizes["height"]


def _read_object(element: Element, found: LabelFile, name: str) -> None:  # noqa: C901, PLR0912
    # One function with many branches on purpose: it runs once per object, and calls inside cost a tenth each.
    label: str | None = None  # empty where it has several names
    description = ""
    flags = _NO_FLAGS
    places: dict[str, Any] = {}
    further: list[dict[str, Any]] = []  # an object with a box and a polygon is one, with two boxes it is two
    broken = ""
    for child in element:
        tag = child.tag
        if tag not in _KNOWN:
            tag = tag.lower()
        if tag in _PLACES:
            kind, read = _PLACES[tag]
            try:
                place = read(child)
            except _AngleError as error:
                raise unreadable(name, str(error), "Write angles in radians, or corners.") from error
            except (ValueError, TypeError, KeyError):
                broken = broken or f"<{child.tag}> of {label or 'an object'}"
            else:
                if kind in places:
                    further.append({kind: place})
                else:
                    places[kind] = place
        elif tag in _FLAGS:
            text = child.text
            if text not in _UNSET and (text or "").strip().lower() not in _UNSET:
                flags |= {_FLAGS[tag]}
        elif tag == "name":
            written = (child.text or "").strip()
            label = written if label is None or label == written else ""
        elif tag == "possibleresult":
            for inner in child:
                if inner.tag.lower() == "name":
                    label = _text(inner) if label is None or label == _text(inner) else ""
        elif tag == "description":
            description = _text(child)
        elif tag == "deleted" and _text(child) == "1":  # LabelMe keeps what was taken back
            return
    if broken:
        found.lose("box-malformed", broken)
    if not places:
        if not broken:
            found.lose("object-without-box", f"object {label or ''!r} has no place")
        return
    for one in (places, *further):
        box, polygon = one.get("box"), one.get("polygon")
        if polygon is not None:
            box = box or enclosing(polygon)
            polygon = polygon if len(polygon) == 8 else None
        found.objects.append(
            LabelledObject(label or "", box, polygon, one.get("point"), None, flags, description)
        )


class _AngleError(ValueError):
    """An angle that is not in radians."""


def _values(element: Element) -> dict[str, float]:
    values = {child.tag: float(child.text or "") for child in element}
    if len(values) != len(element):
        raise ValueError(element.tag)
    return values if "xmin" in values else {tag.lower(): value for tag, value in values.items()}


def _box(element: Element) -> tuple[float, ...]:
    # Files list the four in any order: xmin, xmax, ymin, ymax occurs.
    values = _values(element)
    if "xmin" in values:
        box = values["xmin"], values["ymin"], values["xmax"], values["ymax"]
    else:
        wide, high = ("w", "h") if "w" in values else ("width", "height")
        box = values["x"], values["y"], values["x"] + values[wide], values["y"] + values[high]
    return _finite(box)


def _finite(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if not math.isfinite(sum(numbers)):
        raise ValueError(numbers)
    return numbers


def _polygon(element: Element) -> tuple[float, ...]:
    points = [child for child in element if child.tag.lower() in {"pt", "point"}]
    if points:
        return _outline(points)
    values = _values(element)
    if "cx" in values:
        if abs(values["angle"]) > FULL_TURN:
            raise _AngleError(f"the angle {values['angle']:g} is not in radians; degrees?")
        return _finite(
            oriented_corners(values["cx"], values["cy"], values["w"], values["h"], values["angle"])
        )
    keys = _CORNERS if "x1" in values else _DIOR_CORNERS
    if len(values) > 8:
        raise ValueError(len(values))
    return _finite(tuple(values[key] for key in keys))


def _outline(children: Iterable[Element]) -> tuple[float, ...]:
    """An outline of points: ``<pt><x/><y/></pt>`` or ``<point>x,y</point>``, closed or not."""
    numbers: list[float] = []
    for child in children:
        if len(child):
            values = _values(child)
            pair = [values["x"], values["y"]]
        else:
            pair = [float(word) for word in (child.text or "").split(",")]
        if len(pair) != 2:
            raise ValueError(child.text)
        numbers += pair
    if len(numbers) > 6 and numbers[:2] == numbers[-2:]:
        numbers = numbers[:-2]
    if len(numbers) < 6:
        raise ValueError(numbers)
    return _finite(tuple(numbers))


def _point(element: Element) -> tuple[float, ...]:
    values = _values(element)
    return _finite((values["xc"], values["yc"]) if "xc" in values else (values["x"], values["y"]))


_PLACES: dict[str, tuple[str, Callable[[Element], tuple[float, ...]]]] = {
    "bndbox": ("box", _box),
    "polygon": ("polygon", _polygon),
    "points": ("polygon", _polygon),
    "robndbox": ("polygon", _polygon),
    "rbndbox": ("polygon", _polygon),
    "point": ("point", _point),
    "centroid": ("point", _point),
}
_KNOWN = frozenset({*_PLACES, *_FLAGS, "name", "possibleresult", "pose", "type", "description"})


def _read_hrsc(root: Element, found: LabelFile) -> None:
    texts = {child.tag: _text(child) for child in root}
    found.image = ".".join(
        part for part in (texts.get("Img_FileName", ""), texts.get("Img_FileFmt", "")) if part
    )
    size = numbers_of([texts.get("Img_SizeWidth", ""), texts.get("Img_SizeHeight", "")])
    if size and min(size) >= 1:
        found.width, found.height = int(size[0]), int(size[1])
    for element in root.iter("HRSC_Object"):
        item = {child.tag: _text(child) for child in element}
        numbers = numbers_of([item.get(f"box_{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")])
        turned = numbers_of([item.get(f"mbox_{key}", "") for key in ("cx", "cy", "w", "h", "ang")])
        if numbers is None or (turned and abs(turned[4]) > FULL_TURN):
            found.lose("box-malformed", f"HRSC_Object {item.get('Object_ID', 'without number')}")
            continue
        flags = frozenset(flag for flag in ("difficult", "truncated") if item.get(flag, "0") not in _UNSET)
        polygon = oriented_corners(*turned) if turned else None
        x_min, y_min, x_max, y_max = numbers
        found.objects.append(
            LabelledObject(item.get("Class_ID", ""), (x_min, y_min, x_max, y_max), polygon, attributes=flags)
        )
