"""What the tasks' rules share: labels in the words of questions, choices that can be switched, what a rule makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.irtd.words import SCENES, groups, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
    from irtd_datasets.rows.seeded import Draw

__all__ = [
    "CHOICES",
    "MARGIN",
    "RELEASED",
    "Choice",
    "Labels",
    "Made",
    "Maker",
    "Rules",
    "Thing",
    "cell",
    "read_rules",
]

MARGIN = 0.02
"""Share of the width or height by which a box may be moved without changing which object a question is about, or its
answer: what is closer to a limit, be it the object asked about or another one, is not asked about."""

ALOFT = frozenset({"target", "bird", "bat"})
"""Words, beside those of aircraft, of what may be in the sky, where lower in the image does not mean nearer."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Choice:
    """Something about the rules that can be switched.

    Attributes:
        name: What it is called.
        values: What it can be, the default first.
        released: The value that comes nearest to the released records.
        task: Task that it concerns; empty for all.
        meaning: What each value does.
        source: Where it is known from.
    """

    name: str
    values: tuple[str, ...]
    released: str
    task: str
    meaning: str
    source: str


CHOICES: tuple[Choice, ...] = (
    Choice(
        "wording",
        ("released", "mended", "paper"),
        "released",
        "",
        "`released`: the templates of the released records byte for byte, slips included; `mended`: the same without "
        'the leading blank of Location and the double "the" of Relationship; `paper`: those of Fig. 2.',
        "40,200 released records; paper Fig. 2",
    ),
    Choice(
        "labels",
        ("exhaustive", "as-labelled"),
        "as-labelled",
        "",
        "`exhaustive`: how many there are, which is first from the left, that there is only one, is said of classes "
        "of which the source labels every object; `as-labelled`: of every class that has a label.",
        "chosen; the release takes every label",
    ),
    Choice(
        "distractors",
        ("other-scene", "any"),
        "any",
        "recognition",
        "Wrong options: `other-scene` leaves out what can be taken for the right one or meets it in one scene (a car "
        "beside a person in a street), since sets for tracking label one object of many; `any`: the whole vocabulary.",
        "chosen; the release uses the whole vocabulary",
    ),
    Choice(
        "uniqueness",
        ("one", "any"),
        "any",
        "grounding",
        "A phrase with a place names, with `one`, the only object of its class there; with `any`, some object there.",
        "released: 282 of 1,067 phrases of that form have several objects in their cell",
    ),
    Choice(
        "nearest",
        ("largest", "lowest"),
        "largest",
        "grounding",
        "Of several objects in one cell the nearest is the `largest` by the area of its box, or the `lowest` by its "
        "lower edge.",
        "of the 3 released records with several objects in the cell whose boxes are known all have the largest and 2 "
        "the lowest; by Location points 590 of 808 have the lowest centre",
    ),
    Choice(
        "left_of",
        ("target", "reference"),
        "reference",
        "grounding",
        "The box of an object to the left of another: of the `target`, or, as in all 211 released records of that "
        "form, of the `reference`.",
        "released Grounding against released Location",
    ),
    Choice(
        "spacing",
        ("margin", "any"),
        "any",
        "location",
        "Objects that are listed from left to right have, with `margin`, centres further apart in x than the margin; "
        "with `any`, any order counts, be it by a pixel.",
        "chosen; the release lists every image",
    ),
    Choice(
        "relationship",
        ("existential", "pair"),
        "pair",
        "relationship",
        "`existential`: yes when any object of the class stands in the relation, no when none does, and no question "
        "where one is close to the limit; `pair`: one object is drawn and judged.",
        "released: near 160 px, far 320 px, left and right by the sign, for one hidden pair",
    ),
    Choice(
        "front",
        ("lower", "upper"),
        "upper",
        "relationship",
        "In front stands what has its `lower` edge lower in the image (nearer to a camera over flat ground), or, as "
        "most released records have it, its centre higher up (`upper`).",
        "71 to 73 % of the released records where all objects agree fit the upper centre; the exact rule is not known",
    ),
    Choice(
        "absence",
        ("exhaustive", "labelled"),
        "labelled",
        "security",
        "Absent can be called, with `exhaustive`, a class of which the source labels every object; with `labelled`, "
        "any of the 15 words of the release without a label.",
        "released: 12 of the 15 words are never present",
    ),
    Choice(
        "scenes",
        ("distinct", "any"),
        "any",
        "scene",
        "Wrong options: `distinct` leaves out a class that can be true of the same image (urban beside street); "
        "`any`: all classes, as in Fig. 2, which has field beside country.",
        "chosen; paper Fig. 2",
    ),
    Choice(
        "scene_part",
        ("whole", "divided"),
        "whole",
        "scene",
        "Of a set of scenes that does not divide itself the benchmark takes, with `whole`, every image that no other "
        "subset of its folder has, and `instruct` of its fixed part for training what the benchmark of its folder has "
        "not: whichever is made first has its choice. `divided`: the benchmark keeps to the fifth that the fixed "
        "division gives it, so that the two stay apart in folders that know nothing of each other.",
        "chosen; no record of the task was released",
    ),
    Choice(
        "match",
        ("cross-camera", "cross-modality", "any"),
        "any",
        "reid",
        "The second image of the person comes from another camera of the same kind of sensor where there is one "
        "(`cross-camera`), from the other kind of sensor (`cross-modality`), or from anywhere (`any`).",
        "paper section 3.4 names both; the release does not record its crops",
    ),
    Choice(
        "caption_order",
        ("alphabetical", "most-first"),
        "alphabetical",
        "captioning",
        "Order of the classes in a rule caption.",
        "both agree with the two captions of Fig. 7",
    ),
    Choice(
        "partnerless",
        ("rule", "infrared", "leave-out"),
        "rule",
        "captioning",
        "With `--captions llm`, an image without a visible partner, or whose partner is too dark or got no usable "
        "text, gets the caption by `rule` where its labels allow one; with `infrared`, one without a partner is "
        "described itself; with `leave-out`, neither.",
        "paper section 3.2 has rule captions where the visible image does not help",
    ),
)
"""All choices. Where the release or the paper leaves a rule open, the choice made here has a name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A value for each of `CHOICES`; the defaults make questions that are true as read."""

    wording: str = "released"
    labels: str = "exhaustive"
    distractors: str = "other-scene"
    uniqueness: str = "one"
    nearest: str = "largest"
    left_of: str = "target"
    spacing: str = "margin"
    relationship: str = "existential"
    front: str = "lower"
    absence: str = "exhaustive"
    scenes: str = "distinct"
    scene_part: str = "whole"
    match: str = "cross-camera"
    caption_order: str = "alphabetical"
    partnerless: str = "rule"

    def for_task(self, task: str) -> str:
        """The choices that a task depends on, as text.

        Example:
            >>> Rules().for_task("security")
            'wording=released labels=exhaustive absence=exhaustive'
        """
        return " ".join(
            f"{choice.name}={getattr(self, choice.name)}" for choice in CHOICES if choice.task in ("", task)
        )


