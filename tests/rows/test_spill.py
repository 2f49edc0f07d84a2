"""Pending rows that wait in a file."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import groupby
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irtd_datasets.boxes import Frame
from irtd_datasets.rows.order import image_key
from irtd_datasets.rows.pending import Correction, PendingRow, Regions
from irtd_datasets.rows.spill import PendingRowFile, pack_pending, unpack_pending

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
    origin=_TEXT,
)


PENDING = PendingRow("irtd/x", "a.jpg", "captioning", "infrared", None, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spill")


@settings(deadline=None)
@given(pending_rows=st.lists(_PENDING_ROWS, min_size=1, max_size=4))
def test_rows_come_back_as_they_were(folder, pending_rows):
    """Every field of every row survives the file, types included, in whatever order they are asked for."""
    with (folder / "spill").open("w+b") as file:
        rows = PendingRowFile(file)
        rows.extend(pending_rows)
        waiting = rows.waiting()
        assert list(waiting) == list(dict.fromkeys(pending.image for pending in pending_rows))
        for image, places in reversed(waiting.items()):
            found = [rows.pending(place) for place in places]
            assert repr(found) == repr(
                [row for row in pending_rows if row.image == image]
            )  # tells 1 from 1.0
            assert [pack_pending(row) for row in found] == [
                pack_pending(unpack_pending(pack_pending(row))) for row in found
            ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(st.sampled_from("abcd"), max_size=12), order=st.sampled_from(["by-image", "as-released"])
)
@pytest.mark.parametrize("same_key", [False, True])
def test_rows_of_an_image_come_together(folder, images, order, same_key, monkeypatch):
    """By image all its rows, as released neighbours only; also where two images have one sort key."""
    if same_key:
        monkeypatch.setattr("irtd_datasets.rows.spill.image_key", lambda _: bytes(8))
    rows = [replace(PENDING, id=str(number), image=image) for number, image in enumerate(images)]
    with (folder / "units").open("w+b") as file:
        spill = PendingRowFile(file)
        spill.extend(rows)
        found = [
            (image, [unpack_pending(entry).id for entry in entries]) for image, entries in spill.units(order)
        ]
    if order == "as-released":
        runs = [(image, [row.id for row in run]) for image, run in groupby(rows, key=attrgetter("image"))]
        assert found == runs
    else:
        key = (lambda image: image) if same_key else (lambda image: (image_key(image), image))
        expected = sorted(dict.fromkeys(images), key=key)
        assert found == [(image, [row.id for row in rows if row.image == image]) for image in expected]


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
        *("issues", "corrections", "box_frame", "quirks", "rounds", "size", "origin"),
    }
    assert {field.name for field in fields(Regions)} == {
        *("kind", "labels", "numbers", "frame", "size", "decimals", "only_square")
    }


def test_a_file_written_before_can_be_read(folder):
    """Drafts are read from a file that another object wrote, as after planning."""
    with (folder / "earlier").open("wb") as file:
        PendingRowFile(file).extend([PENDING])
        place = (0, file.tell())
    with (folder / "earlier").open("rb") as file:
        assert PendingRowFile(file).pending(place) == PENDING
