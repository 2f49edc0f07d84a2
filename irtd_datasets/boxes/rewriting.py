"""The numbers of the boxes in a text brought to another frame, and nothing else of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from irtd_datasets.boxes.frames import Frame, as_frame, check_decimals, format_coordinate, is_cut
from irtd_datasets.boxes.markup import may_have_markup
from irtd_datasets.boxes.moving import mover
from irtd_datasets.boxes.text import PLACE, UNREADABLE, Problem, parse_boxes
from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from irtd_datasets.boxes.moving import Move

__all__ = ["Rewritten", "RewrittenText", "rewrite_boxes", "rewrite_text"]

_CLEAN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CLEAN_BOX = r"N(?:, ?N){3}(?:(?:, ?N){4})?".replace("N", _CLEAN_NUMBER.pattern)
_CLEAN = re.compile(rf"{_CLEAN_BOX}(?:; ?{_CLEAN_BOX})*")
_MINUS_ZERO = re.compile(r"-(0(?:\.0*)?)(?![0-9.])")


class RewrittenText(NamedTuple):
    """A text with its numbers in another frame."""

    text: str
    numbers: int
    """How many numbers were converted."""
    boxes: int
    """How many boxes, polygons and points they make."""
    unreadable: tuple[Problem, ...]
    """Places that look like boxes and could not be read: **they still are in the old frame**."""


def rewrite_text(
    text: str,
    source: Frame | str,
    target: Frame | str,
    width: int,
    height: int,
    decimals: int | None = None,
    *,
    resized: tuple[int, int] | None = None,
) -> RewrittenText:
    """Convert every number of the boxes in a text, and nothing else of it.

    Args:
        text: A question or an answer.
        source: The frame of its numbers.
        target: The frame wanted. The same frame returns the text as it is, with counts of 0.
        width: Of the upright image in pixels.
        height: Likewise.
        decimals: Digits after the point; None takes `irtd_datasets.boxes.frames.DEFAULT_DECIMALS` of the
            target. `irtd_datasets.boxes.rounding_bound` says what they cost in pixels.
        resized: Width and height that the image has been brought to since; the new numbers are about that image.
            It changes pixels, and the padding of the square frames by less than a pixel.

    Returns:
        The text, what was converted, and the places that could not be.

    Raises:
        BoxError: An unknown frame, a size that is no positive whole number, or decimals outside 0 to 12.

    Example:
        >>> rewrite_text("a ship [0.16, 0.18, 0.25, 0.24].", "square_unit", "per_mille", 640, 512).text
        'a ship [160, 100, 250, 175].'
    """
    return _rewriter(source, target, (width, height), decimals, resized)(text)


def _rewriter(
    source: Frame | str,
    target: Frame | str,
    size: tuple[int, int],
    decimals: int | None,
    resized: tuple[int, int] | None,
) -> Callable[[str], RewrittenText]:
    source, target = as_frame(source), as_frame(target)
    decimals = check_decimals(target, decimals)
    move = mover(source, target, *size, resized)
    # Numbers that are parts of the image do not change with its size.
    if source is target and (resized in {None, size} or source is not Frame.PIXEL):
        return _leave
    return partial(_rewrite, move=move, decimals=decimals, cut=is_cut(target, decimals))


def _leave(text: str) -> RewrittenText:
    return RewrittenText(text, 0, 0, ())


def _rewrite(text: str, *, move: Move, decimals: int, cut: bool) -> RewrittenText:
    marked = may_have_markup(text)
    if "[" not in text and "<" not in text and not marked:
        return _leave(text)
    parts: list[str] = []
    numbers = boxes = position = 0
    for match in () if marked else PLACE.finditer(text):
        quick = _rewrite_clean(match, move, decimals, cut=cut)
        if quick is None:
            marked = True
            break
        parts += (text[position : match.start(4)], quick.text)
        position = match.end(4)
        numbers += quick.numbers
        boxes += quick.boxes
    if marked:
        return _rewrite_parsed(text, move, decimals, cut=cut)
    return RewrittenText("".join([*parts, text[position:]]), numbers, boxes, ())


def _rewrite_parsed(text: str, move: Move, decimals: int, *, cut: bool) -> RewrittenText:
    parsed = parse_boxes(text)
    readable = [span for span in parsed.spans if span.is_readable]
    if not parsed.spans:
        return _leave(text)
    new = parsed.write(
        [
            [format_coordinate(value, decimals, cut=cut) for value in move(span.numbers)]
            if span.is_readable
            else None
            for span in parsed.spans
        ]
    )
    return RewrittenText(
        new,
        sum(len(span.numbers) for span in readable),
        len(readable),
        tuple(problem for problem in parsed.problems if problem.code in UNREADABLE),
    )


def _rewrite_clean(match: re.Match[str], move: Move, decimals: int, *, cut: bool) -> RewrittenText | None:
    """Rewrite a whole bracket at once when nothing in it needs a second look, which is the common case."""
    content = match[4]
    if not match[5] or not _CLEAN.fullmatch(content):
        return None
    values = tuple(map(float, content.replace(";", ",").split(",")))
    boxes = content.count(";") + 1
    if len(values) != 4 * boxes and "." not in content:
        return None  # eight whole numbers can be four with decimal commas
    moved = move(values)
    if cut:
        strings = tuple(format_coordinate(value, decimals, cut=True) for value in moved)
        new = _CLEAN_NUMBER.sub("%s", content) % strings
    else:
        new = _CLEAN_NUMBER.sub(f"%.{decimals}f", content) % moved
    if "-" in new:
        new = _MINUS_ZERO.sub(r"\1", new)
    if "n" in new:
        return None  # infinity
    return RewrittenText(new, len(values), boxes, ())


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Messages with their numbers in another frame; unpacks to ``messages, numbers``."""

    messages: list[dict[str, Any]]
    numbers: int
    """How many numbers were converted."""
    boxes: int
    """How many boxes, polygons and points they make."""
    unreadable: tuple[tuple[int, Problem], ...]
    """Index of the message and place of what could not be read: **it still is in the old frame**."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.messages, self.numbers))


def rewrite_boxes(
    messages: Iterable[Mapping[str, Any]],
    source: Frame | str,
    target: Frame | str,
    width: int,
    height: int,
    decimals: int | None = None,
    *,
    resized: tuple[int, int] | None = None,
) -> Rewritten:
    """Convert every number of the boxes in a conversation, in questions and answers.

    Args:
        messages: ``{"role": ..., "content": text}`` each; other keys are copied. Not changed.
        source: The frame of the numbers in them.
        target: The frame wanted. The same frame leaves every text as it is, and counts 0.
        width: Of the upright image in pixels.
        height: Likewise.
        decimals: As `rewrite_text`.
        resized: Likewise.

    Returns:
        New messages, how many numbers and boxes were converted, and the places that could not be.

    Raises:
        AnnotationError: A message without a text under ``"content"``.
        BoxError: As `rewrite_text`.

    Example:
        >>> talk = [{"role": "assistant", "content": "<box>[[0, 0, 640, 512]]</box>"}]
        >>> messages, changed = rewrite_boxes(talk, source="pixel", target="per_mille", width=640, height=512)
        >>> messages[0]["content"], changed
        ('<box>[[0, 0, 1000, 1000]]</box>', 4)
    """
    out: list[dict[str, Any]] = []
    unreadable: list[tuple[int, Problem]] = []
    rewrite = _rewriter(source, target, (width, height), decimals, resized)
    numbers = boxes = 0
    for index, message in enumerate(messages):
        content = message.get("content") if hasattr(message, "get") else None
        if not isinstance(content, str):
            raise AnnotationError(
                f"expected a text under 'content', found {message!r:.200}",
                where=f"message {index}",
                remedy="Pass messages as a list of {'role': ..., 'content': text}.",
            )
        new = rewrite(content)
        out.append({**message, "content": new.text})
        numbers += new.numbers
        boxes += new.boxes
        unreadable += ((index, problem) for problem in new.unreadable)
    return Rewritten(out, numbers, boxes, tuple(unreadable))
