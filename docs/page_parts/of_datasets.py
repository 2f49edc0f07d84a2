"""What the declarations of the datasets and the schema say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets import spec as spec_module
from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.construct.targets import targets
from irtd_datasets.hub import findings
from irtd_datasets.releases.resolve import read_layouts
from irtd_datasets.schema import BOX_FRAMES, FIELDS, MODALITIES, TASKS
from irtd_datasets.sources import TABLE
from irtd_datasets.spec import read_table
from page_parts.markdown import DOCS, blocks, count, table

if TYPE_CHECKING:
    from collections.abc import Callable


def fields() -> str:
    """The columns of the schema."""
    rows = [[f"`{field.name}`", field.describe_type(), field.doc] for field in FIELDS.values()]
    return table(["field", "type", "meaning"], rows)


def vocabularies() -> str:
    """The names behind the integers of the ClassLabel columns."""
    columns = {"modality": MODALITIES, "task": TASKS, "box_frame": BOX_FRAMES}
    rows = [
        [f"`{column}`", ", ".join(f"{number} `{name}`" for number, name in enumerate(names))]
        for column, names in columns.items()
    ]
    return table(["column", "stored number and name"], rows)


def number(what: str) -> str:
    """A number for use inside a line."""
    return f"{NUMBERS[what]():,}"


NUMBERS: dict[str, Callable[[], int | None]] = {
    "captions": lambda: spec("irtd").subset("pretrain").records,
    "instructions": lambda: spec("irtd").subset("instruct").records,
    "benchmark": lambda: sum(target.rows for target in targets()),
    "mmrs_1m": lambda: next(one for one in spec("mmrs_1m").configs if one.name == "default").rounds,
    "readable_sources": lambda: sum(row.readable for row in TABLE),
    "readable_irtd_sources": lambda: sum(row.readable and row.index is not None for row in TABLE),
    "sources": lambda: len(TABLE),
}
"""Numbers that a page can ask for inside a line."""


def datasets(folder: str = "") -> str:
    """All datasets, linked to their pages; ``folder`` is the documentation as seen from the page that asks."""
    rows = []
    for name in DATASETS:
        declared = spec(name)
        page = f"datasets/{name}.md"
        shown = f"[{declared.title}]({folder}{page})" if (DOCS / page).is_file() else declared.title
        rows.append([f"`{name}`", shown, declared.summary])
    return table(["name", "dataset", "what it is"], rows)


def configs(name: str) -> str:
    """The configs of a dataset."""
    rows = []
    for config in spec(name).configs:
        tasks = list(dict.fromkeys(member.part.task for member in config.members))
        shown = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"
        known = count(config.records) if config.rounds is None else f"{config.rounds:,} rounds"
        rows.append([f"`{config.name}`", ", ".join(config.splits), shown, known])
    return table(["config", "splits", "task", "records released"], rows)


def files(name: str) -> str:
    """The annotation files of a dataset, with the folders their records name."""
    rows = []
    for subset in spec(name).subsets:
        for part in subset.parts:
            if part.records is not None or part.rounds is not None:
                folders = ", ".join(f"`{folder}`" for folder in part.image_dirs) or "given in the file"
                known = count(part.records) if part.rounds is None else f"{part.rounds:,} rounds"
                rows.append([f"`{part.file}`", f"{subset.name}/{part.name}", known, folders])
    return table(["file", "subset/part", "records", "image folders, as named in the records"], rows)


def issues(name: str) -> str:
    """The known defects of a dataset."""
    rows = [
        [
            f"`{issue.code}`",
            f"`{issue.file}`" if issue.file else "any",
            "the row" if issue.scope == "row" else "the ledger",
            issue.kind,
            f"{issue.count:,}" if issue.count is not None else "",
            issue.meaning,
            issue.evidence,
        ]
        for issue in spec(name).issues
    ]
    return table(["code", "file", "reported in", "kind", "records", "meaning", "evidence"], rows)


def issue_codes() -> str:
    """The vocabulary of issues that all datasets share."""
    places = {
        "row": "the row",
        "file": "the ledger",
        "record": "the ledger, no row",
        "unreadable": "an error",
    }
    rows = [
        [f"`{one.code}`", places[one.scope], one.kind, one.meaning]
        for one in spec_module.issue_codes().values()
    ]
    return table(["code", "reported in", "kind", "meaning"], rows)


def layouts(name: str) -> str:
    """Other known layouts of the images of a dataset."""
    rows = [
        [
            f"`{layout.released_dir}`",
            ", ".join(f"`{project}`" for project in layout.projects[1:]),
            ", ".join(f"`{inner}`" for inner in layout.inner_dirs[1:]),
            layout.meaning,
        ]
        for layout in read_layouts(f"irtd_datasets.{name}").values()
    ]
    return table(["folder as released", "other project names", "other inner folder names", "remark"], rows)


def citations() -> str:
    """The papers of all datasets, as BibTeX."""
    return "```bibtex\n" + "\n".join(spec(name).citation for name in DATASETS) + "\n```"


def subsets(name: str) -> str:
    """What is public of each subset."""
    return "\n".join(
        f"- **{subset.name}** (split `{subset.split}`). {subset.summary} {subset.available}"
        for subset in spec(name).subsets
    )


def missing(name: str) -> str:
    """What was never released."""
    return "\n".join(f"- {item}" for item in spec(name).not_released)


def obtain(name: str) -> str:
    """How to get a dataset."""
    return "\n".join(f"- {step}" for step in spec(name).obtain)


def places() -> str:
    """Where the files of each dataset are handed out."""
    kinds = {
        "web": "direct link",
        "hub": "Hub",
        "drive": "Google Drive",
        "baidu": "Baidu Netdisk",
        "source": "source set",
    }
    rows = []
    for name in DATASETS:
        for one in spec(name).places:
            files = ", ".join(f"`{file}`" for file in dict.fromkeys((one.files[0], one.files[-1])))
            kind = kinds.get(one.kind, "OneDrive")
            where = f"[{kind}]({one.url})" if one.url.startswith("https:") else f"{kind}, `{one.url}`"
            code = f", code `{one.code}`" if one.code else ""
            size = "unknown" if one.size is None else f"{one.size:,}"
            configs = ", ".join(f"`{config}`" for config in one.configs)
            rows.append([f"`{name}`", configs, files, f"{where}{code}", size])
    return table(["dataset", "configs", "files", "where", "bytes"], rows)


def checks() -> str:
    """The rules of `irtd check`."""
    rows = [[f"`{code}`", rule.severity, rule.breaks, rule.remedy] for code, rule in findings.RULES.items()]
    return table(["rule", "severity", "what breaks", "what to do"], rows)


def source_terms(name: str) -> str:
    """Terms of the component datasets."""
    rows = [[one.source, one.redistribution, one.licence, one.evidence] for one in spec(name).source_terms]
    return table(["source set", "redistribution", "licence or terms", "evidence"], rows)


def terms(name: str) -> str:
    """The terms of a dataset."""
    declared = spec(name)
    return f"{declared.licence}\n\n{declared.terms}"


def rules(name: str, csv: str) -> str:
    """A table from the folder of a dataset's code, column by column."""
    rows = read_table(f"irtd_datasets.{name}", f"{csv}.csv")
    code = {"pattern"}
    return table(
        list(rows[0]), [[f"`{row[key]}`" if key in code else row[key] for key in row] for row in rows]
    )


def settings(name: str) -> str:
    """The options that a dataset has."""
    return "\n".join(f"- `{setting}`: {meaning}" for setting, meaning in spec(name).all_settings.items())


BLOCKS = blocks(
    checks,
    citations,
    configs,
    datasets,
    fields,
    files,
    issue_codes,
    issues,
    layouts,
    missing,
    number,
    obtain,
    places,
    rules,
    settings,
    source_terms,
    subsets,
    terms,
    vocabularies,
)
