"""The command line: what it prints, its exit codes, and that a user's mistake is a message."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from processes import DEADLINE, environment, irtd, irtd_here, python, told

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.schema import FIELDS


def test_list_shows_what_a_newcomer_needs():
    """`irtd list` names each dataset with configs, counts, what was not released, terms, and the way to get it."""
    shown = irtd_here("list").stdout
    for name in DATASETS:
        assert name in shown
    text = irtd_here("list", "irtd").stdout
    for words in ("instruct-grounding", "40,200", "84,284", "not released", "academic research use only"):
        assert words in text
    for step in SPEC.obtain:
        assert step.split(":")[0] in text


def test_a_count_that_nobody_knows_is_not_called_unreleased():
    """RS-GPT4V was released and its records were never counted: `unknown`; what IR-TD kept back is `not released`."""
    table = irtd_here("list", "rs_gpt4v").stdout.partition("Not released")[0]
    assert "not released" not in table
    assert table.count("unknown") == len(spec("rs_gpt4v").configs)
    assert irtd_here("list", "irtd").stdout.count("not released") == 16
    (found,) = json.loads(irtd_here("list", "irtd", "--json").stdout)
    assert {name for name, config in found["configs"].items() if not config["public"]} == {
        "pretrain-model_captions",
        "pretrain-rule_captions",
        *(f"instruct-{task}" for task in ("scene", "conversation", "detailed_description", "reasoning")),
        *(name for name in found["configs"] if name.startswith("benchmark")),
    }


def test_list_as_json_is_the_declaration():
    """--json prints one object for each dataset with its configs and counts, and nothing else."""
    (found,) = json.loads(irtd_here("list", "irtd", "--json").stdout)
    assert found["configs"]["instruct"]["released"] == 40_200
    assert found["configs"]["benchmark"]["released"] is None
    assert found["configs"]["benchmark"]["splits"] == ["test"]
    assert [issue["code"] for issue in found["issues"]] == [issue.code for issue in SPEC.issues]


def test_list_fields_shows_every_column():
    """--fields shows name, type and meaning of each column, as text and as JSON."""
    text = irtd_here("list", "irtd", "--fields").stdout
    fields = json.loads(irtd_here("list", "irtd", "--fields", "--json").stdout)
    assert [field["name"] for field in fields] == list(FIELDS)
    for field in fields:
        assert field["name"] in text
        assert field["meaning"] == FIELDS[field["name"]].doc


def test_build_and_doctor_from_end_to_end(sample, tmp_path):
    """The commands of the README in a process of their own: doctor, build in two processes, built folder."""
    doctor = irtd("doctor", "irtd", "--release", sample.folder)
    assert doctor.returncode == 0, doctor.stderr
    assert "63-FLIR_ADAS/training/PreviewData" in doctor.stdout
    assert "IR-TD-version250724.tar.gz00 (5 parts)" in doctor.stdout
    arguments = ("build", "irtd", "instruct", "pretrain", "--release", sample.folder, "--workers", 2)
    process = irtd(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "98 rows in 9 shards" in process.stdout
    for file in ("Location.json", "new_relative.json", "sum"):
        assert file in process.stdout
    assert (tmp_path / "irtd" / "README.md").is_file()


def test_build_as_json_is_one_document(sample, tmp_path):
    """--json prints rows, shards and ledger as one document on standard output; a second run reuses all shards."""
    arguments = (
        "build",
        "irtd",
        "instruct-location",
        "--release",
        sample.folder,
        "--out",
        tmp_path / "o",
        "--json",
    )
    first, second = (json.loads(irtd_here(*arguments).stdout) for _ in range(2))
    rows = len(sample.records["json_sft/Location.json"])
    assert first["rows"] == {"instruct/location": rows}
    assert (first["shards_written"], first["shards_reused"]) == (1, 0)
    assert (second["shards_written"], second["shards_reused"]) == (0, 1)
    assert first["ledger"] == second["ledger"] == json.loads((tmp_path / "o" / "ledger.json").read_text())


def test_the_release_may_come_from_the_environment(sample, tmp_path, monkeypatch):
    """IRTD_DATA_DIR stands for --release, and without either the message names both."""
    monkeypatch.setenv("IRTD_DATA_DIR", str(sample.folder))
    assert irtd_here("doctor", "irtd", "--json").returncode == 0
    monkeypatch.delenv("IRTD_DATA_DIR")
    for command in (("doctor", "irtd"), ("build", "irtd", "instruct", "--out", tmp_path / "irtd")):
        told(irtd_here(*command), 2, "no release given", "--release FOLDER", "IRTD_DATA_DIR", "irtd demo")
    assert not (tmp_path / "irtd").exists()


MISTAKES = {
    "no such dataset": (("list", "irdt"), 2, "there is no dataset 'irdt'"),
    "no such config": (("build", "irtd", "instruct-detection"), 2, "no config 'instruct-detection'"),
    "no such defect": (
        ("build", "irtd", "instruct", "--on-defect", "label=drop"),
        2,
        "no row defect 'label'",
    ),
    "no such action": (("build", "irtd", "instruct", "--on-defect", "clip"), 2, "no action 'clip'"),
    "images twice": (
        ("build", "irtd", "instruct", "--images", "A=b", "--images", "A=c"),
        2,
        "given twice for 'A'",
    ),
    "no dataset": (("build",), 2, "Missing argument"),
    "no such option": (("build", "irtd", "instruct", "--relase", "x"), 2, "--relase"),
    "no workers": (("build", "irtd", "instruct", "--workers", "0"), 2, "--workers"),
    "no such command": (("biuld",), 2, "biuld"),
    "release nowhere": (
        ("doctor", "irtd", "--release", "nowhere"),
        1,
        "there is no folder or file at this path",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_message(mistake, sample, tmp_path, monkeypatch):
    """Wrong names and options end with 2, wrong places with 1; a message each, no traceback, nothing made."""
    arguments, code, words = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    if "--release" not in arguments and arguments[0] in {"build", "doctor"}:
        arguments = (*arguments, "--release", sample.folder)
    told(irtd_here(*arguments), code, words)
    assert list(tmp_path.iterdir()) == []


def test_on_defect_reaches_the_build(sample, tmp_path):
    """--on-defect for all and for one code, repeated: dropped rows are counted under their code."""
    arguments = (
        "build",
        "irtd",
        "instruct-grounding",
        "--release",
        sample.folder,
        "--out",
        tmp_path / "o",
        "--json",
    )
    result = irtd_here(*arguments, "--on-defect", "drop", "--on-defect", "box-outside-image=flag")
    (line,) = json.loads(result.stdout)["ledger"]["files"]
    assert set(line["dropped"]) == {"label-reference-object"}
    assert line["flagged"] == {"box-outside-image": 1}
    told(irtd_here(*arguments, "--on-defect", "error"), 1, "it has the defect", "--on-defect")


def test_output_may_end_early(sample):
    """`irtd list | head` ends without a traceback when nobody reads on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "irtd_datasets", "list"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=DEADLINE)
    assert "Traceback" not in errors


