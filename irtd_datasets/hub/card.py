"""The card: README.md of a dataset folder, with everything that a build knows generated.

Prose is written by hand in ``dataset_cards/<name>.md``; numbers never are.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.schema import FIELDS, yaml_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.spec import DatasetSpec

__all__ = ["configs_of", "prose", "render_card"]

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class _Part(Protocol):
    @property
    def subset(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def bytes_on_disk(self) -> int: ...


class _Ledger(Protocol):
    def totals(self) -> dict[str, int]: ...
    @property
    def lines(self) -> tuple[Any, ...]: ...
    @property
    def counts_rounds(self) -> bool: ...


class _Plain(yaml.SafeDumper):
    """YAML without anchors: the features stand in full under each config, as every reader of cards expects."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - the base class's signature
        return True


def prose(name: str) -> str:
    """The part of a card that is written by hand.

    Raises:
        UnknownNameError: There is none for this dataset.
    """
    packaged = resources.files("irtd_datasets").joinpath("dataset_cards").joinpath(f"{name}.md")
    source = Path(__file__).parents[2] / "dataset_cards" / f"{name}.md"  # a checkout that is not installed
    for path in (packaged, source):
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    raise UnknownNameError(f"there is no card text for {name!r}", remedy="It belongs into dataset_cards/.")


def configs_of(spec: DatasetSpec, parts: Sequence[_Part]) -> dict[str, list[_Part]]:
    """Configs that a folder with these parts has, each with its parts in order."""
    built = {(part.subset, part.part): part for part in parts if part.rows}
    configs = {}
    for config in spec.configs:
        present = [built[member.key] for member in config.members if member.key in built]
        if present:
            configs[config.name] = present
    return configs


def render_card(spec: DatasetSpec, parts: Sequence[_Part], ledger: _Ledger) -> str:
    """The whole README.md.

    Args:
        spec: The dataset.
        parts: The parts in the folder.
        ledger: What became of every record.
    """
    configs = configs_of(spec, parts)
    header = yaml.dump(
        _metadata(spec, parts, configs), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10_000
    )
    sections = [
        f"---\n{header}---",
        prose(spec.name),
        _loading(spec, configs),
        "## Rows\n\n" + _table(["config", "split", "rows"], _row_counts(configs)),
        "## What became of the release\n\n" + _ledger_table(ledger),
        *(["## Rounds\n\n" + _rounds_table(ledger)] if ledger.counts_rounds else []),
        "## Known issues\n\n" + _issue_table(spec, ledger),
        "## Fields\n\n"
        + _table(["field", "type", "meaning"], [[f.name, f.describe_type(), f.doc] for f in FIELDS.values()]),
        f"## Terms\n\n{spec.licence}\n\n{spec.terms}",
        f"## Citation\n\n```bibtex\n{spec.citation}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(spec: DatasetSpec, parts: Sequence[_Part], configs: dict[str, list[_Part]]) -> dict[str, Any]:
    rows = sum(part.rows for part in parts)
    size = next((label for limit, label in _SIZES if rows < limit), "1M<n<10M")
    default = spec.default_config if spec.default_config in configs else next(iter(configs), "")
    features = yaml_features()
    entries, infos = [], []
    for name, present in configs.items():
        splits: dict[str, list[_Part]] = {}
        for part in present:
            splits.setdefault(part.split, []).append(part)
        entry: dict[str, Any] = {"config_name": name}
        if name == default:
            entry["default"] = True
        entry["data_files"] = [
            {"split": split, "path": [f"{part.subset}/{part.part}/{split}-*" for part in members]}
            for split, members in splits.items()
        ]
        entries.append(entry)
        infos.append(
            {
                "config_name": name,
                "features": features,
                "splits": [
                    {
                        "name": split,
                        "num_bytes": sum(part.num_bytes for part in members),
                        "num_examples": sum(part.rows for part in members),
                    }
                    for split, members in splits.items()
                ],
                "download_size": sum(part.bytes_on_disk for part in present),
                "dataset_size": sum(part.num_bytes for part in present),
            }
        )
    return {
        "pretty_name": spec.title,
        "license": spec.licence_id,
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-to-text", "object-detection"],
        "size_categories": [size],
        "tags": [
            *dict.fromkeys(member.part.modality for member in spec.members),
            "remote-sensing",
            "vision-language",
        ],
        "configs": entries,
        "dataset_info": infos,
    }


def _loading(spec: DatasetSpec, configs: dict[str, list[_Part]]) -> str:
    if not configs:
        return "## Loading\n\nThis folder has no rows."
    name = spec.default_config if spec.default_config in configs else next(iter(configs))
    split = configs[name][0].split
    return (
        "## Loading\n\n```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset("PATH_OR_REPO", "{name}", split="{split}")\n'
        f'stream = load_dataset("PATH_OR_REPO", "{name}", split="{split}", streaming=True)\n```'
    )


def _row_counts(configs: dict[str, list[_Part]]) -> list[list[str]]:
    return [
        [name, split, f"{sum(part.rows for part in parts if part.split == split):,}"]
        for name, parts in configs.items()
        for split in dict.fromkeys(part.split for part in parts)
    ]


def _ledger_table(ledger: _Ledger) -> str:
    rows = []
    for line in ledger.lines:
        if line.tally is None:
            rows.append([line.file, _released(line), "file not there", "", "", "", ""])
            continue
        tally = line.tally
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(tally.dropped.items()))
        flagged = ", ".join(f"{code} {count:,}" for code, count in sorted(tally.flagged.items()))
        rows.append(
            [
                line.file,
                _released(line),
                f"{tally.found:,}",
                f"{tally.kept:,}",
                f"{tally.image_missing:,}",
                dropped,
                flagged,
            ]
        )
    totals = ledger.totals()
    rows.append(
        [
            "**sum**",
            f"{totals['released']:,}",
            f"{totals['found']:,}",
            f"{totals['kept']:,}",
            f"{totals['image_missing']:,}",
            f"{totals['dropped']:,}",
            "",
        ]
    )
    head = ["file", "released", "found", "kept", "picture missing", "dropped", "rows with an issue"]
    notes = dict.fromkeys(line.note for line in ledger.lines if line.tally and line.note)
    return _table(head, rows) + "".join(f"\n\n{note}" for note in notes)


