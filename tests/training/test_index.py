"""The index finds each image in plain Parquet, whoever wrote it, or says what is wrong with the file."""

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import python

from irtd_datasets.errors import AnnotationError
from irtd_datasets.folder.index import index_table
from irtd_datasets.folder.pages import PageError, chunk_of, locate_in_file, locate_values

VALUES = [b"one", None, b"", b"three" * 50, b"one", None, b"\0\1\2"]


def parquet(values, *, row_group=None, nullable=True, **options):
    """A file with one column of binary values, uncompressed."""
    schema = pa.schema([pa.field("image", pa.binary(), nullable=nullable)])
    table = pa.table({"image": pa.array(values, pa.binary())}, schema=schema)
    file = io.BytesIO()
    pq.write_table(
        table, file, row_group_size=row_group or max(len(values), 1), **{"compression": "none", **options}
    )
    return file.getvalue()


def found(data):
    """The values of a file by the places of them."""
    metadata = pq.read_metadata(io.BytesIO(data))
    values = []
    for group in range(metadata.num_row_groups):
        offsets, lengths = locate_values(data, chunk_of(metadata, group, 0))
        assert offsets.dtype == np.int64
        assert lengths.dtype == np.int32
        assert ((offsets < 0) == (lengths < 0)).all()
        values += [
            None if start < 0 else data[start : start + size]
            for start, size in zip(offsets.tolist(), lengths.tolist(), strict=True)
        ]
    return values


FORMS = [
    {"use_dictionary": False},
    {"use_dictionary": True},
    {"use_dictionary": False, "data_page_version": "2.0"},
    {"use_dictionary": True, "data_page_version": "2.0"},
    {"use_dictionary": False, "data_page_size": 64, "write_batch_size": 3},
    {"use_dictionary": True, "data_page_size": 64, "write_batch_size": 3},
    {
        "use_dictionary": True,
        "dictionary_pagesize_limit": 400,
        "write_batch_size": 8,
    },  # gives the dictionary up
    {"use_dictionary": True, "version": "1.0"},
    {"use_dictionary": False, "write_page_index": True, "write_page_checksum": True},
]


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("row_group", [None, 2])
@pytest.mark.parametrize(
    "values", [VALUES, VALUES * 40, [None, None, None], [f"{n}".encode() * n for n in range(80)]]
)
def test_files_of_pyarrow(options, row_group, values):
    """Plain pages and dictionaries of both versions, one page or many, with values missing or not."""
    assert found(parquet(values, row_group=row_group, **options)) == values


@pytest.mark.parametrize("options", FORMS)
def test_columns_that_must_have_values(options):
    """Where no value may be missing there are no levels at all."""
    values = [value or b"-" for value in VALUES] * 30
    assert found(parquet(values, nullable=False, **options)) == values


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.none(), st.binary(max_size=12), st.sampled_from([b"same", b"other"])), min_size=1
    ),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
    page=st.sampled_from([1, 40, 1 << 20]),
)
def test_any_values(values, dictionary, version, page):
    """Whatever the values, each is found."""
    data = parquet(
        values, use_dictionary=dictionary, data_page_version=version, data_page_size=page, write_batch_size=2
    )
    assert found(data) == values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"compression": "snappy"}, "compressed with SNAPPY"),
        ({"compression": "zstd"}, "compressed with ZSTD"),
        ({"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}, "DELTA_BYTE_ARRAY"),
        ({"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"}, "DELTA_LENGTH_BYTE_ARRAY"),
    ],
)
def test_values_that_do_not_lie_there_as_they_are(options, words):
    """Compressed pages and other encodings are refused by name."""
    with pytest.raises(PageError, match=words):
        found(parquet(VALUES, **options))


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(FORMS[:6]),
    place=st.floats(0, 1, exclude_max=True),
    change=st.one_of(st.binary(min_size=1, max_size=8), st.integers(1, 40)),
)
def test_damaged_pages_are_told(form, place, change):
    """Bytes changed or cut out of the pages give other values or a `PageError`, and nothing else."""
    data = parquet(VALUES * 5, **form)
    chunk = chunk_of(pq.read_metadata(io.BytesIO(data)), 0, 0)
    at = chunk.start + int(place * (chunk.stop - chunk.start))
    if isinstance(change, int):
        damaged = data[:at] + data[min(at + change, chunk.stop) : chunk.stop]
    else:
        damaged = data[:at] + change + data[at + len(change) :]
    try:
        offsets, lengths = locate_values(damaged, chunk)
    except PageError:
        return
    there = offsets >= 0
    assert (lengths[there] >= 0).all()
    assert (offsets[there] + lengths[there] <= chunk.stop).all()


def test_part_of_a_file():
    """A column chunk that was read by itself, from memory or through a file, gives places in the file."""
    data = parquet([b"x" * 9000, b"second"] * 20, row_group=7, use_dictionary=False)
    metadata = pq.read_metadata(io.BytesIO(data))
    for group in range(metadata.num_row_groups):
        chunk = chunk_of(metadata, group, 0)
        whole = locate_values(data, chunk)
        part = locate_values(memoryview(data)[chunk.start : chunk.stop], chunk, chunk.start)
        assert [places.tolist() for places in part] == [places.tolist() for places in whole]
        with pytest.raises(PageError, match="the footer places the pages"):
            locate_values(data[: chunk.stop - 1], chunk)
        with pytest.raises(PageError, match="the footer places the pages"):
            locate_values(memoryview(data)[chunk.start + 1 :], chunk, chunk.start + 1)


def test_only_the_column_of_a_file_is_mapped(tmp_path):
    """Places found through a descriptor are those of the whole file; a file that is too short is told."""
    data = parquet([bytes([n]) * 5000 for n in range(50)], row_group=10, use_dictionary=False)
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    metadata = pq.read_metadata(path)
    with path.open("r+b") as file:
        for group in range(5):
            chunk = chunk_of(metadata, group, 0)
            mapped, whole = locate_in_file(file.fileno(), chunk), locate_values(data, chunk)
            assert [places.tolist() for places in mapped] == [places.tolist() for places in whole]
        file.truncate(chunk.stop - 1)
        with pytest.raises(PageError, match="the footer places the pages"):
            locate_in_file(file.fileno(), chunk)


def test_the_index_of_a_large_shard_takes_little_memory(tmp_path):
    """Of 200 MB of images no more than a row group is in memory at a time."""
    done = python(
        """
import resource, sys
import numpy as np, pyarrow as pa
from irtd_datasets.rows.image_column import ImageColumn
from irtd_datasets.writing.write import RowGroup, write_shard
from irtd_datasets.folder.index import index_table
image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
content = np.random.default_rng(0).bytes(100_000)
def groups():
    for number in range(100):
        images = ImageColumn.of([content + bytes([row]) for row in range(20)])
        yield RowGroup([{"id": f"{number}-{row}"} for row in range(20)], {"image": images})
write_shard(sys.argv[1], pa.schema([("id", pa.string()), ("image", image)]), groups())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
entry, table = index_table(sys.argv[1], "a.parquet")
assert len(table) == entry.rows == 2000 and entry.size > 200_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""",
        tmp_path / "a.parquet",
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60_000  # KiB


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"<html>not found</html>", struct.pack("<I", 1 << 30) + b"PAR1"]
)
def test_files_that_are_no_parquet(tmp_path, content):
    """They are named with a remedy."""
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match="cannot be read as Parquet") as caught:
        index_table(path, "a.parquet")
    assert str(path) in str(caught.value)
    assert caught.value.remedy
