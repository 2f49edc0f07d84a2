"""Each source with a visible partner declares whether its pairs are aligned, and says how that is known."""

import pytest

from irtd_datasets.errors import AnnotationError
from irtd_datasets.images.pairs.partner import ALIGNMENTS
from irtd_datasets.sources import TABLE, alignment_of, read_table
from irtd_datasets.sources.checking import doubt_of

PAIRED = [row for row in TABLE if row.visible]


@pytest.mark.parametrize("row", PAIRED, ids=[row.name for row in PAIRED])
def test_alignment_is_declared_with_its_evidence(row):
    """No source with a partner lacks the entry, and "unaligned" in its description is not forgotten."""
    assert row.alignment in ALIGNMENTS
    assert row.alignment_evidence.endswith(".")
    if "UNALIGNED" in row.what:
        assert row.alignment == "unaligned"


def test_tables_of_users_declare_it_too(tmp_path):
    """A table without the column leaves pairs unknown, one with another word is refused at its line."""
    table = tmp_path / "table.csv"
    table.write_text("name,reader,infrared,visible\nmine,images,ir/{stem}.*,vi/{stem}.*\n")
    assert read_table(table)[0].alignment == "unknown"
    table.write_text("name,reader,infrared,visible,alignment\nmine,images,ir/{stem}.*,vi/{stem}.*,yes\n")
    with pytest.raises(AnnotationError, match="alignment 'yes'"):
        read_table(table)
    assert alignment_of("a set that nobody knows") == "unknown"


def test_table_and_images_can_disagree():
    """A majority of pairs whose edges tell decides; pairs that cannot be told say nothing."""
    assert doubt_of("unaligned", {"aligned": 5, "cropped": 1})
    assert doubt_of("aligned", {"refused-turned": 4, "aligned": 1})
    assert not doubt_of("unknown", {"cropped": 8})
    assert not doubt_of("unaligned", {"refused-not-sure": 8})
