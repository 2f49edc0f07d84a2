"""The builder classes of `datasets`: they read a release as it is, mapped or streaming.

Nothing but the declaration of a dataset tells its builder from another's. So each class is made when it is first asked
for: ``Irtd``, ``IrtdInstruct`` and what else `DatasetSpec.builder_names` has are attributes of this module, by which
pickles find them, too.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
from datasets.exceptions import DatasetGenerationError

from irtd_datasets.catalog import (
    data_files_error,
    dataset_names,
    no_data_error,
    open_release,
    other_content,
    spec,
    unreleased,
)
from irtd_datasets.errors import IrtdDatasetsError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.remote.urls import full_url, is_url, without_secrets
from irtd_datasets.rows.assembly import release_groups
from irtd_datasets.rows.groups import to_table
from irtd_datasets.rows.parsing import DefectPolicy, no_rows_error
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import absolute_options, check_rounds
from irtd_datasets.schema import SCHEMA_VERSION, features
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from irtd_datasets.rows.release import Release, ReleaseOptions
    from irtd_datasets.spec import DatasetSpec

__all__ = ["ReleaseBuilder", "ReleaseConfig"]


@dataclass
class ReleaseConfig(datasets.BuilderConfig):
    """Options of `load_dataset` for a release; a dataset's settings are fields of its own class.

    Attributes:
        images: Released folder to the path of a folder, zip or tar with its images.
        visible: Released folder to the path of a folder, zip or tar with the visible partners of its images.
        on_defect: ``flag``, ``drop`` or ``error`` for rows with a label defect, or a mapping from issue code.
        rounds: ``keep`` (a record with many rounds is one row) or ``split`` (a row for each round).
    """

    images: dict[str, str] = field(default_factory=dict)
    on_defect: Any = None
    rounds: str = "keep"
    visible: dict[str, str] = field(default_factory=dict)


class ReleaseBuilder(datasets.ArrowBasedBuilder):
    """Builds from a release; ``data_dir`` is its folder or URL, by default what an environment variable names."""

    BUILDER_CONFIG_CLASS = ReleaseConfig
    SPEC: ClassVar[DatasetSpec]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        # `datasets` names the cache folder after module, config and version. Without this, two folders given by the
        # same relative name, or one folder before and after a file was added, would share their rows.
        kwargs["dataset_name"] = self.SPEC.name
        # Nor may a password of a URL get into that name, or into the config.
        given = kwargs.get("data_dir")
        self._secrets: dict[str, str] = {}
        if isinstance(given, str) and is_url(given):
            kwargs["data_dir"], self._secrets = without_secrets(given)
        if kwargs.pop("data_files", None):
            raise data_files_error(self.SPEC)
        kwargs["hash"] = self._fingerprint(kwargs)
        super().__init__(*args, **kwargs)

    @classmethod
    def data_dir_variable(cls) -> str:
        """Name of the environment variable that gives the release's folder."""
        return f"{cls.SPEC.name.upper()}_DATA_DIR"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=self.SPEC.summary,
            features=features(),
            homepage=self.SPEC.homepage,
            license=self.SPEC.licence,
            citation=self.SPEC.citation,
            version=datasets.Version(self.SPEC.version),
        )

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:  # noqa: ARG002
        release = self._open(self.config.data_dir)
        config = self.SPEC.config(self.config.name)
        DefectPolicy(self.SPEC, dict(release.options.on_defect))
        check_rounds(release.options.rounds)
        present: dict[str, list[str]] = {}
        for member in config.members:
            if release.files(member):
                present.setdefault(member.subset.split, []).append("/".join(member.key))
        if not present:
            wanted = ", ".join(dict.fromkeys(member.part.file for member in config.members))
            raise ReleaseNotFoundError(
                f"none of the annotation files of {self.config.name!r} is there ({wanted})",
                where=release.options.root,
                remedy=unreleased(self.SPEC, config.members)
                or other_content(self.SPEC.name, release.options.root)
                or f"{config.members[0].subset.available} `irtd doctor {self.SPEC.name} --release "
                f"{release.options.root}` tells what this folder has.",
            )
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"parts": parts, "total": len(parts)})
            for split, parts in present.items()
        ]

    def _generate_tables(self, parts: list[str], total: int) -> Iterator[tuple[Any, pa.Table]]:
        release = self._open(self.config.data_dir)
        policy = DefectPolicy(self.SPEC, dict(release.options.on_defect))
        members = {"/".join(member.key): member for member in self.SPEC.members}
        whole = RecordCounts()
        for position, part in enumerate(parts):
            record_counts = RecordCounts()
            for index, group in enumerate(release_groups(release, members[part], policy, record_counts)):
                yield _key(position, index), to_table(group)
            self._report(part, record_counts)
            whole.add(record_counts)
        # One of several readers may well have a part without an image; of a whole split it is a mistake, for which
        # `datasets` would say "corresponds to no data", or, streaming, nothing.
        if len(parts) == total and not whole.kept:
            raise no_rows_error(release, whole)

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        # `datasets` takes every OSError for a missing data file and raises a new one with the old one's text.
        try:
            super()._download_and_prepare(*args, **kwargs)
        except OSError as error:
            if isinstance(error.__context__, IrtdDatasetsError):
                raise error.__context__ from None
            raise

    def _prepare_split_single(self, *args: Any, **kwargs: Any) -> Iterator[Any]:  # noqa: ANN401 - passed on
        # "An error occurred while generating the dataset" hides file and record in its cause; show the cause.
        try:
            yield from super()._prepare_split_single(*args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, IrtdDatasetsError):
                raise error.__cause__ from None
            raise

    def _open(self, data_dir: str | None) -> Release:
        settings = {name: getattr(self.config, name, None) for name in self.SPEC.all_settings}
        options = self._options(
            data_dir,
            self.config.images,
            self.config.on_defect,
            settings,
            self.config.visible,
            self.storage_options,
        )
        cache = self._cache_dir_root
        if "://" not in cache:
            # Other processes that read the same release find there what one has sorted out.
            options = replace(options, scratch=str(Path(cache).absolute() / "irtd_datasets" / self.SPEC.name))
        return open_release(self.SPEC.name, replace(options, rounds=self.config.rounds))

    def _options(
        self,
        data_dir: str | None,
        images: Any,  # noqa: ANN401 - as `ReleaseConfig` has it
        on_defect: Any,  # noqa: ANN401
        settings: Mapping[str, Any],
        visible: Any,  # noqa: ANN401
        storage: Mapping[str, Any] | None,
    ) -> ReleaseOptions:
        root = data_dir or os.environ.get(self.data_dir_variable())
        if not root:
            raise no_data_error(self.SPEC)
        if data_dir and self._secrets:
            root = full_url(data_dir, self._secrets)
        given = {name: str(value) for name, value in settings.items() if value is not None}
        return absolute_options(root, images, on_defect, given, visible=visible, storage_options=storage)

    def _fingerprint(self, kwargs: dict[str, Any]) -> str:
        """Identity of code and inputs, found without listing images."""
        facts: list[object] = [__version__, SCHEMA_VERSION, self.SPEC.version, self.SPEC.name]
        try:
            settings = {name: kwargs.get(name) for name in self.SPEC.all_settings}
            places = kwargs.get("visible"), kwargs.get("storage_options")
            options = self._options(kwargs.get("data_dir"), kwargs.get("images"), None, settings, *places)
            release = open_release(self.SPEC.name, options)
            name = kwargs.get("config_name") or self.DEFAULT_CONFIG_NAME or self.SPEC.default_config
            for subset in dict.fromkeys(member.subset for member in self.SPEC.config(name).members):
                facts += release.identity(subset)
        except IrtdDatasetsError as error:
            # Without data a builder still tells its features; generating then raises what is wrong.
            facts.append(str(error))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def _report(self, where: str, record_counts: RecordCounts) -> None:
        lost = sum(record_counts.dropped.values()) + record_counts.image_missing
        if lost:
            reasons = dict(record_counts.dropped)
            if record_counts.image_missing:
                reasons["image missing"] = record_counts.image_missing
            datasets.logging.get_logger(__name__).warning(
                f"{where}: {record_counts.kept} of {record_counts.found} records kept; left out: {reasons}"
            )


