"""Drafts that wait in a file."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.boxes import Frame
from irtd_datasets.examples.draft import Correction, Draft, Places
from irtd_datasets.examples.spool import DraftSpool, pack_draft, unpack_draft

_TEXT = st.text(max_size=8)
_NUMBER = st.integers(-5, 2000) | st.floats(allow_nan=False)


@st.composite
def _places(draw):
    count = draw(st.integers(0, 3))
    kind, width = draw(st.sampled_from([("box", 4), ("polygon", 8), ("point", 2)]))
    return Places(
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


_DRAFTS = st.builds(
    Draft,
    id=_TEXT,
    image=_TEXT,
    task=_TEXT,
    modality=_TEXT,
    source=st.none() | _TEXT,
    messages=_tuples(st.fixed_dictionaries({"role": _TEXT, "content": _TEXT})),
    question=st.none() | _TEXT,
    choices=_tuples(_TEXT),
    answer=st.none() | _TEXT,
    places=_tuples(_places()),
    issues=_tuples(_TEXT),
    corrections=_tuples(st.builds(Correction, _TEXT, _TEXT, _TEXT)),
    box_frame=st.none() | _TEXT,
    quirks=_tuples(_TEXT),
    rounds=st.integers(0, 9),
    size=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spool")


@settings(deadline=None)
@given(drafts=st.lists(_DRAFTS, min_size=1, max_size=4))
def test_drafts_come_back_as_they_were(folder, drafts):
    """Every field of every draft survives the file, types included, whatever order they are asked for in."""
    with (folder / "spool").open("w+b") as file:
        spool = DraftSpool(file)
        places = [spool.add(draft) for draft in drafts]
        for draft, place in reversed(list(zip(drafts, places, strict=True))):
            found = spool.draft(place)
            assert found == draft
            assert repr(found) == repr(draft)  # tells 1 from 1.0 and a tuple from a list
            assert pack_draft(unpack_draft(pack_draft(draft))) == pack_draft(draft)


def test_every_field_is_tried():
    """A field that is added to drafts has to be added to the strategy above."""
    names = {field.name for field in fields(Draft)}
    assert names == {
        *("id", "image", "task", "modality", "source", "messages", "question", "choices", "answer", "places"),
        *("issues", "corrections", "box_frame", "quirks", "rounds", "size"),
    }
    assert {field.name for field in fields(Places)} == {
        *("kind", "labels", "numbers", "frame", "size", "decimals", "only_square")
    }


def test_a_file_written_before_can_be_read(folder):
    """Drafts are read from a file that another object wrote, as after planning."""
    draft = Draft("irtd/x", "a.jpg", "captioning", "infrared", None, ())
    with (folder / "earlier").open("wb") as file:
        place = DraftSpool(file).add(draft)
    with (folder / "earlier").open("rb") as file:
        assert DraftSpool(file).draft(place) == draft
