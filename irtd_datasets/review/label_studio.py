"""Rows and verdicts as Label Studio reads and writes them: tasks with annotations, in its JSON format.

A task has the row under ``data``; an annotation has two results, ``verdict`` (choices, with the reviewer in its meta)
and, for an edit, ``text`` (textarea), which belong to `CONFIG`. Several messages of the assistant are one text with
`BETWEEN` between them, and a text that comes back with another number of them is no verdict.

See Label Studio's documentation, "Label Studio JSON format of annotated tasks" and the tags Choices and TextArea.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, BuildError, ImageError, UnknownNameError
from irtd_datasets.images.viewable import viewable
from irtd_datasets.review.rows import doubts_of
from irtd_datasets.review.verdicts import VERDICTS, Verdict, check_name, find_refusal, text_digest
from irtd_datasets.schema import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from irtd_datasets.documents import JsonValue
    from irtd_datasets.review.rows import ReviewRows

__all__ = ["BETWEEN", "CONFIG", "Exported", "read_tasks", "write_tasks"]

BETWEEN = "\n\n-----\n\n"
"""Stands between the messages of the assistant where a row has several."""

CONFIG = """\
<View>
  <Header value="$task: $doubts"/>
  <Image name="image" value="$image" zoom="true"/>
  <Image name="visible" value="$visible"/>
  <Text name="question" value="$question"/>
  <Choices name="verdict" toName="image" choice="single" required="true" showInline="true">
    <Choice value="accept" hotkey="a"/>
    <Choice value="edit" hotkey="e"/>
    <Choice value="reject" hotkey="r"/>
  </Choices>
  <TextArea name="text" toName="image" value="$text" rows="8" maxSubmissions="1" editable="true"/>
</View>
"""
"""The labelling configuration of a project for these tasks."""

_SIDE = 1024  # pixels of the images, which lie in the file
_EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


@dataclass(slots=True)
class Exported:
    """What became of a file of tasks.

    Attributes:
        verdicts: Those that were read.
        refused: Annotations that are no verdict, by reason.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str) -> None:
        """Count an annotation that is no verdict."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


def write_tasks(rows: ReviewRows, judged: Mapping[str, Mapping[str, Verdict]], path: Path) -> int:
    """Write the rows, with the verdicts on them, as tasks; beside it `CONFIG` as ``.xml``.

    Images are data of the file, at most 1,024 pixels long, so that no server has to be reached for them. A verdict on
    another text than the row has now is left out.

    Args:
        rows: The rows.
        judged: Verdicts, as `irtd_datasets.review.verdicts.latest` gives them.
        path: The file to write.

    Returns:
        How many tasks it has.

    Raises:
        BuildError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for position in range(len(rows)):
                task = _task(rows, position, judged)
                file.write(("[\n" if not position else ",\n") + json.dumps(task, ensure_ascii=True))
            file.write("\n]\n")
        temporary.replace(path)
        path.with_suffix(".xml").write_text(CONFIG, encoding="utf-8")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BuildError(
            error.strerror or str(error), where=str(path), remedy="Name a file in a folder that exists."
        ) from error
    return len(rows)


def _task(rows: ReviewRows, position: int, judged: Mapping[str, Mapping[str, Verdict]]) -> dict[str, Any]:
    row = rows.text(position)
    digest = text_digest(row["messages"])
    said = [index for index, one in enumerate(row["messages"]) if one["role"] == "assistant"]
    contents = [one["content"] for one in row["messages"]]
    return {
        "data": {
            "row": row["id"],
            "digest": digest,
            "roles": [one["role"] for one in row["messages"]],
            "contents": contents,
            "task": TASKS[row["task"]],
            "doubts": ", ".join(doubts_of(row)) or "no doubts",
            "image": _shown(rows, position, "image") or _EMPTY,
            "visible": _shown(rows, position, "visible") or _EMPTY,
            "question": BETWEEN.join(text for index, text in enumerate(contents) if index not in said),
            "text": BETWEEN.join(contents[index] for index in said),
        },
        "annotations": [
            _annotation(one, said) for one in judged.get(row["id"], {}).values() if one.text == digest
        ],
    }


