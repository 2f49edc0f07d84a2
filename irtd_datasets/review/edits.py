"""What an edited text makes of the other columns of its row, and why an edit cannot be taken.

The columns ``question``, ``choices``, ``answer``, ``objects`` and ``box_frame`` are read from the text. So an edited
text is read by the rules by which its row was made (`irtd_datasets.rows.rereading`), the columns become what is read,
and what does not follow those rules, or would be a known defect, is refused. A row that no known rules have made keeps
its places, and its question and answer may be reworded where they stand in the text as in their columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from irtd_datasets.boxes.text import parse_boxes
from irtd_datasets.catalog import dataset_names, module_of
from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.rows.rereading import READ, of_llava, read_again
from irtd_datasets.spec import issue_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from irtd_datasets.rows.pending import Message
    from irtd_datasets.rows.rereading import Reread

__all__ = ["after_edit", "columns_after", "why_not_editable"]

_KINDS = ("box", "polygon", "point")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")  # points are written in ways of their own
_YES_NO = frozenset({"yes", "no"})
_NEEDED = frozenset({*READ, "id", "task", "modality", "source", "width", "height", "bit_depth", "issues"})
_FROM_NUMBERS = "its column objects is read from the numbers of the text: "


def why_not_editable(row: Mapping[str, Any], texts: Sequence[str] | None = None) -> str:
    """Why an edit of a row cannot be taken, with the round where it has several; empty where it can.

    Args:
        row: Its columns.
        texts: The new contents of its messages; None where they are not known yet.
    """
    old = [one["content"] for one in row["messages"]]
    problem = _problem(row, old if texts is None else texts)
    if not problem or texts is None or len(old) < 4:
        return problem
    first = len(old) % 2  # behind a message of the system
    for number, start in enumerate(range(first, len(old), 2), 1):
        alone = [*old[:start], *texts[start : start + 2], *old[start + 2 :]]
        if alone != old and (found := _problem(row, alone)):
            return f"round {number}: {found}"
    return problem


def _problem(row: Mapping[str, Any], texts: Sequence[str]) -> str:
    try:
        after_edit(row, texts)
    except ValueError as error:
        return str(error)
    return ""


def after_edit(row: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """The columns of a row that follow from an edit, those that change; its messages are not among them.

    Args:
        row: Its columns.
        texts: The new contents of its messages.

    Raises:
        ValueError: Text and columns cannot be made to agree.
    """
    objects = row.get("objects") or {}
    has_places = any(objects.get(kind) for kind in _KINDS)
    reread = _reread(row)
    if reread is None:
        if has_places:
            read = _NUMBER.findall if objects.get("point") else _places
            if [read(text) for text in texts] != [read(one["content"]) for one in row["messages"]]:
                raise ValueError(f"{_FROM_NUMBERS}leave those as they are")
        found: dict[str, Any] = dict(columns_after(row, texts))
    else:
        messages: list[Message] = [
            {"role": one["role"], "content": text} for one, text in zip(row["messages"], texts, strict=True)
        ]
        try:
            after = reread.read(messages)
        except IrtdDatasetsError as error:
            raise ValueError(f"{_FROM_NUMBERS if has_places else ''}{error.problem}") from error
        _check_moved(row["messages"], texts)
        found = _changes(row, reread.before, after)
    if row.get("box_frame") is None and not found.get("objects"):
        for one, text in zip(row["messages"], texts, strict=True):
            if len(_places(text)) > len(_places(one["content"])):
                raise ValueError("it names a place, and the row does not say in which frame: leave that out")
    return found


def _check_moved(messages: Sequence[Message], texts: Sequence[str]) -> None:
    """Refuse a place that is moved in one message, while another message goes on to give it as before."""
    before = [set(_places(one["content"])) for one in messages]
    after = [set(_places(text)) for text in texts]
    for old, new in zip(before, after, strict=True):
        for place in old - new if new - old else ():
            if others := [number for number, one in enumerate(after, 1) if place in one]:
                raise ValueError(f"message {others[0]} still has [{', '.join(place)}]: move it there, too")


def _reread(row: Mapping[str, Any]) -> Reread | None:
    """How a row is read; None where that is not known."""
    if not row.keys() >= _NEEDED:
        return None
    name = str(row["id"]).partition("/")[0]
    if name not in dataset_names():
        return None
    module = module_of(name, "rereading")
    return read_again(row, of_llava(row) if module is None else module.rereaders(row))


def _changes(row: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The columns whose reading changes, with the defects that are mended or, if they are no wrong labels, new."""
    codes = issue_codes()
    new = [code for code in after["issues"] if code not in before["issues"]]
    for code in new:
        if code not in codes or codes[code].kind != "text":
            raise ValueError(codes[code].meaning.rstrip(".") if code in codes else code)
    gone = {code for code in before["issues"] if code not in after["issues"]}
    _check_answer(before, after)
    found = {name: after[name] for name in READ if after[name] != before[name]}
    if gone or new:
        found["issues"] = [code for code in row["issues"] if code not in gone]
        found["issues"] += [code for code in new if code not in row["issues"]]
    own = [one for one in row.get("corrections") or () if one not in before["corrections"]]
    kept = [one for one in own if one["issue"] not in gone] + after["corrections"]
    if gone or before["corrections"] != after["corrections"]:
        found["corrections"] = kept
    return found


