"""Plans the records and scenes of an IR-TD sample; nothing is drawn or written here.

Every text follows the rules measured on the real records; where a rule of the authors is unknown, the
function that needs one says which it takes instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from irtd_datasets.testing import irtd_text as text
from irtd_datasets.testing.samples import PlantedDefect, SampleObject, SampleRecord
from irtd_datasets.testing.scenes import (
    Scene,
    aerial_scene,
    crowd_scene,
    mosaic_scene,
    single_scene,
    street_scene,
    view_scene,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = [
    "AERIAL_DIR",
    "CROWD_DIR",
    "FLIR_DIR",
    "RELEASED",
    "TRACKING_DIR",
    "Names",
    "Plan",
    "plan_captions",
    "plan_tasks",
]

RELEASED = {
    "Location.json": 14979,
    "Detection.json": 2789,
    "Relationship.json": 5205,
    "ReID.json": 3733,
    "Security.json": 7859,
    "Recognition.json": 3705,
    "AerialCounting.json": 900,
    "PedestrianCounting.json": 1030,
}
"""Records of each file of the real release, in the order of the members of its zip."""

FLIR_DIR = "63-FLIR_ADAS/training/PreviewData"
TRACKING_DIR = "6-LSOTB-TIR/Training_Dataset/TrainingData"
AERIAL_DIR = "4-VEDAI/train/trainimgr"
CROWD_DIR = "23-RGBTCrowdCounting/train"
SCENE_DIR = "51-RGBNIR"
MOSAIC_DIRS = {  # in the order of ReID.json, with the records of each
    "53-LLCM/train": 1064,
    "53-LLCM/valid": 1064,
    "54-RegDB/train": 412,
    "55-SYSU-MM01/train1": 299,
    "55-SYSU-MM01/train2": 486,
    "56-ThermalWorld/train": 408,
}

_WIDTH, _HEIGHT = 640, 512
_LEAST = 3  # records of each task, so that no task is missing from a small sample
_LEAST_FRAMES = 6  # FLIR frames, so that the defects that exclude each other have a frame each

# Points per Location record of the real release: 1, 2, 3, ... (longer ones are drawn as 15).
_POINT_COUNTS = (3564, 2412, 1791, 1572, 1293, 948, 665, 528, 460, 368, 331, 279, 205, 178, 127)
_GROUNDING_FAMILIES = {
    "nearest": 1308,
    "only": 1067,
    "left-same-class": 148,
    "right-same-class": 155,
    "left-cross-class": 63,
    "right-cross-class": 48,
}
# The first frames take these in turn, so that a small sample has the defects.
_FIRST_FAMILIES = (
    "left-cross-class",
    "wide-box",
    "nearest",
    "left-same-class",
    "only",
    "right-cross-class",
    "right-same-class",
)
_PAIRS = {("car", "person"): 2844, ("person", "car"): 1542, ("car", "bike"): 586, ("bike", "car"): 233}


class Names:
    """Hands out image numbers, each at most once, over all parts of a release."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._used: dict[str, set[int]] = {}
        self._next: dict[str, int] = {}

    def draw(self, directory: str, count: int, low: int, high: int) -> list[int]:
        """Return ``count`` unused numbers of a range in random order; a range too small grows."""
        used = self._used.setdefault(directory, set())
        while high - low + 1 - len(used) < count:
            high += high - low + 1
        free = [number for number in range(low, high + 1) if number not in used]
        numbers = self._random.sample(free, count)
        used.update(numbers)
        return numbers

    def count_on(self, directory: str) -> int:
        """Return the next number of a directory that counts from 1."""
        self._next[directory] = self._next.get(directory, 0) + 1
        return self._next[directory]


@dataclass
class Plan:
    """Records, scenes and defects collected so far; file names are relative to the release."""

    records: dict[str, list[SampleRecord]] = field(default_factory=dict)
    scenes: dict[str, Scene] = field(default_factory=dict)
    defects: list[PlantedDefect] = field(default_factory=list)
    near_duplicates: dict[str, str] = field(default_factory=dict)

    def add(  # noqa: PLR0917 - the columns of a record
        self,
        file: str,
        image: str,
        question: str,
        answer: str,
        objects: Sequence[SampleObject] = (),
        family: str = "",
        defects: Sequence[str] = (),
    ) -> None:
        """Append a record to a file; its id is its position there."""
        records = self.records.setdefault(file, [])
        record = SampleRecord(file, str(len(records)), image, question, answer, tuple(objects), family)
        records.append(record)
        self.defects.extend(PlantedDefect(code, file, record.id, image) for code in defects)