def _shown(rows: ReviewRows, position: int, name: str) -> str:
    data = rows.image(position, name)
    if not data:
        return ""
    try:
        image = viewable(data, _SIDE, rows.ids[position]).image
    except ImageError:
        return ""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _annotation(one: Verdict, said: list[int]) -> dict[str, Any]:
    common = {"to_name": "image", "origin": "manual"}
    result: list[dict[str, Any]] = [
        {
            "id": "verdict",
            "from_name": "verdict",
            "type": "choices",
            "value": {"choices": [one.verdict]},
            "meta": {"text": [one.reviewer]},
            **common,
        }
    ]
    if one.verdict == "edit":
        text = BETWEEN.join(one.messages[index] for index in said)
        value = {"text": [text]}
        result.append({"id": "text", "from_name": "text", "type": "textarea", "value": value, **common})
    # An import refuses an address that no account of the server has, and anything else than an address.
    by = {"completed_by": {"email": one.reviewer}} if "@" in one.reviewer else {}
    return {
        "result": result,
        **by,
        "was_cancelled": False,
        "created_at": one.time,
    }


def read_tasks(path: Path) -> Exported | None:
    """The verdicts of an export of Label Studio.

    Args:
        path: A JSON file.

    Returns:
        The verdicts, and why other annotations are none; None for a file that is no list of tasks.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: A task is damaged.
    """
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        head = file.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
    if path.is_file() and not head.startswith(b"["):
        return None
    found = Exported()
    for task in _tasks(path):
        data = task["data"]
        if data.get("row") is None or data.get("digest") is None:
            task.refuse(f"{task.place}.data has no row and digest: it is no task that `irtd review` wrote")
        contents, roles = data["contents"].texts(), data["roles"].texts()
        annotations = task.get("annotations")
        for annotation in annotations if annotations is not None else ():
            one = _read(annotation, data["row"].text(), data["digest"].text(), contents, roles)
            if isinstance(one, str):
                found.refuse(one)
            else:
                found.verdicts.append(one)
    return found


def _tasks(path: Path) -> Iterator[JsonValue]:
    # Read again piece by piece: with its images an export can have more than a document of ours.
    from irtd_datasets.documents import JsonValue

    remedy = "Export the project from Label Studio as JSON again."
    if not path.is_file() or path.stat().st_size <= 8 << 20:
        yield from read_json(path, remedy, "Name the file that Label Studio exported as JSON.")
        return
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"it is not valid JSON ({error})", where=str(path), remedy=remedy) from error
    yield from JsonValue(values, str(path), remedy)


def _read(
    annotation: JsonValue, row: str, digest: str, contents: list[str], roles: list[str]
) -> Verdict | str:
    """A verdict, or why an annotation is none."""
    cancelled = annotation.get("was_cancelled")
    if cancelled is not None and cancelled.value:
        return "skipped in Label Studio"
    choice, text = _results(annotation)
    if choice not in VERDICTS:
        return "no verdict is chosen"
    try:
        reviewer = check_name(_who(annotation))
    except UnknownNameError:
        return "nobody is named"
    created = annotation.get("created_at")
    time = created.text() if created is not None and isinstance(created.value, str) else ""
    if choice != "edit":
        return Verdict(row, digest, choice, reviewer, time)
    said = [index for index, role in enumerate(roles) if role == "assistant"]
    pieces = [] if text is None else text.split(BETWEEN)
    if len(pieces) != len(said):
        return "an edit without a text for each message"
    messages = list(contents)
    for index, piece in zip(said, pieces, strict=True):
        messages[index] = piece
    if find_refusal([{}] * len(contents), messages):
        return "a text that cannot be taken"
    if messages == contents:
        return Verdict(row, digest, "accept", reviewer, time)
    return Verdict(row, digest, "edit", reviewer, time, tuple(messages))


def _results(annotation: JsonValue) -> tuple[str, str | None]:
    """The choice and the text of an annotation; the choice is empty where there is not exactly one."""
    choice, text = "", None
    for result in annotation["result"]:
        name, value = result.get("from_name"), result["value"]
        if name is not None and name.value == "verdict":
            chosen = value["choices"].texts()
            choice = chosen[0] if len(chosen) == 1 else ""
        elif name is not None and name.value == "text":
            texts = value["text"]
            text = BETWEEN.join(texts.texts()) if isinstance(texts.value, list) else texts.text()
    return choice, text


def _who(annotation: JsonValue) -> str:
    """Who made an annotation: whom we have named in it, else a number or an address, as Label Studio writes it."""
    for result in annotation["result"]:
        meta = result.get("meta")
        named = meta.value.get("text") if meta is not None and isinstance(meta.value, dict) else None
        if isinstance(named, list) and named and isinstance(named[0], str):
            return named[0]
    by = annotation.get("completed_by")
    if by is None or by.value is None:
        return ""
    if isinstance(by.value, dict):
        for key in ("email", "username", "id"):
            if by.value.get(key) not in (None, ""):
                return str(by.value[key])
        return ""
    return str(by.value)
