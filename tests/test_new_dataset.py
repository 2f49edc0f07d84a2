"""Adding a dataset as CONTRIBUTING.md says, word for word: in a package of its own, and in the repository."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from irtd_datasets import catalog
from irtd_datasets.catalog import DATASETS, builder_class, dataset_names, open_release, spec
from irtd_datasets.errors import AnnotationError, BuildError, ReleaseError, UnknownNameError
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.scaffold import new_dataset
from irtd_datasets.spec import spec_from_tables
from irtd_datasets.testing import sample_names, write_sample_release

ROOT = Path(__file__).parents[1]
SECTION = re.search(
    r"^## Add a dataset\n(.*?)^## ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
)
PACKAGE_STEPS, REPOSITORY_STEPS = re.findall(r"^```bash\n(.*?)^```$", SECTION[1], re.DOTALL | re.MULTILINE)


# The page's own name, but where a dataset of the library has it already.
NAME, TITLE = ("newrs", "NewRS") if "foors" in DATASETS else ("foors", "FooRS")


def follow(steps, folder, python, **settings):
    """Run the lines of a block in a folder, with ``irtd``, ``pip``, ``pytest`` and ``python`` of one environment."""
    commands = folder / "bin"
    commands.mkdir()
    for name, module in {
        "irtd": "-m irtd_datasets",
        "pip": "-m pip",
        "pytest": "-m pytest",
        "python": "",
    }.items():
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{python}" {module} "$@"\n')
        script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # No network: what is installed already is what pip builds and runs with.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **settings,
    }
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", steps.replace("foors", NAME).replace("FooRS", TITLE)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def lines_in(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*") if path.is_file())


def test_a_package_of_its_own(tmp_path):
    """In a fresh environment the page's lines make, install and test a package whose dataset is listed like ours."""
    pytest.importorskip("hatchling")
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    shown = follow(PACKAGE_STEPS, tmp_path, tmp_path / "env" / "bin" / "python")
    assert f"{TITLE} 1.0.0" in shown
    assert "2 passed" in shown
    assert NAME not in dataset_names()  # nothing was installed elsewhere


@pytest.mark.slow
def test_a_folder_of_the_repository(tmp_path):
    """In a checkout the page's lines make a folder of the library that the tests of all datasets accept."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    follow(REPOSITORY_STEPS, tmp_path, sys.executable, PYTHONPATH=str(tmp_path))
    rest = (
        "pytest tests/test_catalog.py tests/test_docs.py tests/hub/test_card.py tests/hub/test_croissant.py\n"
    )
    (tmp_path / "bin").rename(tmp_path / "earlier")
    follow(rest, tmp_path, sys.executable, PYTHONPATH=str(tmp_path))


@pytest.mark.parametrize("parser", [False, True])
def test_everything_that_is_written_is_short(tmp_path, parser):
    """A new dataset has at most 150 lines in all files together, with and without a parser."""
    files = new_dataset(NAME, tmp_path / NAME, title=TITLE, licence="mit", parser=parser)
    assert {path.relative_to(tmp_path / NAME).as_posix() for path in files} >= {
        f"{NAME}/spec.py", f"{NAME}/parts.csv", f"{NAME}/sample.py", f"{NAME}/card.md", f"tests/test_{NAME}.py",
        "pyproject.toml",
    }  # fmt: skip
    assert lines_in(tmp_path / NAME) <= 150


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes a dataset and has its entry point found: ``installed(name)`` gives its folder."""

    def install(name=NAME, *, point=None, **options):
        home = tmp_path / name
        new_dataset(name, home, title=name.title(), licence="cc-by-4.0", **options)
        monkeypatch.syspath_prepend(home)
        points = [EntryPoint(point or name, name, catalog.ENTRY_POINTS)]
        monkeypatch.setattr(catalog.metadata, "entry_points", lambda group: points)
        catalog._others.cache_clear()
        return home

    yield install
    monkeypatch.undo()
    catalog._others.cache_clear()
    for module in [module for module in sys.modules if module.split(".")[0] in {NAME, "barrs"}]:
        del sys.modules[module]


def test_a_dataset_of_others_is_one_of_ours(installed, tmp_path):
    """Once its entry point is found, declaration, builder, sample and release of a package are had by its name."""
    installed(NAME, parser=True)
    assert dataset_names()[-1] == NAME
    assert NAME in sample_names()
    assert builder_class(NAME).__name__ == NAME.title()
    sample = write_sample_release(NAME, tmp_path / "release", rows=20, images=False)
    release = open_release(NAME, absolute_options(sample.folder))
    assert [report.records for report in examine(release).files] == [10, 10]