def _rounds_table(ledger: _Ledger) -> str:
    rows = []
    for line in ledger.lines:
        if line.tally is None:
            rows.append([line.file, _number(line.rounds), "file not there", "", ""])
            continue
        found, kept = line.tally.rounds_found, line.tally.rounds_kept
        difference = "" if line.rounds is None else f"{found - line.rounds:+,}"
        rows.append([line.file, _number(line.rounds), f"{found:,}", difference, f"{kept:,}"])
    totals = ledger.totals()
    here = totals["rounds_released"] - totals["rounds_absent"]
    rows.append(
        [
            "**sum of what is here**",
            f"{here:,}",
            f"{totals['rounds_found']:,}",
            f"{totals['rounds_found'] - here:+,}",
            f"{totals['rounds_kept']:,}",
        ]
    )
    return (
        "The paper counts rounds, a question with its answer; a record holds one or many. Found are all questions, "
        "kept are those with an answer in rows of this folder.\n\n"
        + _table(["file", "in the paper", "found", "difference", "kept"], rows)
    )


def _released(line: Any) -> str:  # noqa: ANN401 - a line of the ledger
    return "not known" if line.released is None and line.rounds is not None else _number(line.released)


def _issue_table(spec: DatasetSpec, ledger: _Ledger) -> str:
    seen: dict[str, int] = {}
    for line in ledger.lines:
        if line.tally is not None:
            for code, count in (
                *line.tally.flagged.items(),
                *line.tally.quirks.items(),
                *line.tally.repairs.items(),
            ):
                seen[code] = seen.get(code, 0) + count
    rows = [
        [f"`{issue.code}`", issue.file, issue.scope, f"{seen.get(issue.code, 0):,}", issue.meaning]
        for issue in spec.issues
    ]
    return _table(["code", "file", "stands in", "here", "meaning"], rows)


def _number(value: int | None) -> str:
    return "not released" if value is None else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)
