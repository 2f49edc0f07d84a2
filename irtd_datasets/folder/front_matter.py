"""The front matter of a card, read in bounded time and memory: the YAML that decides what a config is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError
from irtd_datasets.folder.names import CARD, FINISHED

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CARD_LIMIT", "has_front_matter", "parse_front_matter", "read_card", "split_card"]

CARD_LIMIT = 16 << 20
"""Bytes of a card that are read; one with all features of fifty configs has under one MB."""

_VALUES = 1_000_000
_DIGITS = 40
_DEPTH = 100  # levels of a card; one with all features has some 12
# What `huggingface_hub` takes for the front matter.
_FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+(?P<yaml>.*?)[\r\n]+---(?:\r\n|\r|\n|\Z)", re.DOTALL)
# The safe loader of libyaml where PyYAML has it: ten times as fast on a card with the features of twenty configs.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]  # one of two classes
    """The safe loader, for which a very long number is a text: to compute one takes quadratic time."""

    def construct_yaml_int(self, node: Any) -> Any:  # noqa: ANN401 - a value of YAML
        value = self.construct_scalar(node)
        return value if len(value) > _DIGITS else super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_card(folder: Path) -> str:
    """The text of a folder's card.

    Raises:
        ReleaseNotFoundError: There is none.
        AnnotationError: It cannot be read.
    """
    card = folder / CARD
    try:
        with card.open("rb") as file:
            return file.read(CARD_LIMIT).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReleaseNotFoundError(
            f"this is no dataset folder: it has no {CARD}", where=str(folder), remedy=FINISHED
        ) from error
    except OSError as error:
        raise AnnotationError(
            f"it cannot be read: {error.strerror}", where=str(card), remedy=FINISHED
        ) from error


def has_front_matter(text: str) -> bool:
    """Whether all of the front matter stands in the beginning of a card."""
    match = _FRONT_MATTER.search(text)
    return match is not None and match.end() < len(text)


def split_card(text: str) -> tuple[str, str]:
    """Front matter and text of a card; the front matter is empty where there is none."""
    match = _FRONT_MATTER.search(text)
    return (match["yaml"], text[match.end() :]) if match else ("", text)


def parse_front_matter(text: str, where: str) -> dict[str, Any]:
    """The mapping at the head of a card.

    Args:
        text: The card.
        where: Its name, for messages.

    Raises:
        AnnotationError: There is none, it is no YAML, or it is made to be too large.
    """
    front, _ = split_card(text)
    try:
        _check_size(front)
        values = yaml.load(front, _Loader) if front else None  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise AnnotationError(
            f"its front matter is no YAML: {problem}", where=where, remedy=_REMEDY
        ) from error
    if not isinstance(values, dict):
        raise AnnotationError("it has no front matter between two lines of ---", where=where, remedy=_REMEDY)
    return values


_REMEDY = "Run `irtd card FOLDER`, or download the card of the dataset repository again."


def _check_size(front: str) -> None:
    """Refuse aliases that stand for more values than any card has, as those of a bomb do, or for themselves.

    So is what is nested deeper than any card: the loader calls itself for each level, on a stack that may end it all.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(front, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > _DEPTH:
                raise ValueError(f"it is nested more than {_DEPTH} levels deep")
            continue
        size, anchor = 0, None
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, _VALUES + 1)  # not ended yet: it stands inside of itself
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1, event.anchor
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        if anchor is not None:
            sizes[anchor] = size
        outer, so_far = open_nodes[-1]
        open_nodes[-1] = (outer, so_far + size)
        if so_far + size > _VALUES:
            raise ValueError(f"its aliases stand for more than {_VALUES:,} values, or for themselves")