def test_a_package_that_declares_another_name_is_refused(installed):
    """What an entry point names must be what the package declares; the message says what is missing."""
    installed(NAME, point="barrs")
    with pytest.raises(UnknownNameError, match="does not declare the dataset 'barrs'"):
        spec("barrs")


@pytest.mark.parametrize(
    ("word", "wrong"), [("grounding,test", "ground"), ("optical,", "radar"), ("unit,", "units")]
)
def test_a_word_that_no_column_has_is_refused(installed, word, wrong):
    """A task, sensor or frame outside the schema is told by its part before anything is read."""
    table = installed(NAME) / NAME / "parts.csv"
    table.write_text(table.read_text().replace(word, wrong + word[word.index(",") :]))
    with pytest.raises(UnknownNameError, match=f"'{wrong}', which no column has"):
        spec(NAME)


def test_a_broken_package_is_told_and_the_others_are_shown(installed, capsys):
    """A package that cannot be imported does not take the other datasets with it."""
    from irtd_datasets.cli.releases import list_

    home = installed(NAME)
    (home / NAME / "spec.py").write_text("import nothing_of_this_name\n")
    list_()
    shown = capsys.readouterr()
    assert "IR-TD" in shown.out
    assert f"'{NAME}' of the package {NAME} cannot be used: ModuleNotFoundError" in shown.err


def test_a_name_that_is_taken_is_refused(installed, tmp_path):
    """Neither our names nor those of builders of `datasets` can be given again; nothing is overwritten."""
    for name in ("irtd", "csv", "Foo RS", "_x"):
        with pytest.raises(UnknownNameError):
            new_dataset(name, tmp_path / "x", title="X", licence="mit")
    with pytest.raises(UnknownNameError, match="signs"):
        new_dataset(NAME, tmp_path / "x", title="X\ny", licence="mit")
    new_dataset(NAME, tmp_path / "x", title="X", licence="mit")
    with pytest.raises(BuildError, match="already"):
        new_dataset(NAME, tmp_path / "x", title="X", licence="mit")


def test_files_of_a_plain_release(installed, tmp_path):
    """Parts find their files by path, ending or pattern; what nobody claims is told, and stops when it is damaged."""
    home = installed(NAME)
    table = home / NAME / "parts.csv"
    table.write_text(
        "subset,split,part,task,file,records,modality,frame,image_dirs\n"
        "train,train,vqa,vqa,parts/*.json,,optical,,\n"
        "test,test,vqa,vqa,test.json,,infrared,,\n"
    )
    root = tmp_path / "release"
    for name in ("a/parts/1.json", "a/parts/2.json", "a/test.json"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        turns = [{"from": "user", "value": "A ship?"}, {"from": "bot", "value": "yes"}]
        path.write_text(json.dumps([{"id": 7, "image": "x.jpg", "conversations": turns}]))
    (root / "package.json").write_text("{}")

    def opened(**settings):
        return open_release(NAME, absolute_options(root, settings=settings))

    train, test = spec(NAME).members
    files = opened().files(train)
    assert [file.where for file in files] == ["a/parts/1.json", "a/parts/2.json"]
    record = {"id": 7, "image": "x.jpg", "conversations": turns}
    ids = [opened().pending(file, record, 0).id for file in files]
    assert ids == [f"{NAME}/train/vqa/a/parts/{place}/7" for place in (1, 2)]
    assert opened().unknown_files(train.subset) == ["package.json"]
    (root / "b").mkdir()
    (root / "b" / "test.json").write_text("[]")
    with pytest.raises(ReleaseError, match="several files called"):
        opened().files(test)
    assert len(opened(without="b/test.json").files(test)) == 1
    (root / "notes.json").write_text('{"cut')
    with pytest.raises(AnnotationError, match="without=notes"):
        opened(without="b/test.json").files(train)
    assert len(opened(without="b/test.json,notes.json").files(train)) == 2


def test_a_declaration_that_is_not_complete_is_an_error(installed):
    """The least that has to be said of a dataset is asked for."""
    installed(NAME)
    with pytest.raises(TypeError, match="licence"):
        spec_from_tables(NAME, name=NAME, title=TITLE, summary="x")
