"""The source sets, and what is made from them by rule."""

from __future__ import annotations

import inspect
import re
from typing import Any

from irtd_datasets.construct.targets import targets
from irtd_datasets.irtd.tasks import MODULES
from irtd_datasets.irtd.tasks.generation import CHOICES
from irtd_datasets.sources import CODES, COLUMNS, READER_DOCS, TABLE
from page_parts.markdown import blocks, table


def sources(which: str) -> str:
    """The table of sources: those of IR-TD's list (``irtd``), or the others."""
    rows = []
    for row in TABLE:
        if (row.index is None) == (which == "irtd") or row.status in {"unnamed", "missing"}:
            continue
        readers = ", ".join(f"`{reader}`" for reader in dict.fromkeys(row.readers))
        cells = [
            row.name,
            row.what,
            row.band or row.modality,
            readers if row.readable else "not known",
            ", ".join(row.tasks),
            row.confidence,
            row.note,
        ]
        rows.append(cells if row.index is None else [str(row.index), *cells])
    head = ["source set", "what it is", "band", "reader", "tasks", "certainty", "remark"]
    return table(head if which != "irtd" else ["number", *head], rows)


def source_columns() -> str:
    """The columns of the table of sources."""
    return table(["column", "meaning"], [[f"`{name}`", meaning] for name, meaning in COLUMNS.items()])


def source_readers() -> str:
    """The readers that a row of the table of sources can name."""
    return table(
        ["reader", "what it reads"], [[f"`{name}`", meaning] for name, meaning in READER_DOCS.items()]
    )


def source_problems() -> str:
    """What is reported of a source."""
    return table(["code", "meaning, and what is done"], [[f"`{code}`", text] for code, text in CODES.items()])


def choices() -> str:
    """What can be switched about the rules that make records."""
    rows = [
        [
            f"`{choice.name}`",
            choice.task or "all",
            ", ".join(f"`{value}`" for value in choice.values),
            f"`{choice.released}`",
            choice.meaning,
            choice.source,
        ]
        for choice in CHOICES
    ]
    return table(
        ["choice", "task", "values, default first", "closest to the release", "meaning", "evidence"], rows
    )


def made_tasks() -> str:
    """The rule of each task that can be made, from the words of its module."""
    rows = []
    for task, module in MODULES.items():
        parts = [" ".join(part.split()).replace("``", "`") for part in inspect.getdoc(module).split("\n\n")]
        rule, chosen = " ".join(part for part in parts[1:] if not part.startswith("Chosen")), parts[-1]
        parts = [re.sub(r" ?Metric: .*?\)\.", "", part) for part in parts]
        first = parts[0]
        rows.append(
            [
                f"`{task}`",
                first.partition(": ")[2] or first,
                rule,
                chosen.partition(": ")[2] if chosen.startswith("Chosen") else "",
                getattr(module, "METRIC", "none"),
            ]
        )
    return table(["task", "question", "rule", "our choice", "metric"], rows)


def construct_targets() -> str:
    """How many records of each task come from which source."""
    per_task: dict[str, list[Any]] = {}
    for target in targets():
        per_task.setdefault(target.task, []).append(target)
    rows = [
        [
            f"`{task}`",
            f"{sum(one.rows for one in given):,}",
            ", ".join(f"{one.source} {one.rows:,}" for one in given),
            "; ".join(dict.fromkeys(f"{one.source}: {one.reason}" for one in given if one.reason)),
        ]
        for task, given in per_task.items()
    ]
    rows.append(["**sum**", f"{sum(target.rows for target in targets()):,}", "", ""])
    return table(["task", "rows", "source sets", "reason"], rows)


BLOCKS = blocks(
    choices, construct_targets, made_tasks, source_columns, source_problems, source_readers, sources
)
