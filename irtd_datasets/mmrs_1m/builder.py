"""Builder classes of MMRS-1M.

`Mmrs1M` has every config and is what the name ``mmrs_1m`` stands for; the class of a task has that task's configs only.
They are one class with different config lists: what differs between tasks is which rows of a table they cover.
"""

from __future__ import annotations

from irtd_datasets.builder import ReleaseBuilder, ReleaseConfig, builder_configs
from irtd_datasets.mmrs_1m.release import MmrsRelease
from irtd_datasets.mmrs_1m.spec import SPEC

__all__ = [
    "Mmrs1M",
    "Mmrs1MCaptioning",
    "Mmrs1MClassification",
    "Mmrs1MDetection",
    "Mmrs1MGrounding",
    "Mmrs1MRegionCaptioning",
    "Mmrs1MVqa",
]


def _configs(task: str) -> list[ReleaseConfig]:
    return [config for config in builder_configs(SPEC) if config.name.partition("-")[0] == task]


class Mmrs1M(ReleaseBuilder):
    """All configs of MMRS-1M."""

    SPEC = SPEC
    OPEN = MmrsRelease
    BUILDER_CONFIGS = builder_configs(SPEC)
    DEFAULT_CONFIG_NAME = SPEC.default_config


class Mmrs1MClassification(Mmrs1M):
    """Scene and ship classes."""

    BUILDER_CONFIGS = _configs("classification")
    DEFAULT_CONFIG_NAME = "classification"


class Mmrs1MCaptioning(Mmrs1M):
    """Captions of whole images."""

    BUILDER_CONFIGS = _configs("captioning")
    DEFAULT_CONFIG_NAME = "captioning"


class Mmrs1MRegionCaptioning(Mmrs1M):
    """Phrases for given boxes."""

    BUILDER_CONFIGS = _configs("region_captioning")
    DEFAULT_CONFIG_NAME = "region_captioning"


class Mmrs1MVqa(Mmrs1M):
    """Questions and short answers."""

    BUILDER_CONFIGS = _configs("vqa")
    DEFAULT_CONFIG_NAME = "vqa"


class Mmrs1MGrounding(Mmrs1M):
    """Boxes of what phrases describe."""

    BUILDER_CONFIGS = _configs("grounding")
    DEFAULT_CONFIG_NAME = "grounding"


class Mmrs1MDetection(Mmrs1M):
    """Boxes of objects: ``detection`` and ``detection-<modality>``."""

    BUILDER_CONFIGS = _configs("detection")
    DEFAULT_CONFIG_NAME = "detection"


DEFAULT_BUILDER = Mmrs1M
