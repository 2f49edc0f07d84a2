"""Builder classes of IR-TD.

`Irtd` has every config and is what the name ``irtd`` stands for. The class of one subset has the same configs of that
subset only. They are one class with different config lists because the subsets differ in their declaration alone: how a
record is read depends on its task, and that is a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.builder import ReleaseBuilder, builder_configs
from irtd_datasets.irtd.release import IrtdRelease, open_release
from irtd_datasets.irtd.spec import SPEC

if TYPE_CHECKING:
    from irtd_datasets.rows.release import Release, ReleaseOptions

__all__ = ["Irtd", "IrtdBenchmark", "IrtdInstruct", "IrtdPretrain"]


class Irtd(ReleaseBuilder):
    """All configs of IR-TD."""

    SPEC = SPEC
    OPEN = IrtdRelease
    BUILDER_CONFIGS = builder_configs(SPEC)
    DEFAULT_CONFIG_NAME = SPEC.default_config

    @classmethod
    def open_release(cls, options: ReleaseOptions) -> Release:
        """Open a release, or records that were constructed in its form."""
        return open_release(options)


class IrtdPretrain(Irtd):
    """The captions."""

    BUILDER_CONFIGS = builder_configs(SPEC, "pretrain")
    DEFAULT_CONFIG_NAME = "pretrain"


class IrtdInstruct(Irtd):
    """The instruction records: ``instruct`` and ``instruct-<task>``."""

    BUILDER_CONFIGS = builder_configs(SPEC, "instruct")
    DEFAULT_CONFIG_NAME = "instruct"


class IrtdBenchmark(Irtd):
    """The test set: ``benchmark`` and ``benchmark-<task>``."""

    BUILDER_CONFIGS = builder_configs(SPEC, "benchmark")
    DEFAULT_CONFIG_NAME = "benchmark"


DEFAULT_BUILDER = Irtd
