"""Names of classes: in files that list them by number, and as label files spell them."""

from __future__ import annotations

import re

from irtd_datasets.annotations.label_file import unreadable

__all__ = ["class_names", "plain_class"]

_key = re.compile(r"([A-Za-z_]\w*)\s*:(?:\s+(.*))?$").match
_entry = re.compile(r"(?:-\s+|(\d+)\s*:\s*)(.+)$").match
_item = re.compile(r"""\s*(?:(\d+)\s*:\s*)?("[^"]*"|'[^']*'|[^,]+?)\s*(?:,|$)""").match
_inner = {"[": "]", "{": "}"}


def plain_class(name: str) -> str:
    """A class as it is compared: without regard to case, and with ``-``, ``_`` and blanks alike.

    Example:
        >>> plain_class("Small-Vehicle") == plain_class("small vehicle")
        True
    """
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()


def class_names(text: str, name: str) -> dict[str, str]:
    r"""Classes by their number: a name a line, or the ``names`` of a ``data.yaml``, as a list or by number.

    Args:
        text: The whole file.
        name: Its name, for messages.

    Raises:
        AnnotationError: It is YAML or JSON of another form.

    Example:
        >>> class_names("person\ncar\n", "classes.txt")
        {'0': 'person', '1': 'car'}
        >>> class_names("nc: 2\nnames: ['person', 'car']\n", "data.yaml")
        {'0': 'person', '1': 'car'}
        >>> class_names("names:\n  3: person # walking\n  7: 'car'\n", "data.yaml")
        {'3': 'person', '7': 'car'}
    """
    lines = text.splitlines()
    if not (name.lower().endswith((".yaml", ".yml")) or any(line.startswith("names:") for line in lines)):
        if text.lstrip()[:1] in ("{", "[") or any(map(_key, lines)):
            raise unreadable(name, "no list of classes, one a line", "Write a class a line, or a data.yaml.")
        return {str(number): line.strip() for number, line in enumerate(lines) if line.strip()}
    lines = [re.sub(r"(?:^|\s)#.*$", "", line).rstrip() for line in lines]
    start = next((place for place, line in enumerate(lines) if line.startswith("names:")), None)
    found: dict[str, str] = {}
    if start is not None:
        value = lines[start].partition(":")[2].strip()
        for line in lines[start + 1 :]:
            if line and not line[0].isspace() and not line.startswith(("-", "]", "}")):
                break
            value += f"\n{line.strip()}" if line.strip() else ""
        found = _names(value.strip())
    if not found:
        raise unreadable(name, "no names of classes that can be read", "Write a class a line instead.")
    return found


def _names(value: str) -> dict[str, str]:
    """The names in a value of YAML, in flow or in block style; none where one of them cannot be read."""
    found: dict[str, str] = {}
    if value[:1] in _inner:
        if value[-1:] != _inner[value[0]]:
            return {}
        rest = value[1:-1].replace("\n", " ").strip()
        while rest:
            match = _item(rest)
            if match is None:
                return {}
            found[match[1] or str(len(found))] = match[2]
            rest = rest[match.end() :]
    else:
        for line in value.splitlines():
            match = _entry(line)
            if match is None:
                return {}
            found[match[1] or str(len(found))] = match[2]
    return {number: name.strip().strip("\"'").strip() for number, name in found.items()}
