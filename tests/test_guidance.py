"""Messages where people fall: each prints what works, and following it does."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from irtd_datasets.cli.app import app
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report.console import make_console, make_table


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments):
    """What a command that fails says."""
    ran = run(*arguments)
    assert ran.exit_code
    return str(ran.exception) + ran.output


@pytest.fixture
def apart(unpacked, tmp_path):
    """A release without the images of FLIR ADAS, which lie in a folder `flir`, without any folder of the release."""
    release, flir = tmp_path / "release", tmp_path / "flir"
    shutil.copytree(unpacked.folder, release, copy_function=os.link)  # nothing is written there
    shutil.move(release / "63-FLIR_ADAS" / "training" / "PreviewData", flir)
    return release, flir


@pytest.mark.parametrize("given", ["FLIR={}", "flir_adas={}", "{}"])
def test_images_that_lie_elsewhere(apart, tmp_path, given):
    """A name that is nearly right, and a folder without one: the option printed finds the files themselves."""
    release, flir = apart
    build = (
        "build",
        "irtd",
        "instruct-grounding",
        "--release",
        release,
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    told = said(*build, "--images", given.format(flir))
    option = re.search(r"`(--images [^`]+)`", told)[1]
    assert option == f"--images 63-FLIR_ADAS={flir}"
    ran = run(*build, *shlex.split(option))
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_an_images_option_without_a_path_or_to_nowhere(apart, tmp_path):
    """Nothing behind the equals sign, and a path at which nothing lies, are told before the name is."""
    build = ("build", "irtd", "--release", apart[0], "--out", tmp_path / "out", "--quiet", "--images")
    assert "no path is given for 'FLIR'" in said(*build, "FLIR=")
    assert "there is nothing at this path" in said(*build, f"FLIR={tmp_path / 'nowhere'}")


WHOLE = ("check", "card", "publish {} me/it", "score gold --dataset", "overlap {} {}")


@pytest.mark.parametrize("line", WHOLE)
def test_a_config_behind_a_folder_is_taken_or_told_of(built, line):
    """Commands on whole folders name the folder to give; none says that there is no such folder."""
    words = (line if "{}" in line else line + " {}").replace("{}", f"{built}:instruct").split()
    assert f"Name the folder alone: {built}." in said(*words)


def test_a_release_where_a_dataset_folder_is_wanted(unpacked, tmp_path):
    told = said("info", unpacked.folder)
    assert f"`irtd build irtd --release {unpacked.folder} --out FOLDER`" in told
    assert "there is no manifest.json" in said("info", tmp_path)


def test_an_export_without_a_config_names_them(built, tmp_path):
    export = ("--layout", "coco", "--out", tmp_path / "out")
    assert "instruct-grounding" in said("export", built, *export)
    assert run("export", f"{built}:instruct-grounding", *export).exit_code == 0


SECRET = "s3cr3t-of-the-test"
GIVEN = f"http://me:{SECRET}@127.0.0.1:9/x?token={SECRET}"


@pytest.mark.parametrize(
    "line",
    [
        *(
            f"{command} {GIVEN}"
            for command in ("info", "stats", "check", "card", "preview", "review", "frames")
        ),
        f"build irtd --release RELEASE --images FLIR_ADAS={GIVEN} --out {GIVEN}",
        f"build {GIVEN}",
        f"check http://me:a/{SECRET}@host/x",
        f"construct irtd benchmark --sources {GIVEN} --out OUT",
        f"export {GIVEN} instruct --layout coco --out OUT",
        f"fetch irtd --to {GIVEN}",
        f"merge {GIVEN} {GIVEN} --out OUT",
        f"overlap BUILT BUILT --out {GIVEN}",
        f"publish BUILT {GIVEN}",
        f"score {GIVEN} --dataset BUILT",
        f"sources --have {GIVEN}",
        f"stats BUILT --plots {GIVEN}",
        f"subset BUILT --source {GIVEN} --out OUT",
    ],
)
def test_no_error_shows_the_password_of_a_url(built, unpacked, tmp_path, line):
    """Wherever a URL was given, also where none is taken, and with a slash lost or too many."""
    names = {"BUILT": built, "RELEASE": unpacked.folder, "OUT": tmp_path / "out"}
    told = said(*(names.get(word, word) for word in line.split()))
    assert SECRET not in told


def test_a_folder_that_is_something_else(sample, built, tmp_path):
    """Another dataset's release, a built folder, a release one folder deeper, and a subset that was never released."""
    out = ("--out", tmp_path / "out")
    told = said("build", "mmrs_1m", "--release", sample.folder, *out)
    assert f"`irtd doctor irtd --release {sample.folder}`" in told
    told = said("build", "irtd", "instruct", "--release", built, *out)
    assert f"`irtd info {built}`" in told
    assert run("info", built).exit_code == 0
    deeper = tmp_path / "deeper"
    shutil.copytree(sample.folder, deeper / "inner")
    told = said("build", "irtd", "instruct", "--release", deeper, *out)
    command = re.search(r"`irtd ([^`]+)`", told)[1]
    assert run(*shlex.split(command)).exit_code == 0
    assert f"irtd info {built}" in run("doctor", "irtd", "--release", built).output
    shutil.rmtree(deeper / "inner" / "benchmark", ignore_errors=True)
    (deeper / "inner" / "benchmark.zip").unlink(missing_ok=True)
    told = said("build", "irtd", "benchmark", "--release", deeper / "inner", *out)
    assert "was never released" in told
    assert "`irtd construct irtd benchmark --sources DIR --out FOLDER`" in told


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("list itrd", "irtd"),
        ("build mmrs1m --release x --out y", "mmrs_1m"),
        ("build irtd instruct-groundng --release . --out y", "instruct-grounding"),
        ("build irtd instruct-detection --release . --out y", "instruct-grounding"),
        ("build irtd detection.json --release . --out y", "instruct-grounding"),
        ("preview BUILT --config instruct-locations", "instruct-location"),
        ("export BUILT instruct-locaton --to llava --out y", "instruct-location"),
        ("export BUILT instruct-location --to qwen25-vl --out y", "qwen2.5-vl"),
        ("stats BUILT:instruct-locaton", "instruct-location"),
        ("subset BUILT --task locations --out y", "location"),
    ],
)
def test_a_misspelt_name_is_told_the_right_one(built, tmp_path, monkeypatch, line, meant):
    monkeypatch.chdir(tmp_path)
    told = said(*line.replace("BUILT", os.fspath(built)).split())
    assert f"Did you mean {meant!r}" in told


