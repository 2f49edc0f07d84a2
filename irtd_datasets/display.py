"""Text from outside on a terminal and in Markdown: names of files, values and messages, shown and never obeyed.

HTML pages need nothing of the kind: `irtd_datasets.hub.preview_page` builds elements, which escape by themselves.
"""

from __future__ import annotations

import re

__all__ = ["markdown", "one_line", "terminal"]

# Control characters of both sets, marks that change the direction of text, separators of lines, and surrogates,
# which no encoding can write.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MARKDOWN = re.compile(r"[\\`*<>\[\]|~]|&(?=[#\w])|(?<!\w)_|_(?!\w)|^[#+-]", re.ASCII)


def terminal(text: str) -> str:
    r"""A text in which a terminal finds nothing to obey; lines and tabs stay, and JSON stays the same JSON.

    Example:
        >>> terminal("evil\x1b[2J.txt\nnext")
        'evil\\u001b[2J.txt\nnext'
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: object) -> str:
    r"""A name or value as part of a line that it cannot leave.

    Example:
        >>> one_line("a.jpg\nerror manifest-missing")
        'a.jpg\\nerror manifest-missing'
    """
    return terminal(str(text).replace("\n", "\\n").replace("\t", "\\t"))


def markdown(text: str) -> str:
    r"""A name or value as plain text in Markdown, in a cell of a table as well.

    Example:
        >>> markdown("<img src=x> [FLIR_ADAS](http://x) a|b")
        '\\<img src=x\\> \\[FLIR_ADAS\\](http://x) a\\|b'
    """
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))
