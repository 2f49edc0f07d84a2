"""An error of a transform is never taken for the end of the data, and names its row."""

import pickle

import pytest
from folders import all_batches, make_folder

from irtd_datasets.errors import ImageError, ShardChangedError, TransformError
from irtd_datasets.training import batches, stream, table

ERRORS = [IndexError, StopIteration, StopAsyncIteration, KeyError, ValueError, LookupError]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 60 rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("transforms") / "made"
    make_folder(root, 60)
    return root


class Failing:
    """Fails on one row; a class, so that workers that are spawned get it."""

    def __init__(self, kind, name="made/000017"):
        self.kind, self.name = kind, name

    def __call__(self, row):
        if row.pop("id") == self.name:
            raise self.kind("here")
        return row


def open_both(made, tmp_path, **options):
    return (
        stream(made, columns=["id", "width"], shuffle=False, **options),
        table(made, columns=["id", "width"], cache=tmp_path, **options),
    )


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_end_the_run(made, tmp_path, kind):
    """In each way of going through the rows; the row is named though the transform took its id."""
    rows, numbered = open_both(made, tmp_path, transform=Failing(kind))
    for walk in (
        lambda: list(rows),
        lambda: list(numbered),
        lambda: list(reversed(numbered)),
        lambda: list(map(numbered.__getitem__, range(60))),
        lambda: [row for _, row in zip(range(60), numbered, strict=False)],
        lambda: numbered[10:20],
        lambda: numbered.__getitems__([16, 17]),
        lambda: {} in numbered,
    ):
        with pytest.raises(
            TransformError, match=rf"row 17, id 'made/000017': the transform raised {kind.__name__}"
        ) as e:
            walk()
        assert isinstance(e.value.__cause__, kind)
        assert "row 17" in str(pickle.loads(pickle.dumps(e.value)))


@pytest.mark.parametrize("kind", ERRORS[:2])
@pytest.mark.parametrize("workers", [0, 2])
def test_errors_end_a_loader(made, tmp_path, kind, workers):
    """A DataLoader takes StopIteration for the end; what it gets is no StopIteration."""
    data = pytest.importorskip("torch.utils.data")
    for rows in open_both(made, tmp_path, transform=Failing(kind)):
        with pytest.raises(TransformError, match="row 17, id 'made/000017'"):
            all_batches(data.DataLoader(rows, batch_size=8, num_workers=workers, collate_fn=list))


def test_what_is_done_with_errors(made, tmp_path):
    """Left out and counted, replaced, or raised by the function that was given; a row of None is an error like them."""
    for rows in open_both(made, tmp_path, transform=Failing(IndexError), on_error="skip"):
        assert len(list(rows)) == 59
        assert rows.skipped == 1
    for rows in open_both(made, tmp_path, transform=Failing(IndexError), on_error=lambda error, row: row):
        assert [row["id"] for row in rows if "id" in row] == ["made/000017"]

    def ends(error, row):
        raise StopIteration

    for rows in open_both(made, tmp_path, transform=Failing(ValueError), on_error=ends):
        with pytest.raises(
            TransformError, match="row 17, id 'made/000017': the transform raised StopIteration"
        ):
            list(rows)
    for rows in open_both(made, tmp_path, transform=lambda row: None):
        with pytest.raises(TransformError, match="row 0, id 'made/000000': the transform gave None"):
            list(rows)


def test_errors_of_the_library_keep_their_kind(made, tmp_path):
    """An image that is none, in rows and in batches of them."""
    for rows in (stream(made, shuffle=False, decode="rgb"), table(made, cache=tmp_path, decode="rgb")):
        with pytest.raises(ImageError, match="row 0, id 'made/000000'"):
            list(rows)
    with pytest.raises(ImageError, match="id 'made/"):
        list(batches(table(made, cache=tmp_path), batch_size=4))


def test_slices(made, tmp_path):
    """A slice is a list of rows, as of a list; what is no number is refused."""
    rows = table(made, columns=["id"], cache=tmp_path)
    every = list(rows)
    assert len(every) == 60
    for part in (slice(2, 9), slice(None, None, -7), slice(-3, None), slice(50, 1000), slice(5, 5)):
        assert rows[part] == every[part]
    assert list(reversed(rows)) == every[::-1]
    assert every[5] in rows
    for wrong in ("5", 1.0, None, (1, 2)):
        with pytest.raises(TypeError):
            rows[wrong]
    with pytest.raises(IndexError):
        rows[60]


def test_a_table_whose_files_are_replaced(made, tmp_path):
    """Told at the next row, though the old file is still open."""
    root = tmp_path / "made"
    make_folder(root, 60)
    rows = table(root, columns=["id"], cache=tmp_path / "cache")
    assert rows[3]["id"] == "made/000003"
    make_folder(root, 60)
    for read in (lambda: rows[3], lambda: rows[3:5], lambda: list(rows)):
        with pytest.raises(ShardChangedError, match="written again"):
            read()