def task_counts(rows: int) -> dict[str, int]:
    """Return the records of each file for about ``rows`` records in all, in the proportions of the release.

    The sum is ``rows`` from about 60 on (40,200 gives the released counts); a smaller sample gets
    a few more, because each task has at least three records and each defect needs an image.

    Example:
        >>> task_counts(40200) == RELEASED, sum(task_counts(200).values())
        (True, 200)
    """
    total = sum(RELEASED.values())
    exact = {name: rows * count / total for name, count in RELEASED.items()}
    counts = {name: max(_LEAST, int(share)) for name, share in exact.items()}
    counts["Security.json"] = max(_LEAST_FRAMES, counts["Security.json"])
    by_rest = sorted(exact, key=lambda name: exact[name] - int(exact[name]), reverse=True)
    for name in by_rest:
        if sum(counts.values()) < rows:
            counts[name] += 1
    # Whatever the minima of the small tasks took too much is taken from the largest task.
    counts["Location.json"] -= max(0, min(sum(counts.values()) - rows, counts["Location.json"] - _LEAST))
    return counts


def plan_tasks(
    plan: Plan, random: Random, names: Names, rows: int, folder: str, *, scene_rows: int = 0
) -> None:
    """Plan the eight task files (and a Scene file) below ``folder``.

    Args:
        plan: Takes the result.
        random: Source of all choices.
        names: Image numbers not used yet.
        rows: Number of records in all, see `task_counts`.
        folder: Folder of the files, ``json_sft`` or ``benchmark``.
        scene_rows: Records of the Scene file, which the real release does not have.
    """
    counts = task_counts(rows)
    for name in counts:
        plan.records[f"{folder}/{name}"] = []
    _plan_street(plan, random, names, counts, folder)
    _plan_reid(plan, random, names, counts["ReID.json"], f"{folder}/ReID.json")
    _plan_recognition(plan, random, names, counts["Recognition.json"], f"{folder}/Recognition.json")
    _plan_aerial(plan, random, names, counts["AerialCounting.json"], f"{folder}/AerialCounting.json")
    _plan_crowd(plan, random, names, counts["PedestrianCounting.json"], f"{folder}/PedestrianCounting.json")
    for index in range(scene_rows):
        gold = text.SCENE_WORDS[index % len(text.SCENE_WORDS)]
        image = f"{SCENE_DIR}/{gold}/{names.count_on(SCENE_DIR):04d}_nir.jpg"
        words = _shuffled(
            random, [gold, *random.sample([word for word in text.SCENE_WORDS if word != gold], 3)]
        )
        plan.scenes[image] = view_scene(image)
        answer = text.options(words, [gold])
        plan.add(f"{folder}/Scene.json", image, text.SCENE_QUESTION + text.options(words), answer)
    _whole_file_defects(plan, folder)


def _whole_file_defects(plan: Plan, folder: str) -> None:
    files = [file for file in plan.records if file.startswith(f"{folder}/")]
    for code in ("id-restarts", "foreign-prefix", "image-in-list"):
        plan.defects.extend(PlantedDefect(code, file) for file in files)
    for code, name in (
        ("json-not-an-array", "Detection.json"),
        ("pixels-beside-per-mille", "Detection.json"),
        ("text-leading-space", "Location.json"),
        ("text-double-the", "Relationship.json"),
        ("flir-v1-folder", "Location.json"),
        ("mosaic", "ReID.json"),
        ("source-misfiled", "AerialCounting.json"),
        ("grey-suffix", "PedestrianCounting.json"),
    ):
        plan.defects.append(PlantedDefect(code, f"{folder}/{name}"))


def _shuffled(random: Random, items: Sequence[str]) -> list[str]:
    return random.sample(list(items), len(items))


