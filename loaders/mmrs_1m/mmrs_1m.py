"""Loading script of MMRS-1M for ``datasets`` 3.x, which does not know the registered name.

``load_dataset("loaders/mmrs_1m", "grounding", data_dir="RELEASE", trust_remote_code=True)``. From ``datasets`` 4.0 on
scripts are refused; there ``import irtd_datasets`` makes ``load_dataset("mmrs_1m", ...)`` work.
"""

from irtd_datasets import builder


class Mmrs1M(builder.Mmrs1M):
    """All configs of MMRS-1M, read by the builder that the library registers."""
