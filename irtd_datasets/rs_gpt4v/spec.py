"""RS-GPT4V as far as it is known: splits, tasks, published totals, terms.

The totals are those of the public benchmark card of RS-GPT4V; its README names the components. No record, file name or
folder of the release is publicly documented, so nothing here says where a record lies: see `survey`. Scene
classification is not one of the tasks.
"""

from __future__ import annotations

from irtd_datasets.spec import config_per_task, issues_from_table, spec_from_tables

__all__ = ["PUBLISHED", "SPEC"]

PUBLISHED = {"train": (991_206, 91_937), "test": (258_419, 15_999)}
"""Question-answer rounds and images of each split. Rounds are not records: a record can hold several."""

SPEC = spec_from_tables(
    "irtd_datasets.rs_gpt4v",
    name="rs_gpt4v",
    title="RS-GPT4V",
    version="1.0.0",
    release_notes={
        "1.0.0": "First version: LLaVA-style and question forms, frame of the boxes checked by file."
    },
    modality="optical",
    summary="Instructions for remote-sensing images: ten optical datasets rewritten and extended with GPT-4V.",
    paper="https://arxiv.org/abs/2406.12479",
    homepage="https://github.com/GeoX-Lab/RS-GPT4V",
    licence="Apache-2.0 for the repository; images and texts keep the terms of their components.",
    licence_id="other",
    terms=(
        "Several of the ten components are for non-commercial use only. Texts by GPT-4V fall under the terms of "
        "its provider. No right to redistribute is stated by anybody."
    ),
    obtain=(
        "Baidu Netdisk, share 1Fz0KDpgp-_33BN8XTyQlBQ, password 5jny (issue 2 of the repository, 2024-11-06).",
        "The OneDrive link of the README does not open.",
        "Unpack everything into one folder and give that folder; no name in it is expected.",
        "What others made of it (RS-GPT4V_EarthGPT.json of LISAt, PreGRES) is not RS-GPT4V and is refused as such.",
    ),
    not_released=("infrared and SAR versions, which the authors announced", "code and weights"),
    citation=(
        "@article{xu2024rsgpt4v,\n"
        "  title={RS-GPT4V: A Unified Multimodal Instruction-Following Dataset for Remote Sensing Image "
        "Understanding},\n"
        "  author={Xu, Linrui and Zhao, Ling and Guo, Wang and Li, Qiujun and Long, Kewang and Zou, Kaiqi and "
        "Wang, Yuhan and Li, Haifeng},\n"
        "  journal={arXiv preprint arXiv:2406.12479},\n"
        "  year={2024}\n"
        "}"
    ),
    configs=config_per_task,
    issues=issues_from_table("irtd_datasets.rs_gpt4v"),
    default_config="default",
    settings={
        "frame": "Frame of the boxes where the frame check of a file cannot tell, such as square_unit or unit; "
        "for one file alone FILE=FRAME.",
        "derivatives": "`read` to read files that others made from RS-GPT4V and more; by default they are refused.",
    },
    builders={"RsGpt4v": ""},
)
