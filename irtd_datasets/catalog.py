"""The datasets by name, and how ``datasets.load_dataset`` comes to know them.

A dataset is a package with a module ``spec`` whose `SPEC` declares it: a folder of this library, or a package of its
own that an entry point of the group ``irtd_datasets.datasets`` names, as in its pyproject.toml::

    [project.entry-points."irtd_datasets.datasets"]
    foors = "foors"

Where it has a module ``release``, that module's ``open_release`` reads it; else
`irtd_datasets.rows.plain.PlainRelease` does.

``datasets`` has no entry point for builders: it looks a name up in a table of packaged modules, and then lists
``data_dir`` (or, without one, the current folder) before it makes the builder; with 100,000 files that takes minutes.
So the names are put into that table, and the factory that would list the folder is replaced by one that does not, for
our names only. Nothing here happens before ``datasets`` itself is imported: a command line or a worker process that
never needs it does not pay for it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import os
import sys
import warnings
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import IrtdDatasetsError, ReleaseNotFoundError, UnknownNameError, did_you_mean
from irtd_datasets.folder.names import CARD, MANIFEST, STAGING
from irtd_datasets.remote.urls import is_url
from irtd_datasets.spec import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec

    import datasets

    from irtd_datasets.rows.release import Release, ReleaseOptions
    from irtd_datasets.spec import Member

__all__ = [
    "DATASETS",
    "ENTRY_POINTS",
    "builder_class",
    "dataset_names",
    "load_dataset",
    "module_of",
    "open_release",
    "other_content",
    "package_of",
    "register",
    "release_in",
    "spec",
    "unreleased",
]

DATASETS = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/spec.py")))
"""Names of the datasets of this library: its folders with a module ``spec``."""

ENTRY_POINTS = "irtd_datasets.datasets"
"""Group of the entry points by which packages of others add theirs: name of the dataset to package."""

_HASH = "irtd_datasets"
_INNER = 20  # folders that are looked into for a release that lies deeper
_BUILDERS = "irtd_datasets.builder"
"""The module that makes a builder class for each dataset, which only `datasets` and its users import."""


@cache
def _others() -> dict[str, tuple[str, str]]:
    """Package and distribution of each dataset that an installed package of others adds."""
    found: dict[str, set[tuple[str, str]]] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, set()).add((point.module, point.dist.name if point.dist else ""))
    for name, claims in found.items():
        if name in DATASETS or len({package for package, _ in claims}) > 1:
            told = ", ".join(f"{package} of {owner}" for package, owner in sorted(claims))
            warnings.warn(f"the name {name!r} of a dataset is taken twice ({told})", stacklevel=2)
    return {name: min(claims) for name, claims in sorted(found.items()) if name not in DATASETS}


def dataset_names() -> tuple[str, ...]:
    """Names of all datasets in the order in which they are shown: those of this library, then those of others."""
    return (*DATASETS, *_others())


def package_of(name: str) -> str:
    """The package that has a dataset.

    Raises:
        UnknownNameError: There is no such dataset.

    Example:
        >>> package_of("irtd")
        'irtd_datasets.irtd'
    """
    if name in DATASETS:
        return f"irtd_datasets.{name}"
    if name not in _others():
        raise UnknownNameError(
            f"there is no dataset {name!r}",
            remedy=f"{did_you_mean(name, dataset_names())}The datasets are {', '.join(dataset_names())}.",
        )
    return _others()[name][0]


def module_of(name: str, module: str) -> ModuleType | None:
    """A module of a dataset's package, such as ``release``; None where it has none.

    Raises:
        UnknownNameError: There is no such dataset, or its package cannot be imported.
    """
    package = package_of(name)
    try:
        if importlib.util.find_spec(f"{package}.{module}") is None:
            return None
        return importlib.import_module(f"{package}.{module}")
    except Exception as error:
        if name in DATASETS:
            raise
        owner = _others()[name][1]
        raise UnknownNameError(
            f"the dataset {name!r} of the package {package} cannot be used: {type(error).__name__}: {error}",
            remedy=f"Update {owner} to a version for this one of irtd-datasets, or uninstall it.",
        ) from error


def spec(name: str) -> DatasetSpec:
    """The declaration of a dataset.

    Raises:
        UnknownNameError: There is no such dataset, or a package of others does not declare the one that it names.

    Example:
        >>> spec("irtd").subset("instruct").records
        40200
    """
    found = getattr(module_of(name, "spec"), "SPEC", None)
    if not isinstance(found, DatasetSpec) or found.name != name:
        raise UnknownNameError(
            f"the package {package_of(name)} does not declare the dataset {name!r}",
            remedy=f"Its module `spec` needs SPEC, a DatasetSpec with the name {name!r}.",
        )
    if name not in DATASETS:
        _check_words(found)
    return found


def _check_words(declared: DatasetSpec) -> None:
    """Refuse a declaration of others with words that the schema does not have."""
    from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

    for member in declared.members:
        part = member.part
        for word, known in ((part.task, TASKS), (part.modality, MODALITIES), (part.frame, ("", *BOX_FRAMES))):
            if word not in known:
                raise UnknownNameError(
                    f"the part {'/'.join(member.key)} of {declared.name!r} has the word {word!r}, which no column has",
                    remedy=f"Use one of {', '.join(filter(None, known))}.",
                )


def other_content(name: str, root: str | os.PathLike[str]) -> str:
    """What a folder is that has nothing of a dataset's release, and what to do with it; empty where that is not known.

    Args:
        name: The dataset whose release it was taken for.
        root: The folder.
    """
    from irtd_datasets.folder.manifest import Manifest

    place = Path(root)
    if (place / MANIFEST).is_file():
        try:
            held = Manifest.read(place).dataset
        except IrtdDatasetsError:
            return (
                f"It has the manifest of a dataset folder, which is damaged: `irtd check {root}` tells more."
            )
        return (
            f"It is a dataset folder of {held} and needs no build: `irtd info {root}` shows what is in it, and "
            f'`datasets.load_dataset("{root}", CONFIG)` loads it.'
        )
    with contextlib.suppress(OSError):
        for inner in sorted(place.iterdir())[:_INNER]:
            if inner.is_dir() and _has_release(name, str(inner)):
                return f"The release lies one folder deeper: `irtd doctor {name} --release {inner}`."
    other = release_in(root, name)
    return f"It has a release of {other}: `irtd doctor {other} --release {root}`." if other else ""


def release_in(root: str | os.PathLike[str], besides: str = "") -> str:
    """The dataset of which a folder has a release; empty where it has none.

    Args:
        root: The folder.
        besides: A dataset that is not looked for.
    """
    known = (name for name in dataset_names() if name != besides)
    return next((name for name in known if _has_release(name, str(root))), "")


def unreleased(declared: DatasetSpec, wanted: Sequence[Member]) -> str:
    """What to do for parts that were never released; empty where one of them was."""
    if any(member.part.public for member in wanted):
        return ""
    name, subset = declared.name, wanted[0].subset.name
    made = (
        f"`irtd construct {name} {subset} --sources DIR --out FOLDER` makes it from its source sets"
        if module_of(name, "generation") or name == "irtd"
        else "Nobody can build it"
    )
    return f"{subset} was never released. {made}."


def _has_release(name: str, root: str) -> bool:
    from irtd_datasets.rows.release import ReleaseOptions

    try:
        release = open_release(name, ReleaseOptions(root))
        return any(release.files(member) for member in release.spec.members)
    except IrtdDatasetsError:
        return False


def open_release(name: str, options: ReleaseOptions) -> Release:
    """Open a release of a dataset.

    Raises:
        UnknownNameError: There is no such dataset, or it has no such setting.
        ReleaseNotFoundError: There is nothing at the given path.
    """
    declared = spec(name)
    for setting in options.settings:
        if setting not in declared.all_settings:
            raise UnknownNameError(
                f"{name} has no setting {setting!r}",
                remedy=f"Its settings are {', '.join(declared.all_settings)}.",
            )
    module = module_of(name, "release")
    if module is None:
        from irtd_datasets.rows.plain import PlainRelease

        return PlainRelease(options, declared)
    release: Release = module.open_release(options)
    return release


def builder_class(name: str) -> type[datasets.DatasetBuilder]:
    """The builder class that a name stands for."""
    module = importlib.import_module(_BUILDERS)
    found: type[datasets.DatasetBuilder] = getattr(module, next(iter(spec(name).builder_names)))
    return found


def load_dataset(
    name: str,
    config: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    images: Mapping[str, str | os.PathLike[str]] | None = None,
    visible: Mapping[str, str | os.PathLike[str]] | None = None,
    on_defect: str | Mapping[str, str] | None = None,
    split: str | None = None,
    streaming: bool = False,
    **kwargs: Any,  # noqa: ANN401 - passed to datasets.load_dataset
) -> Any:  # noqa: ANN401 - one of four classes of `datasets`
    """Load a dataset, like ``datasets.load_dataset``, with the options that a release needs.

    Args:
        name: ``irtd``, or anything else that ``datasets.load_dataset`` takes.
        config: Config name, such as ``instruct`` or ``instruct-grounding``.
        data_dir: Folder of the release, or a URL such as ``hf://datasets/OWNER/NAME``; or a dataset folder made by a
            build. By default what the environment variable ``<NAME>_DATA_DIR`` names.
        images: Released folder to the path of a folder, zip or tar that has its images.
        visible: Released folder to the path of a folder, zip or tar that has the visible partners of its images.
        on_defect: ``flag`` (default), ``drop`` or ``error`` for rows with a wrong label, or a mapping from issue code.
        split: As in ``datasets.load_dataset``.
        streaming: As in ``datasets.load_dataset``.
        **kwargs: Passed on.

    Raises:
        UnknownNameError: The dataset has no such config.
        ReleaseNotFoundError: There is no data where it was looked for; the message says what is possible.
    """
    import datasets

    if config is not None and name in dataset_names():
        spec(name).config(config)
    options: dict[str, Any] = dict(kwargs)
    if images:
        options["images"] = {key: os.fspath(path) for key, path in images.items()}
    if visible:
        options["visible"] = {key: os.fspath(path) for key, path in visible.items()}
    if on_defect is not None:
        options["on_defect"] = on_defect if isinstance(on_defect, str) else dict(on_defect)
    if data_dir is not None:
        options["data_dir"] = os.fspath(data_dir)
    return datasets.load_dataset(name, config, split=split, streaming=streaming, **options)


def register() -> None:
    """Make ``datasets.load_dataset`` know the names, now or as soon as ``datasets`` is imported."""
    if "datasets.load" in sys.modules:
        _register_now()
    elif not any(isinstance(finder, _AfterDatasets) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterDatasets())


def _register_now() -> None:
    try:
        import datasets.load
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as TABLE

        factory = datasets.load.PackagedDatasetModuleFactory
    except (ImportError, AttributeError) as error:
        warnings.warn(
            f"this version of datasets does not let its names be extended ({error}); "
            "use irtd_datasets.IrtdInstruct and its siblings directly",
            stacklevel=2,
        )
        return
    for name in dataset_names():
        if TABLE.setdefault(name, (f"{_BUILDERS}.{name}", _HASH))[1] != _HASH:
            warnings.warn(f"the dataset {name!r} has the name of a builder of datasets", stacklevel=2)
    if not getattr(factory, "knows_irtd_datasets", False):
        datasets.load.PackagedDatasetModuleFactory = _factory(datasets.load)


def _factory(load: ModuleType) -> type:
    """The factory of packaged modules, taught to make our builders without listing anything."""
    original: Any = load.PackagedDatasetModuleFactory

    class PackagedDatasetModuleFactory(original):  # type: ignore[misc]  # the base is only known at run time
        """As in ``datasets``, but ours resolve without a listing and without a download counter."""

        knows_irtd_datasets = True

        def __init__(self, name: str, data_dir: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401
            if _is_ours(load, name):
                if kwargs.get("data_files"):
                    raise data_files_error(spec(name))
                self.name = name
                self.data_dir = data_dir
            else:
                super().__init__(name, data_dir=data_dir, **kwargs)

        def get_module(self) -> Any:  # noqa: ANN401 - a class of `datasets`
            if not _is_ours(load, self.name):
                return super().get_module()
            built = _built_folder(self.name, self.data_dir)
            if built is not None:
                return _local_module(load, built)
            module = _builder_module(self.name)
            return load.DatasetModule(module, _HASH, {"dataset_name": self.name, "data_files": _NoFiles()})

    return PackagedDatasetModuleFactory


def _is_ours(load: ModuleType, name: str) -> bool:
    entry = load._PACKAGED_DATASETS_MODULES.get(name)  # noqa: SLF001 - see the module doc
    return entry is not None and entry[1] == _HASH


def _builder_module(name: str) -> str:
    """Name of a module with nothing but a dataset's builder class, from which `datasets` takes the class it finds."""
    made = ModuleType(f"{_BUILDERS}.{name}", "The builder class of one dataset.")
    made.__dict__["DEFAULT_BUILDER"] = builder_class(name)
    sys.modules[made.__name__] = made
    return made.__name__


