"""The wheel: what is in it, and that it works alone."""

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
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
def sdist(tmp_path_factory):
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; it comes with the extra `dev`")
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (built,) = folder.glob("*.tar.gz")
    return built


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


def test_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    """The sdist has all that the wheel is made of, README and changelog, and nothing that is made."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert {
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "pyproject.toml",
        "docs/rows.jpg",
    } <= names
    assert not [
        name for name in names if name.startswith((".git/", "site/", "dist/")) or "__pycache__" in name
    ]
    (folder,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (built,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_fresh_environment_runs_the_first_command(kind, wheel, sdist, tmp_path):
    """Installed alone into a new environment, each file runs the demo, as the first command of the README does."""
    file = wheel.filename if kind == "wheel" else sdist
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings |= {"HF_HOME": str(tmp_path / "hf"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([programs / "pip", "install", "-q", file], check=True, env=settings)
    shown = subprocess.run(
        [programs / "irtd", "demo", "--quiet"],
        cwd=tmp_path,
        env=settings,
        check=False,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "irtd-demo" / "contact-sheet.png").is_file()


def test_classifiers_are_those_of_the_systems_that_are_tested(wheel):
    """The package says that it is typed, and names no system but those that the gate has run on."""
    info = f"irtd_datasets-{irtd_datasets.__version__}.dist-info"
    classifiers = email.message_from_bytes(wheel.read(f"{info}/METADATA")).get_all("Classifier")
    assert "Typing :: Typed" in classifiers
    systems = [line for line in classifiers if line.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]


def test_the_workflow_runs_the_gate():
    """The public CI runs `.ci/run` on the three systems, with the oldest Python and a newer one that is declared."""
    import yaml

    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text())["jobs"]
    matrix = jobs["gate"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"][0] == "3.10"
    declared = (ROOT / "pyproject.toml").read_text()
    assert all(f'"Programming Language :: Python :: {python}"' in declared for python in matrix["python"])
    assert ".ci/run" in [step.get("run") for step in jobs["gate"]["steps"]]
    assert any(step.get("run", "").endswith(".ci/run") for step in jobs["lowest"]["steps"])


def test_a_release_is_one_step(tmp_path):
    """`.ci/release.py` sets the version everywhere, dates the changelog, builds, commits, tags; or does nothing."""
    if find_spec("hatchling") is None or shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, a checkout and hatchling")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", ROOT.as_uri(), clone], check=True)
    for name in (
        ".ci/release.py",
        "pyproject.toml",
        "CHANGELOG.md",
        "CITATION.cff",
        "irtd_datasets/version.py",
    ):
        shutil.copy(ROOT / name, clone / name)
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True)
    subprocess.run(
        ["git", *who, "commit", "-q", "--allow-empty", "-m", "as it stands"], cwd=clone, check=True
    )
    settings = {**os.environ, "GIT_AUTHOR_NAME": "somebody", "GIT_AUTHOR_EMAIL": "somebody@example.org"}
    settings |= {"GIT_COMMITTER_NAME": "somebody", "GIT_COMMITTER_EMAIL": "somebody@example.org"}

    def release(version):
        command = [sys.executable, ".ci/release.py", version]
        return subprocess.run(command, cwd=clone, env=settings, check=False, capture_output=True, text=True)

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=clone, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert "is no version" in release("new").stderr
    done = release("9.8.7")
    assert done.returncode == 0, done.stderr
    assert git("describe", "--tags") == "v9.8.7"
    assert git("status", "--porcelain") == ""
    assert {file.name for file in (clone / "dist").iterdir()} == {
        "irtd_datasets-9.8.7-py3-none-any.whl",
        "irtd_datasets-9.8.7.tar.gz",
    }
    assert re.search(
        r"## \[Unreleased\]\n\n## \[9\.8\.7\] - \d{4}-\d\d-\d\d\n", (clone / "CHANGELOG.md").read_text()
    )
    assert '__version__ = "9.8.7"' in (clone / "irtd_datasets" / "version.py").read_text()
    assert "version: 9.8.7\ndate-released: " in (clone / "CITATION.cff").read_text()
    assert "exists already" in release("9.8.7").stderr
    assert "nothing under [Unreleased]" in release("9.8.8").stderr
