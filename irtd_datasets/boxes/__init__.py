"""Boxes that know their frame: conversion, boxes inside text, and the check that finds a wrong frame."""

from irtd_datasets.boxes.frames import (
    Boxes,
    Frame,
    convert,
    find_outside,
    pad_and_normalize,
    rounding_bound,
    undo_pad_and_normalize,
)

__all__ = [
    "Boxes",
    "Frame",
    "convert",
    "find_outside",
    "pad_and_normalize",
    "rounding_bound",
    "undo_pad_and_normalize",
]
