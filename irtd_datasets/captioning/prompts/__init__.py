"""The texts that a model is asked with: those of this folder, or a user's own from files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import UnknownNameError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

__all__ = ["PLACES", "Prompts", "read_prompts"]

PLACES = {"visible": ("words", "facts"), "infrared": ("words", "facts"), "correction": ("faults",)}
"""The prompts, each with the places that it can have."""

_PLACE = re.compile(r"\{(\w+)\}")
_FACTS = " The labels of the infrared image say: {facts} Do not contradict them."


def _own(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts of the questions. ``{words}``, ``{facts}`` and ``{faults}`` are filled in; other braces stay.

    Attributes:
        visible: About the visible partner. ``{facts}`` is a sentence on the labels with a blank before it, or nothing.
        infrared: About the infrared image itself.
        correction: After an answer with faults.
    """

    visible: str = field(default_factory=lambda: _own("visible"))
    infrared: str = field(default_factory=lambda: _own("infrared"))
    correction: str = field(default_factory=lambda: _own("correction"))

    def fill(self, of: str, words: int, facts: str) -> str:
        """The question about an image.

        Example:
            >>> Prompts(visible="About {words} words.{facts}").fill("visible", 9, "1 car.")
            'About 9 words. The labels of the infrared image say: 1 car. Do not contradict them.'
        """
        text = self.infrared if of == "infrared" else self.visible
        told = _FACTS.replace("{facts}", facts) if facts else ""
        return text.replace("{words}", str(words)).replace("{facts}", told)

    def fill_correction(self, faults: Iterable[str]) -> str:
        """The question after an answer with faults."""
        return self.correction.replace("{faults}", "; ".join(faults))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any of the texts."""
        texts = [self.visible, self.infrared, self.correction]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]


def read_prompts(files: Mapping[str, str | os.PathLike[str]]) -> Prompts:
    """Prompts with some of the texts from files in UTF-8.

    Args:
        files: Path for each name of `PLACES` that is replaced.

    Raises:
        UnknownNameError: No such prompt, or a file that cannot be read, is empty, or has a place that is not filled.
    """
    texts = {}
    for name, file in files.items():
        if name not in PLACES:
            raise UnknownNameError(
                f"there is no prompt {name!r}", remedy=f"Write NAME=FILE with a name of {', '.join(PLACES)}."
            )
        try:
            text = Path(file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UnknownNameError(
                f"the prompt cannot be read: {error}", where=str(file), remedy="Give a text file in UTF-8."
            ) from error
        unknown = sorted(set(_PLACE.findall(text)) - set(PLACES[name]))
        if not text or unknown:
            problem = f"nothing fills {{{unknown[0]}}}" if unknown else "the prompt is empty"
            places = ", ".join(f"{{{place}}}" for place in PLACES[name])
            raise UnknownNameError(problem, where=str(file), remedy=f"It can have the places {places}.")
        texts[name] = text
    return replace(Prompts(), **texts)
