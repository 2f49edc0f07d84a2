"""Writing what was chosen as records in the form of json_sft, with what the build needs beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from irtd_datasets.examples.draw import draw_key
from irtd_datasets.irtd.constructed import KEY, project_of
from irtd_datasets.irtd.spec import CONSTRUCTED, SPEC
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from irtd_datasets.construct.plan import Construction, Gathering, Options
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.irtd.tasks.making import Rules
    from irtd_datasets.sources import SourceRow

__all__ = ["part_of", "write_records"]


def part_of(subset: str, task: str) -> str:
    """Name of the part of a subset that holds a task."""
    return "rule_captions" if subset == "pretrain" else task


def write_records(
    folder: Path,
    subset: str,
    chosen: dict[str, list[Candidate]],
    construction: Construction,
    gathering: Gathering,
    options: Options,
) -> None:
    """Write records in the form of json_sft, with what the build needs beside them.

    Args:
        folder: Where to; made if missing.
        subset: The subset.
        chosen: The records of each task.
        construction: The counts, for the notes.
        gathering: The sources.
        options: What was wanted.
    """
    parts = {part.name: part for part in SPEC.subset(subset).parts}
    inner = folder / subset
    inner.mkdir(parents=True, exist_ok=True)
    for stale in inner.glob("*.json"):
        stale.unlink()
    notes = {}
    for task, candidates in chosen.items():
        part = parts[part_of(subset, task)]
        rows = [
            _record(one, gathering.sources[one.source].row, options.rules) for one in _ordered(candidates)
        ]
        (inner / part.file).write_text(json.dumps(rows, indent=1), encoding="utf-8")
        counts = ", ".join(
            f"{one.target.source} {one.chosen:,}" for one in construction.results[task] if one.chosen
        )
        notes[f"{subset}/{part.name}"] = (
            f"not released; constructed by irtd-datasets {__version__} from {counts}; seed {options.seed}; "
            f"rules {options.rules.for_task(task)}"
        )
    description = {
        "format": 1,
        "made_with": __version__,
        "subset": subset,
        "seed": options.seed,
        "rules": asdict(options.rules),
        "sources": {
            name: str(source.container.path.absolute()) for name, source in sorted(gathering.sources.items())
        },
        "table": str(options.table.absolute()) if options.table else None,
        "notes": notes,
    }
    (folder / CONSTRUCTED).write_text(json.dumps(description, indent=1), encoding="utf-8")


def _ordered(candidates: Iterable[Candidate]) -> Sequence[Candidate]:
    """Records of one picture together, pictures in an order that looks random."""
    return sorted(candidates, key=lambda one: (one.key[1], one.source, one.image, one.made.question))


def _record(candidate: Candidate, row: SourceRow, rules: Rules) -> dict[str, Any]:
    made = candidate.made
    image = f"{project_of(row.name, row.project_dir)}/{candidate.image}"
    facts: dict[str, Any] = {"source": row.name, "modality": row.modality, "split": candidate.split}
    if candidate.size is not None:
        facts["size"] = list(candidate.size)
    if made.members:
        facts["members"] = list(made.members)
    if candidate.task == "security":
        facts["exhaustive"] = list(candidate.exhaustive)
    if candidate.task == "relationship":
        facts["relationship"] = rules.relationship
    if candidate.task == "grounding":
        facts["left_of"] = rules.left_of
    return {
        "id": draw_key(0, candidate.task, image, made.question).hex(),
        "image": [image],
        "conversations": [
            {"from": "human", "value": f"<image>\n{made.question}"},
            {"from": "gpt", "value": made.answer},
        ],
        KEY: facts,
    }
