"""The loading scripts for `datasets` 3.x."""

import importlib.util
from pathlib import Path

import datasets
import pytest

from irtd_datasets.catalog import DATASETS, builder_class, spec
from irtd_datasets.testing import write_sample_release

LOADERS = Path(__file__).parents[1] / "loaders"
# A dataset begun after `datasets` 4.0 needs no script.
SCRIPTS = [name for name in DATASETS if (LOADERS / name / f"{name}.py").is_file()]
SCRIPTS_WORK = int(datasets.__version__.partition(".")[0]) < 4


def class_of(name):
    """The class in a script, imported as a file of that path."""
    found = importlib.util.spec_from_file_location(f"{name}_script", LOADERS / name / f"{name}.py")
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    (made,) = [value for value in vars(script).values() if isinstance(value, type)]
    return made


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_has_the_builders_configs(name):
    """The script's class is the registered builder under another module's name."""
    script, builder = class_of(name), builder_class(name)
    assert issubclass(script, builder)
    assert script.__name__ == builder.__name__
    assert script.BUILDER_CONFIGS == builder.BUILDER_CONFIGS


@pytest.mark.skipif(not SCRIPTS_WORK, reason="datasets 4.0 and later refuse loading scripts")
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_gives_the_rows_of_the_registered_name(name, tmp_path):
    """In `datasets` 3.x the script loads what the name loads, mapped and streaming."""
    write_sample_release(name, tmp_path / "R", rows=30)
    config = spec(name).default_config
    options = {"data_dir": str(tmp_path / "R"), "split": "train"}
    script = {"trust_remote_code": True, **options}
    named = datasets.load_dataset(name, config, cache_dir=tmp_path / "named", **options)
    loaded = datasets.load_dataset(str(LOADERS / name), config, cache_dir=tmp_path / "script", **script)
    streamed = datasets.load_dataset(str(LOADERS / name), config, streaming=True, **script)
    assert loaded["id"] == named["id"] == [row["id"] for row in streamed]
    assert len(loaded) > 10
