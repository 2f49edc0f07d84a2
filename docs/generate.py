"""Fill the generated parts of the documentation, so that each number and name is written down once.

A page asks for a part between two comments, on lines of their own or inside a line::

    <!-- generated: issues irtd -->
    ...
    <!-- end -->

    Readers for <!-- generated: number readable_sources -->54<!-- end --> source datasets.

The first use of each glossary term in a page's prose is linked to the glossary.

Usage:
    python docs/generate.py            update all pages
    python docs/generate.py --check    change nothing; exit with 1 and name the pages that are out of date
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from types import ModuleType

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LOADERS = ROOT / "loaders"
sys.path.insert(0, str(ROOT))  # a checkout that is not installed

import irtd_datasets  # noqa: E402 - needs the path
from irtd_datasets import spec as spec_module  # noqa: E402
from irtd_datasets.boxes.markup import FAMILIES, UNREADABLE_MARKUP  # noqa: E402
from irtd_datasets.catalog import DATASETS, spec  # noqa: E402
from irtd_datasets.construct.targets import targets  # noqa: E402
from irtd_datasets.evaluate.tasks import METRICS, TASK_METRICS  # noqa: E402
from irtd_datasets.hub import findings  # noqa: E402
from irtd_datasets.irtd.tasks import MODULES as MODULES_OF_TASKS  # noqa: E402
from irtd_datasets.irtd.tasks.generation import CHOICES  # noqa: E402
from irtd_datasets.releases.resolve import read_layouts  # noqa: E402
from irtd_datasets.schema import BOX_FRAMES, FIELDS, MODALITIES, TASKS  # noqa: E402
from irtd_datasets.sources import CODES, COLUMNS, READER_DOCS, TABLE  # noqa: E402
from irtd_datasets.spec import read_table  # noqa: E402

BLOCK = re.compile(r"(<!-- generated: ([\w /]+?) -->)(\n?).*?(<!-- end -->)", re.DOTALL)

READING_ORDER = {
    "Start": ("../README.md", "glossary.md", "footguns.md"),
    "Data": (
        "fetching.md",
        "datasets/irtd.md",
        "datasets/mmrs_1m.md",
        "datasets/rs_gpt4v.md",
        "schema.md",
        "sources.md",
        "overlap.md",
    ),
    "Build": ("building.md", "scale.md", "preview.md"),
    "Construct": ("construct.md", "captions.md", "pairs.md"),
    "Train": ("training.md", "launchers.md", "examples.md", "exports.md", "loaders.md"),
    "Score": ("scoring.md",),
    "Publish": ("checking.md", "publishing.md"),
    "Extend": ("architecture.md", "../CONTRIBUTING.md"),
    "Reference": ("reference.md", "benchmarks.md", "../CHANGELOG.md"),
}
"""All pages, in the order in which a newcomer reads them. A page that is not listed is an error."""

GLOSSARY = DOCS / "glossary.md"

AMBIGUOUS = {
    "frame",
    "index",
    "part",
    "record",
    "region",
    "release",
    "round",
    "row",
    "spec",
    "split",
    "state",
}
"""Glossary terms that are also everyday words: linked by hand, where the term is meant."""

UNLINKED = {"glossary.md", "index.md", "reference.md"}
"""Pages whose prose gets no glossary links; the index has them by hand."""

MODULES = (
    "captioning.endpoint",
    "captioning.journal",
    "captioning.paid",
    "captioning.run",
    "captioning.validate",
    "errors",
    "evaluate.compare",
    "evaluate.places",
    "evaluate.predict",
    "evaluate.tasks",
    "hub.check",
    "folder.contact_sheet",
    "hub.findings",
    "hub.folder_card",
    "hub.publish",
    "images.pairs",
    "schema",
    "training.bench",
    "training.chat",
    "training.curriculum",
    "training.scores",
    "training.decode",
)
"""Public modules; besides them every package whose ``__init__`` has ``__all__`` is public."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A Markdown table.

    Example:
        >>> print(table(["a", "b"], [["1", "x|y"]]))
        | a | b |
        |---|---|
        | 1 | x\|y |
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def count(value: int | None) -> str:
    """A count as people read it."""
    return "none known" if value is None else f"{value:,}"


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


