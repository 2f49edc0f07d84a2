"""`irtd sources`: the table, what lies here, what is wrong with it."""

import json

import numpy as np
import pytest
import sample_sources as samples
from PIL import Image
from processes import irtd_here
from rich.console import Console

from irtd_datasets.catalog import spec
from irtd_datasets.folder import contact_sheet
from irtd_datasets.sources import TABLE, SourceOptions, open_source, read_table
from irtd_datasets.sources.table import plain


def test_all_entries_are_listed():
    """All 63 entries are shown, those without a name included, with the counts of the list beneath."""
    shown = irtd_here("sources").stdout
    assert "63 entries of IR-TD's list: 40 named, 19 not named, 4 numbers left out" in shown
    values = json.loads(irtd_here("sources", "--json").stdout)
    assert [value["index"] for value in values if value["index"]] == list(range(1, 64))
    assert sum(value["status"] == "unnamed" for value in values) == 19
    assert not [value["name"] for value in values if value["status"] == "missing" and value["name"]]
    one = irtd_here("sources", "51").stdout
    assert "RGBNIR" in one
    assert "oldbuilding" in one


def test_sources_that_lie_here_are_marked_and_checked(tmp_path):
    """--have marks what is found; --check reads it and tells images, objects, splits and every problem."""
    root = samples.llvip(tmp_path / "1-LLVIP")
    (root / "Annotations/010001.xml").unlink()
    (tmp_path / "KAIST").mkdir()
    shown = irtd_here("sources", "--have", tmp_path, "--check").stdout
    assert "folder only" in shown
    assert "LLVIP: 3 images (3 in pairs), 3 objects" in shown
    assert "image-without-label" in shown
    assert "test 2, train 1" in shown
    values = {
        v["name"]: v for v in json.loads(irtd_here("sources", "--have", tmp_path, "--check", "--json").stdout)
    }
    assert values["LLVIP"]["check"]["problems"][0]["count"] == 1
    assert values["LLVIP"]["recognised"]
    assert values["KAIST"]["recognised"] is False
    assert values["M3FD"]["here"] is None
    assert "None of them lies here" in irtd_here("sources", "M3FD", "--have", tmp_path).stdout


