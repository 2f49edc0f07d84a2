"""The card: README.md of a dataset folder, with everything that a build knows generated.

Prose is written by hand in ``dataset_cards/<name>.md`` or ``card.md`` of the dataset's package; numbers never are. The
card is made from the folder alone, its manifest, its ledger and its Parquet files, so that it can be made anew without
a build, to the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from irtd_datasets.boxes import Frame
from irtd_datasets.display import markdown
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.names import CARD_IMAGES
from irtd_datasets.folder.value_counts import count_values
from irtd_datasets.schema import BOX_FRAMES, FIELDS, yaml_features
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from irtd_datasets.folder.ledger import Ledger, LedgerLine
    from irtd_datasets.folder.parts import BuiltPart
    from irtd_datasets.spec import DatasetSpec, PartSpec

__all__ = [
    "SEAL",
    "SIZE_CATEGORIES",
    "configs_of",
    "counter_in",
    "in_repository",
    "prose",
    "render_card",
    "repository_of",
    "size_category",
    "task_categories",
]

SIZE_CATEGORIES = {
    "n<1K": 1_000,
    "1K<n<10K": 10_000,
    "10K<n<100K": 100_000,
    "100K<n<1M": 1_000_000,
    "1M<n<10M": 10_000_000,
    "10M<n<100M": 100_000_000,
    "100M<n<1B": 1_000_000_000,
}
"""The Hub's size categories, as far as datasets of images go, with the number of rows that each ends below."""

SEAL = "manifest_sha256"
"""Key of the front matter that seals the manifest."""

_PLACEHOLDER = "PATH_OR_REPO"
_HINT = f" Put the name of this repository, or the path of the folder, in place of `{_PLACEHOLDER}`."
_NAMED = re.compile(r'(?<=load_dataset\(")[\w.-]+(?:/[\w.-]+)?(?=", ")')

# What each frame's numbers count, as in `irtd_datasets.boxes.Frame`.
_FRAMES = {
    Frame.PIXEL: "Pixels of the upright image.",
    Frame.UNIT: "0 to 1 of width and of height.",
    Frame.PER_MILLE: "0 to 1000 of width and of height.",
    Frame.SQUARE_UNIT: "0 to 1 of the image padded to a square.",
    Frame.SQUARE_PER_MILLE: "0 to 999 of the image padded to a square, cut to whole numbers.",
    "unknown": "The release does not say, and no check could tell; `objects` is empty.",
}
_FILES = (
    (
        "`<subset>/<part>/<split>-*.parquet`",
        "The rows. Configs share them: each names the parts that it has.",
    ),
    ("`card/*`", "The images of this page."),
    ("`croissant.json`", "The same configs and fields as Croissant metadata, which mlcroissant loads."),
    ("`ledger.json`", "What became of every record of the release, as summed above."),
    ("`manifest.json`", "Size and SHA-256 of every file here, rows of every shard, and how they were made."),
    (
        "`index/*.parquet`",
        "Where each image lies inside the shards, for readers that fetch single rows; no config reads it.",
    ),
)
_REDISTRIBUTION = {
    "allowed": "under its licence",
    "forbidden": "**restricted by its terms**",
    "unknown": "not known",
}


class _Shared(yaml.SafeDumper):
    """YAML in which the features, one list for all configs, are written once; the other configs refer to them."""

    def generate_anchor(self, node: Any) -> str:  # noqa: ANN401, ARG002 - the base class's signature
        return "features"


def prose(spec: DatasetSpec) -> str:
    """The part of a card that is written by hand.

    Raises:
        UnknownNameError: There is none for this dataset.
    """
    own = resources.files(spec.home).joinpath("card.md")
    packaged = resources.files("irtd_datasets").joinpath("dataset_cards").joinpath(f"{spec.name}.md")
    source = (
        Path(__file__).parents[2] / "dataset_cards" / f"{spec.name}.md"
    )  # a checkout that is not installed
    for path in (own, packaged, source):
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    raise UnknownNameError(
        f"there is no card text for {spec.name!r}", remedy=f"It belongs into card.md of {spec.home}."
    )


def configs_of(spec: DatasetSpec, parts: Sequence[BuiltPart]) -> dict[str, list[BuiltPart]]:
    """Configs that a folder with these parts has, each with its parts in order."""
    built: dict[tuple[str, str], list[BuiltPart]] = {}
    for part in parts:
        if part.rows:
            built.setdefault(part.key, []).append(part)
    configs = {}
    for config in spec.configs:
        present = [part for member in config.members for part in built.get(member.key, ())]
        if present:
            configs[config.name] = present
    return configs


