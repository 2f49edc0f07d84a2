"""Reading a source from end to end, to tell what it has and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.releases.containers import open_container
from irtd_datasets.sources.opening import open_found
from irtd_datasets.sources.source import Source, SourceOptions

if TYPE_CHECKING:
    from irtd_datasets.sources.finding import FoundSource
    from irtd_datasets.sources.problems import SourceProblem

__all__ = ["SourceCheck", "check_source"]


@dataclass
class SourceCheck:
    """What a source has.

    Attributes:
        name: Its name.
        images: Images that were handed out.
        pairs: Those with a visible partner.
        objects: Labelled objects.
        captions: Sentences.
        questions: Questions with answers.
        splits: Images by split.
        labels: Objects by label, the most frequent first.
        scenes: Images by class of the whole image.
        problems: What was not as it should be.
    """

    name: str
    images: int = 0
    pairs: int = 0
    objects: int = 0
    captions: int = 0
    questions: int = 0
    splits: dict[str | None, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    scenes: dict[str, int] = field(default_factory=dict)
    problems: tuple[SourceProblem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{key: value for key, value in vars(self).items() if key not in {"name", "problems", "splits"}},
            "splits": {split or "": count for split, count in self.splits.items()},
            "problems": [
                {"code": one.code, "count": one.count, "meaning": one.meaning, "examples": one.examples}
                for one in self.problems
            ],
        }


def check_source(found: FoundSource | Source) -> SourceCheck:
    """Read a source from end to end, and compare the bytes of its images between splits.

    Raises:
        UnknownNameError: Nobody knows how its files lie.
        ReleaseNotFoundError: Nothing of it is there.
    """
    source = (
        found
        if isinstance(found, Source)
        else open_found(found.row, open_container(found.path), SourceOptions(check_contents=True))
    )
    check = SourceCheck(source.name)
    labels: Counter[str] = Counter()
    scenes: Counter[str] = Counter()
    splits: Counter[str | None] = Counter()
    for image in source.images():
        check.images += 1
        check.pairs += image.visible is not None
        check.objects += len(image.objects)
        check.captions += len(image.captions)
        check.questions += len(image.questions)
        splits[image.split] += 1
        scenes.update(filter(None, (image.scene,)))
        labels.update(item.label for item in image.objects)
    check.splits, check.labels = dict(splits.most_common()), dict(labels.most_common())
    check.scenes = dict(scenes.most_common())
    check.problems = tuple(source.problems)
    return check