def _check_answer(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse an answer that the scorer could not take for one of the kind of the old one."""
    old, new = before["answer"], after["answer"]
    if old == new:
        return
    if old is None or new is None:
        raise ValueError("its answer is scored: the text has to have one, as before")
    places = [sum(map(bool, one["objects"].get(kind) or ())) for one in (before, after) for kind in _KINDS]
    if bool(sum(places[:3])) != bool(sum(places[3:])) or old.startswith("[") != new.startswith("["):
        raise ValueError("its answer is scored: expected as many places as are asked for")
    if not sum(places) and (expected := _other_kind(old, new, before["choices"], after["choices"])):
        raise ValueError(f"its answer is scored: expected {expected}")


def columns_after(row: Mapping[str, Any], texts: Sequence[str]) -> dict[str, str]:
    """The columns ``question`` and ``answer`` of a scored row of unknown making that follow from an edit.

    Args:
        row: Its columns.
        texts: The new contents of its messages.

    Raises:
        ValueError: They do not follow from these texts.

    Example:
        >>> talk = [{"content": "How many?"}, {"content": "<num>7</num>"}]
        >>> row = {"messages": talk, "question": "How many?", "choices": [], "answer": "7"}
        >>> columns_after(row, ["How many cars?", "<num>8</num>"])
        {'question': 'How many cars?', 'answer': '8'}
    """
    if row.get("answer") is None:
        return {}
    found = {}
    for name, behind in (("question", 2), ("answer", 1)):
        value = row.get(name)
        turns = [
            (one["content"], text)
            for index, (one, text) in enumerate(zip(row["messages"], texts, strict=True))
            if (len(texts) - index) % 2 == behind % 2
        ]
        written = [one for one in turns if value and value in one[0]]
        changed = [one for one in written if one[0] != one[1]]
        if not written and any(old != text for old, text in turns):
            raise ValueError(
                f"its column {name} is not written in the text as it stands there: reject it instead"
            )
        if not changed:
            continue
        if len(written) > 1:
            raise ValueError(f"its column {name} is written in several rounds: leave those as they are")
        ((old, text),) = changed
        before, _, after = old.partition(value or "")
        if not (text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after)):
            around = " and ".join(repr(one) for one in (before, after) if one)
            raise ValueError(
                f"its column {name} is read from what stands within {around}: leave that as it is"
            )
        found[name] = text[len(before) : len(text) - len(after)].strip()
    if "answer" in found:
        choices = row.get("choices") or ()
        if any((row.get("objects") or {}).get(kind) for kind in _KINDS):
            expected = f"{row['answer']!r}, from which its column objects is read, too"
        else:
            expected = _other_kind(str(row["answer"]), found["answer"], choices, choices)
        if expected:
            raise ValueError(f"its answer is scored: expected {expected}")
    return found


def _other_kind(old: str, answer: str, old_choices: Sequence[str], choices: Sequence[str]) -> str:
    """What a new answer of a scored row would have to be; empty where it is that."""
    write: Callable[[Sequence[str]], list[str]]
    for write in (list, _lettered):
        if old in write(old_choices):
            return "" if answer in write(choices) else f"one of {', '.join(write(choices))}"
    if choices:
        lettered, left = _lettered(choices), answer
        for one in lettered:
            left = left.replace(one, "", 1)
        return left.strip() and f"some of {', '.join(lettered)}"
    if old.isdecimal():
        return "" if answer.isdecimal() else "a number"
    if old.lower().strip(". ") in _YES_NO:
        return "" if answer.lower().strip(". ") in _YES_NO else "yes or no"
    return ""


def _lettered(choices: Sequence[str]) -> list[str]:
    return [f"({chr(ord('A') + index)}) {choice}" for index, choice in enumerate(choices)]


def _places(text: str) -> list[tuple[str, ...]]:
    return [span.raw_numbers for span in parse_boxes(text).spans]
