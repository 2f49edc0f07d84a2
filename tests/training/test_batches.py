"""Batches decoded by threads: the right pixels in the right rows, in any order, resumed at any batch."""

import numpy as np
import pytest

from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training import batches, stream, table
from irtd_datasets.training.decode import Decoder, has_fast_decoder
from irtd_datasets.writing.engine import build

BACKENDS = [
    "pillow",
    pytest.param("auto", marks=pytest.mark.skipif(not has_fast_decoder(), reason="no simplejpeg")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A built sample of IR-TD."""
    root = tmp_path_factory.mktemp("batches")
    write_sample_release("irtd", root / "release", rows=160)
    out = root / "irtd"
    build("irtd", ["instruct"], absolute_options(str(root / "release"), {}, {}, {}), out)
    return out


def rows_one_by_one(rows, order, decoder):
    from irtd_datasets.training.decode import decode_row

    return [decode_row(rows[number], decoder) for number in order]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recycle", [True, False])
@pytest.mark.parametrize("options", [{}, {"max_side": 96}, {"mode": "rgb"}])
def test_batches_are_the_rows_in_order(folder, backend, recycle, options):
    """Every batch has the rows that the sampler names, with the pixels and places that one row alone gets."""
    rows = table(f"{folder}:instruct")
    decoder = Decoder(backend=backend, threads=3, **options)
    order = list(rows.sampler(seed=5))
    expected = rows_one_by_one(rows, order, decoder)
    seen = 0
    for batch in batches(rows, rows.sampler(seed=5), batch_size=7, decoder=decoder, recycle=recycle):
        for place, identity in enumerate(batch["id"]):
            one = expected[seen]
            assert identity == one["id"]
            assert (batch["image"][place] == one["image"]).all()
            assert batch["objects"][place] == one["objects"]
            seen += 1
    assert seen == len(rows)


def test_arrays_are_used_again(folder):
    """Recycled arrays are a few that come around; without recycling every batch has its own."""
    rows = table(f"{folder}:instruct-grounding")
    decoder = Decoder("luminance", threads=2)

    def arrays(**options):
        return [batch["image"] for batch in batches(rows, batch_size=2, decoder=decoder, ahead=1, **options)]

    kept = [one for one in arrays() if isinstance(one, np.ndarray)]
    assert len({one.__array_interface__["data"][0] for one in kept}) <= 3 < len(kept)
    own = arrays(recycle=False)
    assert len({one.__array_interface__["data"][0] for one in own}) == len(own)


@pytest.mark.parametrize("kind", ["table", "stream"])
@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_resumed_at_any_batch(folder, kind, stop):
    """The state counts what was handed out, not what was read ahead: nothing is lost or repeated."""

    def make():
        if kind == "stream":
            return batches(stream(f"{folder}:instruct", seed=3), batch_size=8, ahead=3)
        rows = table(f"{folder}:instruct")
        return batches(rows, rows.sampler(seed=3), batch_size=8, ahead=3)

    whole = [batch["id"] for batch in make()]
    first = make()
    walk = iter(first)
    before = [next(walk)["id"] for _ in range(stop)]
    state = first.state_dict()
    walk.close()
    second = make()
    second.load_state_dict(state)
    assert before + [batch["id"] for batch in second] == whole


def test_unreadable_images_are_raised_or_left_out(folder):
    """A broken image ends the epoch, or its row is left out and counted, or a function answers for it."""

    class Breaking(Decoder):
        def decode(self, data, modality=None, *, name="image", out=None):
            if name.endswith("3"):
                raise ImageError("broken", where=name)
            return super().decode(data, modality, name=name, out=out)

    rows = table(f"{folder}:instruct")
    broken = [row["id"] for row in map(rows.__getitem__, range(len(rows))) if row["id"].endswith("3")]
    assert broken
    with pytest.raises(ImageError, match="broken"):
        list(batches(rows, batch_size=8, decoder=Breaking()))
    made = batches(rows, batch_size=8, decoder=Breaking(threads=2), on_error="skip")
    found = [identity for batch in made for identity in batch["id"]]
    assert sorted(found + broken) == sorted(rows[number]["id"] for number in range(len(rows)))
    assert made.skipped == len(broken)
    asked = []

    def answer(error, row):
        asked.append(row["id"])
        assert isinstance(error, ImageError)

    list(batches(rows, batch_size=8, decoder=Breaking(), on_error=answer))
    assert sorted(asked) == sorted(broken)


def test_last_batch(folder):
    """The last batch is shorter, or left out."""
    rows = table(f"{folder}:instruct")
    sizes = [len(batch["id"]) for batch in batches(rows, batch_size=7)]
    assert sum(sizes) == len(rows)
    assert len(rows) % 7
    assert [len(batch["id"]) for batch in batches(rows, batch_size=7, drop_last=True)] == sizes[:-1]


def test_bad_use_is_told(folder):
    """Rows that are decoded already, a sampler for a stream, and numbers that cannot be."""
    rows = table(f"{folder}:instruct", decode="rgb")
    with pytest.raises(UnknownNameError, match="treated already"):
        batches(rows, batch_size=2)
    plain = table(f"{folder}:instruct")
    with pytest.raises(UnknownNameError, match="order of its own"):
        batches(stream(f"{folder}:instruct"), plain.sampler(), batch_size=2)
    for options in ({"batch_size": 0}, {"batch_size": 1, "ahead": 0}):
        with pytest.raises(UnknownNameError, match="expected at least 1"):
            batches(plain, **options)
