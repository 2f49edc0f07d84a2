"""Boxes that know their frame: conversion, boxes inside text, and the check that finds a wrong frame."""

from irtd_datasets.boxes.check import FrameReport, check_frames
from irtd_datasets.boxes.frames import (
    Boxes,
    Frame,
    convert,
    find_outside,
    pad_and_normalize,
    rounding_bound,
    undo_pad_and_normalize,
)
from irtd_datasets.boxes.rewriting import rewrite_boxes, rewrite_text
from irtd_datasets.boxes.text import merge_rounds, parse_boxes

__all__ = [
    "Boxes",
    "Frame",
    "FrameReport",
    "check_frames",
    "convert",
    "find_outside",
    "merge_rounds",
    "pad_and_normalize",
    "parse_boxes",
    "rewrite_boxes",
    "rewrite_text",
    "rounding_bound",
    "undo_pad_and_normalize",
]
