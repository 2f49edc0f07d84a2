"""Loading script of IR-TD for ``datasets`` 3.x, which does not know the registered name.

``load_dataset("loaders/irtd", "instruct", data_dir="RELEASE", trust_remote_code=True)``. From ``datasets`` 4.0 on
scripts are refused; there ``import irtd_datasets`` makes ``load_dataset("irtd", ...)`` work.
"""

from irtd_datasets import builder


class Irtd(builder.Irtd):
    """All configs of IR-TD, read by the builder that the library registers."""
