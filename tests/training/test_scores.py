"""Side tables of scores, joined by id."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from irtd_datasets.errors import ArrayError, BuildError, ReleaseNotFoundError
from irtd_datasets.training.scores import join_scores, read_scores, write_scores


def test_scores_are_joined_by_id(tmp_path):
    """Scores come back in the order of the ids asked for, whatever the order of the table."""
    file = tmp_path / "deep" / "scores.parquet"
    write_scores(file, ["c", "a", "b"], distance=[3.0, 1.0, 2.0], tier=np.array([2, 0, 1]))
    found = read_scores(file, ["a", "c"])
    assert found["distance"].tolist() == [1.0, 3.0]
    assert found["tier"].tolist() == [0.0, 2.0]
    assert [one.name for one in file.parent.iterdir()] == ["scores.parquet"]


def test_bad_score_tables_are_refused(tmp_path):
    """A table that does not fit is refused by name, with the rows that lack a score."""
    file = tmp_path / "scores.parquet"
    with pytest.raises(ReleaseNotFoundError, match="no such file"):
        read_scores(file, ["a"])
    with pytest.raises(ArrayError, match="1 ids come twice:\na"):
        write_scores(file, ["a", "a"], distance=[1.0, 2.0])
    with pytest.raises(ArrayError, match=r"2 ids, but 'distance' has the shape \(1,\)"):
        write_scores(file, ["a", "b"], distance=[1.0])
    with pytest.raises(ArrayError, match="no scores given"):
        write_scores(file, ["a"])
    write_scores(file, ["a"], distance=[1.0])
    with pytest.raises(ArrayError, match="1 of 2 rows have no score:\nb") as caught:
        read_scores(file, ["a", "b"])
    assert str(file) in str(caught.value)
    file.write_bytes(b"<html>")
    with pytest.raises(ArrayError, match="not a Parquet file"):
        read_scores(file, ["a"])
    pq.write_table(pa.table({"distance": [1.0]}), file)
    with pytest.raises(ArrayError, match="no column id among distance"):
        read_scores(file, ["a"])
    pq.write_table(pa.table({"id": ["a", "a"], "distance": [1.0, 2.0]}), file)
    with pytest.raises(ArrayError, match="come twice"):
        read_scores(file, ["a"])
    (tmp_path / "occupied").write_text("")
    with pytest.raises(BuildError, match="cannot write the scores"):
        write_scores(tmp_path / "occupied" / "scores.parquet", ["a"], distance=[1.0])


def test_tables_of_other_programs_are_read(tmp_path):
    """Ids as large strings or in a dictionary, whole numbers, columns that are no scores, and no rows at all."""
    file = tmp_path / "scores.parquet"
    ids = pa.array(["b", "a", "c"])
    for kind in (pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        table = pa.table(
            {"score": pa.array([1, 2, 3], pa.int16()), "id": ids.cast(kind), "note": ["x", "y", "z"]}
        )
        pq.write_table(table, file)
        assert read_scores(file, ["a", "b"], ["score"])["score"].tolist() == [2.0, 1.0]
        assert read_scores(file, pa.chunked_array([["c"], ["a"]]), ["score"])["score"].tolist() == [3.0, 2.0]
        with pytest.raises(ArrayError, match="'note' has string, expected numbers"):
            read_scores(file, ["a"])
        with pytest.raises(ArrayError, match=r"no score 'other'[\s\S]*It has score, note"):
            read_scores(file, ["a"], ["other"])
    pq.write_table(table.slice(0, 0), file)
    assert read_scores(file, [], ["score"])["score"].tolist() == []
    with pytest.raises(ArrayError, match="1 of 1 rows have no score"):
        read_scores(file, ["a"], ["score"])


def test_a_score_that_is_null_is_no_number(tmp_path):
    """It comes as NaN, which every function over scores refuses."""
    file = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "score": [1.0, None]}), file)
    assert np.isnan(read_scores(file, ["b"])["score"]).all()


def test_scores_of_a_mapping_are_joined():
    """The same without a file; an id without a score is named."""
    assert join_scores({"a": 1, "b": 2.5, "c": 0}, ["b", "a"]).tolist() == [2.5, 1.0]
    with pytest.raises(ArrayError, match="1 of 2 rows have no score:\nx"):
        join_scores({"a": 1.0}, ["a", "x"])


def test_changed_scores_are_noticed(tmp_path):
    """A byte of a score or an id that is not as it was written is an error, never another score."""
    path = tmp_path / "scores.parquet"
    ids = [f"row/{number}" for number in range(300)]
    write_scores(path, ids, clip=[number / 7 for number in range(300)])
    expected, whole = read_scores(path, ids)["clip"], path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    assert footer > 2_000
    for at in range(4, footer, 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            found = read_scores(path, ids)["clip"]
        except ArrayError:
            continue
        assert found.tolist() == expected.tolist()