def contents() -> str:
    """All pages in reading order, each with its title and first sentence.

    Raises:
        ValueError: A page is not in `READING_ORDER`, or is listed there more than once.
    """
    listed = [(DOCS / name).resolve() for names in READING_ORDER.values() for name in names]
    expected = {*DOCS.rglob("*.md")} - {DOCS / "index.md"}
    wrong = sorted(page.name for page in expected ^ {page for page in listed if DOCS in page.parents})
    if wrong or len(listed) != len(set(listed)):
        raise ValueError(
            f"READING_ORDER must list each page of docs once: {', '.join(wrong) or 'one is there twice'}"
        )
    return "\n\n".join(
        f"### {group}\n\n" + "\n".join(_entry(name) for name in names)
        for group, names in READING_ORDER.items()
    )


def _entry(name: str) -> str:
    text = _unlinked((DOCS / name).read_text(encoding="utf-8"), keep=frozenset())
    found = re.match(r"# ([^\n]+)\n\n(.+?)\n\n", text, re.DOTALL)
    if not found:
        raise ValueError(f"{name} must begin with a title and a sentence that says what it is about")
    return f"- [{found[1]}]({name}): {_first_sentence(found[2])}"


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
    for task, module in MODULES_OF_TASKS.items():
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


def public_modules() -> list[ModuleType]:
    """Modules with public names, the package itself first."""
    packages = [found.name for found in pkgutil.iter_modules(irtd_datasets.__path__) if found.ispkg]
    names = sorted([*packages, *MODULES])
    modules = [importlib.import_module(f"irtd_datasets.{name}") for name in names]
    return [irtd_datasets, *(module for module in modules if hasattr(module, "__all__"))]


def reference() -> str:
    """The public names of every public module, each with the first sentence of its docstring."""
    sections = []
    for module in public_modules():
        rows = [[f"`{_form(module, name)}`", summary(module, name)] for name in sorted(module.__all__)]
        heading = f"## `{module.__name__}`\n\n{_first_sentence(inspect.getdoc(module) or '')}"
        sections.append(f"{heading}\n\n{table(['name', 'what it is'], rows)}")
    return "\n\n".join(sections)


def pdoc() -> str:
    """The command that makes the full reference."""
    return f"```bash\npdoc -d google -o site {' '.join(module.__name__ for module in public_modules())}\n```"


def commands() -> str:
    """The commands and their options, as the command line itself tells them."""
    import typer

    from irtd_datasets.cli.app import app

    group: Any = typer.main.get_command(app)
    rows = []
    for name, command in group.commands.items():
        options = [
            " / ".join(f"`{flag}`" for flag in parameter.opts)
            for parameter in command.params
            if parameter.param_type_name == "option"
        ]
        arguments = " ".join(
            parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]"
            for parameter in command.params
            if parameter.param_type_name == "argument"
        )
        rows.append([f"`irtd {name} {arguments}`", _first_sentence(command.help or ""), ", ".join(options)])
    return table(["command", "what it does", "options"], rows)


def summary(module: ModuleType, name: str) -> str:
    """The first sentence of what a public name's docstring says; empty when it has none.

    A constant's docstring is the string below it, which only the source has.
    """
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return _first_sentence(inspect.cleandoc(value.__doc__ or ""))
    for source in _sources(module):
        for body in ast.walk(ast.parse(source)):
            found = _constant_doc(body, name)
            if found is not None:
                return _first_sentence(found)
    return ""


