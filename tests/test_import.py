"""What `import irtd_datasets` does and does not do; each in a process of its own."""

import importlib

import pytest
from processes import python

import irtd_datasets

REGISTERED = """
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as table
from irtd_datasets.catalog import DATASETS
assert set(DATASETS) <= set(table), table
builder = datasets.load_dataset_builder("irtd", "instruct", data_dir={folder!r})
assert type(builder).__name__ == "Irtd", builder
"""


def succeeds(code, **options):
    process = python(code, **options)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_importing_the_library_does_not_import_datasets():
    """A command line or a worker that needs only the library does not pay for `datasets`, PyArrow or Pillow."""
    loaded = succeeds("import sys, irtd_datasets; print(*sys.modules)").split()
    assert {"datasets", "pyarrow", "PIL", "numpy", "huggingface_hub"}.isdisjoint(loaded)
    assert "irtd_datasets.catalog" in loaded


@pytest.mark.parametrize(
    "imports",
    [
        "import irtd_datasets, datasets",
        "import datasets, irtd_datasets",
        "import irtd_datasets, irtd_datasets.catalog as c\nc.register()\nimport datasets\nc.register()",
        "import datasets, importlib, irtd_datasets\nimportlib.reload(irtd_datasets)",
    ],
)
def test_names_are_registered_whatever_is_imported_first(imports, sample):
    """`import irtd_datasets` registers the names before and after `import datasets`, and twice does no harm."""
    succeeds(f"{imports}\n{REGISTERED.format(folder=str(sample.folder))}")


def test_a_failed_import_of_datasets_is_its_own_error(tmp_path):
    """Waiting for `datasets` does not change the error when it is not installed."""
    (tmp_path / "datasets.py").write_text("raise ImportError('no such luck')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport irtd_datasets\n"
        "try:\n    import datasets\nexcept ImportError as error:\n    print(error)"
    )
    assert succeeds(code) == "no such luck\n"


def test_the_loader_of_datasets_stays_its_own():
    """`datasets` looks as if nobody had waited for it: its spec, loader and resources are the usual ones."""
    code = (
        "import irtd_datasets, sys, datasets, importlib.resources as r\n"
        "print(type(datasets.__loader__).__name__, type(datasets.__spec__.loader).__name__)\n"
        "print(r.files(datasets).joinpath('load.py').is_file())\n"
        "print(any('irtd' in type(finder).__module__ for finder in sys.meta_path))"
    )
    assert succeeds(code).split() == ["SourceFileLoader", "SourceFileLoader", "True", "False"]


def test_other_packaged_names_still_work(tmp_path):
    """csv, json, parquet and text load as before once the names are registered."""
    code = (
        "import datasets, irtd_datasets, json, pathlib\n"
        "rows = [{'a': 1}, {'a': 2}]\n"
        "pathlib.Path('t.csv').write_text('a\\n1\\n2\\n')\n"
        "pathlib.Path('t.json').write_text('\\n'.join(map(json.dumps, rows)))\n"
        "datasets.Dataset.from_list(rows).to_parquet('t.parquet')\n"
        "for kind in ('csv', 'json', 'parquet'):\n"
        "    for streaming in (False, True):\n"
        "        data = datasets.load_dataset(kind, data_files=f't.{kind}', split='train', streaming=streaming)\n"
        "        assert list(data) == rows, (kind, list(data))\n"
        "folder = pathlib.Path('folder'); folder.mkdir(); (folder / 'u.csv').write_text('a\\n1\\n2\\n')\n"
        "assert list(datasets.load_dataset('csv', data_dir='folder', split='train')) == rows\n"
        "assert list(datasets.load_dataset('folder', split='train')) == rows\n"
    )
    succeeds(code, cwd=tmp_path)


def test_a_version_that_cannot_be_extended_is_a_warning(monkeypatch):
    """Where `datasets` hides its table, importing warns and names the classes, which work all the same."""
    code = (
        "import warnings, datasets.load\n"
        "del datasets.load.PackagedDatasetModuleFactory\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    import irtd_datasets\n"
        "print(seen[0].message)\n"
        "irtd_datasets.IrtdInstruct\n"
    )
    assert "irtd_datasets.IrtdInstruct" in succeeds(code)


def test_using_a_builder_writes_nothing_beside_the_package(sample):
    """`datasets` 3.x would lock a file beside the package, which often lies where users may not write."""
    code = (
        "import datasets, irtd_datasets, pathlib, pickle\n"
        "data = {'data_dir': " + repr(str(sample.folder)) + "}\n"
        "stream = datasets.load_dataset('irtd', 'instruct', split='train', streaming=True, **data)\n"
        "next(iter(pickle.loads(pickle.dumps(stream))))\n"
        "irtd_datasets.IrtdInstruct(**data)\n"
        "print(*pathlib.Path(irtd_datasets.__file__).parents[1].glob('irtd_datasets*.lock'))\n"
    )
    assert succeeds(code).strip() == ""


def test_public_names_are_complete():
    """`__all__` is sorted, every name in it exists, and `dir` shows nothing else."""
    assert irtd_datasets.__all__ == sorted(irtd_datasets.__all__)
    assert dir(irtd_datasets) == sorted(irtd_datasets.__all__)
    for name in irtd_datasets.__all__:
        assert getattr(irtd_datasets, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = irtd_datasets.no_such_name


def test_the_module_runs_as_a_program():
    """`python -m irtd_datasets` is the command line."""
    assert importlib.import_module("irtd_datasets.__main__")
    from processes import irtd

    process = irtd("--version")
    assert (process.returncode, process.stdout.strip()) == (0, irtd_datasets.__version__)
