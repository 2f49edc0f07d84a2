"""Links from the first use of a term in the prose of a page to its entry in the glossary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from page_parts.markdown import DOCS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

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
    text = unlinked(text)
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


def unlinked(text: str, keep: AbstractSet[str] = AMBIGUOUS) -> str:
    """A text without glossary links, except for those to the terms ``keep``."""

    def plain(found: re.Match[str]) -> str:
        return found[0] if found[2].replace("-", " ") in keep else found[1]

    return re.sub(r"\[([^\]]+)\]\((?:[\w./]*/)?glossary\.md#([\w-]+)\)", plain, text)
