"""Scores as one HTML file: the table, bars with intervals, groups, and the worst rows with both answers drawn.

The page loads nothing and runs nothing: images are data inside it, and its content security policy forbids the rest.
"""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.errors import BuildError, ImageError
from irtd_datasets.evaluate.measures import ERRORS
from irtd_datasets.evaluate.predict import read_asked
from irtd_datasets.evaluate.readings import Found
from irtd_datasets.evaluate.tasks import METRICS, PAPER_COLUMNS, paper_rows
from irtd_datasets.folder.row_groups import config_names
from irtd_datasets.hub.preview_page import node, to_html
from irtd_datasets.images.viewable import viewable
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from xml.etree import ElementTree as ET

    from numpy.typing import NDArray

    from irtd_datasets.evaluate.predict import Asked
    from irtd_datasets.evaluate.questions import Question
    from irtd_datasets.evaluate.readings import Reading
    from irtd_datasets.evaluate.scoring import Interval, Scores

__all__ = ["write_report"]

_SIDE = 420  # pixels of an image's longer side
_LETTERS = 600  # of a text that are shown
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2024; }
table { border-collapse: collapse; margin: .6rem 0 1.6rem; } td, th { padding: .25rem .7rem; text-align: left; }
th { border-bottom: 2px solid #888; } td { border-bottom: 1px solid #ddd; } .n { text-align: right; }
.bar { fill: #4a7fb5; } .whisker { stroke: #1c2024; stroke-width: 1.5; } .own td { font-weight: 600; }
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid #ccc; padding: .6rem; } .image { position: relative; }
.image img { width: 100%; display: block; } .image svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.image svg * { fill: none; stroke-width: 3px; vector-effect: non-scaling-stroke; paint-order: stroke; }
.gold { stroke: #00e676; } .said { stroke: #ff3d2e; stroke-dasharray: 7 4; }
.image svg .under { stroke: #000c; stroke-width: 5px; }
.wide { overflow-x: auto; }
figcaption { font-size: 13px; overflow-wrap: anywhere; } dt { font-weight: 600; margin-top: .3rem; } dd { margin: 0; }
.note { background: #fff4d6; padding: .5rem .8rem; }
"""


def write_report(
    scores: Scores,
    folder: str | os.PathLike[str],
    config: str | None,
    path: str | os.PathLike[str],
    *,
    name: str = "this file",
    worst: int = 8,
) -> None:
    """Write a report of scores as one HTML file.

    Args:
        scores: What is told.
        folder: The dataset folder, for the images of the worst rows.
        config: The config that was scored.
        path: The file.
        name: Of the model.
        worst: Most rows shown of each task.

    Raises:
        BuildError: The file cannot be written.
    """
    config = config or _default(folder)
    body = node(
        "body",
        node("h1", f"{name} on {scores.dataset}, config {config}"),
        node(
            "p",
            f"{len(scores.questions):,} answers scored, {scores.options.level:.0%} intervals from "
            f"{scores.options.resamples:,} resamples of the images; irtd_datasets {__version__}",
        ),
        *(node("p", f"Look again: {sentence}", **{"class": "note"}) for sentence in scores.suspicions),
        node("h2", "Scores"),
        _table(scores),
        *_paper(scores, name),
        node("h2", "Each task, by its headline metric"),
        *_bars(scores),
        *_groups(scores),
        *_left_out(scores),
        *_worst(scores, folder, config, worst),
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
        node("title", f"{name} on {scores.dataset}"),
        node("style", _STYLE),
    )
    try:
        Path(path).write_text(
            "<!doctype html>\n" + to_html(node("html", head, body, lang="en")), encoding="utf-8"
        )
    except OSError as error:
        raise BuildError(f"it cannot be written: {error.strerror or error}", where=str(path)) from error


def _row(*cells: str, head: bool = False, numbers: Sequence[int] = (), kind: str | None = None) -> ET.Element:
    tag = "th" if head else "td"
    return node(
        "tr",
        *(
            node(tag, cell, **{"class": "n" if index in numbers else None})
            for index, cell in enumerate(cells)
        ),
        **{"class": kind},
    )


def _table(scores: Scores) -> ET.Element:
    columns = (2, 3, 4, 5, 6)
    rows = [
        _row(
            "task", "metric", "score", "interval", "rows", "unreadable", "missing", head=True, numbers=columns
        )
    ]
    for task, one in scores.tasks.items():
        counts = (f"{one.questions:,}", f"{one.unreadable:,}", f"{one.missing:,}")
        for metric in (one.headline, *(metric for metric in one.metrics if metric != one.headline)):
            first = metric == one.headline
            figures = _figures(one.metrics[metric])
            rows.append(
                _row(
                    task if first else "", METRICS[metric].title, *figures, *(counts if first else ("", "", "")),
                    numbers=columns, kind="own" if first else None,
                )
            )  # fmt: skip
    for title, total in (("psum", scores.psum), ("nsum", scores.nsum)):
        if not math.isnan(total.value):
            rows.append(_row(title, "sum", *_figures(total), "", "", "", numbers=columns, kind="own"))
    return node("table", *rows)


def _paper(scores: Scores, name: str) -> list[ET.Element]:
    if scores.dataset in {"mmrs_1m", "rs_gpt4v"}:
        numbers = range(4, 6)
        rows = [
            _row(
                "model", "task", "on", "metric", "value", f"{name}, on these rows", head=True, numbers=numbers
            )
        ]
        for row in paper_rows(scores.dataset):
            if row["task"] in scores.tasks:
                mine = scores.tasks[row["task"]].metrics.get(row["metric"])
                figures = (row["value"] or "not known", "-" if mine is None else _number(mine.value))
                title = METRICS[row["metric"]].title
                rows.append(_row(row["model"], row["task"], row["on"], title, *figures, numbers=numbers))
    elif set(scores.tasks) & set(paper_rows("irtd")[0]):
        names = list(PAPER_COLUMNS)
        numbers = range(2, 2 + len(names))
        rows = [_row("model", "training", *PAPER_COLUMNS.values(), head=True, numbers=numbers)]
        for row in paper_rows("irtd"):
            rows.append(_row(row["model"], row["training"], *(row[key] for key in names), numbers=numbers))
        own = {task: one.value for task, one in scores.tasks.items()}
        own |= {"psum": scores.psum.value, "nsum": scores.nsum.value}
        rows.append(
            _row(name, "", *(_number(own.get(key, math.nan)) for key in names), numbers=numbers, kind="own")
        )
    else:
        return []
    if len(rows) == 1:
        return []  # nothing is published of these tasks
    return [node("h2", "Published results"), node("div", node("table", *rows), **{"class": "wide"})]


def _bars(scores: Scores) -> list[ET.Element]:
    """One chart for per cent, one for errors: their scales differ."""
    charts = []
    for less, title in ((False, "per cent, more is better"), (True, "error, less is better")):
        tasks = {
            task: one for task, one in scores.tasks.items() if METRICS[one.headline].less_is_better == less
        }
        if tasks:
            rows = [(task, one.metrics[one.headline]) for task, one in tasks.items()]
            charts += [node("p", title), _chart(rows, None if less else 100.0)]
    return charts


def _groups(scores: Scores) -> list[ET.Element]:
    found = []
    for task, one in scores.tasks.items():
        for what, groups in one.groups.items():
            if len(groups) > 1 or what in {"size", "issue"}:
                rows = [
                    (f"{name} ({count:,})", mean)
                    for name, (mean, count) in sorted(groups.items(), key=lambda item: -item[1][1])[:20]
                ]
                top = None if task in ERRORS else 100.0
                found += [node("h3", f"{task} by {what}: mean of the rows"), _chart(rows, top)]
    return [node("h2", "Groups of rows"), *found] if found else []


def _chart(rows: Sequence[tuple[str, Interval | float]], top: float | None) -> ET.Element:
    values = [(label, one, one, one) if isinstance(one, float) else (label, *one) for label, one in rows]
    if top is None:
        top = max([1e-9, *(value for _, *figures in values for value in figures if not math.isnan(value))])
    parts = []
    for index, (label, value, low, high) in enumerate(values):
        y = 26 * index
        scale = 460 / top
        parts += [
            node("text", label, x="0", y=str(y + 17), **{"font-size": "13"}),
            node(
                "rect",
                x="260",
                y=str(y + 4),
                width=f"{max(value, 0) * scale:.1f}",
                height="18",
                **{"class": "bar"},
            ),
            node("text", _number(value), x="735", y=str(y + 17), **{"font-size": "13"}),
        ]
        if not math.isnan(low) and high > low:
            start, end = (f"{260 + end * scale:.1f}" for end in (low, high))
            parts.append(
                node("line", x1=start, x2=end, y1=str(y + 13), y2=str(y + 13), **{"class": "whisker"})
            )
    height = 26 * len(values)
    return node("svg", *parts, viewBox=f"0 0 800 {height}", width="800", height=str(height), role="img")


def _left_out(scores: Scores) -> list[ET.Element]:
    if not scores.left_out and not scores.skipped:
        return []
    lines = [node("li", f"{count:,}: {reason}") for reason, count in scores.left_out.items()]
    if scores.skipped:
        lines.append(node("li", f"{scores.skipped:,}: rows without a prediction, left out"))
    return [node("h2", "Not scored"), node("ul", *lines)]


def _worst(scores: Scores, folder: str | os.PathLike[str], config: str, most: int) -> list[ET.Element]:
    chosen: dict[str, list[int]] = {}
    for task in scores.tasks:
        rows = [
            i
            for i, one in enumerate(scores.questions)
            if one.task == task and not math.isnan(scores.values[i])
        ]
        sign = -1 if task in ERRORS else 1
        best = 0.0 if task in ERRORS else 100.0
        rows = sorted(
            (i for i in rows if abs(scores.values[i] - best) > 1e-9), key=lambda i: sign * scores.values[i]
        )
        chosen[task] = rows[:most]
    wanted = {scores.questions[i].id for rows in chosen.values() for i in rows}
    if not wanted:
        return []
    first = [one for one in scores.questions if one.id in wanted]
    images = {row.id: row for row in read_asked(folder, config, first)}
    parts: list[ET.Element] = []
    for task, rows in chosen.items():
        figures = [
            _figure(
                scores.questions[i],
                scores.readings[i],
                scores.answers[i],
                float(scores.values[i]),
                images.get(scores.questions[i].id),
            )
            for i in rows
        ]
        if figures:
            parts += [node("h3", task), node("div", *figures, **{"class": "rows"})]
    legend = node("p", "Green, whole lines: the dataset. Red, broken lines: the model.")
    return [node("h2", "Worst rows"), legend, *parts]


def _default(folder: str | os.PathLike[str]) -> str:
    names = config_names(folder)
    return "benchmark" if "benchmark" in names else names[0]


def _figure(
    one: Question, reading: Reading, answer: str | None, value: float, row: Asked | None
) -> ET.Element:
    shown: list[ET.Element] = []
    question = ""
    if row is not None:
        question = dict(row.rounds).get(one.round, "")
        try:
            image = viewable(row.image, _SIDE, one.id).image
        except ImageError:
            shown = [node("p", "the image cannot be shown")]
        else:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=80)
            data = base64.b64encode(buffer.getvalue()).decode()
            shown = [
                node("img", src=f"data:image/jpeg;base64,{data}", alt=one.image),
                *_drawn(one, reading, row.width, row.height),
            ]
    said = reading.said
    text = reading.problem or (_count(said) if isinstance(said, (Found, np.ndarray)) else _words(one, said))
    facts = (
        ("value", _number(value)),
        ("asked", question),
        ("right", one.text),
        ("answered", answer or "nothing"),
        ("read as", text if text != (answer or "").strip() else ""),
        ("row", one.key),
    )
    terms = [part for key, fact in facts if fact for part in (node("dt", key), node("dd", _cut(fact)))]
    return node("figure", node("div", *shown, **{"class": "image"}), node("figcaption", node("dl", *terms)))


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]} ..."


def _words(one: Question, said: object) -> str:
    if isinstance(said, frozenset):
        return ", ".join(one.choices[place] for place in sorted(said)) or "none of the options"
    if one.task == "classification" and isinstance(said, int):
        return one.choices[said]
    return {True: "yes", False: "no"}.get(said, str(said)) if isinstance(said, bool) else str(said)


def _count(said: Found | NDArray[np.float64]) -> str:
    number = len(said.labels) if isinstance(said, Found) else len(said)
    return f"{number:,} place{'s' * (number != 1)}, drawn"


def _drawn(one: Question, reading: Reading, width: int, height: int) -> list[ET.Element]:
    if one.task not in {"grounding", "location", "detection"} or (one.width, one.height) == (1, 1):
        return []
    parts: list[ET.Element] = []
    for kind, places in (("gold", one.gold), ("said", reading.said)):
        if places is None:
            continue
        rows = np.asarray(places if isinstance(places, np.ndarray) else places.boxes)[:200].tolist()
        for part in ("under", kind) if kind == "gold" else (kind,):  # dark below: seen on any image
            parts += [_outline(numbers, part, width, height) for numbers in rows]
    svg = node("svg", *parts, viewBox=f"0 0 {width} {height}", preserveAspectRatio="none")
    return [svg]


def _outline(numbers: Sequence[float], kind: str, width: int, height: int) -> ET.Element:
    style = {"class": kind}
    if len(numbers) == 2:
        x, y = numbers[0] * width / 1000, numbers[1] * height / 1000
        return node("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{max(width, height) / 80:.1f}", **style)
    if len(numbers) == 8:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        return node("polygon", points=points, **style)
    left, top, right, bottom = numbers
    return node(
        "rect", x=f"{left:.1f}", y=f"{top:.1f}", width=f"{max(right - left, 0):.1f}",
        height=f"{max(bottom - top, 0):.1f}", **style,
    )  # fmt: skip


def _figures(one: Interval) -> tuple[str, str]:
    return _number(one.value), "-" if math.isnan(one.low) else f"{one.low:.2f} to {one.high:.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
