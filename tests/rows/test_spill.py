"""Drafts and records that wait in a file."""

from __future__ import annotations

import json
from dataclasses import fields
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.boxes import Frame
from irtd_datasets.rows.parsing import Scanned
from irtd_datasets.rows.pending import Correction, PendingRow, Regions
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.spill import PendingRowFile, RecordFile, pack_pending, unpack_pending

_TEXT = st.text(max_size=8)
_NUMBER = st.integers(-5, 2000) | st.floats(allow_nan=False)


@st.composite
def _places(draw):
    count = draw(st.integers(0, 3))
    kind, width = draw(st.sampled_from([("box", 4), ("polygon", 8), ("point", 2)]))
    return Regions(
        kind,
        tuple(draw(st.lists(_TEXT, min_size=count, max_size=count))),
        tuple(tuple(draw(st.lists(_NUMBER, min_size=width, max_size=width))) for _ in range(count)),
        draw(st.sampled_from(Frame)),
        draw(st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9))),
        draw(st.none() | st.integers(0, 4)),
        draw(st.booleans()),
    )


def _tuples(items):
    return st.lists(items, max_size=3).map(tuple)


_PENDING_ROWS = st.builds(
    PendingRow,
    id=_TEXT,
    image=_TEXT,
    task=_TEXT,
    modality=_TEXT,
    source=st.none() | _TEXT,
    messages=_tuples(st.fixed_dictionaries({"role": _TEXT, "content": _TEXT})),
    question=st.none() | _TEXT,
    choices=_tuples(_TEXT),
    answer=st.none() | _TEXT,
    regions=_tuples(_places()),
    issues=_tuples(_TEXT),
    corrections=_tuples(st.builds(Correction, _TEXT, _TEXT, _TEXT)),
    box_frame=st.none() | _TEXT,
    quirks=_tuples(_TEXT),
    rounds=st.integers(0, 9),
    size=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
)


PENDING = PendingRow("irtd/x", "a.jpg", "captioning", "infrared", None, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spill")


@settings(deadline=None)
@given(pending_rows=st.lists(_PENDING_ROWS, min_size=1, max_size=4))
def test_drafts_come_back_as_they_were(folder, pending_rows):
    """Every field of every draft survives the file, types included, whatever order they are asked for in."""
    with (folder / "spill").open("w+b") as file:
        spill = PendingRowFile(file)
        regions = [spill.add(pending) for pending in pending_rows]
        for pending, place in reversed(list(zip(pending_rows, regions, strict=True))):
            found = spill.pending(place)
            assert found == pending
            assert repr(found) == repr(pending)  # tells 1 from 1.0 and a tuple from a list
            assert pack_pending(unpack_pending(pack_pending(pending))) == pack_pending(pending)


def test_every_field_is_tried():
    """A field that is added to drafts has to be added to the strategy above."""
    names = {field.name for field in fields(PendingRow)}
    assert names == {
        *(
            "id",
            "image",
            "task",
            "modality",
            "source",
            "messages",
            "question",
            "choices",
            "answer",
            "regions",
        ),
        *("issues", "corrections", "box_frame", "quirks", "rounds", "size"),
    }
    assert {field.name for field in fields(Regions)} == {
        *("kind", "labels", "numbers", "frame", "size", "decimals", "only_square")
    }


def test_a_file_written_before_can_be_read(folder):
    """Drafts are read from a file that another object wrote, as after planning."""
    with (folder / "earlier").open("wb") as file:
        place = PendingRowFile(file).add(PENDING)
    with (folder / "earlier").open("rb") as file:
        assert PendingRowFile(file).pending(place) == PENDING


@pytest.mark.parametrize("depth", [1, 500, 3000])
def test_records_of_any_depth_come_back(depth, folder):
    """A record that JSON could be read from is set aside whatever it holds; Python 3.13 reads deeper than others."""
    text = f'{{"image": "a.jpg", "id": NaN, "odd": {"[" * depth}1e400{"]" * depth}, "\\ud800": null}}'
    try:
        record = json.loads(text)
    except RecursionError:
        pytest.skip(f"this Python reads no JSON of {depth} levels")
    found = []
    release = SimpleNamespace(
        pending=lambda file, record, index: found.append((file, record, index)) or PENDING
    )
    with (folder / f"depth-{depth}").open("w+b") as file:
        spill = RecordFile(file)
        place = spill.add(1, Scanned(7, record, "a.jpg", ""))
        assert spill.parse(release, ["first", "second"], place, RecordCounts()) is PENDING
    ((file, again, index),) = found
    assert (file, index, json.dumps(again)) == ("second", 7, json.dumps(record))
