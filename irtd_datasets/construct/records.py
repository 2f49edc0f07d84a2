"""Constructed records as files that a build reads like a release, with what it needs beside them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.irtd.constructed import KEY, PAIRS, project_of
from irtd_datasets.irtd.spec import CONSTRUCTED, SPEC
from irtd_datasets.irtd.tasks.dialogue import DIALOGUES
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irtd_datasets.construct.benchmark import Construction, Gathering, Options
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.irtd.tasks.generation import Rules
    from irtd_datasets.sources import SourceRow

__all__ = ["part_of", "record_id", "write_records"]


def part_of(subset: str, task: str) -> str:
    """Name of the part of a subset that the records of a task go to."""
    return "rule_captions" if (subset, task) == ("pretrain", "captioning") else task


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
            f"not released; {_written_by(part.name, construction)}"
            f"constructed by irtd-datasets {__version__} from {counts}; seed {options.seed}; "
            f"rules {options.rules.for_task(part.task)}"
        )
    description = {
        "format": 1,
        "made_with": __version__,
        "subset": subset,
        "seed": options.seed,
        "rules": asdict(options.rules),
        "sources": {
            name: str(Path(str(source.container.path)).absolute())
            for name, source in sorted(gathering.sources.items())
        },
        "table": str(options.table.absolute()) if options.table else None,
        "notes": notes,
    }
    pairs = {
        _image_name(one, gathering): [one.visible, one.registration]
        for candidates in chosen.values()
        for one in candidates
        if one.registration is not None
    }
    (inner / PAIRS).write_text(json.dumps(dict(sorted(pairs.items()))), encoding="utf-8")
    (folder / CONSTRUCTED).write_text(json.dumps(description, indent=1), encoding="utf-8")


def _written_by(part: str, construction: Construction) -> str:
    """Who wrote the captions of a part, and what was not accepted; the same in every run from the same journal."""
    captioned = construction.captions
    if captioned is None or part not in {"model_captions", *DIALOGUES}:
        return ""
    refused: Counter[str] = Counter()
    for one in construction.results[part]:
        told = {
            code: count
            for code, count in one.rejected.items()
            if code.startswith(("caption ", "pair ", "text "))
        }
        refused.update(told)
    listed = ", ".join(f"{code.partition(' ')[2]} {count:,}" for code, count in sorted(refused.items()))
    shown = (
        "each row's visible partner unless its issues say otherwise"
        if part == "model_captions"
        else "each row's image, its labels and its caption"
    )
    return (
        f"texts by the language model {captioned.model} (prompts {captioned.prompts}), of {shown}; "
        f"not accepted: {listed or 'none'}; "
    )


def _ordered(candidates: Iterable[Candidate]) -> Sequence[Candidate]:
    """Records of one image together, images in an order that looks random."""
    return sorted(candidates, key=lambda one: (one.key[1], one.source, one.image, one.made.question))


def record_id(candidate: Candidate, row: SourceRow) -> str:
    """Id of a record, which depends on the names of its image and task and on its question alone.

    The questions that a model asks are left out: another answer of it makes no other record.
    """
    image = f"{project_of(row.name, row.project_dir)}/{candidate.image}"
    question = "" if candidate.task in DIALOGUES else candidate.made.question
    return draw_key(0, candidate.task, image, question).hex()


def _image_name(candidate: Candidate, gathering: Gathering) -> str:
    row = gathering.sources[candidate.source].row
    return f"{project_of(row.name, row.project_dir)}/{candidate.image}"


def _record(candidate: Candidate, row: SourceRow, rules: Rules) -> dict[str, Any]:
    made = candidate.made
    image = f"{project_of(row.name, row.project_dir)}/{candidate.image}"
    facts: dict[str, Any] = {"source": row.name, "modality": row.modality, "split": candidate.split}
    if candidate.size is not None:
        facts["size"] = list(candidate.size)
    if made.members:
        facts["members"] = list(made.members)
    if candidate.caption_of:
        facts["caption_of"] = candidate.caption_of
    if candidate.origin != "rule":
        facts["origin"] = candidate.origin
    if candidate.sent:
        facts["sent"] = candidate.sent
    if candidate.task == "security":
        facts["exhaustive"] = list(candidate.exhaustive)
    if candidate.task == "relationship":
        facts["relationship"] = rules.relationship
    if candidate.task == "grounding":
        facts["left_of"] = rules.left_of
    return {
        "id": record_id(candidate, row),
        "image": [image],
        "conversations": [
            {"from": who, "value": text}
            for question, answer in ((f"<image>\n{made.question}", made.answer), *made.more)
            for who, text in (("human", question), ("gpt", answer))
        ],
        KEY: facts,
    }
