"""Questions and gold answers of the released text, with no images at hand."""

import json
import zipfile

from irtd_datasets.boxes import Frame
from irtd_datasets.evaluate.questions import Question
from irtd_datasets.irtd.spec import FRAME_SIZE, SPEC
from irtd_datasets.irtd.tasks import PARSERS

__all__ = ["released_questions", "row_question"]


def released_questions(archive):
    """All 40,200 released records as questions."""
    found = []
    with zipfile.ZipFile(archive) as file:
        for part in [part for part in SPEC.subset("instruct").parts if part.public]:
            text = file.read(f"json_sft/{part.file}").decode().strip()
            records = json.loads(text if text.startswith("[") else f"[{text.rstrip(',')}]")
            for record in records:
                asked, answered = (turn["value"] for turn in record["conversations"])
                reading = PARSERS[part.name](asked.removeprefix("<image>\n"), answered)
                found.append(row_question(part.name, record["id"], reading, answered, record["image"][0]))
    return found


def row_question(task, number, reading, text, image):
    """A question as `read_questions` makes it of a built row."""
    from irtd_datasets.evaluate import questions

    width, height = FRAME_SIZE
    frame = {"grounding": Frame.PIXEL, "location": Frame.PER_MILLE}.get(task)
    row = {
        "answer": reading.answer,
        "width": width,
        "height": height,
        "objects": {"box": [list(place) for places in reading.regions for place in places.numbers]},
    }
    gold = questions._gold(row, task, reading.choices, frame or Frame.PIXEL)
    return Question(
        f"irtd/instruct/{task}/{number}",
        task,
        reading.choices,
        gold,
        text,
        frame or Frame.PIXEL,
        width,
        height,
        image,
    )
