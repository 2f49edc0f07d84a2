"""Folders of schema 1.1.0 are read as they are; what they lack is said, and nothing of both is mixed."""

import pytest

from irtd_datasets import schema
from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.evaluate.questions import read_questions
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.folder_card import write_card
from irtd_datasets.hub.preview import write_contact_sheet, write_preview
from irtd_datasets.rows import assembly
from irtd_datasets.rows.pending import finish
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.training import stream, table
from irtd_datasets.writing import plan
from irtd_datasets.writing.engine import build

NEW = ("registration", "origin")


def finish_earlier(*arguments, **options):
    row = finish(*arguments, **options)
    return {name: value for name, value in row.items() if name not in NEW}


@pytest.fixture(scope="module")
def earlier(unpacked, tmp_path_factory):
    """A folder as version 1.1.0 of the schema had it."""
    folder = tmp_path_factory.mktemp("earlier") / "irtd"
    with pytest.MonkeyPatch.context() as patch:
        for name in NEW:
            patch.delitem(schema.FIELDS, name)
        patch.setattr(assembly, "finish", finish_earlier)
        patch.setattr(plan, "SCHEMA_VERSION", "1.1.0")
        names = ["instruct-location", "instruct-grounding", "benchmark-security"]
        build("irtd", names, absolute_options(unpacked.folder), folder)
    # What was taken out came back at the end, and the order of columns is that of the schema.
    fields = {field.name: field for field in schema._FIELDS}
    schema.FIELDS.clear()
    schema.FIELDS.update(fields)
    return folder


def test_rows_are_read(earlier, tmp_path):
    """Tables, streams, pages, sheets and questions take the rows without the columns that came since."""
    name = f"{earlier}:instruct"
    assert not set(NEW) & set(table(name)[0])
    assert len(list(stream(name, decode="rgb", box_frame="unit"))) == len(table(name))
    report = write_preview(earlier, tmp_path / "page.html")
    assert report.shown == report.rows
    assert write_contact_sheet(earlier, tmp_path / "sheet.png").shown
    assert list(read_questions(earlier))


def test_what_is_missing_is_said(earlier):
    """A check warns and finds no error; whoever asks for a column learns why there is none."""
    report = check_folder(earlier, images="none")
    assert report.errors == ()
    assert (
        {"schema-earlier"}
        <= {one.rule for one in report.warnings}
        <= {*("schema-earlier", "source-forbidden", "source-unknown", "statistics-two-values")}
    )
    with pytest.raises(UnknownNameError, match=r"'origin'.*\n.*earlier schema"):
        table(f"{earlier}:instruct", columns=["id", "origin"])
    with pytest.raises(BuildError, match=r"columns of schema 1\.1\.0"):
        write_card(earlier)


def test_nothing_is_mixed(earlier, unpacked, tmp_path):
    """A build into such a folder is refused before anything is written, unless it replaces every part."""
    before = {path: path.stat().st_mtime_ns for path in earlier.rglob("*.parquet")}
    with pytest.raises(BuildError, match="benchmark/security, instruct/grounding"):
        build("irtd", ["instruct-location"], absolute_options(unpacked.folder), earlier)
    assert before == {path: path.stat().st_mtime_ns for path in earlier.rglob("*.parquet")}
    build("irtd", ["instruct-location"], absolute_options(unpacked.folder), tmp_path / "new")
    with pytest.raises(UnknownNameError, match="earlier schema"):
        stream([f"{tmp_path / 'new'}:instruct", f"{earlier}:instruct"])
    build(
        "irtd",
        ["instruct-location", "instruct-grounding", "benchmark-security"],
        absolute_options(unpacked.folder),
        earlier,
    )
    assert table(f"{earlier}:instruct")[0]["origin"] == "released"
