"""The datasets by name, and how ``datasets.load_dataset`` comes to know them.

``datasets`` has no entry point for builders: it looks a name up in a table of packaged modules, and then lists
``data_dir`` (or, without one, the current folder) before it makes the builder; with 100,000 files that takes minutes.
So the names are put into that table, and the factory that would list the folder is replaced by one that does not, for
our names only. Nothing here happens before ``datasets`` itself is imported: a command line or a worker process that
never needs it does not pay for it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.names import CARD, MANIFEST, STAGING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    import datasets

    from irtd_datasets.rows.release import Release, ReleaseOptions
    from irtd_datasets.spec import DatasetSpec

__all__ = ["DATASETS", "load_dataset", "open_release", "register", "spec"]

DATASETS = ("irtd", "mmrs_1m", "rs_gpt4v")
"""Names of the datasets, in the order in which they are shown."""

_HASH = "irtd_datasets"


def spec(name: str) -> DatasetSpec:
    """The declaration of a dataset.

    Raises:
        UnknownNameError: There is no such dataset.

    Example:
        >>> spec("irtd").subset("instruct").records
        40200
    """
    _check(name)
    found: DatasetSpec = importlib.import_module(f"irtd_datasets.{name}.spec").SPEC
    return found


def open_release(name: str, options: ReleaseOptions) -> Release:
    """Open a release of a dataset.

    Raises:
        UnknownNameError: There is no such dataset, or it has no such setting.
        ReleaseNotFoundError: There is nothing at the given path.
    """
    declared = spec(name).settings
    for setting in options.settings:
        if setting not in declared:
            raise UnknownNameError(
                f"{name} has no setting {setting!r}",
                remedy=f"Its settings are {', '.join(declared)}."
                if declared
                else "It has none: leave it out.",
            )
    module = importlib.import_module(f"irtd_datasets.{name}.release")
    release: Release = module.open_release(options)
    return release


def builder_class(name: str) -> type[datasets.DatasetBuilder]:
    """The builder class that a name stands for."""
    _check(name)
    module = importlib.import_module(f"irtd_datasets.{name}.builder")
    found: type[datasets.DatasetBuilder] = module.DEFAULT_BUILDER
    return found


def load_dataset(
    name: str,
    config: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    images: Mapping[str, str | os.PathLike[str]] | None = None,
    on_defect: str | Mapping[str, str] | None = None,
    split: str | None = None,
    streaming: bool = False,
    **kwargs: Any,  # noqa: ANN401 - passed to datasets.load_dataset
) -> Any:  # noqa: ANN401 - one of four classes of `datasets`
    """Load a dataset, like ``datasets.load_dataset``, with the options that a release needs.

    Args:
        name: ``irtd``, or anything else that ``datasets.load_dataset`` takes.
        config: Config name, such as ``instruct`` or ``instruct-grounding``.
        data_dir: Folder of the release, or a dataset folder made by a build. By default the folder that the
            environment variable ``<NAME>_DATA_DIR`` names.
        images: Released folder to the path of a folder, zip or tar that has its images.
        on_defect: ``flag`` (default), ``drop`` or ``error`` for rows with a wrong label, or a mapping from issue code.
        split: As in ``datasets.load_dataset``.
        streaming: As in ``datasets.load_dataset``.
        **kwargs: Passed on.

    Raises:
        UnknownNameError: The dataset has no such config.
        ReleaseNotFoundError: There is no data where it was looked for; the message says what is possible.
    """
    import datasets

    if name in DATASETS and config is not None:
        spec(name).config(config)
    options: dict[str, Any] = dict(kwargs)
    if images:
        options["images"] = {key: os.fspath(path) for key, path in images.items()}
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
    for name in DATASETS:
        TABLE[name] = (f"irtd_datasets.{name}.builder", _HASH)
    if not getattr(factory, "knows_irtd_datasets", False):
        datasets.load.PackagedDatasetModuleFactory = _factory(datasets.load)


def _factory(load: ModuleType) -> type:
    """The factory of packaged modules, taught to make our builders without listing anything."""
    original: Any = load.PackagedDatasetModuleFactory

    class PackagedDatasetModuleFactory(original):  # type: ignore[misc]  # the base is only known at run time
        """As in ``datasets``, but ours resolve without a listing and without a download counter."""

        knows_irtd_datasets = True

        def __init__(self, name: str, data_dir: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401
            if name in DATASETS:
                if kwargs.get("data_files"):
                    from irtd_datasets.builder import data_files_error

                    raise data_files_error(spec(name))
                self.name = name
                self.data_dir = data_dir
            else:
                super().__init__(name, data_dir=data_dir, **kwargs)

        def get_module(self) -> Any:  # noqa: ANN401 - a class of `datasets`
            if self.name not in DATASETS:
                return super().get_module()
            built = _built_folder(self.name, self.data_dir)
            if built is not None:
                return _local_module(load, built)
            module_path, fingerprint = load._PACKAGED_DATASETS_MODULES[self.name]  # noqa: SLF001 - see the module doc
            return load.DatasetModule(
                module_path, fingerprint, {"dataset_name": self.name, "data_files": _NoFiles()}
            )

    return PackagedDatasetModuleFactory


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
    if data_dir is None and os.environ.get(f"{name.upper()}_DATA_DIR"):
        return None
    folder = Path(data_dir or name)
    if (folder / STAGING / MANIFEST).is_file() and not (folder / MANIFEST).is_file():
        raise ReleaseNotFoundError(
            "a build was killed while it replaced an older one, so the folder has shards of both",
            where=str(folder),
            remedy="Start the same `irtd build` again; it goes on where it was.",
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


def _check(name: str) -> None:
    if name not in DATASETS:
        raise UnknownNameError(
            f"there is no dataset {name!r}", remedy=f"The datasets are {', '.join(DATASETS)}."
        )