def no_data_error(spec: DatasetSpec) -> ReleaseNotFoundError:
    """The error for a dataset that is asked for with no data named."""
    variable = f"{spec.name.upper()}_DATA_DIR"
    return ReleaseNotFoundError(
        f"no data for {spec.name!r}: neither data_dir nor {variable} names a folder",
        remedy=(
            f"- the release as it is: load_dataset({spec.name!r}, {spec.default_config!r}, data_dir=FOLDER_OR_URL)\n"
            f"- built once, then without this library: irtd build {spec.name} {spec.default_config} --release FOLDER "
            f"--out ./{spec.name}\n"
            f"- a Hub repository: load_dataset('OWNER/{spec.name}', {spec.default_config!r})\n"
            f"- no data at hand: irtd fetch {spec.name} --to FOLDER gets it, or says how; "
            f"irtd_datasets.testing.write_sample_release({spec.name!r}, FOLDER) makes a sample"
        ),
    )


def data_files_error(spec: DatasetSpec) -> UnknownNameError:
    """The error for ``data_files``, which would do nothing: a release is a folder, of which all is read."""
    return UnknownNameError(
        f"{spec.name} takes no data_files",
        remedy=(
            f"- a release, or a folder made by a build: load_dataset({spec.name!r}, {spec.default_config!r}, "
            "data_dir=FOLDER)\n"
            f"- a part of it: a config, such as {spec.configs[-1].name!r}\n"
            "- single files of a build: load_dataset('parquet', data_files=...)"
        ),
    )