def test_the_demo_does_the_main_job(tmp_path):
    """`irtd demo` makes, builds, loads, streams and draws a sample with no data at hand, and can be run again."""
    process = irtd("demo", tmp_path / "demo", "--rows", 30, "--quiet", env={"HF_HOME": str(tmp_path / "hf")})
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "demo" / "contact-sheet.png").stat().st_size > 10_000
    assert "load_dataset:" in process.stdout
    assert "streaming: first row irtd/instruct/" in process.stdout
    assert "Next:" in process.stdout
    assert irtd_here("demo", tmp_path / "demo", "--rows", 30, "--quiet").returncode == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    told(irtd_here("demo", tmp_path / "mine"), 1, "the folder is not empty")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_names_that_look_like_markup_are_shown_as_they_are(release, tmp_path):
    """Square brackets in a folder's name reach the user unharmed."""
    folder = release(name="[red]release[/red]")
    (folder / "json_sft.zip").write_bytes(b"<html></html>")
    process = irtd_here("doctor", "irtd", "--release", folder)
    assert process.returncode == 1  # a problem is shown
    assert f"release at {os.fspath(folder)}" in process.stdout.replace("\n", "")


def test_build_without_a_config_builds_what_is_there(sample, tmp_path):
    """`irtd build irtd --release R` builds every part that is there; the others are told, with a way to get them."""
    folder = shutil.copytree(sample.folder, tmp_path / "release")
    for piece in folder.glob("new_relative*"):
        piece.unlink()
    found = irtd_here(
        "build", "irtd", "--release", str(sample.folder), "--out", str(tmp_path / "all"), "--json"
    )
    have = {"/".join(member.key) for member in SPEC.members if member.part.public}
    assert set(json.loads(found.stdout)["rows"]) >= have - {"instruct/scene"}
    found = irtd_here("build", "irtd", "--release", str(folder), "--out", str(tmp_path / "less"))
    assert found.returncode == 0
    told = " ".join(found.stdout.split())
    assert f"Not in {folder}: pretrain. 84,284 captions with their images" in told
    assert not (tmp_path / "less" / "pretrain").exists()
    found = irtd_here("build", "irtd", "--release", str(tmp_path / "all"), "--out", str(tmp_path / "none"))
    assert found.returncode == 1
    assert found.stderr.count("Recognition.json") == 1


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["list", "nothing"], 2), (["--wrong"], 2)]
)
@pytest.mark.parametrize("used", [True, False])
def test_the_process_ends_with_its_code(arguments, code, used):
    """Where `datasets` was used no thread is waited for; output, exit code and what waits for the end are the same."""
    program = f"""
import atexit, sys, threading, time
atexit.register(print, "at the end")
if {used}:
    sys.modules["datasets"] = sys  # its import takes a second
    threading.Thread(target=time.sleep, args=(60,)).start()  # what its streams leave behind
from irtd_datasets.cli import main
sys.argv = ["irtd", *{arguments!r}]
main()
"""
    done = python(program)
    assert done.returncode == code, done.stderr
    assert done.stdout.endswith("at the end\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("MemoryError()", ["the memory does not suffice", "fewer workers"]),
        (
            "OSError(errno.EMFILE, 'Too many open files', 'a.parquet')",
            ["a.parquet: Too many open files", "ulimit -n"],
        ),
        (
            "PermissionError(errno.EACCES, 'Permission denied', 'a.json')",
            ["a.json: Permission denied", "permissions"],
        ),
    ],
)
def test_what_the_machine_refuses_is_a_message(raised, words):
    """Out of memory, out of open files, no permission: words and exit code 1, never a traceback."""
    code = f"""
import errno
from irtd_datasets import catalog
from irtd_datasets.cli import app, releases
def refused(*_, **__):
    raise {raised}
releases.spec = catalog.spec = refused
import sys
sys.argv = ["irtd", "list", "irtd"]
app.main()
"""
    done = python(code)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_command_imports_its_own_module_alone():
    """Its start is the faster for it; a program that imports the command line gets all commands, in their order."""
    from irtd_datasets.cli import COMMANDS
    from irtd_datasets.cli.app import app

    registered = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert registered == [name for names in COMMANDS.values() for name in names]
    code = """
import atexit, runpy, sys
atexit.register(lambda: print(*sorted(name for name in sys.modules if name.startswith("irtd_datasets.cli."))))
runpy.run_module("irtd_datasets", run_name="__main__", alter_sys=True)
"""
    for arguments, expected in (
        (["env", "--json"], {"environment"}),
        (["nosuch"], set(COMMANDS)),
        (["--version"], set(COMMANDS)),
    ):
        imported = {
            name.rpartition(".")[2] for name in python(code, *arguments).stdout.split("\n")[-2].split()
        }
        assert imported & set(COMMANDS) == expected
