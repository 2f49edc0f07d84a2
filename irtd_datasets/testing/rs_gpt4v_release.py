"""Writes an RS-GPT4V sample release.

The real layout is not published. The sample has what its readers must cope with: one LLaVA-style file with every task
mixed for training, evaluation files in the form that derivatives of RS-GPT4V use, images in folders named after the
components, and files beside them that are not RS-GPT4V.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import DEFAULT_DECIMALS, as_frame
from irtd_datasets.testing.plain_release import cars, describe_side, file_text, write_boxes, write_images
from irtd_datasets.testing.samples import (
    PlantedDefect,
    SampleImage,
    SampleObject,
    SampleRecord,
    SampleRelease,
    known_defects,
    start_sample,
)
from irtd_datasets.testing.scenes import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["RS_GPT4V_DEFECTS", "RS_GPT4V_FILES", "write_rs_gpt4v_sample"]

RS_GPT4V_FILES = {
    "train": "train/rs_gpt4v_train.json",
    "captioning": "test/NWPU-Captions.jsonl",
    "vqa": "test/RSVQA_LR.jsonl",
    "grounding": "test/DIOR-RSVG_grounding.jsonl",
    "talk": "test/Conversation_Complex_Reasoning.jsonl",
}
"""Annotation files of the sample."""

MERGED_FILE = "RS-GPT4V_EarthGPT.json"
PREDICTIONS_FILE = "predictions/answers.jsonl"

RS_GPT4V_DEFECTS = known_defects("rs_gpt4v")
"""What each code of `SampleRelease.defects` means."""

_FOLLOWS = """The layout of the real
RS-GPT4V is not published; file names and forms follow what readers of its derivatives report."""

_FOLDERS = {
    "captioning": "images/NWPU-Captions",
    "vqa": "images/RSVQA_LR",
    "grounding": "images/DIOR-RSVG/JPEGImages",
    "region_captioning": "images/DIOR-RSVG/JPEGImages",
    "detailed_description": "images/RSITMD",
    "conversation": "images/RSICD",
    "reasoning": "images/FloodNet",
}
_TASKS = tuple(_FOLDERS)
_TEST_FILES = {
    "captioning": "captioning",
    "vqa": "vqa",
    "grounding": "grounding",
    "conversation": "talk",
    "reasoning": "talk",
}
_AUTHORS = "/home/author/projects/RS-GPT4V/"
_SQUARE, _WIDE, _TALL = (320, 320), (320, 240), (240, 320)
_CAR = 40  # pixels of the longer side of a car


def write_rs_gpt4v_sample(  # noqa: PLR0913 - each is one independent property of the release
    folder: str | Path,
    *,
    rows: int = 200,
    seed: int = 0,
    form: Literal["zip", "folder"] = "folder",
    frame: Frame | str = Frame.SQUARE_UNIT,
    decimals: int | None = 2,
    square: bool = True,
    defects: bool = True,
    merged: bool = False,
    images: bool = True,
    overwrite: bool = False,
) -> SampleRelease:
    """Write a seeded sample of an RS-GPT4V release.

    Args:
        folder: New or empty folder to write into.
        rows: Records in all, at least 28; 70 % of them are for training.
        seed: Seed of all choices.
        form: ``folder`` writes images as files, ``zip`` puts them into ``images.zip``.
        frame: Frame of the boxes in the texts. The real one is not known.
        decimals: Digits after the point; None takes the habit of the frame.
        square: Images with boxes are square, as those of DIOR-RSVG are; else wide and tall ones.
        defects: Plant the defects of `RS_GPT4V_DEFECTS`.
        merged: Also write a merged derivative and a file of predictions.
        images: False writes the texts only.
        overwrite: Replace ``folder`` if it holds an earlier sample.

    Returns:
        What was written, with the truth about every image. Ids of questions with rounds are ``id/round``.

    Raises:
        BuildError: ``folder`` is not empty and is no sample that may be replaced.
        UnknownNameError: ``form`` does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_rs_gpt4v_sample(folder, rows=40, images=False, defects=False)
        >>> sorted(sample.counts.values(), reverse=True)
        [28, 4, 3, 3, 2]
    """
    frame = as_frame(frame)
    folder, _ = start_sample(
        "rs_gpt4v",
        folder,
        _FOLLOWS,
        overwrite=overwrite,
        forms=("zip", "folder"),
        rows=rows,
        seed=seed,
        form=form,
        frame=frame.value,
        decimals=decimals,
        square=square,
        defects=defects,
        merged=merged,
        images=images,
    )
    writer = _Writer(
        Random(f"rs_gpt4v/{seed}"),  # noqa: S311 - no secret
        frame,
        DEFAULT_DECIMALS[frame] if decimals is None else decimals,
        square=square,
    )
    train = round(max(rows, 28) * 0.7)
    for number in range(train):
        writer.train(_TASKS[number % len(_TASKS)])
    for number in range(max(rows, 28) - train):
        writer.test(tuple(_TEST_FILES)[number % len(_TEST_FILES)])
    if defects:
        _plant(writer)
    for file, texts in writer.texts.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file_text(file, texts), encoding="utf-8")
    if merged:
        _write_others(folder, writer)
    written = {name: scene for name, scene in writer.scenes.items() if name not in writer.missing}
    paths, archives = write_images(folder, written, seed, form) if images else ({}, ())
    return SampleRelease(
        name="rs_gpt4v",
        folder=folder,
        image_folder=folder,
        seed=seed,
        records={file: tuple(records) for file, records in writer.records.items()},
        images={
            name: SampleImage(
                name,
                paths.get(name),
                scene.width,
                scene.height,
                objects=scene.objects,
            )
            for name, scene in writer.scenes.items()
        },
        defects=tuple(writer.defects),
        image_dirs={name.rpartition("/")[0]: folder / name.rpartition("/")[0] for name in writer.scenes},
        archives=archives,
    )


@dataclass
class _Writer:
    """Plans records one after another."""

    random: Random
    frame: Frame
    decimals: int
    square: bool
    scenes: dict[str, Scene] = field(default_factory=dict)
    texts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    records: dict[str, list[SampleRecord]] = field(default_factory=dict)
    defects: list[PlantedDefect] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def train(self, task: str) -> dict[str, Any]:
        """Add a conversation; the caller may change the record returned."""
        image, rounds, objects = self._rounds(task)
        turns = [
            turn
            for question, answer in rounds
            for turn in ({"from": "human", "value": question}, {"from": "gpt", "value": answer})
        ]
        turns[0]["value"] = "<image>\n" + turns[0]["value"]
        file = RS_GPT4V_FILES["train"]
        identifier = str(len(self.texts.get(file, ())))
        record = {"id": identifier, "image": image, "conversations": turns}
        self._keep(file, record, identifier, image, rounds[0], objects, task)
        return record

    def test(self, task: str) -> dict[str, Any]:
        """Add a question; the caller may change the record returned."""
        image, rounds, objects = self._rounds("reasoning" if task == "conversation" else task)
        question, answer = rounds[0]
        file = RS_GPT4V_FILES[_TEST_FILES[task]]
        number = len(self.texts.get(file, ()))
        record: dict[str, Any] = {"question_id": number, "image": image, "text": question, "answer": answer}
        if task == "vqa":
            record["category"] = "count"
        elif task in ("conversation", "reasoning"):
            record["category"] = {"conversation": "conv", "reasoning": "complex"}[task]
        self._keep(file, record, str(number), image, (question, answer), objects, task)
        return record

    def plant(self, code: str, file: str, record_id: str | None = None, image: str | None = None) -> None:
        """Take note of a defect."""
        self.defects.append(PlantedDefect(code, file, record_id, image))

    def written(self, boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> str:
        """The boxes as the release writes them."""
        return write_boxes(boxes, self.frame, size, self.decimals)

    def _keep(  # noqa: PLR0917 - the fields of one record
        self,
        file: str,
        record: dict[str, Any],
        identifier: str,
        image: str,
        first: tuple[str, str],
        objects: tuple[SampleObject, ...],
        task: str,
    ) -> None:
        self.texts.setdefault(file, []).append(record)
        self.records.setdefault(file, []).append(
            SampleRecord(file, identifier, image, first[0], first[1], objects, task)
        )

    def _rounds(self, task: str) -> tuple[str, list[tuple[str, str]], tuple[SampleObject, ...]]:
        name = self._image(task)
        scene = self.scenes[name]
        objects = scene.objects
        count = len(objects)
        if task == "captioning":
            question = "Provide a one-sentence caption for the provided remote sensing image."
            return name, [(question, f"There are {count} cars parked on a piece of ground.")], ()
        if task == "vqa":
            rounds = [
                ("How many cars are in this image?", str(count)),
                ("Is there a car in this image?", "yes"),
            ]
            return name, rounds[: self.random.choice((1, 2))], ()
        if task == "detailed_description":
            text = " ".join(
                f"A car stands {describe_side(one, scene)} of the image, about {one.box[2] - one.box[0]} pixels wide."
                for one in objects
            )
            return name, [("Describe this image in detail.", text)], ()
        if task == "conversation":
            rounds = [
                ("What is the image about?", "It shows a piece of ground on which several cars are parked."),
                (
                    "And how are they arranged?",
                    f"The first of the {count} cars stands {describe_side(objects[0], scene)}.",
                ),
            ]
            return name, rounds, ()
        if task == "reasoning":
            question = "Why could somebody be interested in this place?"
            answer = (
                f"It holds {count} cars at the moment, so it probably serves as a parking area for visitors."
            )
            return name, [(question, answer)], ()
        return self._box_rounds(task, name, scene)

    def _box_rounds(
        self, task: str, name: str, scene: Scene
    ) -> tuple[str, list[tuple[str, str]], tuple[SampleObject, ...]]:
        target = self.random.choice(scene.objects)
        words = f"the car {describe_side(target, scene)}"
        box = f"[{self.written([target.box], (scene.width, scene.height))}]"
        if task == "grounding":
            question = f"Provide the bounding box coordinate of the region which is described as: {words}"
            return name, [(question, box)], (target,)
        question = f"Provide a short description for this region in this remote sensing image: {box}"
        return name, [(question, words)], (target,)

    def _image(self, task: str) -> str:
        """A new image, or for every third record the one before in the same folder."""
        folder = _FOLDERS[task]
        there = [name for name in self.scenes if name.startswith(folder + "/")]
        if there and len(there) > 2 and self.random.random() < 0.35:
            return there[-1]
        name = f"{folder}/{len(there) + 1:05d}.jpg"
        boxed = task in ("grounding", "region_captioning")
        size = _SQUARE if self.square or not boxed else self.random.choice((_WIDE, _TALL))
        self.scenes[name] = Scene("aerial", *size, cars(self.random, size), name)
        return name


def _plant(writer: _Writer) -> None:
    """Add records with each of the defects."""
    file = RS_GPT4V_FILES["train"]

    def train(code: str, task: str) -> dict[str, Any]:
        record = writer.train(task)
        writer.plant(code, file, record["id"], record["image"])
        return record

    del train("id-missing", "captioning")["id"]
    train("id-twice", "vqa")["id"] = "0"
    listed = train("image-in-list", "captioning")
    listed["image"] = [listed["image"]]
    for code in ("token-at-end", "token-absent"):
        turn = train(code, "reasoning")["conversations"][0]
        turn["value"] = turn["value"].removeprefix("<image>\n") + (
            "\n<image>" if code == "token-at-end" else ""
        )
    moved = train("foreign-prefix", "conversation")
    moved["image"] = _AUTHORS + moved["image"]
    train("record-key", "vqa")["meta"] = {"generator": "gpt-4v", "checked": True}
    train("empty-answer", "captioning")["conversations"][-1]["value"] = ""
    twice = train("turn-order", "captioning")["conversations"]
    twice.insert(1, dict(twice[0], value="And what else?"))
    if writer.frame in (Frame.UNIT, Frame.SQUARE_UNIT):
        train("box-degenerate", "grounding")["conversations"][-1]["value"] = "[0.50, 0.25, 0.50, 0.26]"
    train("box-malformed", "grounding")["conversations"][-1]["value"] = "[0.1.2, 0.2, 0.3, 0.4]"
    gone = train("image-missing", "detailed_description")
    name = "images/RSITMD/missing.jpg"
    writer.scenes[name] = writer.scenes[gone["image"]]
    writer.missing.add(name)
    gone["image"] = name

    captions = RS_GPT4V_FILES["captioning"]
    for _ in range(2):
        record = writer.test("captioning")
        record["answer"] = [record["answer"], "Some cars stand on the ground.", "A parking area from above."]
        writer.plant("several-references", captions, str(record["question_id"]), record["image"])
    questions = RS_GPT4V_FILES["vqa"]
    first = writer.test("vqa")
    first["round_id"] = 0
    second = dict(first, round_id=1, text="Is there a car in this image?", answer="yes", category="presence")
    writer.texts[questions].append(second)
    writer.records[questions].append(
        SampleRecord(questions, f"{first['question_id']}/1", first["image"], second["text"], "yes", (), "vqa")
    )
    writer.plant("rounds", questions, str(first["question_id"]), first["image"])


def _write_others(folder: Path, writer: _Writer) -> None:
    """Write what lies beside a release on the machines of users, and is not RS-GPT4V."""
    turns = [
        {"from": "human", "value": "<image>\nDetect all ships in the image."},
        {"from": "gpt", "value": "There are <p>two ships</p>[0.1,0.2,0.3,0.4;0.5,0.6,0.7,0.8]"},
    ]
    records = [
        *writer.texts[RS_GPT4V_FILES["train"]][:5],
        {"image": "data/detection/SARV2/1.png", "conversations": turns},
    ]
    (folder / MERGED_FILE).write_text(json.dumps(records), encoding="utf-8")
    writer.plant("merged-file", MERGED_FILE)
    path = folder / PREDICTIONS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question_id": n, "round_id": 0, "prompt": "How many?", "text": "3", "metadata": {}}
        for n in range(3)
    ]
    path.write_text(file_text(PREDICTIONS_FILE, rows), encoding="utf-8")
    writer.plant("predictions-file", PREDICTIONS_FILE)