def _local_module(load: ModuleType, folder: Path) -> Any:  # noqa: ANN401 - a class of `datasets`
    """What `datasets` makes of a dataset folder given by its path."""
    # The name had an ending up to datasets 3.x, where folders could hold scripts as well.
    older = "LocalDatasetModuleFactoryWithoutScript"
    factory = getattr(load, "LocalDatasetModuleFactory", None) or getattr(load, older)
    module = factory(str(folder)).get_module()
    # The folder is the base of the card's paths already; as `data_dir` it would be joined to them once more.
    module.builder_kwargs["data_dir"] = None
    return module


class _NoFiles(dict):  # type: ignore[type-arg]
    """Stands for "no data files" where `load_dataset_builder` insists on some; `ReleaseBuilder` drops it."""


def _built_folder(name: str, data_dir: str | None) -> Path | None:
    """The dataset folder that a call means: ``data_dir`` if it is one, else ``./<name>`` as for plain `datasets`."""
    if is_url(data_dir) or (data_dir is None and os.environ.get(f"{name.upper()}_DATA_DIR")):
        return None
    folder = Path(data_dir or name)
    if (folder / STAGING / MANIFEST).is_file() and not (folder / MANIFEST).is_file():
        raise ReleaseNotFoundError(
            "a build was killed while it replaced an older one, so the folder has shards of both",
            where=str(folder),
            remedy="Start the same `irtd build` again; it resumes where it stopped.",
        )
    return folder if (folder / MANIFEST).is_file() and (folder / CARD).is_file() else None


class _AfterDatasets(importlib.abc.MetaPathFinder):
    """Waits for ``import datasets``, lets it happen, and registers the names behind it."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != "datasets":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(fullname)
        if found is not None and found.loader is not None:
            found.loader = _ThenRegister(found.loader)
        return found


class _ThenRegister(importlib.abc.Loader):
    """Loads a module with its own loader and then registers the names."""

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - any loader
        self._loader = loader

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - resources and pkgutil ask the loader for more
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register_now()
