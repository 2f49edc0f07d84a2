"""The Parquet shards are small, exact and reproducible, and appear when they are whole."""

from __future__ import annotations

import gc
import hashlib
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import (
    FEATURES,
    IDS,
    IMAGE,
    SCHEMA,
    as_dictionary,
    expected_rows,
    image_chunks,
    image_groups,
    jpeg,
    mixed_groups,
)

from irtd_datasets.errors import BuildError
from irtd_datasets.rows.groups import GROUP_BYTES
from irtd_datasets.rows.image_column import ImageBatch, ImageBuffer, ImageColumn
from irtd_datasets.writing.write import (
    RowGroup,
    ShardWriter,
    write_shard,
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "train-00000-of-00001.parquet"


def test_plain_pyarrow_reads_back_what_was_written(target):
    """Every value, null and name comes back equal, in plain types, in the row groups as they were given."""
    groups = mixed_groups()
    summary = write_shard(target, SCHEMA, groups, features=FEATURES)
    table = pq.read_table(target)
    assert table.to_pylist() == expected_rows(groups)
    assert table.schema.remove_metadata() == SCHEMA
    metadata = pq.read_metadata(target)
    assert [metadata.row_group(n).num_rows for n in range(3)] == [8, 7, 3]
    assert (summary.rows, summary.row_groups) == (18, 3)


def test_the_features_reach_datasets(target, tmp_path, monkeypatch):
    """`datasets` shows images and class labels from the file alone, mapped and streaming, with equal bytes."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    groups = mixed_groups()
    summary = write_shard(target, SCHEMA, groups, features=FEATURES)
    arguments = {"data_files": {"train": str(target)}, "split": "train", "cache_dir": str(tmp_path / "cache")}
    mapped = datasets.load_dataset("parquet", **arguments)
    assert isinstance(mapped.features["image"], datasets.Image)
    assert mapped.features["modality"].names == ["infrared", "optical", "sar"]
    assert mapped[0]["image"].size == (40, 40)
    assert mapped[11]["image"] is None
    raw = datasets.Image(decode=False)
    want = expected_rows(groups)
    assert mapped.cast_column("image", raw).cast_column("visible", raw).to_list() == want
    streamed = datasets.load_dataset("parquet", streaming=True, **arguments)
    assert list(streamed.cast_column("image", raw).cast_column("visible", raw)) == want
    assert 0 <= mapped.info.dataset_size - summary.num_bytes <= summary.rows


@pytest.mark.parametrize("per_image", [1, 2.3, 10, 100])
def test_a_repeated_image_is_stored_once(target, per_image):
    """A file has its text, the bytes of its distinct images, and 3 % more at most, whatever the rows per image."""
    count = 3 if per_image == 100 else 40
    images = [jpeg(seed, 160) for seed in range(count)]
    images_of_rows = [images[int(n / per_image)] for n in range(int(count * per_image))]
    summary = write_shard(target, IDS, image_groups(images_of_rows))
    starts = range(0, len(images_of_rows), 100)
    unique = sum(len(image) for start in starts for image in set(images_of_rows[start : start + 100]))
    text = 6 * len(images_of_rows)
    assert unique < summary.size < 1.03 * (unique + text)
    assert pq.read_table(target)["image"].combine_chunks().field("bytes").to_pylist() == images_of_rows


@pytest.mark.parametrize("size", [2 << 20, 5 << 20])
def test_a_large_repeated_image_is_stored_once(target, size):
    """No size limit of dictionary pages makes a repeated image be written out in full."""
    image = np.random.default_rng(size).bytes(size)
    summary = write_shard(target, IDS, image_groups([image] * 6, per_group=6))
    assert size < summary.size < size + 4000


def test_unique_images_are_plain(target):
    """A shard without repeated images has no dictionary of images, and one page per row group."""
    write_shard(target, IDS, image_groups([jpeg(seed) for seed in range(120)]))
    chunks = list(image_chunks(target))
    assert len(chunks) == 2
    assert not any(as_dictionary(chunk) for chunk in chunks)
    assert all("RLE_DICTIONARY" not in chunk.encodings for chunk in chunks)


def test_each_row_group_takes_what_is_smaller(target, tmp_path):
    """Row groups of unique images are plain, those with a repeated one have a dictionary, in one file."""
    unique = [jpeg(seed) for seed in range(200)]
    images = unique[:150] + [unique[0]] * 50 + unique[100:] + [jpeg(1000)] * 30
    summary = write_shard(target, IDS, image_groups(images))
    assert [as_dictionary(chunk) for chunk in image_chunks(target)] == [False, True, False, True]
    assert pq.read_table(target)["image"].combine_chunks().field("bytes").to_pylist() == images
    assert summary.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    stored = sum(map(len, unique[:151])) + sum(map(len, unique[100:])) + len(jpeg(1000))
    assert summary.size < 1.03 * stored
    assert [file.name for file in tmp_path.iterdir()] == [target.name]


def test_nulls_and_names_survive_both_encodings(target):
    """Rows without an image and images without a name come back from plain pages and from dictionaries."""
    plain = ImageColumn.of(
        ImageBatch.from_images([b"one", b"two", b"three"], ["1", None, "3"]), [2, -1, 0, 1]
    )
    repeated = ImageColumn.of([b"x" * 1000, b"y"], [0, -1, 0, 1])
    groups = [
        RowGroup([{"id": str(n)} for n in range(4)], {"image": column})
        for column in (plain, ImageColumn.null(4), repeated, ImageColumn.null(4))
    ]
    write_shard(target, IDS, groups)
    assert [as_dictionary(chunk) for chunk in image_chunks(target)] == [False, False, True, False]
    assert pq.read_table(target).to_pylist() == expected_rows(groups)


def test_pages_are_described_as_pyarrow_describes_its_own(target, tmp_path):
    """Footer and offset index of an image column say of its pages what pyarrow says of the same pages of its own."""
    images = [jpeg(seed) for seed in range(30)]
    repeated = [images[n // 10] for n in range(30)]
    for shown in (images, repeated):
        write_shard(target, IDS, image_groups(shown))
        table = pq.read_table(target)
        theirs = tmp_path / "theirs.parquet"
        pq.write_table(
            table,
            theirs,
            compression={"id": "zstd", "image.path": "zstd", "image.bytes": "none"},
            use_dictionary=["id", "image.path", *(["image.bytes"] if shown is repeated else [])],
            write_statistics=["id"],
            write_page_index=True,
            data_page_size=1 << 30,
            dictionary_pagesize_limit=1 << 30,
        )
        (ours,), (other,) = image_chunks(target), image_chunks(theirs)
        for name in ("physical_type", "num_values", "path_in_schema", "compression"):
            assert getattr(ours, name) == getattr(other, name), name
        assert set(ours.encodings) == set(other.encodings)
        assert ours.has_dictionary_page == other.has_dictionary_page
        assert abs(ours.total_compressed_size - other.total_compressed_size) < 40
        assert ours.total_uncompressed_size == ours.total_compressed_size
        metadata, group = pq.read_metadata(target), pq.read_metadata(target).row_group(0)
        columns = [group.column(index) for index in range(group.num_columns)]
        assert group.total_byte_size == sum(column.total_uncompressed_size for column in columns)
        assert metadata.schema.to_arrow_schema().field("image").type == IMAGE


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(-1, 5), st.sampled_from([0, 1, 40, 3000])), min_size=1, max_size=12),
        max_size=4,
    )
)
def test_any_pattern_of_repeats_reads_back(tmp_path_factory, pattern):
    """Whatever repeats, is missing, is empty or is equal under two names: rows, hash and size are right."""
    target = tmp_path_factory.mktemp("pattern") / "test.parquet"
    groups = []
    for rows in pattern:
        index = [number if image >= 0 else -1 for number, (image, _) in enumerate(rows)]
        batch = ImageBatch.from_images(
            [bytes([max(image, 0)]) * length for image, length in rows],
            [str(n) for n in range(len(rows))],
        )
        column = ImageColumn.of(batch, index)
        groups.append(RowGroup([{"id": str(n)} for n in range(len(rows))], {"image": column}))
    summary = write_shard(target, IDS, groups)
    assert pq.read_table(target).to_pylist() == expected_rows(groups)
    assert summary.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert summary.size == target.stat().st_size
    stored = sum(chunk.total_compressed_size for chunk in image_chunks(target))
    plain = sum(group.images["image"].decoded_bytes + 4 * len(group.rows) for group in groups)
    assert stored <= plain + 100 * len(groups)


def test_a_shard_without_rows_is_valid(target, tmp_path):
    """No row group gives a file of zero rows with the schema and the features."""
    summary = write_shard(target, SCHEMA, [], features=FEATURES)
    table = pq.read_table(target)
    assert table.num_rows == summary.rows == summary.row_groups == summary.num_bytes == 0
    assert table.schema.remove_metadata() == SCHEMA
    assert table.schema.metadata[b"huggingface"] == FEATURES
    assert summary.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    """Two writers, one after the other under other names, write files with the same hash."""
    digests = {
        write_shard(tmp_path / name, SCHEMA, mixed_groups(), features=FEATURES).sha256
        for name in ("a.parquet", "b.parquet")
    }
    assert len(digests) == 1
    assert hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest() in digests


def test_all_but_images_is_compressed(target):
    """Image bytes are stored as they are, texts and lists with zstd, single numbers with snappy; no dictionaries."""
    write_shard(target, SCHEMA, mixed_groups())
    group = pq.read_metadata(target).row_group(1)
    chunks = [group.column(index) for index in range(group.num_columns)]
    compression = {chunk.path_in_schema: chunk.compression for chunk in chunks}
    assert compression.pop("image.bytes") == compression.pop("visible.bytes") == "UNCOMPRESSED"
    numbers = {name for name in SCHEMA.names if pa.types.is_integer(SCHEMA.field(name).type)}
    assert {name for name, codec in compression.items() if codec == "SNAPPY"} == numbers
    assert {codec for name, codec in compression.items() if name not in numbers} == {"ZSTD"}
    assert not any(chunk.has_dictionary_page for chunk in chunks if chunk.path_in_schema != "image.bytes")
    assert jpeg(3) in target.read_bytes()


def test_statistics_are_kept_off_images_and_long_texts(target):
    """Numbers and the filter columns have statistics; images, messages and other texts have none."""
    write_shard(target, SCHEMA, mixed_groups())
    group = pq.read_metadata(target).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    with_statistics = {chunk.path_in_schema for chunk in chunks if chunk.is_stats_set}
    assert with_statistics == {"id", "modality", "width"}
    assert group.column(0).statistics.max == "row-7"
    assert jpeg(0)[:20] not in target.read_bytes()[-2000:]


def test_every_column_has_a_page_index(target):
    """Readers of a page of rows find the pages of every column without reading the chunk."""
    write_shard(target, SCHEMA, mixed_groups())
    metadata = pq.read_metadata(target)
    for group in range(metadata.num_row_groups):
        assert all(
            metadata.row_group(group).column(index).has_offset_index for index in range(metadata.num_columns)
        )


def test_the_summary_counts_as_arrow_does(target):
    """Decoded bytes of the shard and of its largest row group are those of the tables that readers get."""
    summary = write_shard(target, SCHEMA, mixed_groups())
    with pq.ParquetFile(target) as file:
        sizes = [
            pa.Table.from_batches([batch]).nbytes for n in range(3) for batch in file.iter_batches(100, [n])
        ]
    assert 0 <= sum(sizes) - summary.num_bytes <= summary.rows  # a bit for each of at most 8 values of a row
    assert 0 <= max(sizes) - summary.largest_row_group <= 8


def test_nothing_is_visible_before_the_end(target, tmp_path):
    """While a shard is written, no glob for data files finds anything, and a finished shard stays readable."""
    write_shard(target, IDS, image_groups([b"old"]))
    with ShardWriter(target, IDS) as writer:
        for group in image_groups([b"new"] * 300):
            writer.write(group)
            assert [file.name for file in tmp_path.glob("[!.]*")] == [target.name]
            assert pq.read_table(target)["image"].to_pylist() == [{"bytes": b"old", "path": None}]
    assert pq.read_metadata(target).num_rows == 300


def test_two_buffers_in_turn_are_enough(target):
    """A buffer that is overwritten after the next `write` leaves the rows before it as they were."""
    buffers = [ImageBuffer(), ImageBuffer()]
    with ShardWriter(target, IDS) as writer:
        for number, letter in enumerate(b"abcde"):
            buffer = buffers[number % 2]
            buffer.clear()
            place = buffer.room(300_000)
            place[:] = bytes([letter]) * 300_000
            buffer.append(place)
            writer.write(RowGroup([{"id": chr(letter)}], {"image": ImageColumn.of(buffer.batch(["x"]))}))
    stored = [value["bytes"] for value in pq.read_table(target)["image"].to_pylist()]
    assert stored == [bytes([letter]) * 300_000 for letter in b"abcde"]


def test_images_are_let_go_of_when_they_are_written(target):
    """However many row groups a shard has, the memory of the images of two is held."""
    held = []

    def group(number):
        data = np.frombuffer((5).to_bytes(4, "little") + b"%05d" % number, np.uint8).copy()
        held.append(weakref.ref(data))
        batch = ImageBatch(data.data, np.array([0, 9], dtype=np.int32), ("a.jpg",))
        return RowGroup([{"id": str(number)}], {"image": ImageColumn.of(batch)})

    gc.freeze()  # what earlier tests have left is not searched again twenty times
    try:
        with ShardWriter(target, IDS) as writer:
            for number in range(20):
                writer.write(group(number))
                gc.collect()
                assert sum(array() is not None for array in held) <= 2
    finally:
        gc.unfreeze()
    assert [row["image"]["bytes"] for row in pq.read_table(target).to_pylist()] == [
        b"%05d" % n for n in range(20)
    ]


ONE = {"image": ImageColumn.of([b"a"])}


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (RowGroup([{"id": "a", "extra": 1}], ONE), r"row 0: .*unknown \['extra'\]"),
        (RowGroup([{}], ONE), r"missing \['id'\]"),
        (RowGroup([{"id": 3}], ONE), "column 'id' cannot be written as string"),
        (RowGroup([{"other": "a"}], ONE), r"missing \['id'\], unknown \['other'\]"),
        (RowGroup([{"id": "a"}]), r"the image columns are \[\], the schema has \['image'\]"),
        (RowGroup([{"id": "a"}, {"id": "b"}], ONE), "shows images for 1 rows, the other columns have 2"),
        (RowGroup([], {"image": ImageColumn.null(0)}), "has 0 rows, expected 1 to 100"),
        (RowGroup([{"id": "a"}] * 101, {"image": ImageColumn.null(101)}), "has 101 rows"),
        (
            RowGroup([{"id": "a"}] * 40, {"image": ImageColumn.of([bytes(1 << 20)], [0] * 40)}),
            f"decoded, expected at most {GROUP_BYTES}",
        ),
    ],
)
def test_a_row_group_that_does_not_fit_is_refused(target, tmp_path, group, message):
    """Columns, types, counts and sizes that differ from the schema and the limits name file and row group."""
    good = RowGroup([{"id": "a"}], ONE)
    with pytest.raises(BuildError, match=message) as caught:
        write_shard(target, IDS, [good, group])
    assert caught.value.where.startswith(f"{target}, row group 1")
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_one_large_row_is_a_row_group_of_its_own(target):
    """An image beyond the limit of a row group is written when it stands alone."""
    image = bytes(GROUP_BYTES + 1)
    assert write_shard(target, IDS, image_groups([image])).largest_row_group > GROUP_BYTES


def test_a_refused_row_group_cannot_be_skipped(target, tmp_path):
    """A caller who swallows the exception of `write` does not get a shard that lacks rows."""
    with (
        pytest.raises(BuildError, match="row group 0 was not written"),
        ShardWriter(target, IDS) as writer,
        pytest.raises(BuildError, match="missing"),
    ):
        writer.write(RowGroup([{}], ONE))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_is_used_once_and_inside_its_block(target):
    """Writing or asking for the summary outside the block, and a second block, say what to do."""
    writer = ShardWriter(target, IDS)
    with pytest.raises(BuildError, match="not open"):
        writer.write(RowGroup([{"id": "a"}], ONE))
    with writer, pytest.raises(BuildError, match="not complete"):
        _ = writer.summary
    with pytest.raises(BuildError, match="used already"), writer:
        pass


def test_rows_with_nothing_but_an_image(target):
    """A schema of images alone keeps its rows, given as mappings or as a table without columns."""
    schema = pa.schema([("image", IMAGE)])
    column = {"image": ImageColumn.of([b"a", b"b"])}
    write_shard(target, schema, [RowGroup([{}, {}], column)])
    assert [value["bytes"] for value in pq.read_table(target)["image"].to_pylist()] == [b"a", b"b"]


@pytest.mark.parametrize("rows", [[2], [-2], [[0]]])
def test_an_index_without_image_is_refused(rows):
    """Each row names one of the images or -1."""
    with pytest.raises(BuildError, match="index"):
        ImageColumn.of([b"a", b"b"], rows)


@pytest.mark.parametrize(
    ("offsets", "paths"),
    [
        *(([0, 9], (None,)), ([0, 7, 6], (None, None)), ([-1, 5], (None,)), ([0, 5], ()), ([], ())),
        *(([0, 3], (None,)), ([0, 6], (None,)), ([1, 6], (None,))),
    ],
)
def test_offsets_stay_in_the_buffer(offsets, paths):
    """Offsets that leave the buffer, go backwards or do not fit the lengths in it never reach a file."""
    with pytest.raises(ValueError, match=r"offsets|paths"):
        ImageBatch(b"\1\0\0\0xyz", np.array(offsets, dtype=np.int32), paths)


def test_images_of_equal_length_and_middle_are_told_apart():
    """Only images whose bytes are all equal are stored as one."""
    middle = b"m" * 64
    batch = ImageBatch.from_images([b"a" + middle + b"a", b"b" + middle + b"a", b"a" + middle + b"a"])
    distinct = ImageColumn.of(batch, [0, 1, 2, 1]).distinct()
    assert len(distinct.images) == 2
    assert distinct.rows.tolist() == [0, 1, 0, 1]


def test_the_buffer_takes_images_of_any_size(tmp_path):
    """Images come back whole and in order, put in place or copied, also when the memory grows or is used again."""
    buffer = ImageBuffer()
    for sizes in ([3, 0, 70_000], [1, 9_000_000, 5], [90 << 20], [5]):
        buffer.clear()
        expected = []
        for number, size in enumerate(sizes):
            expected.append(bytes([number + 1]) * size)
            buffer.room(size + 7)  # an image that was read and not kept
            place = buffer.room(size)
            place[:] = expected[-1]
            buffer.append(place)
            expected.append(b"copied")
            buffer.append(expected[-1])
        batch = buffer.batch([str(n) for n in range(len(expected))])
        assert [bytes(batch[n]) for n in range(len(batch))] == expected


def test_a_row_group_beyond_what_readers_count_is_refused():
    """More bytes than Arrow's 32-bit offsets can count are refused before memory is taken for them."""
    with pytest.raises(BuildError, match="at most 2147483647"):
        ImageBuffer().room(1 << 31)
