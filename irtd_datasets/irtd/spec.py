"""IR-TD as it was released: subsets, files, counts, terms.

Counts were measured on ``json_sft.zip`` (833,653 bytes, repository commit e945a81); the caption count is the paper's
(section 3.2) and that of the public reading of ``new_relative.json``.
"""

from __future__ import annotations

from irtd_datasets.spec import issues_from_table, spec_from_tables

__all__ = ["AUTHORS_PREFIX", "CONSTRUCTED", "FRAME_SIZE", "SPEC"]

AUTHORS_PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"
"""Constant absolute prefix of every path in json_sft; cut off on reading."""

FRAME_SIZE = (640, 512)
"""Width and height that Grounding pixels refer to: the thermal frames of FLIR ADAS v1."""

CONSTRUCTED = "constructed.json"
"""The file that tells a folder of constructed records from a release."""

SPEC = spec_from_tables(
    "irtd_datasets.irtd",
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
    issues=issues_from_table("irtd_datasets.irtd"),
    default_config="instruct",
    builders={
        "Irtd": "",
        "IrtdPretrain": "pretrain",
        "IrtdInstruct": "instruct",
        "IrtdBenchmark": "benchmark",
    },
    constructs=("benchmark", "instruct", "pretrain"),
)
