"""MMRS-1M as it was released: the 35 rows of the paper's Table I, configs, terms.

What is typed here and in ``components.csv`` was taken from the paper (arXiv 2401.16822v3, Table I), its repository and
public readers of the release; rounds are the paper's, records are given where they are known to the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from irtd_datasets.spec import (
    ConfigSpec,
    DatasetSpec,
    PartSpec,
    SubsetSpec,
    issues_from_table,
    places_from_table,
    read_table,
    terms_from_table,
)

__all__ = [
    "COMPONENTS",
    "DECIMALS",
    "SPEC",
    "Component",
    "component",
    "constructed_component",
    "constructed_part",
]

DECIMALS = 2
"""Digits behind the point of every coordinate in the released texts."""


@dataclass(frozen=True, slots=True)
class Component:
    """One row of Table I.

    Attributes:
        part: Name of its folder in a built dataset, and in ids.
        title: Its name in Table I, spelling slips included.
        upstream: What its authors call it.
        task: Name from the task vocabulary.
        modality: Kind of sensor; nothing else decides it.
        rounds: Rounds that Table I counts.
        records: Records in the release, where that is known.
        directories: Folders of its images as released, below ``data/``.
        json: Patterns of its annotation files below ``data/json/``, in small letters.
        annotation: What a reader of a ledger knows its annotation as.
        boxes: Kinds of boxes in its text.
        image_size: Width and height of each of its images, where they must be alike.
        caveats: Codes of the issue table that concern all of its records.
        used: What of the upstream set was taken, as far as it is known.
    """

    part: str
    title: str
    upstream: str
    task: str
    modality: str
    rounds: int
    records: int | None
    directories: tuple[str, ...]
    json: tuple[str, ...]
    annotation: str
    boxes: str
    image_size: tuple[int, int] | None
    caveats: tuple[str, ...]
    used: str


def _component(row: dict[str, str]) -> Component:
    width, _, height = row["image_size"].partition("x")
    read: dict[str, Any] = {
        "rounds": int(row["rounds"]),
        "records": int(row["records"]) if row["records"] else None,
        "directories": tuple(row["directories"].split("|")),
        "json": tuple(row["json"].split("|")),
        "image_size": (int(width), int(height)) if width else None,
        "caveats": tuple(filter(None, row["caveats"].split("|"))),
    }
    return Component(**{**row, **read})


COMPONENTS = tuple(_component(row) for row in read_table("irtd_datasets.mmrs_1m", "components.csv"))
"""The rows of Table I, in its order."""

_BY_PART = {one.part: one for one in COMPONENTS}


def component(part: str) -> Component:
    """The component whose folder is called ``part``.

    Example:
        >>> component("hit_uav").modality, component("hit_uav").rounds
        ('infrared', 10608)
    """
    return _BY_PART[part]


def constructed_part(split: str, task: str, modality: str) -> str:
    """The part for constructed records that are no training data of the components; detection has one a modality.

    Example:
        >>> constructed_part("train", "detection", "sar"), constructed_part("test", "vqa", "optical")
        ('constructed_detection_sar', 'test_vqa')
    """
    first = "test" if split == "test" else "constructed"
    return f"{first}_{task}_{modality}" if task == "detection" else f"{first}_{task}"


def constructed_component(part: PartSpec, source: str, modality: str) -> Component:
    """What a row of Table I would say of a source whose records were constructed."""
    return Component(
        part.name, source, source, part.task, modality, 0, None, (), (), part.file, "", None, (), ""
    )


def _constructed(split: str) -> tuple[PartSpec, ...]:
    kinds = [
        (task, modality)
        for task in dict.fromkeys(one.task for one in COMPONENTS)
        for modality in (("optical", "infrared", "sar") if task == "detection" else ("optical",))
    ]
    return tuple(
        PartSpec(name, task, f"{name}.json", None, (), "Constructed records", modality, public=False)
        for task, modality in kinds
        for name in (constructed_part(split, task, modality),)
    )


_SUBSET = SubsetSpec(
    "train",
    "train",
    (
        *(
            PartSpec(
                one.part,
                one.task,
                one.annotation,
                one.records,
                one.directories,
                one.title,
                one.modality,
                rounds=one.rounds,
            )
            for one in COMPONENTS
        ),
        *_constructed("train"),
    ),
    "by-image",
    "Rule-made conversations about remote sensing images of 34 source sets.",
    "Images and text, as a folder `data` (Baidu, OneDrive) or as one gzip tar cut into pieces (a mirror on the Hub).",
)
_TEST = SubsetSpec(
    "test",
    "test",
    _constructed("test"),
    "by-image",
    "Evaluation records, constructed from what the source sets keep for testing.",
    "Not released: `irtd construct mmrs_1m --split test` makes such records from source sets.",
)


def _config(name: str, summary: str, task: str | None = None, modality: str | None = None) -> ConfigSpec:
    members = tuple(
        member
        for subset in (_SUBSET, _TEST)
        for member in subset.members
        if task in (None, member.part.task) and modality in (None, member.part.modality)
    )
    return ConfigSpec(name, members, summary)


SPEC = DatasetSpec(
    name="mmrs_1m",
    title="MMRS-1M",
    version="1.0.0",
    release_notes={"1.0.0": "First version: the full release of 2024-10-21."},
    modality="optical",
    summary="Conversations about optical, SAR and infrared remote sensing images, of the EarthGPT paper.",
    paper="https://arxiv.org/abs/2401.16822",
    homepage="https://github.com/wivizhang/EarthGPT",
    licence="No licence is stated by anybody: neither in the paper, nor in the repository, nor on the mirror.",
    licence_id="other",
    terms=(
        "Every source set keeps its own terms, and they differ: DIOR, NWPU-RESISC45 and NWPU VHR-10 are CC-BY-NC-4.0, "
        "FAIR1M is CC-BY-NC-SA-3.0, DOTA is for academic use, EuroSAT is MIT, UC Merced is public domain; the others "
        "are not known. No right to redistribute is stated by anybody."
    ),
    obtain=(
        "The folder `data` (124 GB): Baidu Netdisk or OneDrive, links in the repository's README.",
        (
            "data.tar.gz.0 ... data.tar.gz.6: a third party's mirror on the Hub. Leave the pieces as they are, "
            "in one folder; they are read as the one gzip tar that they were cut from."
        ),
    ),
    not_released=(
        "a test part: the whole release is training data",
        "width and height of the images, which the boxes need; they are read from the images",
        "the code that made the conversations",
    ),
    citation=(
        "@article{zhang2024earthgpt,\n"
        "  title={EarthGPT: A Universal Multimodal Large Language Model for Multisensor Image Comprehension in Remote "
        "Sensing Domain},\n"
        "  author={Zhang, Wei and Cai, Miaoxin and Zhang, Tong and Zhuang, Yin and Mao, Xuerui},\n"
        "  journal={IEEE Transactions on Geoscience and Remote Sensing},\n"
        "  year={2024}\n"
        "}"
    ),
    subsets=(_SUBSET, _TEST),
    configs=(
        _config("default", "Everything."),
        _config("classification", "Scene and ship classes.", "classification"),
        _config("captioning", "Captions of whole images.", "captioning"),
        _config("region_captioning", "A phrase for a given box.", "region_captioning"),
        _config("vqa", "Questions with a word, phrase or number as answer.", "vqa"),
        _config("grounding", "The box of what a phrase describes.", "grounding"),
        _config("detection", "All boxes of all or of one class.", "detection"),
        _config("detection-optical", "Detection in optical images.", "detection", "optical"),
        _config("detection-infrared", "Detection in infrared images.", "detection", "infrared"),
        _config("detection-sar", "Detection in SAR images.", "detection", "sar"),
    ),
    issues=issues_from_table("irtd_datasets.mmrs_1m"),
    source_terms=terms_from_table("irtd_datasets.mmrs_1m"),
    places=places_from_table("irtd_datasets.mmrs_1m"),
    default_config="default",
    builders={
        "Mmrs1M": "",
        "Mmrs1MClassification": "classification",
        "Mmrs1MCaptioning": "captioning",
        "Mmrs1MRegionCaptioning": "region_captioning",
        "Mmrs1MVqa": "vqa",
        "Mmrs1MGrounding": "grounding",
        "Mmrs1MDetection": "detection",
    },
)