RELEASED = Rules(**{choice.name: choice.released for choice in CHOICES})
"""The choices that come nearest to the released records."""


def read_rules(values: Mapping[str, str], base: Rules | None = None) -> Rules:
    """Rules with some choices switched.

    Raises:
        UnknownNameError: A choice, or a value of one, does not exist.

    Example:
        >>> read_rules({"relationship": "pair"}).relationship
        'pair'
    """
    known = {choice.name: choice for choice in CHOICES}
    base = base or Rules()
    settings = {field.name: getattr(base, field.name) for field in fields(Rules)}
    for name, value in values.items():
        if name not in known:
            raise UnknownNameError(
                f"the rules have no choice {name!r}", remedy=f"The choices are {', '.join(known)}."
            )
        if value not in known[name].values:
            raise UnknownNameError(
                f"the choice {name} has no value {value!r}", remedy=f"Use {', '.join(known[name].values)}."
            )
        settings[name] = value
    return Rules(**settings)


@dataclass(frozen=True, slots=True)
class Thing:
    """A labelled object with its word and place, in pixels of the upright image.

    Attributes:
        word: What questions call it.
        x: Centre.
        y: Centre.
        box: (x_min, y_min, x_max, y_max) inside the image; None for a point.
    """

    word: str
    x: float
    y: float
    box: tuple[float, float, float, float] | None = None

    @property
    def area(self) -> float:
        """Of its box in square pixels; 0 for a point."""
        return 0.0 if self.box is None else (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def lower_edge(self) -> float:
        """Of its box in pixels; of a point, the point itself."""
        return self.y if self.box is None else self.box[3]


class Labels:
    """The labels of one image as the rules of the tasks see them.

    Args:
        image: The image's labels.
        size: Width and height of the upright image, where its labels do not say.
        view: ``ground`` or ``aerial``: whether lower in the image means nearer.
        scenes: All scene classes of its source.

    Attributes:
        size: Width and height; None when nobody has said.
        things: Objects that are at least partly inside the image.
        unclear: Whether the image may have objects beside `things`: an object was left out or has no place in it,
            or a region is marked of which the source says nothing.
    """

    def __init__(
        self,
        image: LabelledImage,
        *,
        size: tuple[int, int] | None = None,
        view: str = "ground",
        scenes: Sequence[str] = (),
    ) -> None:
        self.image = image
        self.size: tuple[int, int] | None = size
        if size is None and image.width and image.height:
            self.size = (image.width, image.height)
        self.view = view
        self.scenes = scenes
        named = [(word(thing.label, image.source), thing) for thing in image.objects]
        placed = [name and _thing(name, thing, self.size) for name, thing in named]
        self.unclear = image.unclear or not all(placed)
        self.things = tuple(thing for thing in placed if isinstance(thing, Thing))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words of the objects, each once, in the order of the labels."""
        return tuple(dict.fromkeys(thing.word for thing in self.things))

    @cached_property
    def exhaustive(self) -> frozenset[str]:
        """Words of the classes of which every visible object is labelled; none where a region is unclear."""
        if self.unclear:
            return frozenset()
        named = (word(label, self.image.source) for label in self.image.exhaustive)
        return frozenset(name for name in named if name is not None)

    def countable(self, rules: Rules) -> frozenset[str]:
        """Words of which it can be said how many there are, and where all of them are."""
        return frozenset(self.words) if rules.labels == "as-labelled" else self.exhaustive

    def of(self, name: str) -> list[Thing]:
        """The objects of one word from left to right, as Location and the ordinals of Relationship count them."""
        return self._from_left.get(name, [])

    @cached_property
    def _from_left(self) -> dict[str, list[Thing]]:
        found: dict[str, list[Thing]] = {}
        for thing in self.things:
            found.setdefault(thing.word, []).append(thing)
        if self.size is not None:
            width, height = self.size
            for things in found.values():
                things.sort(key=lambda thing: per_mille(thing, width, height))
        return found


def _thing(name: str, thing: LabelledObject, size: tuple[int, int] | None) -> Thing | None:
    if thing.box is None:
        if thing.point is None:
            return None
        x, y = thing.point
        inside = size is None or (0 <= x <= size[0] and 0 <= y <= size[1])
        return Thing(name, x, y) if inside else None
    x_min, y_min, x_max, y_max = thing.box
    if size is not None:
        x_min, x_max = (min(max(x, 0.0), float(size[0])) for x in (x_min, x_max))
        y_min, y_max = (min(max(y, 0.0), float(size[1])) for y in (y_min, y_max))
    if not (x_min < x_max and y_min < y_max):
        return None
    return Thing(name, (x_min + x_max) / 2, (y_min + y_max) / 2, (x_min, y_min, x_max, y_max))


def per_mille(thing: Thing, width: int, height: int) -> tuple[int, int]:
    """Centre of an object in 0-1000 of width and height, as Location writes it.

    Python's rounding, half to even, of the quotient first: all released points of known boxes come out so.

    Example:
        >>> per_mille(Thing("car", 411, 271), 640, 512)
        (642, 529)
    """
    return round(thing.x / width * 1000), round(thing.y / height * 1000)


def cell(x: float, y: float, width: int, height: int) -> str:
    """The words for a place: thirds of width and height, no word for the middle row.

    All 2,375 released phrases with a place obey.

    Example:
        >>> cell(600, 100, 640, 512), cell(320, 256, 640, 512)
        ('top right', 'center')
    """
    column = ("left", "center", "right")[min(2, int(x * 3 / width))]
    row = ("top ", "", "bottom ")[min(2, int(y * 3 / height))]
    return row + column


def may_be_in(thing: Thing, place: str, size: tuple[int, int]) -> bool:
    """Whether an object is in a cell, or comes there when it is moved by `MARGIN`.

    Example:
        >>> [may_be_in(Thing("car", x, 250), "left", (640, 512)) for x in (200, 220, 230)]
        [True, True, False]
    """
    dx, dy = MARGIN * size[0], MARGIN * size[1]
    xs, ys = (thing.x - dx, thing.x, thing.x + dx), (thing.y - dy, thing.y, thing.y + dy)
    return any(cell(max(0.0, x), max(0.0, y), *size) == place for x in xs for y in ys)


def stays_in(thing: Thing, place: str, size: tuple[int, int]) -> bool:
    """Whether an object is in a cell, and in no other one when it is moved by `MARGIN`."""
    dx, dy = MARGIN * size[0], MARGIN * size[1]
    corners = ((thing.x + a * dx, thing.y + b * dy) for a in (-1, 1) for b in (-1, 1))
    return all(cell(max(0.0, x), max(0.0, y), *size) == place for x, y in corners)


def aloft(name: str) -> bool:
    """Whether a thing may be in the sky.

    Example:
        >>> aloft("drone"), aloft("car")
        (True, False)
    """
    return name in ALOFT or "aircraft" in groups(name)


@dataclass(frozen=True, slots=True)
class Made:
    """A question and its answer that a rule makes.

    Attributes:
        question: In the wording asked for, without the image token.
        answer: Likewise.
        stratum: What the choice among many is balanced by: records of all strata are to be equally many.
        members: Images that the image is put together from, in order; empty where the image is the source's.
        more: Further rounds of the same record, question and answer.
    """

    question: str
    answer: str
    stratum: str = ""
    members: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()


Maker = Callable[[Labels, Rules, "Draw"], "list[Made]"]
"""Makes the records of one task for one image; none where its labels do not allow a true statement."""


def lettered(options: Sequence[str]) -> list[tuple[str, str]]:
    """Options with their letters.

    Example:
        >>> lettered(["person", "duck"])
        [('A', 'person'), ('B', 'duck')]
    """
    return list(zip(LETTERS, options, strict=False))


def write_options(options: Sequence[tuple[str, str]]) -> str:
    """A line of options.

    Example:
        >>> write_options([("A", "scooter"), ("D", "hydrant")])
        '(A) scooter (D) hydrant'
    """
    return " ".join(f"({letter}) {name}" for letter, name in options)


def alike(one: str, other: str) -> bool:
    """Whether two words can be said of one object: they share a group of ``words.csv`` that is no scene.

    Example:
        >>> alike("truck", "freight car"), alike("person", "car")
        (True, False)
    """
    return one == other or bool((groups(one) & groups(other)) - SCENES)


def meet(one: str, other: str) -> bool:
    """Whether two words can be said of one image: they are alike, or belong to one scene.

    Example:
        >>> meet("person", "car"), meet("person", "duck")
        (True, False)
    """
    return one == other or bool(groups(one) & groups(other))
