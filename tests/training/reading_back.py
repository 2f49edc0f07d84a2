"""Reads exports back with regular expressions and formulas of its own: nothing here uses the package."""

import json
import math
import re

from PIL import Image

NUMBER = r"(-?\d+(?:\.\d+)?)"
LIST = re.compile(r"\[((?:-?\d+(?:\.\d+)?)(?:, -?\d+(?:\.\d+)?)+)\]")
QWEN2 = re.compile(r"<\|box_start\|>((?:\(\d+,\d+\),?)+)<\|box_end\|>")
LOC = re.compile(r"(?:<loc\d{4}>)+")


def numbers(text, target):
    """Every place of a text as a flat list of numbers, x first, in the order of the text."""
    if target == "qwen2-vl":
        found = [[float(n) for n in re.findall(r"\d+", match)] for match in QWEN2.findall(text)]
        return found + plain(QWEN2.sub("", text))
    if target == "paligemma":
        places = []
        for match in LOC.findall(text):
            ys_xs = [float(n) for n in re.findall(r"\d{4}", match)]
            places.append([value for y, x in zip(ys_xs[::2], ys_xs[1::2], strict=True) for value in (x, y)])
        return places
    return plain(text)


def plain(text):
    return [[float(n) for n in match.split(", ")] for match in LIST.findall(text)]


def resized(width, height, least=3136, most=12845056):
    """Width and height after the resize of Qwen2.5-VL, written down a second time."""
    w, h = max(28, round(width / 28) * 28), max(28, round(height / 28) * 28)
    if w * h > most:
        scale = math.sqrt(width * height / most)
        return 28 * int(width / scale / 28), 28 * int(height / scale / 28)
    if w * h < least:
        scale = math.sqrt(least / (width * height))
        return 28 * math.ceil(width * scale / 28), 28 * math.ceil(height * scale / 28)
    return w, h


def to_pixels(values, target, width, height):
    """Numbers of a target as pixels of the image."""
    if target == "llava":
        side = max(width, height)
        pads = ((side - width) // 2, (side - height) // 2)
        return [value * side - pads[i % 2] for i, value in enumerate(values)]
    if target == "qwen2.5-vl":
        new = resized(width, height)
        return [value * (width, height)[i % 2] / new[i % 2] for i, value in enumerate(values)]
    base = 1023 if target == "paligemma" else 1000
    return [value * (width, height)[i % 2] / base for i, value in enumerate(values)]


def bound(target, width, height):
    """Pixels by which rounding can move a coordinate, at most."""
    side = max(width, height)
    if target == "llava":
        return 0.0005 * side
    if target == "qwen2.5-vl":  # and one pixel less at the right and lower edge
        new = resized(width, height)
        return 1.5 * max(width / new[0], height / new[1])
    return 0.5 * side / (1023 if target == "paligemma" else 1000)


def conversations(out, split="train"):
    """Each record of an export in LLaVA's form: id, image's path, texts, width and height of the image file."""
    for line in (out / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        path = out / record["image"]
        with Image.open(path) as image:
            yield record, path, image.size


def json_places(text):
    """The JSON lists of the newer Qwen models."""
    return [entry for match in re.findall(r"\[\{.*?\}\]", text) for entry in json.loads(match)]