def size_category(rows: int) -> str:
    """The Hub's size category of a dataset of so many rows.

    Example:
        >>> size_category(0), size_category(1_000), size_category(999_999)
        ('n<1K', '1K<n<10K', '100K<n<1M')
    """
    return next((name for name, limit in SIZE_CATEGORIES.items() if rows < limit), "1B<n<10B")


def task_categories(tasks: Iterable[str]) -> list[str]:
    """The Hub's task categories of tasks of our vocabulary.

    Example:
        >>> task_categories(["captioning", "detection"])
        ['image-to-text', 'object-detection']
    """
    wanted = set(tasks)
    table = read_table("irtd_datasets.folder", "task_categories.csv")
    return [row["category"] for row in table if wanted.intersection(row["tasks"].split())]


def counter_in(folder: Path) -> Callable[[BuiltPart, str], Counter[Any]]:
    """What counts the values of a column in a part of a folder, each once; see `count_values`."""
    known: dict[tuple[str, str, str], Counter[Any]] = {}

    def count(part: BuiltPart, column: str) -> Counter[Any]:
        key = (*part.key, column)
        if key not in known:
            files = sorted(folder.joinpath(*part.key).glob("*.parquet"))
            known[key] = count_values(files, column)
        return known[key]

    return count


def repository_of(card: str) -> str:
    """The repository that the examples of a card name; empty where they have a placeholder, or there are none."""
    found = _NAMED.search(card)
    return "" if found is None or found[0] == _PLACEHOLDER else found[0]


def in_repository(card: str, repository: str) -> str:
    """A card whose examples name the repository that it is published in.

    Example:
        >>> in_repository('load_dataset("PATH_OR_REPO", "instruct", split="train")', "you/irtd")
        'load_dataset("you/irtd", "instruct", split="train")'
    """
    return _NAMED.sub(repository, card.replace(_HINT, ""))


def render_card(
    spec: DatasetSpec,
    parts: Sequence[BuiltPart],
    ledger: Ledger,
    folder: Path | None,
    count: Callable[[BuiltPart, str], Counter[Any]] | None = None,
    *,
    seal: str = "",
    images: Collection[str] = (),
    made_with: Sequence[str] = (),
) -> str:
    """The whole README.md.

    Args:
        spec: The dataset.
        parts: The parts in the folder.
        ledger: What became of every record.
        folder: The dataset folder with the Parquet files of the parts in place; sources and frames are counted there.
        count: Counts the values of a column in a part instead; the folder is not looked at then.
        seal: SHA-256 of the manifest, see `Manifest.seal`, so that a changed manifest is noticed.
        images: Files of the folder; those of `CARD_IMAGES` are shown.
        made_with: Versions, see `Manifest`.

    Raises:
        AnnotationError: A Parquet file cannot be read.
    """
    configs = configs_of(spec, parts)
    declared = {member.key: member.part for member in spec.members}
    present = [(declared[part.subset, part.part], part) for part in parts if part.rows]
    if count is None:
        assert folder is not None
        count = counter_in(folder)
    header = yaml.dump(
        _metadata(spec, present, configs, seal),
        Dumper=_Shared,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
    )
    shown = {
        what: f"![{_ALTERNATIVES[what]}]({file})" for what, file in CARD_IMAGES.items() if file in images
    }
    sections = [
        f"---\n{header}---",
        prose(spec),
        *([shown["rows"]] if "rows" in shown else []),
        _loading(spec, configs),
        "## Rows\n\n" + _row_table(configs, present),
        "## Tasks\n\n" + _illustrated(shown.get("tasks"), _task_table(present)),
        *([f"## Boxes\n\n{shown['boxes']}\n\n{_BOXES}"] if "boxes" in shown else []),
        "## Sources\n\n" + _source_table(spec, present, count),
        "## How it was made\n\n" + _making(spec, made_with),
        "## What became of the release\n\n" + _ledger_table(spec, ledger),
        *(["## Pairs\n\n" + pairs] if (pairs := _pairs_table(ledger)) else []),
        *(["## Rounds\n\n" + _rounds_table(ledger)] if ledger.counts_rounds else []),
        "## Known issues\n\n" + _issue_table(spec, ledger),
        "## Fields\n\n"
        + _table(
            ["field", "type", "meaning"], [[f"`{f.name}`", f.describe_type(), f.doc] for f in FIELDS.values()]
        ),
        "## Frames\n\n" + _frame_table([part for _, part in present], count),
        "## Files\n\n" + _table(["file", "what is in it"], _FILES if images else [_FILES[0], *_FILES[2:]]),
        "## What is public\n\n" + _public(spec, {part.subset for part in parts}),
        f"## Terms\n\n{spec.licence}\n\n{spec.terms}",
        f"## Citation\n\n```bibtex\n{spec.citation}\n```",
    ]
    return "\n\n".join(sections) + "\n"