def _key(shard: int, index: int) -> Any:  # noqa: ANN401 - the class exists in datasets 5 only
    key = getattr(datasets.builder, "Key", None)
    return key(shard, index) if key is not None else f"{shard}_{index}"


def __getattr__(attribute: str) -> Any:  # noqa: ANN401 - a class
    """The builder class of that name, or the class of its configs."""
    for name in () if attribute.startswith("_") else dataset_names():
        try:
            declared = spec(name)
        except UnknownNameError:
            continue  # a package of others that cannot be imported; asked for by its name, it says so
        wanted = attribute.removesuffix("Config")
        if wanted in declared.builder_names:
            made = _builder(declared, wanted) if attribute == wanted else _config_class(declared, attribute)
            return globals().setdefault(attribute, made)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def _config_class(declared: DatasetSpec, title: str) -> type[ReleaseConfig]:
    fields = [(setting, "str | None", None) for setting in declared.all_settings]
    made = make_dataclass(title, fields, bases=(ReleaseConfig,), namespace={"__module__": __name__})
    made.__doc__ = (
        f"Options of `load_dataset` for {declared.title}: those of `ReleaseConfig`, and its settings."
    )
    return made


def _builder(declared: DatasetSpec, title: str) -> type[ReleaseBuilder]:
    """The builder of all configs of a dataset, or of those of one subset or task."""
    first, prefix = next(iter(declared.builder_names)), declared.builder_names[title]
    kind = globals().get(f"{first}Config") or __getattr__(f"{first}Config")
    shown = [one for one in declared.configs if not prefix or one.name.partition("-")[0] == prefix]
    base = ReleaseBuilder if title == first else globals().get(first) or __getattr__(first)
    return type(
        title,
        (base,),
        {
            "__doc__": f"{shown[0].summary if prefix else f'All configs of {declared.title}.'}",
            "__module__": __name__,
            "SPEC": declared,
            "BUILDER_CONFIG_CLASS": kind,
            "BUILDER_CONFIGS": [
                kind(name=one.name, version=datasets.Version(declared.version), description=one.summary)
                for one in shown
            ],
            "DEFAULT_CONFIG_NAME": prefix or declared.default_config,
        },
    )


def _without_script_lock() -> None:
    """Keep `datasets` 3.x from taking our builders for loading scripts.

    For each instance it locks a file beside the package's folder, which fails where that cannot be written, and then
    patches the script's imports so that they read remote files, of which ours have none.
    """
    if not hasattr(datasets.utils.py_utils, "lock_importable_file"):
        return
    extend = datasets.builder.extend_dataset_builder_for_streaming

    def extend_others(builder: datasets.DatasetBuilder) -> None:
        if not isinstance(builder, ReleaseBuilder):
            extend(builder)

    datasets.builder.extend_dataset_builder_for_streaming = extend_others


_without_script_lock()