def test_a_table_of_ones_own_is_listed(tmp_path):
    """--source-table adds rows and replaces those of the same name."""
    table = tmp_path / "mine.csv"
    table.write_text("name,what,reader,infrared,labels\nMine,[my] set,yolo,{stem}.*,{stem}.txt\n")
    shown = irtd_here("sources", "--source-table", table).stdout
    assert "Mine" in shown
    assert "[my] set" in shown
    assert "infrared: {stem}.*" in irtd_here("sources", "Mine", "--source-table", table).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("NoSuch",), 2, "no sources called"),
        (("--check",), 1, "no source lies there"),
        (("KAIST", "--check"), 1, "irtd sources KAIST --check --have DIR"),
        (("--have", "absent"), 1, "no such file"),
        (("--source-table", "absent.csv"), 1, "no such file"),
    ],
)
def test_mistakes_are_messages(arguments, code, says, tmp_path, monkeypatch):
    """A wrong name, a missing folder or table is a message with the right exit code."""
    monkeypatch.chdir(tmp_path)
    done = irtd_here("sources", *arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_is_checked_where_it_lies(tmp_path, monkeypatch):
    """`irtd sources NAME --check` looks in the folder that the environment names, or else in this one."""
    samples.llvip(tmp_path / "sets/LLVIP")
    (tmp_path / "sets/KAIST").mkdir()
    monkeypatch.setenv("IRTD_SOURCES_DIR", str(tmp_path / "sets"))
    by_name = json.loads(irtd_here("sources", "LLVIP", "--check", "--json").stdout)
    monkeypatch.delenv("IRTD_SOURCES_DIR")
    monkeypatch.chdir(tmp_path / "sets")
    assert json.loads(irtd_here("sources", "LLVIP", "--check", "--json").stdout) == [
        {**by_name[0], "here": "LLVIP"}
    ]
    assert by_name[0]["check"]["images"] > 0
    done = irtd_here("sources", "KAIST", "--check")
    assert (done.returncode, "in none of the ways that are known" in done.stderr) == (1, True)


def test_terms_are_those_of_the_cards():
    """What is said of a source's terms here is what the card of a dataset with its images says."""
    by_name = {}
    for dataset in ("irtd", "mmrs_1m", "rs_gpt4v"):
        for terms in spec(dataset).source_terms:
            by_name.setdefault(plain(terms.source), set()).add(terms.licence)
    for row in TABLE:
        if row.status == "unnamed":
            assert {row.terms} == by_name[plain("Web Data (several)")]
        elif row.name:
            assert row.terms
            assert {row.terms} == by_name.get(plain(row.name), {row.terms})
    infrared = {plain(row.name) for row in TABLE if row.name and row.modality == "infrared"}
    assert infrared <= set(by_name)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_shows_each_source_in_whole_words(width, monkeypatch):
    """Below the width of the table sources are listed in lines that fit, and no task is cut in two."""
    monkeypatch.setattr(
        "irtd_datasets.report.sources.make_console", lambda: Console(width=width, highlight=False)
    )
    lines = irtd_here("sources").stdout.splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert text.count("pedestrian_counting") == sum("pedestrian_counting" in row.tasks for row in TABLE)
    assert "32-50  (not named)" in text
    assert all(row.name in text for row in TABLE)


def test_a_sheet_shows_what_was_read(tmp_path):
    """`--sheet` draws each image with its boxes where they are; without one source to draw it says which there are."""
    samples.llvip(tmp_path / "LLVIP")
    samples.small_targets(tmp_path / "IRSTD-1k")
    done = irtd_here("sources", "LLVIP", "--have", tmp_path, "--sheet", tmp_path / "out/labels.png")
    assert done.returncode == 0, done.stderr
    page = np.asarray(Image.open(tmp_path / "out/labels.png").convert("RGB")).astype(int)
    yellow = (abs(page - (0xFF, 0xD6, 0x0A)).sum(axis=2) < 30).sum()
    assert page.shape[1] == 4 * 410 + 10
    assert yellow > 4 * 400  # the rims of four boxes of 20x28, five times as large
    done = irtd_here("sources", "--have", tmp_path, "--sheet", tmp_path / "labels.png")
    assert (done.returncode, "2 lie in" in done.stderr) == (2, True)
    done = irtd_here("sources", "M3FD", "--have", tmp_path, "--sheet", tmp_path / "labels.png")
    assert (done.returncode, "0 lie in" in done.stderr) == (2, True)


def test_a_sheet_of_questions_shows_their_evidence(tmp_path):
    """`--rows` draws all labelled objects of an image and their margin, which the row of a count does not have."""
    samples.llvip(tmp_path / "sets/LLVIP")
    made = irtd_here(
        "construct", "irtd", "benchmark", "--sources", tmp_path / "sets", "--out", tmp_path / "made"
    )
    assert made.returncode == 0, made.stderr
    arguments = ("--have", tmp_path / "sets", "--rows", tmp_path / "made", "--sheet", tmp_path / "page.png")
    done = irtd_here("sources", *arguments)
    assert done.returncode == 0, done.stderr
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    assert (abs(page - (0xFF, 0x37, 0x5F)).sum(axis=2) < 30).sum() > 40
    done = irtd_here("sources", "--have", tmp_path / "sets", "--rows", tmp_path / "made")
    assert (done.returncode, "--rows needs --sheet" in done.stderr) == (2, True)


def test_a_sheet_shows_every_class_and_images_that_cannot_be_decoded(tmp_path):
    """A class of one image among many is on the page, and an image without pixels is told there."""
    for number in range(60):
        samples.put(tmp_path, f"a/{number:03d}.png", samples.sample_image(40, 30, seed=number))
        label = "rare" if number == 59 else "often"
        samples.put(tmp_path, f"b/{number:03d}.xml", samples.voc("", (40, 30), [(label, (5, 5, 20, 20))]))
    samples.put(tmp_path, "a/000.png", samples.sample_image(40, 30)[:60])
    table = tmp_path / "t.csv"
    table.write_text("name,reader,infrared,labels\nMany,voc,a/{stem}.*,b/{stem}.xml\n")
    source = open_source("Many", tmp_path, table=read_table(table), options=SourceOptions(check_images=False))
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contact_sheet, "draw_objects", lambda image, objects, _: drawn.append(objects) or image)
        contact_sheet.labels_sheet(source, count=60)
        assert len(drawn) == 60
        drawn.clear()
        contact_sheet.labels_sheet(source, count=8)
    assert len(drawn) == 8
    assert "rare" in {item.label for objects in drawn for item in objects}