_ALTERNATIVES = {
    "rows": "Rows of this dataset: images with the boxes and points of `objects`, questions and answers",
    "tasks": "Rows by task and source",
    "boxes": "Boxes by size",
}
_BOXES = (
    "Boxes are those in `objects`; of an oriented box, the area of its polygon counts. Points have no size."
)


def _illustrated(image: str | None, text: str) -> str:
    return f"{image}\n\n{text}" if image else text


def _making(spec: DatasetSpec, made_with: Sequence[str]) -> str:
    versions = ""
    if len(made_with) > 3:
        library, schema, arrow, pillow = made_with[:4]
        versions = (
            f" This folder was built with irtd-datasets {library} (schema {schema}), pyarrow {arrow} and Pillow "
            f"{pillow}; the same release and versions give the same bytes."
        )
    return (
        f"`irtd build {spec.name}` of the Python library irtd-datasets read the annotation files as they are. Each "
        "record became one or more rows, was left out for a stated reason, or lacked its image; the next section has "
        "the sums, and names the commands that made this folder from another one. Released texts and labels are kept: "
        "a known error is named in `issues` and never corrected in place. Where `origin` is not `released`, it "
        "says who or what wrote the text. "
        "Images are stored with the bytes of the released files, unless `image_note` says otherwise. The order of the "
        f"rows was drawn once, with a fixed seed.{versions} `manifest.json` has the SHA-256 of every file."
    )


def _metadata(
    spec: DatasetSpec,
    present: Sequence[tuple[PartSpec, BuiltPart]],
    configs: dict[str, list[BuiltPart]],
    seal: str,
) -> dict[str, Any]:
    default = spec.default_config if spec.default_config in configs else next(iter(configs), "")
    features = yaml_features()
    entries, infos = [], []
    for name, members in configs.items():
        splits: dict[str, list[BuiltPart]] = {}
        for part in members:
            splits.setdefault(part.split, []).append(part)
        entry: dict[str, Any] = {"config_name": name}
        if name == default:
            entry["default"] = True
        # `datasets` names its cache after what stands here: other shards under the same names are other rows.
        entry["description"] = f"SHA-256 of its shards: {_digest_of(members)}"
        entry["data_files"] = [
            {"split": split, "path": [f"{part.subset}/{part.part}/{split}-*" for part in parts]}
            for split, parts in splits.items()
        ]
        entries.append(entry)
        infos.append(
            {
                "config_name": name,
                "features": features,
                "splits": [
                    {
                        "name": split,
                        "num_bytes": sum(part.num_bytes for part in parts),
                        "num_examples": sum(part.rows for part in parts),
                    }
                    for split, parts in splits.items()
                ],
                "download_size": sum(part.bytes_on_disk for part in members),
                "dataset_size": sum(part.num_bytes for part in members),
            }
        )
    named = {"license_name": "terms-of-the-sources", "license_link": spec.homepage}
    return {
        "pretty_name": spec.title,
        "license": spec.licence_id,
        **(named if spec.licence_id == "other" else {}),
        "language": ["en"],
        "task_categories": task_categories(part.task for part, _ in present),
        "size_categories": [size_category(sum(built.rows for _, built in present))],
        "tags": [*dict.fromkeys(part.modality for part, _ in present), "remote-sensing", "vision-language"],
        **({SEAL: seal} if seal else {}),
        "configs": entries,
        "dataset_info": infos,
    }


