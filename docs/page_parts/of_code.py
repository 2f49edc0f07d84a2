"""Public names, commands, metrics and the markup of boxes, from the code that defines them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import irtd_datasets
from irtd_datasets.boxes.markup import FAMILIES, UNREADABLE_MARKUP
from irtd_datasets.evaluate.tasks import METRICS, TASK_METRICS
from page_parts.markdown import blocks, first_sentence, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = (
    "captioning.endpoint",
    "captioning.journal",
    "captioning.paid",
    "captioning.run",
    "captioning.validate",
    "curation.dedup",
    "curation.merge",
    "curation.split",
    "curation.statistics",
    "curation.subset",
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
    "hub.show",
    "images.pairs",
    "schema",
    "training.bench",
    "training.chat",
    "training.curriculum",
    "training.scores",
    "training.decode",
    "training.detection",
    "writing.rewrite",
)
"""Public modules; besides them every package whose ``__init__`` has ``__all__`` is public."""


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
        heading = f"## `{module.__name__}`\n\n{first_sentence(inspect.getdoc(module) or '')}"
        sections.append(f"{heading}\n\n{table(['name', 'what it is'], rows)}")
    return "\n\n".join(sections)


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
        rows.append([f"`irtd {name} {arguments}`", first_sentence(command.help or ""), ", ".join(options)])
    return table(["command", "what it does", "options"], rows)


def summary(module: ModuleType, name: str) -> str:
    """The first sentence of what a public name's docstring says; empty when it has none."""
    return first_sentence(doc_of(module, name))


def doc_of(module: ModuleType, name: str) -> str:
    """The docstring of a public name; empty when it has none.

    A constant's docstring is the string below it, which only the source has.
    """
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.cleandoc(value.__doc__ or "")
    for source in _sources(module):
        for body in ast.walk(ast.parse(source)):
            found = _constant_doc(body, name)
            if found is not None:
                return found
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


BLOCKS = blocks(commands, markup, metrics, reference)
