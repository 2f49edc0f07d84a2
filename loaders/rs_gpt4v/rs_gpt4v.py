"""Loading script of RS-GPT4V for ``datasets`` 3.x, which does not know the registered name.

``load_dataset("loaders/rs_gpt4v", "default", data_dir="RELEASE", trust_remote_code=True)``. From ``datasets`` 4.0 on
scripts are refused; there ``import irtd_datasets`` makes ``load_dataset("rs_gpt4v", ...)`` work.
"""

from irtd_datasets import builder


class RsGpt4v(builder.RsGpt4v):
    """All configs of RS-GPT4V, read by the builder that the library registers."""