def _constant_doc(body: ast.AST, name: str) -> str | None:
    statements = getattr(body, "body", None) if isinstance(body, ast.Module) else None
    for statement, following in zip(statements or [], (statements or [])[1:], strict=False):
        targets = (
            statement.targets
            if isinstance(statement, ast.Assign)
            else [statement.target]
            if isinstance(statement, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            return inspect.cleandoc(following.value.value)
    return None


def _sources(module: ModuleType) -> Iterator[str]:
    path = Path(str(module.__file__))
    yield path.read_text(encoding="utf-8")
    if path.name == "__init__.py":
        for beside in sorted(path.parent.glob("*.py")):
            yield beside.read_text(encoding="utf-8")


def _form(module: ModuleType, name: str) -> str:
    """A name as it is written in code: functions with the names of their parameters."""
    value = getattr(module, name)
    if not inspect.isfunction(value):
        return name
    shown, keyword_only = [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(part.startswith("*") for part in shown):
                shown.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        shown.append(f"{stars}{parameter.name}")
    return f"{name}({', '.join(shown)})"


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    found = re.match(r"(.+?[.!?])(?: |$)", paragraph)
    return (found[1] if found else paragraph).replace("``", "`")


def metrics() -> str:
    """The metrics of each task, with the source of each."""
    rows = [
        [task.replace("_", " "), ", ".join(METRICS[name].title for name in names)]
        for task, names in TASK_METRICS.items()
    ]
    sources: dict[str, list[str]] = {}
    for metric in METRICS.values():
        sources.setdefault(metric.source, []).append(metric.title.removesuffix(", %"))
    told = [[", ".join(titles), source] for source, titles in sources.items()]
    return f"{table(['task', 'metrics'], rows)}\n\n{table(['metric', 'its rule'], told)}"


def markup() -> str:
    """The markup of model families that is read, and what is known and not readable."""
    rows = [[name, text] for name, text in FAMILIES.items()]
    rows += [[f"{code}, not readable", text] for code, (text, _) in UNREADABLE_MARKUP.items()]
    return table(
        ["form", "what it is"], [[name, re.sub(r"(<[^ ]+>|\[SEG\])", r"`\1`", text)] for name, text in rows]
    )


BLOCKS: dict[str, Callable[..., str]] = {
    block.__name__: block
    for block in (
        choices,
        checks,
        citations,
        commands,
        configs,
        construct_targets,
        contents,
        datasets,
        fields,
        files,
        issue_codes,
        issues,
        layouts,
        made_tasks,
        markup,
        metrics,
        missing,
        number,
        obtain,
        pdoc,
        reference,
        rules,
        settings,
        source_columns,
        source_problems,
        source_readers,
        sources,
        source_terms,
        subsets,
        terms,
        vocabularies,
    )
}


def filled(text: str, page: Path | None = None) -> str:
    """The text of a page with its generated parts updated, and its glossary links where ``page`` says which page it is.

    Raises:
        KeyError: The page asks for a part that does not exist.
    """

    def fill(found: re.Match[str]) -> str:
        name, *arguments = found[2].split()
        made = BLOCKS[name](*arguments)
        return f"{found[1]}\n\n{made}\n\n{found[4]}" if found[3] else f"{found[1]}{made}{found[4]}"

    text = BLOCK.sub(fill, text)
    return (
        text
        if page is None or page.name in UNLINKED
        else linked(text, Path(os.path.relpath(GLOSSARY, page.parent)).as_posix())
    )


# What a glossary link must not be put into: code, generated parts, comments, links, images, headings, first paragraphs.
NOT_PROSE = re.compile(
    r"^```.*?^```$|<!-- generated: .*?<!-- end -->|<!--.*?-->|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)|^#+ [^\n]*$",
    re.DOTALL | re.MULTILINE,
)


def terms_of_glossary() -> list[str]:
    """The headings of the glossary, in lower case."""
    return [
        term.lower() for term in re.findall(r"^## (.+)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def linked(text: str, glossary: str) -> str:
    """The text of a page with the first use of each glossary term in its prose linked; earlier such links are redone.

    Args:
        text: The page.
        glossary: The address of the glossary, as seen from the page.
    """
    text = _unlinked(text)
    for term in sorted({*terms_of_glossary()} - AMBIGUOUS, key=len, reverse=True):
        start = 0
        for found in [*NOT_PROSE.finditer(text), None]:
            prose = text[start : found.start() if found else None]
            word = re.search(
                rf"(?<![\w/.-]){term.replace(' ', chr(92) + 's+')}s?(?![\w/-])", prose, re.IGNORECASE
            )
            if word:
                at = start + word.start()
                link = f"[{word[0]}]({glossary}#{term.replace(' ', '-')})"
                text = text[:at] + link + text[at + len(word[0]) :]
                break
            if found:
                start = found.end()
    return text


def _unlinked(text: str, keep: AbstractSet[str] = AMBIGUOUS) -> str:
    """A text without glossary links, except for those to the terms ``keep``."""

    def plain(found: re.Match[str]) -> str:
        return found[0] if found[2].replace("-", " ") in keep else found[1]

    return re.sub(r"\[([^\]]+)\]\((?:[\w./]*/)?glossary\.md#([\w-]+)\)", plain, text)


def llama_factory() -> str:
    """What LLaMA-Factory has to know of each config: loaders/llama_factory/dataset_info.json."""
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {f"{role}_tag": role for role in ("user", "assistant", "system")}
    entries = {}
    for name in DATASETS:
        for config in spec(name).configs:
            for split in config.splits:
                title = [name, config.name.replace("-", "_"), *([split] if split != config.splits[0] else [])]
                entries["_".join(title)] = {
                    "hf_hub_url": name,
                    "subset": config.name,
                    "split": split,
                    "formatting": "irtd",
                    "columns": {"messages": "messages", "images": "image"},
                    "tags": tags,
                }
    return json.dumps(entries, indent=1) + "\n"


LMMS = LOADERS / "lmms_eval" / "others"


def lmms_tasks() -> dict[Path, str]:
    """The task files of lmms-eval: one for each config and split of one scored task, and a group for each dataset."""
    found = {}
    for name in DATASETS:
        group = []
        for config in spec(name).configs:
            tasks = {member.part.task for member in config.members}
            if len(tasks) != 1 or config.name.startswith("benchmark") or not tasks <= set(TASK_METRICS):
                continue
            (task,) = tasks
            handed_out = {member.subset.split for member in config.members if member.part.public}
            for split in config.splits:
                only = len(config.splits) == 1 or handed_out == {split}
                title = "_".join([name, config.name.replace("-", "_"), *([] if only else [split])])
                group.append(title)
                lines = [f"task: {title}", "include: _others_default_yaml", f"dataset_path: {name}"]
                lines += [f"dataset_name: {config.name}", f"test_split: {split}", "metric_list:"]
                for metric in (*TASK_METRICS[task], "unreadable"):
                    better = metric in METRICS and not METRICS[metric].less_is_better
                    function = metric if metric == "unreadable" else f"measure_{metric}"
                    lines += [f"  - metric: {metric}", f"    aggregation: !function utils.{function}"]
                    lines.append(f"    higher_is_better: {str(better).lower()}")
                lines += ["  - metric: answers", "    aggregation: !function utils.count"]
                lines.append("    higher_is_better: true")
                found[LMMS / f"{title}.yaml"] = "\n".join(lines) + "\n"
        members = "".join(f"  - {title}\n" for title in group)
        found[LMMS / f"{name}_all.yaml"] = f"group: {name}_all\ntask:\n{members}"
    return found


FILES: dict[Path, Callable[[], str]] = {
    LOADERS / "llama_factory" / "dataset_info.json": llama_factory,
    **{path: partial(str, text) for path, text in lmms_tasks().items()},
}
"""Files that are generated as a whole."""


def pages() -> list[Path]:
    """All pages that may have generated parts."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def main(*, check: bool) -> int:
    """Write or check all pages; the exit code."""
    stale = []
    made = {page: filled(page.read_text(encoding="utf-8"), page) for page in pages()}
    made |= {file: render() for file, render in FILES.items()}
    for path, current in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != current:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(current, encoding="utf-8")
    if stale:
        print(f"{'not current' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
