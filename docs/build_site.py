"""Build the documentation as a web site: the pages in reading order, search, and the reference from docstrings.

The pages are those of the repository. Their copies get names that suit a site (the README is its first page), links
between them follow, and the table of contents is the reading order of ``docs/generate.py``.

Usage:
    python docs/build_site.py [FOLDER]      build into FOLDER, by default ``site``; open FOLDER/index.html
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]  # a checkout that is not installed

from generate import READING_ORDER  # noqa: E402 - needs the path
from page_parts.of_code import doc_of, public_modules  # noqa: E402

RENAMED = {
    ROOT / "README.md": "index.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    DOCS / "index.md": "overview.md",
}
"""Pages that have another name on the site."""

FENCE = re.compile(r"^(```.*?^```)$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
MARKS = re.compile(r"^```(\w+) run.*$", re.MULTILINE)
FILES = "files"
"""Folder of the site for files of the repository that pages link to and that are no pages."""


def name_on_site(page: Path) -> str:
    """The name of a page of the repository on the site, relative to its top."""
    return RENAMED.get(page) or page.relative_to(DOCS).as_posix()


def pages() -> list[Path]:
    """All pages of the site, the first one first."""
    ordered = [(DOCS / name).resolve() for names in READING_ORDER.values() for name in names]
    return [ordered[0], DOCS / "index.md", *ordered[1:]]


def lay_out(source: Path) -> None:
    """Write what Sphinx reads into a folder."""
    known = {page: name_on_site(page) for page in pages()}
    for page, name in known.items():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_with_links(page, known, source), encoding="utf-8")
    described: dict[int, str] = {}
    modules = public_modules()
    for module in modules:
        _write(source / "api" / f"{module.__name__}.rst", _reference(module, described))
    with (source / "reference.md").open("a", encoding="utf-8") as file:
        file.write("\n" + _toctree("", [f"{_short(module)} <api/{module.__name__}>" for module in modules]))
    with (source / "index.md").open("a", encoding="utf-8") as file:
        for group, names in READING_ORDER.items():
            listed = [known[(DOCS / name).resolve()] for name in names]
            entries = [name.removesuffix(".md") for name in listed]
            entries = ["Overview <overview>" if name == "index" else name for name in entries]
            file.write("\n" + _toctree(group, entries))
    for file in ("conf.py", "site.css"):
        shutil.copy(DOCS / file, source)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _reference(module: ModuleType, described: dict[int, str]) -> str:
    """The page of a public module; what another module has described already is named with the place.

    Args:
        module: The module.
        described: Where each class and function stands, by its identity; what this page describes is added.
    """
    name = module.__name__
    lines = [f"``{name}``", "=" * (len(name) + 4), "", f".. automodule:: {name}", ""]
    for public in sorted(module.__all__):
        value = getattr(module, public)
        kind = "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"
        place = described.get(id(value)) if kind != "data" else None
        if kind == "data":  # its docstring stands in the module that defines it, where autodoc does not look
            text = doc_of(module, public).replace("\n", "\n   ")
            lines += [f".. py:data:: {name}.{public}", "", f"   {text}", ""]
        elif place is None:
            described[id(value)] = f"{name}.{public}"
            members = ["   :members:"] if kind == "class" else []
            lines += [f".. auto{kind}:: {name}.{public}", *members, ""]
        else:
            lines += [f"The same as :py:obj:`{place}`: ``{public}``.", ""]
    return "\n".join(lines)


def _short(module: ModuleType) -> str:
    return module.__name__.partition(".")[2] or module.__name__


def _toctree(caption: str, names: list[str]) -> str:
    head = f":caption: {caption}\n" if caption else ""
    return f"```{{toctree}}\n:hidden:\n{head}\n" + "\n".join(names) + "\n```\n"


def _with_links(page: Path, known: dict[Path, str], source: Path) -> str:
    """The text of a page as it is on the site, with the files that it links to copied beside it."""
    here = Path(known[page]).parent

    def moved(found: re.Match[str]) -> str:
        linked = (page.parent / found[1]).resolve()
        name = known.get(linked)
        if name is None:
            name = f"{FILES}/{linked.relative_to(ROOT).as_posix()}"
            if not linked.is_dir():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(linked, source / name)
        return Path(os.path.relpath(name, here)).as_posix() + (found[2] or "")

    parts = FENCE.split(page.read_text(encoding="utf-8"))
    return "".join(
        MARKS.sub(r"```\1", part) if part.startswith("```") else LINK.sub(moved, part) for part in parts
    )


def main(target: Path) -> int:
    """Build the site; the exit code, which is 1 where Sphinx warns of anything."""
    from sphinx.cmd.build import main as build

    with TemporaryDirectory() as folder:
        source, cache = Path(folder) / "source", Path(folder) / "cache"
        lay_out(source)
        jobs = str(min(os.cpu_count() or 1, 4))
        return build(
            ["-q", "-W", "--keep-going", "-j", jobs, "-b", "html", "-d", str(cache), str(source), str(target)]
        )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site")))