def _digest_of(parts: Sequence[BuiltPart]) -> str:
    lines = [f"{name} {digest}\n" for part in parts for name, digest in part.named_digests()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _loading(spec: DatasetSpec, configs: dict[str, list[BuiltPart]]) -> str:
    if not configs:
        return "## Loading\n\nThis folder has no rows."
    name = spec.default_config if spec.default_config in configs else next(iter(configs))
    split = configs[name][0].split
    return (
        f"## Loading\n\nNothing but `datasets` is needed.{_HINT}\n\n```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset("{_PLACEHOLDER}", "{name}", split="{split}")\n'
        'print(rows[0]["image"], rows[0]["messages"])\n```\n\n'
        "Streamed, only what is read is downloaded. Rows are in their final order, which needs no shuffle buffer.\n\n"
        "```python\n"
        f'stream = load_dataset("{_PLACEHOLDER}", "{name}", split="{split}", streaming=True)\n'
        "for row in stream.take(3):\n"
        '    print(row["id"], row["image"].size, row["messages"][-1]["content"])\n```'
    )


def _task_table(present: Sequence[tuple[PartSpec, BuiltPart]]) -> str:
    counts: Counter[tuple[str, str, str]] = Counter()
    for declared, part in present:
        counts[declared.task, declared.modality, part.split] += part.rows
    rows = [[task, modality, split, f"{count:,}"] for (task, modality, split), count in counts.items()]
    return _table(["task", "modality", "split", "rows"], [*rows, ["**sum**", "", "", f"{counts.total():,}"]])


def _source_table(
    spec: DatasetSpec,
    present: Sequence[tuple[PartSpec, BuiltPart]],
    count: Callable[[BuiltPart, str], Counter[Any]],
) -> str:
    counts: Counter[str | None] = Counter()
    tasks: dict[str | None, dict[str, None]] = {}
    for declared, part in present:
        found = count(part, "source")
        counts.update(found)
        for source in found:
            tasks.setdefault(source, {})[declared.task] = None
    rows = []
    for source in sorted(counts, key=lambda name: (name is None, name)):
        terms = spec.terms_of(source)
        licence = terms.licence + (f" ({terms.evidence})" if terms.evidence else "")
        shown = "not named by the release" if source is None else markdown(str(source))
        redistribution = _REDISTRIBUTION[terms.redistribution]
        rows.append([shown, ", ".join(tasks[source]), f"{counts[source]:,}", licence, redistribution])
    return (
        "Every image keeps the terms of the set it comes from. What stands here is what is known of them, and no "
        "advice.\n\n" + _table(["source", "tasks", "rows", "licence or terms", "passing on"], rows)
    )


def _frame_table(parts: Sequence[BuiltPart], count: Callable[[BuiltPart, str], Counter[Any]]) -> str:
    counts: Counter[Any] = Counter()
    for part in parts:
        counts.update(count(part, "box_frame"))
    rows = [
        [f"`{name}`", _FRAMES[name], f"{counts[number]:,}"]
        for number, name in enumerate(BOX_FRAMES)
        if counts[number]
    ]
    return (
        "Numbers inside `messages` are as released, in the frame that `box_frame` names. `objects` has the same places "
        "in pixels of the upright image, whatever the frame.\n\n"
        + _table(
            ["frame", "what its numbers count", "rows"],
            [*rows, ["none", "The text names no place.", f"{counts[None]:,}"]],
        )
    )


def _public(spec: DatasetSpec, here: Collection[str]) -> str:
    public = [
        f"- **{subset.name}**. {subset.summary} {subset.available}"
        for subset in spec.subsets
        if subset.name in here
    ]
    lacking = [f"- {item}" for item in spec.not_released]
    return "\n".join([*public, "", "Not released:", "", *lacking])


def _row_table(configs: dict[str, list[BuiltPart]], present: Sequence[tuple[PartSpec, BuiltPart]]) -> str:
    rows = []
    for name, parts in configs.items():
        for split in dict.fromkeys(part.split for part in parts):
            here = [part for part in parts if part.split == split]
            size = _megabytes(sum(part.bytes_on_disk for part in here))
            rows.append([name, split, f"{sum(part.rows for part in here):,}", size])
    told = _table(["config", "split", "rows", "MB on disk"], rows)
    whole = sum(part.rows for _, part in present)
    counted = sum(part.rows for parts in configs.values() for part in parts)
    if counted == whole:
        return told
    size = _megabytes(sum(part.bytes_on_disk for _, part in present))
    return (
        f"{told}\n\nConfigs overlap: they all show the same {whole:,} rows ({size} MB), whose files are stored once. "
        f"The row counter of the Hub adds up the configs and shows {counted:,}."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size < 1e8 else f"{size / 1e6:,.0f}"


def _ledger_table(spec: DatasetSpec, ledger: Ledger) -> str:
    rows = []
    for line in ledger.lines:
        if line.record_counts is None:
            rows.append(
                [line.subset, markdown(line.file), _released(spec, line), "file not there", "", "", "", ""]
            )
            continue
        record_counts = line.record_counts
        dropped, flagged = (
            ", ".join(f"{markdown(code)} {count:,}" for code, count in sorted(counts.items()))
            for counts in (record_counts.dropped, record_counts.flagged)
        )
        rows.append(
            [
                line.subset,
                markdown(line.file),
                _released(spec, line),
                f"{record_counts.found:,}",
                f"{record_counts.kept:,}",
                f"{record_counts.image_missing:,}",
                dropped,
                flagged,
            ]
        )
    totals = ledger.totals()
    rows.append(
        [
            "**sum**",
            "",
            ledger.released_sum,
            f"{totals['found']:,}",
            f"{totals['kept']:,}",
            f"{totals['image_missing']:,}",
            f"{totals['dropped']:,}",
            "",
        ]
    )
    head = ["subset", "file", "released", "found", "kept", "image missing", "dropped", "rows with an issue"]
    notes = dict.fromkeys(line.note for line in ledger.lines if line.record_counts and line.note)
    return _table(head, rows) + "".join(f"\n\n{markdown(note)}" for note in notes)


def _pairs_table(ledger: Ledger) -> str:
    """Rows by what became of their visible partners; empty where none were looked for."""
    counts = [(line, line.record_counts.partners) for line in ledger.lines if line.record_counts is not None]
    statuses = sorted({status for _, found in counts for status in found})
    rows = [
        [line.subset, markdown(line.file), *(f"{found[status]:,}" for status in statuses)]
        for line, found in counts
        if found
    ]
    return (
        "Rows by the status of their column `registration`; a refused partner is left out, its row is not.\n\n"
        + _table(["subset", "file", *statuses], rows)
        if rows
        else ""
    )


def _rounds_table(ledger: Ledger) -> str:
    rows = []
    for line in ledger.lines:
        if line.record_counts is None:
            rows.append([markdown(line.file), _number(line.rounds), "file not there", "", ""])
            continue
        found, kept = line.record_counts.rounds_found, line.record_counts.rounds_kept
        difference = "" if line.rounds is None else f"{found - line.rounds:+,}"
        rows.append([markdown(line.file), _number(line.rounds), f"{found:,}", difference, f"{kept:,}"])
    totals = ledger.totals()
    rows.append(
        [
            "**sum of what is here**",
            ledger.rounds_sum,
            f"{totals['rounds_found']:,}",
            ledger.rounds_difference,
            f"{totals['rounds_kept']:,}",
        ]
    )
    return (
        "The paper counts rounds, a question with its answer; a record holds one or many. Found are all questions, "
        "kept are those with an answer in rows of this folder.\n\n"
        + _table(["file", "in the paper", "found", "difference", "kept"], rows)
    )


def _released(spec: DatasetSpec, line: LedgerLine) -> str:
    none = spec.part(line.subset, line.part).count_unknown
    return none if line.released is None else f"{line.released:,}"


def _issue_table(spec: DatasetSpec, ledger: Ledger) -> str:
    """The known defects that are here: of rows kept, of records, and of files."""
    seen: Counter[str] = Counter()
    for line in ledger.lines:
        if line.record_counts is not None:
            for counts in (line.record_counts.flagged, line.record_counts.quirks, line.record_counts.repairs):
                seen.update(counts)
    rows = [
        [f"`{issue.code}`", issue.file, issue.scope, f"{seen[issue.code]:,}", issue.meaning]
        for issue in spec.issues
        if seen[issue.code]
    ]
    if not rows:
        return "None of the known defects of the release is here."
    return (
        "Issues of a row stand in its column `issues` and are counted in the rows of this folder; the others stand in "
        "`ledger.json` and are counted in the records read.\n\n"
        + _table(["code", "file", "stands in", "here", "meaning"], rows)
    )


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---:" if _is_numeric([row[index] for row in rows]) else "---" for index in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(_escape_bars(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _escape_bars(cell: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", cell)


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds counts, so that their digits are to stand below each other."""
    filled = [cell for cell in cells if cell and not cell.startswith("not ")]
    return bool(filled) and all(re.fullmatch(r"[+-]?[\d,]+(?:\.\d+)?", cell) for cell in filled)
