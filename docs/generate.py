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

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]  # a checkout that is not installed

from page_parts import of_code, of_datasets, of_sources  # noqa: E402 - needs the path
from page_parts.glossary import GLOSSARY, UNLINKED, linked, unlinked  # noqa: E402
from page_parts.loader_files import FILES  # noqa: E402
from page_parts.markdown import blocks, first_sentence  # noqa: E402
from page_parts.of_code import public_modules, summary  # noqa: E402

__all__ = ["READING_ORDER", "contents", "filled", "linked", "main", "pages", "public_modules", "summary"]

READING_ORDER = {
    "Start": ("../README.md", "glossary.md", "footguns.md"),
    "Data": (
        "fetching.md",
        *(f"datasets/{page.name}" for page in sorted(DOCS.glob("datasets/*.md"))),
        "schema.md",
        "sources.md",
        "overlap.md",
    ),
    "Build": ("building.md", "scale.md", "preview.md", "folders.md"),
    "Construct": ("construct.md", "captions.md", "review.md", "pairs.md"),
    "Train": ("training.md", "launchers.md", "examples.md", "exports.md", "loaders.md"),
    "Score": ("scoring.md",),
    "Publish": ("checking.md", "publishing.md"),
    "Extend": ("architecture.md", "../CONTRIBUTING.md"),
    "Reference": ("reference.md", "benchmarks.md", "../CHANGELOG.md"),
}
"""All pages, in the order in which a newcomer reads them; those of datasets are found. A page that is not listed is an
error."""

BLOCK = re.compile(r"(<!-- generated: ([\w /]+?) -->)(\n?).*?(<!-- end -->)", re.DOTALL)


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
    text = unlinked((DOCS / name).read_text(encoding="utf-8"), keep=frozenset())
    found = re.match(r"# ([^\n]+)\n\n(.+?)\n\n", text, re.DOTALL)
    if not found:
        raise ValueError(f"{name} must begin with a title and a sentence that says what it is about")
    return f"- [{found[1]}]({name}): {first_sentence(found[2])}"


BLOCKS: dict[str, Callable[..., str]] = {
    **blocks(contents),
    **of_code.BLOCKS,
    **of_datasets.BLOCKS,
    **of_sources.BLOCKS,
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
