"""The wheel: what is in it, and that it works alone."""

import configparser
import email
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import irtd_datasets

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "irtd_datasets"
CARDS = ROOT / "dataset_cards"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; it comes with the extra `dev`")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel unpacked into a folder of its own, as pip would."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel.extractall(folder)
    return folder


def run(installed, folder, *arguments):
    """Run Python in a folder with the unpacked wheel, and without the checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_wheel_has_every_file_of_the_package(wheel):
    """Modules, tables and py.typed of every folder of the package are in the wheel, new ones included."""
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "irtd_datasets/py.typed",
        "irtd_datasets/irtd/issues.csv",
        "irtd_datasets/writing/write.py",
    } <= wanted
    assert wanted <= set(wheel.namelist())


def test_wheel_has_the_cards(wheel):
    """The prose of every card travels in the wheel, byte for byte."""
    cards = sorted(CARDS.glob("*.md"))
    assert cards
    for card in cards:
        assert wheel.read(f"irtd_datasets/dataset_cards/{card.name}") == card.read_bytes()


def test_wheel_has_nothing_else(wheel):
    """Nothing but the package, its cards and its metadata gets installed."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"irtd_datasets", f"irtd_datasets-{irtd_datasets.__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".lock"))]


def test_wheel_declares_version_python_and_command(wheel):
    """Version, oldest Python and command are those of the code."""
    info = f"irtd_datasets-{irtd_datasets.__version__}.dist-info"
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("irtd-datasets", irtd_datasets.__version__)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.10", "Apache-2.0")
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert dict(entries["console_scripts"]) == {"irtd": "irtd_datasets.cli:main"}


def test_installed_wheel_lists(installed, tmp_path):
    """From the wheel alone, in an empty folder, the package imports and `irtd list` shows every dataset."""
    code = "import irtd_datasets; print(irtd_datasets.__file__)"
    imported = run(installed, tmp_path, "-c", code)
    assert Path(imported.stdout.strip()).parent == installed / "irtd_datasets", imported.stderr
    listed = run(installed, tmp_path, "-m", "irtd_datasets", "list")
    assert listed.returncode == 0, listed.stderr
    for name in irtd_datasets.catalog.DATASETS:
        assert irtd_datasets.catalog.spec(name).title in listed.stdout


def test_installed_wheel_runs_the_demo(installed, tmp_path):
    """From the wheel alone, in an empty folder, the demo builds, loads, streams and draws; the card has its prose."""
    shown = run(installed, tmp_path, "-m", "irtd_datasets", "demo", "--rows", "40", "--quiet")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert (tmp_path / "irtd-demo" / "contact-sheet.png").is_file()
    card = (tmp_path / "irtd-demo" / "irtd" / "README.md").read_text(encoding="utf-8")
    assert (CARDS / "irtd.md").read_text(encoding="utf-8").strip() in card


def test_every_run_time_dependency_has_a_reason():
    """Each declared run-time dependency stands with the reason for its lower bound."""
    declared = re.search(
        r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE
    )
    lines = declared[1].splitlines()
    assert len(lines) >= 8
    assert not [line for line in lines if not re.match(r'  "[\w-]+(>=([\d.]+))?", +# (\2: )?\w', line)]
