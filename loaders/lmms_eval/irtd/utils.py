"""Prompts and scores of the nine benchmark tasks of IR-TD, for lmms-eval. It needs the dataset folder and nothing else.

Measures are those of the IRGPT paper (section 5.1): accuracy for Scene, Recognition, Relationship, Re-ID and
Security, mean absolute error for counting. Grounding has one box a question: accuracy at an IoU of 0.5. Location
follows the released ``test_utils/Location.py``: points are paired greedily in the order of the labels and count within
5 thousandths.

What a model writes is read leniently, as far as there is no doubt. What cannot be read scores nothing and is counted as
``unreadable``, where the released scripts leave it out of the mean; errors are averaged over what could be read, so
look at both numbers.

Boxes and points are asked for, and scored, in thousandths of width and height. With ``IRTD_BOX_FRAME=pixel`` they are
asked for in pixels of the image, for models that see it at its own size.
"""

import json
import math
import os
import re
import string

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
LETTER = re.compile(r"(?<![A-Za-z0-9])\(?([A-Z])\)?(?![A-Za-z0-9'])")
NEAR = 5.0
"""Thousandths within which a point counts as found."""

BOX_FORMAT = "Answer with the box alone, as [x_min, y_min, x_max, y_max] {frame}."
POINT_FORMAT = "Answer with the list of centre points alone, as [[x, y], [x, y], ...] {frame}."


def task_of(doc):
    """Name of a row's task, which its id carries: irtd/benchmark/<task>/<record>."""
    return doc["id"].split("/")[2]


def in_pixels():
    """Whether boxes and points are in pixels, not in thousandths."""
    return os.environ.get("IRTD_BOX_FRAME", "per_mille") == "pixel"


def frame_of(doc):
    """How the frame is told to the model."""
    if in_pixels():
        return f"in pixels of the image, which is {doc['width']} wide and {doc['height']} high"
    return "in whole thousandths of the image's width and height"


def doc_to_visual(doc):
    """The image; more than 8 bits are mapped from their 0.5th to their 99.5th percentile."""
    image = doc["image"]
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        values = np.asarray(image, np.float32)
        low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
        scaled = (values - low) * (255 / max(high - low, 1e-6))
        image = Image.fromarray(np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8))
    return [image.convert("RGB")]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    """The question, its options, and the form in which the answer can be read."""
    extra = lmms_eval_specific_kwargs or {}
    task = task_of(doc)
    lines = [doc["question"]]
    lines += [
        f"({letter}) {choice}" for letter, choice in zip(string.ascii_uppercase, doc["choices"], strict=False)
    ]
    if task == "security":
        lines.append("Answer with the letters of all options that apply, such as (A) (C).")
    elif doc["choices"]:
        lines.append("Answer with the letter of one option.")
    elif task == "relationship":
        lines.append("Answer yes or no.")
    elif task == "grounding":
        lines.append(BOX_FORMAT.format(frame=frame_of(doc)))
    elif task == "location":
        lines.append(POINT_FORMAT.format(frame=frame_of(doc)))
    else:
        lines.append("Answer with one number.")
    return extra.get("pre_prompt", "") + "\n".join(lines) + extra.get("post_prompt", "")


def process_results(doc, results):
    """Scores of one answer, by metric, and the answer with its id, which `irtd score` reads of lmms-eval's log."""
    return {**score_answer(doc, results), "answers": {"id": doc["id"], "answer": results[0]}}


def count(items):
    """How many answers there are."""
    return len(items)


def score_answer(doc, results):
    """Scores of one answer, by metric."""
    task, text = task_of(doc), results[0]
    if task == "grounding":
        return score_box(text, doc)
    if task == "location":
        return score_points(text, doc)
    if task.endswith("counting"):
        found = one_number(text)
        error = None if found is None else abs(found - float(doc["answer"]))
        return {"mean_absolute_error": error, "unreadable": float(found is None)}
    said = said_choice(text, doc["choices"]) if doc["choices"] else said_word(text, task)
    right = set(LETTER.findall(doc["answer"])) if doc["choices"] else doc["answer"].strip().lower()
    return {"accuracy": float(said == right), "unreadable": float(said is None)}


def said_choice(text, choices):
    """Letters of the options that an answer names, or None."""
    letters = string.ascii_uppercase[: len(choices)]
    marked = re.findall(r"\(([A-Z])\)", text)
    named = [letter for letter in marked or LETTER.findall(text) if letter in letters]
    # "A" alone may be the article of a sentence that names the option in words.
    if named and (marked or named != ["A"] or not re.search(r"\bA [a-z]", text)):
        return set(named)
    words = text.strip().lower()
    named = [
        letter
        for letter, choice in zip(letters, choices, strict=True)
        if re.search(rf"\b{re.escape(choice.lower())}\b", words)
    ]
    return set(named) or None


def said_word(text, task):
    """The yes or no, or the number of an image; None when it says neither or both."""
    words = re.findall(r"\b(?:yes|no)\b" if task == "relationship" else r"\b[1-8]\b", text.lower())
    return words[0] if len(set(words)) == 1 else None


def one_number(text):
    """The number that an answer gives; the one inside ``<num>``, else the only one, else None."""
    marked = re.search(r"<num>\s*(\d+)\s*</num>", text)
    found = [marked[1]] if marked else NUMBER.findall(text.replace(",", ""))
    return float(found[0]) if len(set(found)) == 1 else None


def numbers_of(text):
    """The numbers between the first opening and the last closing bracket, or None."""
    start, end = text.find("["), text.rfind("]")
    if start < 0:
        start, end = text.find("("), text.rfind(")")
    inside = re.sub(r'"[^"]*"', " ", text[start : end + 1]) if 0 <= start < end else ""
    found = [float(number) for number in NUMBER.findall(inside)]
    return found if found and all(map(math.isfinite, found)) else None


def score_box(text, doc):
    """Intersection over union of the first box of an answer with the released one."""
    found = numbers_of(text)
    if found is None or len(found) < 4:
        return {"accuracy_iou_50": 0.0, "mean_iou": 0.0, "unreadable": 1.0}
    scale = (1, 1) if in_pixels() else (doc["width"] / 1000, doc["height"] / 1000)
    box = [value * scale[index % 2] for index, value in enumerate(found[:4])]
    overlap = iou(box, doc["objects"]["box"][0])
    return {"accuracy_iou_50": float(overlap >= 0.5), "mean_iou": overlap, "unreadable": 0.0}


def iou(a, b):
    """Intersection over union of two boxes x_min, y_min, x_max, y_max."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def score_points(text, doc):
    """F1 of points found within `NEAR` thousandths, and the mean distance of these."""
    found = numbers_of(text)
    if found is None or len(found) % 2:
        return {"f1": 0.0, "mean_distance": None, "unreadable": 1.0}
    scale = (1000 / doc["width"], 1000 / doc["height"]) if in_pixels() else (1, 1)
    points = [(x * scale[0], y * scale[1]) for x, y in zip(found[::2], found[1::2], strict=True)]
    labels, distances, left = json.loads(doc["answer"]), [], list(points)
    for label in labels:
        if left:
            nearest = min(left, key=lambda point: math.dist(point, label))
            if math.dist(nearest, label) <= NEAR:
                distances.append(math.dist(nearest, label))
                left.remove(nearest)
    f1 = 2 * len(distances) / (len(points) + len(labels))
    mean = sum(distances) / len(distances) if distances else None
    return {"f1": f1, "mean_distance": mean, "unreadable": 0.0}


def mean_of_known(values):
    """Mean of the values that are known; NaN when none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
