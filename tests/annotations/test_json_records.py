"""The reader of JSON records: every form, every failure, any size of chunk."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from irtd_datasets.annotations.json_records import JsonRecordsError, ReadLimits, Repair, read_records
from irtd_datasets.errors import (
    AnnotationError,
    ArchiveError,
    IrtdDatasetsError,
    ReleaseNotFoundError,
    UnknownNameError,
)

WHOLE = 1 << 20
TURNS = [{"from": "human", "value": "<image>\nHow many? ü"}, {"from": "gpt", "value": '<num>"2"\\</num>'}]
RECORDS = [{"id": str(i), "image": [f"{i}.jpg"], "conversations": TURNS, "score": 1.5e-3} for i in range(3)]

thorough = settings(deadline=None, database=None, max_examples=200)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=4)
chunk_sizes = st.one_of(st.integers(1, 64), st.just(WHOLE))


def dumped(records, *, indent=None, ascii_only=True):
    return [json.dumps(record, indent=indent, ensure_ascii=ascii_only) for record in records]


# How each form is written from the texts of its records, the form reported, and the repairs.
FORMS = {
    "array": (lambda texts: f"[{','.join(texts)}]", "array", []),
    "array on lines": (lambda texts: "[\n" + ",\r\n".join(texts) + "\n]\n", "array", []),
    "array, trailing comma": (lambda texts: f"[{', '.join(texts)},\n]", "array", ["json-trailing-comma"]),
    "commas, one more": (
        lambda texts: ",\n".join(texts) + ",\n",
        "objects",
        ["json-not-an-array", "json-trailing-comma"],
    ),
    "lines": ("\n".join, "lines", []),
    "lines with blank ones": (lambda texts: "\n" + "\r\n\n".join(texts) + "\n\t\n", "lines", []),
}
SEVERAL = {
    "commas": (",".join, "objects", ["json-not-an-array"]),
    "joined": ("".join, "objects", ["json-not-an-array"]),
    "blanks": (" ".join, "objects", ["json-not-an-array"]),
}


def read(data, *, chunk=WHOLE, name="x.json", **options):
    reader = read_records(data, name=name, limits=ReadLimits(chunk=chunk), **options)
    return list(reader), reader


def outcome(data, *, chunk=WHOLE, name="x.json", **options):
    """The records up to the first exception, the exception, and the reader."""
    reader = read_records(data, name=name, limits=ReadLimits(chunk=chunk), **options)
    records = []
    try:
        for item in reader:
            records.append(item)  # noqa: PERF402 - what came before an exception counts
    except IrtdDatasetsError as error:
        return records, error, reader
    return records, None, reader


def failure(data, **options):
    with pytest.raises(JsonRecordsError) as caught:
        read(data, **options)
    return caught.value


@thorough
@given(
    records=st.lists(objects, min_size=1, max_size=4),
    form=st.sampled_from([*FORMS, *SEVERAL]),
    written=st.fixed_dictionaries({"indent": st.sampled_from([None, 2]), "ascii_only": st.booleans()}),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    chunk=chunk_sizes,
)
def test_any_objects_in_any_form_and_encoding_read_back_equal(records, form, written, encoding, chunk):
    """Whatever was written is read, whole or cut into chunks anywhere, and its form and repairs are told."""
    if form in SEVERAL:
        assume(len(records) > 1)
    join, expected_form, repairs = {**FORMS, **SEVERAL}[form]
    texts = dumped(records, **written)
    if expected_form == "lines" and any("\n" in text for text in texts):
        expected_form, repairs = "objects", ["json-not-an-array"]
    data = join(texts).encode(encoding)
    if encoding.startswith(("utf-16", "utf-32")):
        repairs = [encoding[:6], *repairs]
    elif encoding == "utf-8-sig":
        repairs = ["utf-8-bom", *repairs]
    items, reader = read(data, chunk=chunk, name="x.jsonl")
    assert items == list(enumerate(records))
    assert reader.form == expected_form
    assert reader.count == len(records)
    assert [repair.code for repair in reader.repairs] == repairs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 7, WHOLE])
def test_a_cut_at_any_byte_never_gives_a_wrong_record(form, chunk):
    """A file cut anywhere gives a prefix of its records; a cut array is an error, never a shorter list."""
    join, kind, _ = FORMS[form]
    text = join(dumped(RECORDS, ascii_only=False))
    data = text.encode()
    end = len(data.rstrip())
    expected = list(enumerate(RECORDS))
    for cut in range(len(data)):
        records, error, _ = outcome(data[:cut], chunk=chunk, name="x.jsonl")
        assert records == expected[: len(records)]
        if error is not None:
            blank = not data[:cut].strip()
            assert error.code == ("json-empty" if blank else "json-truncated")
            assert error.complete == len(records)
        elif kind == "array":
            assert cut >= end
        else:
            # A cut between two records of a form without an end cannot be seen.
            assert records
            assert json.loads(data[:cut].rstrip(b", \r\n\t").splitlines()[-1]) == records[-1][1]


@pytest.mark.parametrize("chunk", [1, 7, WHOLE])
def test_a_cut_file_can_give_all_its_complete_records(chunk):
    """With on_truncated="keep" every record that ends before the cut is there, and the cut is reported."""
    texts = dumped(RECORDS, ascii_only=False)
    data = f"[{','.join(texts)}]".encode()
    ends = [len(f"[{','.join(texts[: i + 1])}".encode()) for i in range(len(texts))]
    for cut in range(1, len(data)):
        records, reader = read(data[:cut], chunk=chunk, on_truncated="keep")
        assert len(records) == sum(end <= cut for end in ends)
        assert reader.repairs[-1] == Repair("json-truncated", 1)


@thorough
@given(
    records=st.lists(objects, min_size=1, max_size=3),
    form=st.sampled_from(list(FORMS)),
    data=st.data(),
    chunk=st.integers(1, 40),
    name=st.sampled_from(["x.json", "x.jsonl"]),
)
def test_damage_has_the_same_outcome_for_any_chunk_size(records, form, data, chunk, name):
    """Damaged bytes end in the same records and the same message however they arrive."""
    raw = bytearray(FORMS[form][0](dumped(records, ascii_only=False)).encode())
    at = data.draw(st.integers(0, len(raw)))
    length = data.draw(st.integers(0, 6))
    raw[at : at + length] = data.draw(
        st.binary(max_size=4) | st.sampled_from([b",", b"]", b"[", b"{", b"}", b"\n", b'"', b"1e", b"\xe4"])
    )
    whole, whole_error, whole_reader = outcome(bytes(raw), name=name)
    parts, parts_error, parts_reader = outcome(bytes(raw), name=name, chunk=chunk)
    assert json.dumps(parts) == json.dumps(whole)  # as text, because NaN differs from itself
    assert str(parts_error) == str(whole_error)
    assert parts_reader.repairs == whole_reader.repairs
    assert whole_error is None or isinstance(whole_error, AnnotationError)


@thorough
@given(text=st.text(alphabet='{}[],:"\\ \n1e-.truefalsnNI/x\u00e9', max_size=30), chunk=st.integers(1, 5))
@example(text='[{"a":1e5}]', chunk=1)
@example(text="[1e5]", chunk=2)
def test_what_is_a_list_of_objects_for_the_standard_library_is_one_here(text, chunk):
    """What json.loads takes for a list of objects reads equal; an array without repairs is one for it."""
    records, error, reader = outcome(text.encode(), chunk=chunk)
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        assert error is not None or reader.form != "array" or reader.repairs
        return
    if isinstance(loaded, list) and all(isinstance(item, dict) for item in loaded):
        assert error is None
        assert json.dumps([record for _, record in records]) == json.dumps(loaded)
    else:
        assert error is not None


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "json-empty", "empty"),
        (b" \n\t", "json-empty", "empty"),
        (b"\xef\xbb\xbf", "json-empty", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "json-web-page", "web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
            "json-lfs-pointer",
            "git lfs pull",
        ),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "json-compressed", "Unpack"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "json-compressed", "Unpack"),
        (bytes(4096), "json-zeros", "zero bytes"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "json-encoding", "byte 0 is 0xff"),
        (b"\x89PNG\r\n\x1a\n", "json-encoding", "byte 0 is 0x89"),
        (b"12", "json-no-records", "a number"),
        (b'"text"', "json-no-records", "a text"),
        (b"null", "json-no-records", "null"),
        (b'["a.jpg", "b.jpg"]', "json-not-a-list", "without any object: the record is a text"),
        (b"[null]", "json-not-a-list", "without any object: the record is null"),
        (b"true", "json-no-records", "truth value"),
        (b"hello", "json-not-json", "'hello'"),
        (b'{"images": [1], "annotations": []}', "json-not-a-list", "lists under 'images', 'annotations'"),
        (b"{}", "json-not-a-list", "one object"),
        (b"[]", "json-no-records", "the list is empty"),
        (b" [ ]\n", "json-no-records", "the list is empty"),
        (b"\xef\xbb\xbf[]", "json-no-records", "the list is empty"),
        (b'{"message": "Not Found", "status": 404}', "json-no-records", "as a server answers"),
        (b'{"error": {"code": 403, "errors": [{"reason": "quota"}]}}', "json-no-records", "quota"),
        (b'[{"a": 1},\n {"a": x}, {"b": "' + b"y" * 50 + b'"}]', "json-syntax", "expecting value, found 'x}"),
        (b'[{"a": 1} {"a": 2}]', "json-syntax", "expecting ',' or ']'"),
        (b"[{},,{}]", "json-syntax", "expecting value"),
        (b"[,]", "json-syntax", "expecting value"),
        (b"{},,{}", "json-syntax", "expecting value"),
        (b"{},\n{} x", "json-syntax", "found 'x'"),
        (b'[{"a": "line\nfeed"}]', "json-syntax", "control character"),
        (b"{},\n{}\n]", "json-bracket", "does not open with one"),
        (b"[{}] [{}]", "json-extra-data", "after the closing bracket"),
        (b'[{"n": ' + b"1" * 5000 + b"}]", "json-number-too-long", "number"),
        (b"[" * 200_000, "json-nested-too-deep", "nested"),
        (b'{"a":' * 200_000, "json-nested-too-deep", "nested"),
        (b'[{"a": 1}, {"a": "', "json-truncated", "after 1 complete records"),
    ],
)
def test_what_is_no_list_of_objects_is_refused_with_its_reason(data, code, words):
    """Each kind of broken file has its own code, and a message that names the file and what was found."""
    error = failure(data, name="broken.json")
    assert error.code == code
    assert words in str(error)
    assert error.where.startswith("broken.json")
    assert len(str(error)) < 600


@pytest.mark.parametrize("name", ["broken.json", "broken.jsonl"])
def test_what_a_server_says_is_no_record(name):
    """Not in a file of JSON lines either, where one object alone may be one; an image makes it a record."""
    assert failure(b'{"detail": "Too many requests"}\n', name=name).code == "json-no-records"
    records, _ = read(b'{"image": "1.png", "message": "a"}\n', name="broken.jsonl")
    assert len(records) == 1


def test_a_cut_file_that_is_kept_still_tells_its_other_repairs():
    """The broken form, cut in its third record: both facts are reported."""
    items, reader = read(b'{"a": 1},\n{"a": 2},\n{"a"', on_truncated="keep")
    assert [record for _, record in items] == [{"a": 1}, {"a": 2}]
    assert reader.form == "objects"
    assert [repair.code for repair in reader.repairs] == ["json-not-an-array", "json-truncated"]


def test_an_error_names_record_line_and_column():
    """The place is that of the character that is wrong, counted over chunks."""
    data = b'[\n{"a": 1},\n{"a": 2,\n   "b": oops' + b" " * 60 + b"}]"
    for chunk in (1, 5, WHOLE):
        error = failure(data, chunk=chunk)
        assert error.where == "x.json record 1, line 4 column 9"
        assert (error.index, error.complete) == (1, 1)


@pytest.mark.parametrize("chunk", [1, 3, WHOLE])
def test_undecodable_text_names_the_byte_and_is_never_replaced(chunk):
    """Latin-1 is not guessed: the error names the byte, and the encoding can be given."""
    data = '[{"a": "road"}, {"a": "Straße"}]'.encode("latin-1")
    offset = data.index(b"\xdf")
    records, error, _ = outcome(data, chunk=chunk)
    assert records == [(0, {"a": "road"})]
    assert error.code == "json-encoding"
    assert f"byte {offset} is 0xdf" in str(error)
    assert 'encoding="latin-1"' in str(error)
    assert read(data, chunk=chunk, encoding="latin-1")[0][1] == (1, {"a": "Straße"})


@pytest.mark.parametrize("chunk", [1, 2, 5, WHOLE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gbk", "shift_jis", "utf-16-be", "cp1252"])
def test_an_encoding_can_be_given(encoding, chunk):
    """A given encoding is used as it is, multi-byte ones across chunk borders too."""
    word = "ü" if encoding == "cp1252" else "日本"
    data = f'[{{"a": "{word}"}}]'.encode(encoding)
    assert read(data, chunk=chunk, encoding=encoding)[0] == [(0, {"a": word})]


@pytest.mark.parametrize("encoding", ["klingon", "hex", "zlib", "undefined"])
def test_an_encoding_that_is_none_is_refused_at_once(encoding):
    """A codec that is not one of text cannot be used to unpack anything."""
    with pytest.raises(UnknownNameError, match="no text encoding"):
        read_records(b"[]", name="x.json", encoding=encoding)


def test_bad_records_are_reported_together():
    """All values that are no objects are named in one error, after the good ones have been handed out."""
    records, error, _ = outcome(b'[{"a": 1}, 5, {"a": 2}, "b", null, [1]]')
    assert [index for index, _ in records] == [0, 2]
    assert error.code == "json-bad-records"
    assert "bad records: 4" in str(error)
    assert "record 1, line 1 column 12: the record is a number, '5'; expected an object" in str(error)
    assert "record 3, line 1 column 25: the record is a text, '\"b\"'; expected an object" in str(error)


def test_the_report_of_bad_records_is_limited():
    """The message shows ten of them and counts the rest; reading gives up after the limit."""
    error = failure(b"[" + b"1," * 50 + b"2, {}]")
    assert "bad records: 51" in str(error)
    assert "... and 41 more" in str(error)
    with pytest.raises(JsonRecordsError, match="bad records: 7; gave up") as caught:
        list(read_records(b"[" + b"1," * 50 + b"2]", name="x.json", limits=ReadLimits(collected=7)))
    assert str(caught.value).count("record 3,") == 1


def test_a_handler_gets_each_bad_record_and_reading_goes_on():
    """With on_bad nothing is raised and every record is either handed out or reported."""
    bad = []
    items, reader = read(b"[{}, 1, {}, []]", on_bad=lambda index, error: bad.append((index, error.code)))
    assert [index for index, _ in items] == [0, 2]
    assert bad == [(1, "json-record-type"), (3, "json-record-type")]
    assert reader.count == 2


@pytest.mark.parametrize("chunk", [1, 4, WHOLE])
def test_a_bad_line_costs_one_record(chunk):
    """In JSON lines the next line surely starts the next record; the numbers count the bad ones, too."""
    data = b'{"a": 1}\n{"a": oops}\n{"a": 3} trailing\n7\n{"a": "cut\n{"a": 6}\n'
    bad = {}
    items, reader = read(data, chunk=chunk, on_bad=lambda index, error: bad.update({index: error.code}))
    assert items == [(0, {"a": 1}), (5, {"a": 6})]
    assert bad == {1: "json-syntax", 2: "json-syntax", 3: "json-record-type", 4: "json-syntax"}
    assert reader.form == "lines"


def test_a_bad_first_line_needs_the_name_to_be_taken_for_a_line():
    """Only a file that is known to be JSON lines goes on after a broken first record."""
    data = b'{"a": oops}\n{"a": 2}\n'
    assert failure(data).code == "json-syntax"
    items, _ = read(data, name="x.jsonl", on_bad=lambda index, error: None)
    assert items == [(1, {"a": 2})]


def test_no_part_of_a_broken_pretty_printed_object_becomes_a_record():
    """Where a record has several lines, a syntax error ends the reading."""
    data = b'{"a":\n 1}\n{"b": oops,\n{"c": 1}\n}\n'
    bad = []
    records, error, _ = outcome(data, on_bad=lambda index, error: bad.append(index))
    assert records == [(0, {"a": 1})]
    assert error.code == "json-syntax"
    assert not bad


def test_a_fatal_error_still_names_the_bad_records_before_it():
    """What was collected is not lost when the file turns out to be cut."""
    error = failure(b'[1, {"a": 2}, {"a":')
    assert error.code == "json-truncated"
    assert "the record is a number" in str(error)


def test_duplicate_keys_are_flagged_with_their_records():
    """The last value counts, as in the standard library, but not silently."""
    items, reader = read(b'[{"a": 1, "a": 2}, {"a": 3}, {"b": {"c": 1, "c": 1, "c": 2}}]', chunk=2)
    assert items[0] == (0, {"a": 2})
    assert reader.repairs == (Repair("json-duplicate-key", 2, (0, 2)),)


def test_constants_that_json_does_not_have_are_flagged():
    """NaN and Infinity are kept, because they may stand where nobody looks, and are counted."""
    items, reader = read(b'[{"a": NaN}, {"a": -Infinity}, {"a": 1}]', chunk=1)
    assert items[1][1] == {"a": float("-inf")}
    assert reader.repairs == (Repair("json-not-a-number", 2, (0, 1)),)


def test_repairs_remember_a_thousand_records_and_count_all():
    """A file that is odd throughout does not fill the memory with numbers."""
    _, reader = read(b"\n".join([b'{"a": 1, "a": 2}'] * 1500))
    (repair,) = reader.repairs
    assert (repair.count, len(repair.records)) == (1500, 1000)


@pytest.mark.parametrize("chunk", [1, 16, WHOLE])
def test_a_record_over_the_limit_is_refused_before_it_is_all_in_memory(chunk):
    """An endless record ends the reading soon after the limit; a record within it passes."""
    asked = 0

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            nonlocal asked
            asked += size
            return b'{"a": "' if asked == size else b"x" * size

    with pytest.raises(JsonRecordsError) as caught:
        list(read_records(Endless(), name="x.json", limits=ReadLimits(record=5000, chunk=chunk)))
    assert caught.value.code == "json-record-too-large"
    assert asked <= 2 * 5000 + 2 * chunk
    exact = b'[{"a": "' + b"x" * 4000 + b'"}]'
    assert list(read_records(exact, name="x", limits=ReadLimits(record=len(exact) - 2, chunk=chunk)))
    with pytest.raises(JsonRecordsError, match="longer than"):
        list(read_records(exact, name="x", limits=ReadLimits(record=len(exact) - 3, chunk=chunk)))


def test_sources_are_bytes_paths_and_file_objects(tmp_path):
    """The same records from bytes, text paths, path objects, open files and members of a zip."""
    data = json.dumps(RECORDS).encode()
    path = tmp_path / "Location.json"
    path.write_bytes(data)
    with zipfile.ZipFile(tmp_path / "r.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("json_sft/Location.json", data)
    expected = list(enumerate(RECORDS))
    assert read(data)[0] == read(str(path))[0] == read(path)[0] == expected
    with path.open("rb") as file:
        assert read(file)[0] == expected
    with zipfile.ZipFile(tmp_path / "r.zip") as archive, archive.open("json_sft/Location.json") as member:
        assert read(member, chunk=10)[0] == expected


def test_a_path_can_be_read_again_and_a_file_object_cannot(tmp_path):
    """A second iteration starts over, or says that it cannot; it is never silently empty."""
    reader = read_records(b'{"a": 1},', name="x.json")
    assert list(reader) == list(reader)
    assert [repair.count for repair in reader.repairs] == [1, 1]
    reader = read_records(io.BytesIO(b"[{}]"), name="x.json")
    assert len(list(reader)) == 1
    with pytest.raises(JsonRecordsError, match="read already"):
        list(reader)


def test_a_source_that_cannot_be_read_is_a_clear_error(tmp_path):
    """A missing path, a folder and a text file object are named for what they are."""
    with pytest.raises(ReleaseNotFoundError, match=r"missing\.json"):
        read(tmp_path / "missing.json")
    assert failure(tmp_path).code == "json-unreadable"
    assert "binary mode" in str(failure(io.StringIO("[]")))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_zip_member_is_an_archive_error(tmp_path, compression):
    """A wrong checksum and a broken compressed stream are damage of the archive, and name the file."""
    path = tmp_path / "r.zip"
    data = json.dumps([{"a": index * 7919 % 1000} for index in range(2000)]).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.json", data)
    raw = bytearray(path.read_bytes())
    if compression == zipfile.ZIP_STORED:
        raw[raw.index(b"919")] = ord("8")  # still JSON: only the checksum shows it
    else:
        raw[36:40] = b"\xff" * 4  # an invalid block type at the start of the stream
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as archive, archive.open("a.json") as member:
        _, error, _ = outcome(member, chunk=100, name="a.json")
    assert isinstance(error, ArchiveError)
    assert error.where == "a.json"
    assert "damaged" in error.problem


def test_a_file_is_closed_when_reading_stops_early(tmp_path):
    """Taking the first record only leaves no open file behind."""
    path = tmp_path / "x.json"
    path.write_bytes(json.dumps(RECORDS).encode())
    records = iter(read_records(path, name="x.json", limits=ReadLimits(chunk=8)))
    assert next(records) == (0, RECORDS[0])
    records.close()
    path.unlink()


def test_an_error_survives_a_process_border():
    """Code, number and count are still there after pickling."""
    error = pickle.loads(pickle.dumps(failure(b"[{}, {")))
    assert (error.code, error.index, error.complete) == ("json-truncated", 1, 1)
    assert isinstance(error, ValueError)


LARGE = """
import sys, time
import psutil
from irtd_datasets.annotations.json_records import read_records
process = psutil.Process()
before = process.memory_info().rss
peak = before
start = time.perf_counter()
count = 0
for index, record in read_records(sys.argv[1], name="total.json"):
    count += 1
    if index % 500 == 0:
        peak = max(peak, process.memory_info().rss)
print(count, round(time.perf_counter() - start, 3), peak - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("indent", [None, 4])
def test_a_large_file_is_read_in_bounded_memory(tmp_path, indent):
    """A list of 200 MB takes less than 150 MB, as does one of any size."""
    turns = [
        {"from": role, "value": f"There are <p>{n} ships</p>[0.{n},0.69,0.76,0.71] in the image. " * 2}
        for n in range(10, 18)
        for role in ("human", "gpt")
    ]
    text = json.dumps({"image": "data/detection/HRSID_HBB/P0001.jpg", "conversations": turns}, indent=indent)
    path = tmp_path / "total.json"
    count = 200_000_000 // len(text)
    with path.open("w") as file:
        file.write("[" + text)
        for _ in range(count - 1):
            file.write(",\n" + text)
        file.write("]")
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    found, seconds, grown = done.stdout.split()
    print(f"{path.stat().st_size / 1e6 / float(seconds):.0f} MB/s, {int(grown) / 1e6:.0f} MB more memory")
    assert int(found) == count
    assert int(grown) < 150e6
