"""Builder classes of RS-GPT4V: `RsGpt4v` has every config, the class of a split or task would add nothing."""

from __future__ import annotations

from dataclasses import dataclass

from irtd_datasets.builder import ReleaseBuilder, ReleaseConfig, builder_configs
from irtd_datasets.rs_gpt4v.release import RsGpt4vRelease
from irtd_datasets.rs_gpt4v.spec import SPEC

__all__ = ["RsGpt4v", "RsGpt4vConfig"]


@dataclass
class RsGpt4vConfig(ReleaseConfig):
    """Options of `load_dataset` for this release.

    Attributes:
        frame: Frame of the boxes of files for which the frame check cannot tell.
        derivatives: ``read`` to read files that others made.
    """

    frame: str | None = None
    derivatives: str | None = None


class RsGpt4v(ReleaseBuilder):
    """All configs of RS-GPT4V."""

    SPEC = SPEC
    OPEN = RsGpt4vRelease
    BUILDER_CONFIG_CLASS = RsGpt4vConfig
    BUILDER_CONFIGS = builder_configs(SPEC, kind=RsGpt4vConfig)
    DEFAULT_CONFIG_NAME = SPEC.default_config


DEFAULT_BUILDER = RsGpt4v
