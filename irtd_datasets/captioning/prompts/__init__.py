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

__all__ = ["PLACES", "TALK_PLACES", "Prompts", "TalkPrompts", "read_prompts", "read_talk_prompts"]

PLACES = {"visible": ("words", "facts"), "infrared": ("words", "facts"), "correction": ("faults",)}
"""The prompts of captions, each with the places that it can have."""

_TALK = ("image", "facts", "style", "words", "rounds")
TALK_PLACES = {
    "conversation": _TALK,
    "detail": _TALK,
    "reasoning": _TALK,
    "region": (*_TALK, "label", "box"),
    "scene": (*_TALK, "local"),
    "again": ("faults",),
}
"""The prompts of question-answer pairs and descriptions, likewise."""

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
        return _digest([self.visible, self.infrared, self.correction])


@dataclass(frozen=True, slots=True)
class TalkPrompts:
    """The texts of the questions for question-answer pairs and descriptions, by the names of `TALK_PLACES`.

    Attributes:
        texts: The texts. ``{image}`` says what kind of image it is, ``{facts}`` what is known of it with a blank before
            it, ``{style}`` what not to speak of; the others are what their names say.
    """

    texts: Mapping[str, str] = field(default_factory=lambda: {name: _own(name) for name in TALK_PLACES})

    def fill(self, name: str, places: Mapping[str, str]) -> str:
        """A question with its places filled in.

        Example:
            >>> TalkPrompts({"detail": "About {words} words. {x}"}).fill("detail", {"words": "9"})
            'About 9 words. {x}'
        """
        return _PLACE.sub(lambda found: places.get(found[1], found[0]), self.texts[name])

    def fill_again(self, faults: Iterable[str]) -> str:
        """The question after an answer with faults."""
        return self.fill("again", {"faults": "; ".join(faults)})

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any of the texts."""
        return _digest([self.texts[name] for name in sorted(self.texts)])


def _digest(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]


def read_prompts(files: Mapping[str, str | os.PathLike[str]]) -> Prompts:
    """Prompts of captions with some of the texts from files in UTF-8.

    Args:
        files: Path for each name of `PLACES` that is replaced.

    Raises:
        UnknownNameError: No such prompt, or a file that cannot be read, is empty, or has a place that is not filled.
    """
    return replace(Prompts(), **_read(files, PLACES))


def read_talk_prompts(files: Mapping[str, str | os.PathLike[str]]) -> TalkPrompts:
    """Prompts of question-answer pairs and descriptions, likewise; see `read_prompts`."""
    return TalkPrompts({**TalkPrompts().texts, **_read(files, TALK_PLACES)})


def _read(
    files: Mapping[str, str | os.PathLike[str]], known: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Texts from files.

    Args:
        files: Path for each name.
        known: The names, with their places.

    Raises:
        UnknownNameError: No such prompt, or a file that cannot be read, is empty, or has a place that is not filled.
    """
    texts = {}
    for name, file in files.items():
        if name not in known:
            raise UnknownNameError(
                f"there is no prompt {name!r}", remedy=f"Write NAME=FILE with a name of {', '.join(known)}."
            )
        try:
            text = Path(file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UnknownNameError(
                f"the prompt cannot be read: {error}", where=str(file), remedy="Give a text file in UTF-8."
            ) from error
        unknown = sorted(set(_PLACE.findall(text)) - set(known[name]))
        if not text or unknown:
            problem = f"nothing fills {{{unknown[0]}}}" if unknown else "the prompt is empty"
            places = ", ".join(f"{{{place}}}" for place in known[name])
            raise UnknownNameError(problem, where=str(file), remedy=f"It can have the places {places}.")
        texts[name] = text
    return texts