def _weighted(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


# ------------------------------------------------------------------------------ the four tasks on FLIR frames


@dataclass
class _Frame:
    """What one FLIR frame has to show."""

    family: str | None = None  # of its Grounding record
    relation: str | None = None  # kind of its Relationship record: "any", "hidden-pair" or "22th"
    classes: int = 1
    labels: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)


def _plan_street(plan: Plan, random: Random, names: Names, counts: dict[str, int], folder: str) -> None:
    frames = _frames(random, counts)
    numbers = names.draw(FLIR_DIR, len(frames), 1, 8862)
    random.shuffle(frames)
    for number, frame in zip(numbers, frames, strict=True):
        image = f"{FLIR_DIR}/FLIR_{number:05d}.jpeg"
        if frame.family == "wide-box":
            # The one box that leaves its image; its Location point follows the unclipped box.
            car = SampleObject("car", (0, 145, 640, 401), (320.5, 273.0))
            scene = Scene("street", _WIDTH, _HEIGHT, (car,), image)
        else:
            scene = street_scene(random, frame.labels, image, unlabelled=frame.unlabelled)
        plan.scenes[image] = scene
        by_label: dict[str, list[SampleObject]] = {}
        for item in sorted(scene.objects, key=lambda item: item.centre):
            if item.annotated:
                by_label.setdefault(item.label, []).append(item)
        for label in _shuffled(random, list(by_label)):
            answer = text.location_answer(label, [item.centre for item in by_label[label]], _WIDTH, _HEIGHT)
            question = f"<image>\n Locate all {label} from left to right."
            plan.add(f"{folder}/Location.json", image, question, answer, by_label[label])
        _add_security(plan, random, f"{folder}/Security.json", image, list(by_label), frame.unlabelled)
        if frame.family:
            _add_grounding(plan, random, f"{folder}/Detection.json", image, frame.family, by_label)
        if frame.relation:
            _add_relationship(plan, random, f"{folder}/Relationship.json", image, frame.relation, by_label)


