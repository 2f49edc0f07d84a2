"""IR-TD as it was released: subsets, files, counts, terms.

Counts were measured on ``json_sft.zip`` (833,653 bytes, repository commit e945a81); the caption count is the paper's
(section 3.2) and that of the public reading of ``new_relative.json``.
"""

from __future__ import annotations

from irtd_datasets.spec import (
    DatasetSpec,
    PartSpec,
    SubsetSpec,
    config_per_subset_and_part,
    issues_from_table,
    terms_from_table,
)

__all__ = ["AUTHORS_PREFIX", "CONSTRUCTED", "FRAME_SIZE", "SPEC"]

AUTHORS_PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"
"""Constant absolute prefix of every path in json_sft; cut off on reading."""

FRAME_SIZE = (640, 512)
"""Width and height that Grounding pixels refer to: the thermal frames of FLIR ADAS v1."""

CONSTRUCTED = "constructed.json"
"""The file that tells a folder of constructed records from a release."""

_FLIR = ("63-FLIR_ADAS/training/PreviewData",)


def _part(task: str, file: str, records: int | None, image_dirs: tuple[str, ...], title: str) -> PartSpec:
    return PartSpec(task, task, file, records, image_dirs, title, "infrared", public=records is not None)


_LSOTB = tuple(f"6-LSOTB-TIR/Training_Dataset/TrainingData/TIR_training_00{part}" for part in (1, 2, 3))
_REID = (
    "53-LLCM/train",
    "53-LLCM/valid",
    "55-SYSU-MM01/train1",
    "55-SYSU-MM01/train2",
    "54-RegDB/train",
    "56-ThermalWorld/train",
)

_INSTRUCT = (
    _part("recognition", "Recognition.json", 3705, _LSOTB, "Recognition"),
    _part("grounding", "Detection.json", 2789, _FLIR, "Grounding"),
    _part("location", "Location.json", 14979, _FLIR, "Location"),
    _part("relationship", "Relationship.json", 5205, _FLIR, "Relationship"),
    _part("reid", "ReID.json", 3733, _REID, "Re-ID"),
    _part("security", "Security.json", 7859, _FLIR, "Security"),
    _part("aerial_counting", "AerialCounting.json", 900, ("4-VEDAI/train/trainimgr",), "Aerial Counting"),
    _part(
        "pedestrian_counting",
        "PedestrianCounting.json",
        1030,
        ("23-RGBTCrowdCounting/train",),
        "Pedestrian Counting",
    ),
)

_BENCHMARK = (
    _part("scene", "Scene.json", None, (), "Scene"),
    *(_part(part.task, part.file, None, (), part.title) for part in _INSTRUCT),
)

_SUBSETS = (
    SubsetSpec(
        "pretrain",
        "train",
        (
            _part("captioning", "new_relative.json", 84284, (), "Captioning"),
            PartSpec(
                "model_captions",
                "captioning",
                "ModelCaptions.json",
                None,
                (),
                "Captions by a model",
                "infrared",
                public=False,
            ),
            PartSpec(
                "rule_captions",
                "captioning",
                "RuleCaptions.json",
                None,
                (),
                "Captions by rule",
                "infrared",
                public=False,
            ),
        ),
        "as-released",
        "Infrared images with a caption that a language model wrote for their visible partner.",
        "84,284 captions with their images; about 106K rule-made captions were never released: `irtd construct irtd "
        "pretrain` makes such from source sets, and with `--captions llm` captions by a model of your own.",
    ),
    SubsetSpec(
        "instruct",
        "train",
        _INSTRUCT,
        "by-image",
        "Template-made questions and answers for eight tasks.",
        "The text of all 40,200 records; images come from the source sets.",
    ),
    SubsetSpec(
        "benchmark",
        "test",
        _BENCHMARK,
        "as-released",
        "The nine-task test set.",
        "Not released: `irtd construct irtd benchmark` makes one from source sets; read from a folder `benchmark` in "
        "the form of json_sft where somebody has it.",
    ),
)

SPEC = DatasetSpec(
    name="irtd",
    title="IR-TD",
    version="1.0.0",
    release_notes={"1.0.0": "First version: json_sft of 2025-10-16, captions of 2025-07-25."},
    modality="infrared",
    summary="Infrared image-text data of the IRGPT paper: captions, instructions and a nine-task benchmark.",
    paper="https://arxiv.org/abs/2507.14449",
    homepage="https://github.com/WheatCao/ICCV2025-IRGPT",
    licence="No licence file. README: academic research use only; commercial use is prohibited.",
    licence_id="other",
    terms=(
        "Every source set keeps its own terms. FLIR ADAS terms restrict redistribution; the Re-ID sets show people and "
        "need signed agreements. No right to redistribute is stated by anybody."
    ),
    obtain=(
        "json_sft.zip (text of instruct): in the repository, folder json_sft.",
        (
            "Images of instruct: from their source sets, by the repository's json_sft/dataset.md; give their place "
            "with --images or put them under the release by their project folder."
        ),
        "reid_datasets.zip (Re-ID mosaics): Baidu Netdisk, link in the repository's README.",
        (
            "new_relative.json and IR-TD-version250724.tar.gz* (captions with images, 5 parts, 8.4 GB): Google Drive "
            "or Baidu Netdisk, links in the README."
        ),
    ),
    not_released=(
        "the nine-task benchmark (37K rows)",
        "all data of the Scene task",
        "about 106K rule-made captions",
        "the instruction texts written by a language model",
        "the visible partner of every infrared image",
    ),
    citation=(
        "@inproceedings{cao2025irgpt,\n"
        "  title={IRGPT: Understanding Real-world Infrared Image with Bi-cross-modal Curriculum on Large-scale "
        "Benchmark},\n"
        "  author={Cao, Zhe and Zhang, Jin and Zhang, Ruiheng},\n"
        "  booktitle={ICCV},\n"
        "  year={2025}\n"
        "}"
    ),
    subsets=_SUBSETS,
    configs=config_per_subset_and_part(_SUBSETS),
    issues=issues_from_table("irtd_datasets.irtd"),
    source_terms=terms_from_table("irtd_datasets.irtd"),
    default_config="instruct",
    builders={
        "Irtd": "",
        "IrtdPretrain": "pretrain",
        "IrtdInstruct": "instruct",
        "IrtdBenchmark": "benchmark",
    },
    constructs=("benchmark", "pretrain"),
)
