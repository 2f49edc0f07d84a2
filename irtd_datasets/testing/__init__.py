"""Sample releases for tests and demonstrations: small, seeded, with layouts and defects of the real ones.

A training script or a loader can be tried without any data::

    from irtd_datasets.testing import write_sample_release

    sample = write_sample_release("irtd", "sample", rows=200)
    sample.images[sample.record("json_sft/Location.json", "0").image].objects   # what is really there

`assert_stream_exact` proves of any loader that it gives each row exactly once.

Nothing here is real data, and every sample says so in its ``SAMPLE_RELEASE.txt``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import dataset_names, module_of, spec
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.rows.plain import PlainRelease
from irtd_datasets.testing.damage import Damage, DamageKind, damage
from irtd_datasets.testing.exact import StreamCheck, assert_stream_exact
from irtd_datasets.testing.irtd_release import IRTD_DEFECTS, Layout, write_irtd_sample
from irtd_datasets.testing.mmrs_release import MMRS_DEFECTS, write_mmrs_sample
from irtd_datasets.testing.plain_release import write_plain_sample
from irtd_datasets.testing.rs_gpt4v_release import RS_GPT4V_DEFECTS, write_rs_gpt4v_sample
from irtd_datasets.testing.samples import (
    MARKER,
    PlantedDefect,
    SampleImage,
    SampleObject,
    SampleRecord,
    SampleRelease,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "IRTD_DEFECTS",
    "MARKER",
    "MMRS_DEFECTS",
    "RS_GPT4V_DEFECTS",
    "Damage",
    "DamageKind",
    "Layout",
    "PlantedDefect",
    "SampleImage",
    "SampleObject",
    "SampleRecord",
    "SampleRelease",
    "StreamCheck",
    "assert_stream_exact",
    "damage",
    "register_sample_writer",
    "sample_names",
    "write_irtd_sample",
    "write_mmrs_sample",
    "write_plain_sample",
    "write_rs_gpt4v_sample",
    "write_sample_release",
]

SampleWriter = Callable[..., SampleRelease]

_WRITERS: dict[str, SampleWriter] = {
    "irtd": write_irtd_sample,
    "mmrs_1m": write_mmrs_sample,
    "rs_gpt4v": write_rs_gpt4v_sample,
}


def register_sample_writer(name: str, writer: SampleWriter) -> None:
    """Make a writer known to `write_sample_release` under the name of its dataset.

    Args:
        name: Name of the dataset.
        writer: Called as ``writer(folder, rows=…, seed=…, form=…, **options)``.
    """
    _WRITERS[name] = writer


def sample_names() -> tuple[str, ...]:
    """Return the names of the datasets of which a sample can be written.

    Example:
        >>> "irtd" in sample_names()
        True
    """
    return tuple(sorted({*_WRITERS, *(name for name in dataset_names() if _writer(name) is not None)}))


def _writer(name: str) -> SampleWriter | None:
    """The writer of a dataset: one registered here, one of its own package, or that of plain releases."""
    if name in _WRITERS or name not in dataset_names():
        return _WRITERS.get(name)
    own = module_of(name, "sample")
    if own is not None:
        return own.write_sample  # type: ignore[no-any-return]
    release = module_of(name, "release")
    plain = release is None or any(
        isinstance(one, type) and issubclass(one, PlainRelease) for one in vars(release).values()
    )
    return partial(write_plain_sample, spec(name)) if plain else None


def write_sample_release(
    name: str,
    folder: str | Path,
    *,
    rows: int = 200,
    seed: int = 0,
    form: str = "zip",
    **options: Any,  # noqa: ANN401 - passed on to the writer, which declares them
) -> SampleRelease:
    """Write a seeded sample release of a dataset.

    Args:
        name: Name of the dataset, such as ``irtd``.
        folder: New or empty folder.
        rows: Records in all, at least a few of each task.
        seed: The same arguments give byte-identical files on the same versions of Pillow, NumPy and zlib.
        form: ``zip`` for archives as released, ``folder`` for the unpacked form.
        options: What the writer of this dataset takes besides, see `write_irtd_sample`.

    Returns:
        What was written, with the truth about every image.

    Raises:
        UnknownNameError: There is no sample of that name.
        BuildError: The folder is not empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_sample_release("irtd", folder, rows=60, images=False, captions=0)
        >>> record = sample.records["json_sft/AerialCounting.json"][0]
        >>> record.answer, len(sample.images[record.image].objects)
        ('<num>0</num>', 0)
    """
    writer = _writer(name)
    if writer is None:
        raise UnknownNameError(f"no sample release {name!r}", remedy=f"Known: {', '.join(sample_names())}.")
    return writer(folder, rows=rows, seed=seed, form=form, **options)