def _frames(random: Random, counts: dict[str, int]) -> list[_Frame]:
    """Share out the records: one Security record a frame, one or more Location records, others as counted."""
    frames = [_Frame() for _ in range(counts["Security.json"])]
    grounding, relationship = counts["Detection.json"], counts["Relationship.json"]
    for frame, family in zip(frames, _families(random, grounding), strict=False):
        frame.family = family
    # Of the 7,859 real frames 955 have both; the first two and the last two stay apart, for their defects.
    shared = max(grounding + relationship - len(frames), len(frames) * 955 // 7859)
    shared = max(0, min(shared, grounding - 2, relationship - 2))
    start = grounding - shared
    for index in range(start, start + relationship):
        frames[index].relation = "any"
    frames[start + relationship - 1].relation = "22th"
    frames[start + relationship - 2].relation = "hidden-pair"
    for frame in frames:
        frame.classes = 2 if frame.relation or (frame.family or "").endswith("cross-class") else 1
    open_frames = [
        frame for frame in frames if frame.family != "wide-box" and frame.relation in {None, "any"}
    ]
    room = [frame for frame in open_frames for _ in range(3 - frame.classes)]
    missing = counts["Location.json"] - sum(frame.classes for frame in frames)
    for frame in random.sample(room, max(0, min(missing, len(room)))):
        frame.classes += 1
    for frame in frames:
        frame.labels = _labels(random, frame)
    for index, frame in enumerate(open_frames):
        if index == 0 or random.random() < 0.12:
            frame.unlabelled = [random.choice(("sign", "dog"))]
    return frames


def _families(random: Random, count: int) -> list[str]:
    """Return the Grounding families in the released proportions, those that carry a defect first."""
    first = list(_FIRST_FAMILIES[:count])
    total = sum(_GROUNDING_FAMILIES.values())
    rest: list[str] = []
    for family, share in _GROUNDING_FAMILIES.items():
        used = first.count(family) + (first.count("wide-box") if family == "only" else 0)
        rest += [family] * max(0, round(count * share / total) - used)
    rest += ["nearest"] * count
    # What is cut off are the fillers, or the rounding of a small sample.
    return first + _shuffled(random, rest[: count - len(first)])


def _labels(random: Random, frame: _Frame) -> list[str]:  # noqa: C901 - one branch for each role
    """Return the class words of a frame from left to right."""
    if frame.family == "wide-box":
        return ["car"]
    if frame.relation == "22th":
        return _shuffled(random, ["person"] * 24 + ["car"])
    if frame.relation == "hidden-pair":
        return ["person", "car", "person"]
    pair = random.choice((["car", "person"], ["car", "person"], ["car", "person"], ["person", "car"]))
    if frame.family and frame.family.endswith("cross-class"):
        return _mixed_in(random, pair, ["bike"] * (frame.classes - 2))
    classes = {1: ["car"], 2: ["car", "person"], 3: ["car", "person", "bike"]}[frame.classes]
    chance = random.random()
    if frame.classes == 1 and chance < 0.15:
        classes = ["person"]
    elif frame.classes == 1 and chance < 0.16 and not frame.family:
        classes = ["bike"]
    elif frame.classes == 2 and chance < 0.1:
        classes = ["car", "bike"]
    amounts = {label: _amount(random) if label != "bike" else random.randint(1, 3) for label in classes}
    if frame.family and frame.family.endswith("same-class"):
        amounts[classes[0]] = 2
    elif frame.family == "nearest":
        amounts[classes[0]] = max(2, amounts[classes[0]])
    elif frame.family == "only":
        amounts[random.choice(classes)] = 1
    return _shuffled(random, [label for label, amount in amounts.items() for _ in range(amount)])


def _mixed_in(random: Random, ordered: Sequence[str], more: Sequence[str]) -> list[str]:
    result = list(ordered)
    for label in more:
        result.insert(random.randrange(len(result) + 1), label)
    return result


def _amount(random: Random) -> int:
    return random.choices(range(1, len(_POINT_COUNTS) + 1), _POINT_COUNTS)[0]


def _add_security(
    plan: Plan, random: Random, file: str, image: str, present: Sequence[str], unlabelled: Sequence[str]
) -> None:
    """One to three options are in the annotation, the others are not, whatever the image shows."""
    shown_count = random.choices((1, 2, 3), (5, 5, 2))[0]
    shown = random.sample(list(present), min(shown_count, len(present)))
    others = [word for word in text.SECURITY_WORDS if word not in present and word not in unlabelled]
    missing = [*unlabelled, *random.sample(others, 4 - len(shown) - len(unlabelled))]
    words = _shuffled(random, [*shown, *missing])
    defects = ["absence-unverified"] if text.ABSENT_WORDS.intersection(missing) else []
    if unlabelled:
        defects.append("absence-false")
    plan.add(
        file,
        image,
        text.SECURITY_QUESTION + text.options(words),
        text.options(words, missing),
        defects=defects,
    )


def _add_grounding(
    plan: Plan, random: Random, file: str, image: str, family: str, by_label: dict[str, list[SampleObject]]
) -> None:
    if family == "wide-box":
        car = by_label["car"][0]
        question = "<image>\nDetect the bounding box of the car located at the center of the image."
        answer = text.grounding_answer((0, 145, 641, 401))
        plan.add(file, image, question, answer, [car], "only", ["box-outside-image"])
        return
    if family.endswith("-class"):
        _add_beside(plan, file, image, family, by_label)
        return
    cells: dict[tuple[str, str], list[SampleObject]] = {}
    for label, items in by_label.items():
        for item in items:
            cells.setdefault((label, text.cell_name(*item.centre, _WIDTH, _HEIGHT)), []).append(item)
    if family == "only":
        found = random.choice([key for key, items in cells.items() if len(items) == 1])
        question = (
            f"<image>\nDetect the bounding box of the {found[0]} located at the {found[1]} of the image."
        )
    else:
        several = [key for key in cells if len(by_label[key[0]]) > 1]
        found = random.choice([key for key in several if len(cells[key]) > 1] or several)
        question = f"<image>\nDetect the bounding box of the nearest {found[0]} located at the {found[1]}."
    # The authors' choice of the nearest one is unknown; the lowest centre is right for most of their records.
    target = max(cells[found], key=lambda item: item.centre[1])
    plan.add(file, image, question, text.grounding_answer(target.box), [target], family)


def _add_beside(
    plan: Plan, file: str, image: str, family: str, by_label: dict[str, list[SampleObject]]
) -> None:
    """All released boxes of this family show the object on the right, even when the left is asked for."""
    side = family.partition("-")[0]
    if family.endswith("same-class"):
        pair = next(items for items in by_label.values() if len(items) == 2)
    else:
        pair = sorted((by_label[label][0] for label in ("car", "person")), key=lambda item: item.centre)
    left, right = pair
    target, reference = (left, right) if side == "left" else (right, left)
    place = f"located to the {side} of the {reference.label}."
    question = f"<image>\nDetect the bounding box of the {target.label} {place}"
    defects = ["label-reference-object"] if side == "left" else []
    plan.add(file, image, question, text.grounding_answer(right.box), [target, reference], family, defects)


def _add_relationship(
    plan: Plan, random: Random, file: str, image: str, kind: str, by_label: dict[str, list[SampleObject]]
) -> None:
    """Judge one pair of objects of two classes, and leave the rest out of account as the authors do."""
    relation = random.choice(text.RELATIONS)
    if kind == "22th":
        target_label, label, position = "car", "person", 21
        chosen = 0
    elif kind == "hidden-pair":
        target_label, label, position = "person", "car", 0
        relation, chosen = "on the left side of", 1
    else:
        pairs = {pair: weight for pair, weight in _PAIRS.items() if set(pair) <= set(by_label)}
        target_label, label = random.choices(list(pairs), list(pairs.values()))[0]
        position = 0 if random.random() < 0.4 else random.randrange(len(by_label[label]))
        chosen = random.randrange(len(by_label[target_label]))
    target, reference = by_label[target_label][chosen], by_label[label][position]
    holds = text.relation_holds(relation, target.centre, reference.centre)
    ordinal = text.ordinal(position + 1)
    question = f"<image>\nIs there a {target_label} {relation} the the {ordinal} {label} from left to right?"
    defects = ["text-ordinal"] if ordinal == "22th" else []
    others = (item for item in by_label[target_label] if item is not target)
    if not holds and any(text.relation_holds(relation, item.centre, reference.centre) for item in others):
        defects.append("hidden-pair")
    plan.add(file, image, question, "yes" if holds else "no", [target, reference], relation, defects)


# ------------------------------------------------------------------------------------------------ other tasks


def _plan_reid(plan: Plan, random: Random, names: Names, count: int, file: str) -> None:
    total = sum(MOSAIC_DIRS.values())
    bounds, reached = [0], 0
    for share in MOSAIC_DIRS.values():
        reached += share
        bounds.append(round(count * reached / total))
    for directory, (start, stop) in zip(MOSAIC_DIRS, pairwise(bounds), strict=True):
        for _ in range(stop - start):
            image = f"{directory}/{names.count_on(directory):04d}.jpg"
            answer = random.randint(2, 8)
            scene = mosaic_scene(random, answer, image)
            plan.scenes[image] = scene
            plan.add(
                file, image, text.REID_QUESTION, str(answer), [scene.objects[0], scene.objects[answer - 1]]
            )


def _plan_recognition(plan: Plan, random: Random, names: Names, count: int, file: str) -> None:
    sizes = ((640, 480), (480, 360), (640, 512), (320, 240))
    left = count
    sequence = 0
    while left:
        length = min(left, random.randint(2, 7))
        left -= length
        gold = _weighted(random, text.RECOGNITION_COUNTS)
        folder_class = "motocycle" if gold == "motobike" else gold
        if sequence == 0:
            gold, folder_class = "motobike", "motocycle"
        elif random.random() < 0.02:
            folder_class = random.choice([word for word in text.RECOGNITION_COUNTS if word != gold])
        part = random.choices((1, 2, 3), (402, 764, 2539))[0]
        number_of_class = names.count_on(f"{part}/{folder_class}")
        directory = f"{TRACKING_DIR}/TIR_training_{part:03d}/{folder_class}_{number_of_class:03d}"
        width, height = random.choice(sizes)
        for number in random.sample(range(1, 1500), length):
            image = f"{directory}/{number:08d}.jpg"
            words = _shuffled(
                random, [gold, *random.sample([w for w in text.RECOGNITION_WORDS if w != gold], 3)]
            )
            scene = single_scene(random, gold, image, width=width, height=height)
            plan.scenes[image] = scene
            defects = ["gold-not-folder-class"] if folder_class != gold else []
            question = text.RECOGNITION_QUESTION + text.options(words)
            plan.add(file, image, question, text.options(words, [gold]), scene.objects, defects=defects)
        sequence += 1


def _plan_aerial(plan: Plan, random: Random, names: Names, count: int, file: str) -> None:
    for index, number in enumerate(names.draw(AERIAL_DIR, count, 15, 17964)):
        image = f"{AERIAL_DIR}/{number:05d}.jpg"
        # 25 of the 900 released images have no car; one here at least.
        empty = index == 0 or random.random() < 25 / 900
        cars = 0 if empty else min(141, max(1, round(random.lognormvariate(2.5, 0.8))))
        scene = aerial_scene(random, cars, image)
        plan.scenes[image] = scene
        plan.add(file, image, text.AERIAL_QUESTION, f"<num>{cars}</num>", scene.objects)


def _plan_crowd(plan: Plan, random: Random, names: Names, count: int, file: str) -> None:
    for number in names.draw(CROWD_DIR, count, 1162, 3815):
        image = f"{CROWD_DIR}/{number}_Grey.jpg"
        people = min(701, max(10, round(random.lognormvariate(3.9, 0.7))))
        scene = crowd_scene(random, people, image)
        plan.scenes[image] = scene
        plan.add(file, image, text.PEDESTRIAN_QUESTION, f"<num>{people}</num>", scene.objects)


# --------------------------------------------------------------------------------------------------- captions

_CAPTION_FOLDERS = (
    ("street/day", ".jpg", 640, 512, "a street"),
    ("street/night", ".jpeg", 640, 480, "a street at night"),
    ("aerial/low altitude", ".png", 480, 360, "a view from above"),
    ("wildlife", ".jpg", 640, 480, "open land"),
    ("street/wide", ".jpg", 1024, 576, "a wide road"),
    ("square", ".png", 320, 240, "a public square"),
)


def plan_captions(plan: Plan, random: Random, count: int, file: str) -> None:
    """Plan ``count`` captions in random order, every sixth image the next frame of another one."""
    made: list[tuple[str, Scene, str]] = []
    for index in range(count):
        folder, extension, width, height, setting = _CAPTION_FOLDERS[index % len(_CAPTION_FOLDERS)]
        name = f"{folder}/{index:06d}{extension}"
        if index % 6 == 5:
            previous, scene, words = made[-1]
            name = f"{previous[: previous.rindex('/')]}/{index:06d}{previous[previous.rindex('.') :]}"
            scene = replace(scene, frame=scene.frame + 1)
            plan.near_duplicates[name] = previous
        else:
            scene = _caption_scene(random, name, folder, width, height)
            opening = random.choice(
                ("The image shows", "The image shows", "The image shows", "The image depicts")
            )
            words = text.caption(scene.objects, width, height, opening=opening, setting=setting)
        made.append((name, scene, words))
    plan.records[file] = []
    for name, scene, words in random.sample(made, len(made)):
        plan.scenes[name] = scene
        defects = ["near-duplicate"] if name in plan.near_duplicates else []
        plan.add(file, name, "", words, scene.objects, defects=defects)


def _caption_scene(random: Random, name: str, folder: str, width: int, height: int) -> Scene:
    if folder.startswith("aerial"):
        return aerial_scene(random, random.randint(2, 14), name, width=width, height=height)
    if folder == "wildlife":
        return single_scene(
            random, random.choice(("deer", "fox", "bird", "horse")), name, width=width, height=height
        )
    if folder == "square":
        return crowd_scene(random, random.randint(10, 24), name, width=width, height=height)
    labels = [random.choice(("car", "car", "person", "bike")) for _ in range(random.randint(1, 6))]
    return street_scene(random, labels, name, width=width, height=height)