def test_publishing_and_checking_give_one_advice(built, monkeypatch):
    """An owner is asked for before a token, and neither says that a private repository gives a right."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("irtd_datasets.hub.remote.get_token", lambda: None)
    ran = run("publish", built, "mine")
    assert isinstance(ran.exception, UnknownNameError)
    assert "OWNER/mine" in ran.exception.remedy
    told = said("publish", built, "owner/mine", "--private", "--dry-run")
    assert "--accept-terms" in told
    advice = run("check", built, "--images", "none").output
    assert "--accept-terms" in advice
    assert "ublish privately" not in advice


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_table_breaks_a_name_or_a_number(built, monkeypatch, width):
    """Whatever the width, every cell's words stand whole in one line."""
    monkeypatch.setenv("COLUMNS", str(width))
    for command in (
        ("list",),
        ("info", built),
        ("stats", built),
        ("sources",),
        ("check", built, "--images", "none"),
    ):
        output = run(*command).output
        for name in ("instruct-pedestrian_counting", "84,284") if command == ("list",) else ():
            assert name in output
        if command[0] == "info":
            assert "instruct/pedestrian_counting" in output
        if command[0] == "stats":
            assert "pedestrian_counting" in output


def test_a_table_without_room_is_shown_row_by_row(monkeypatch, capsys):
    """Its cells are all there, each word whole."""
    monkeypatch.setenv("COLUMNS", "30")
    table = make_table("name", "rows", "what it is", title="Things")
    table.add_row("a-name-of-some-length/and-more", "1,234,567", "two words")
    make_console().print(table)
    lines = capsys.readouterr().out.split("\n")
    for word in ("a-name-of-some-length/and-more", "1,234,567", "two words", "Things"):
        assert any(word in line for line in lines)


def test_sources_that_are_here_come_first(unpacked):
    output = run("sources", "--have", unpacked.folder).output
    assert output.index("FLIR_ADAS: ") < output.index("LLVIP")


def test_a_report_of_a_bug_has_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    output = run("env").output
    assert "HF_TOKEN" in output
    assert "secret" not in output
    assert str(Path.home()) not in output


def test_completion_for_shells():
    """The library of the command line offers it."""
    output = run("--help").output
    assert "--install-completion" in output
    assert "--show-completion" in output
