"""MMRS-1M through `datasets`: the raw release and the built folder give the same rows in the same order."""

from __future__ import annotations

import datasets
import pytest
from mmrs_helpers import build_rows

import irtd_datasets
from irtd_datasets.testing import write_sample_release


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_release_and_folder_give_the_same_rows(tmp_path, form):
    """Mapped, streamed and built, a config has the same rows, images included, in the same order."""
    sample = write_sample_release("mmrs_1m", tmp_path / "release", rows=40, form=form)
    report, _ = build_rows(sample.folder, tmp_path / "built", "detection-sar", "region_captioning")
    cache = str(tmp_path / "cache")
    for config in ("detection-sar", "region_captioning"):
        raw = {"data_dir": str(sample.folder), "split": "train", "cache_dir": cache}
        mapped = datasets.load_dataset("mmrs_1m", config, **raw)
        streamed = list(datasets.load_dataset("mmrs_1m", config, streaming=True, **raw))
        built = datasets.load_dataset(str(report.folder), config, split="train", cache_dir=cache)
        assert mapped.features == built.features
        undecoded = [one.cast_column("image", datasets.Image(decode=False)) for one in (mapped, built)]
        assert list(undecoded[0]) == list(undecoded[1])
        assert [row["id"] for row in streamed] == built["id"][:]
        assert streamed[0]["image"].size == (streamed[0]["width"], streamed[0]["height"])


def test_split_rounds_through_datasets(tmp_path):
    """``rounds`` is an option of `load_dataset`, with a cache entry of its own."""
    sample = write_sample_release("mmrs_1m", tmp_path / "release", rows=40, form="folder", traps=False)
    options = {"data_dir": sample.folder, "split": "train", "cache_dir": str(tmp_path / "cache")}
    kept = irtd_datasets.load_dataset("mmrs_1m", "captioning", **options)
    split = irtd_datasets.load_dataset("mmrs_1m", "captioning", rounds="split", **options)
    assert len(split) == sum(len(row["messages"]) // 2 for row in kept) > len(kept)
    assert {len(row["messages"]) for row in split} == {2}


def test_builder_classes():
    """The class of a task has that task's configs, the main class has all."""
    assert len(irtd_datasets.Mmrs1M.BUILDER_CONFIGS) == 10
    names = [config.name for config in irtd_datasets.Mmrs1MDetection.BUILDER_CONFIGS]
    assert names == ["detection", "detection-optical", "detection-infrared", "detection-sar"]
    for task in ("Classification", "Captioning", "RegionCaptioning", "Vqa", "Grounding"):
        builder = getattr(irtd_datasets, f"Mmrs1M{task}")
        assert [config.name for config in builder.BUILDER_CONFIGS] == [builder.DEFAULT_CONFIG_NAME]
