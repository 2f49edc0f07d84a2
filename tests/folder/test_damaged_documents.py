"""Documents of our own, damaged in any way: an error that names file, place and cause, in bounded time and memory."""

import copy
import json
import time

import pytest

from irtd_datasets.documents import LIMIT, parse_json, read_json
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError
from irtd_datasets.folder.front_matter import CARD_LIMIT, parse_front_matter
from irtd_datasets.folder.ledger import Ledger, LedgerLine
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.parts import BuiltPart, ShardResult, ShardSummary
from irtd_datasets.folder.row_groups import card_configs, config_patterns
from irtd_datasets.rows.record_counts import RecordCounts

COUNTS = RecordCounts(found=3, kept=2, image_missing=1, messages=["one is gone"])
SHARD = ShardResult("print", ShardSummary(2, 1, 900, "ab" * 32, 700, 700), COUNTS)
PART = BuiltPart("instruct", "location", "train", "", (SHARD,), RecordCounts())
MANIFEST = Manifest("irtd", "1.0.0", 5, ("1", "2"), (PART,), {"README.md": Listed.of("card")})
LEDGER = Ledger("irtd", (LedgerLine("instruct", "location", "Location.json", 3, COUNTS),), ("more.json",))

NO_JSON = {
    "nothing": b"",
    "zeros": bytes(4096),
    "no UTF-8": b'{"dataset": "\xff\xfe"}',
    "UTF-16": '{"dataset": "irtd"}'.encode("utf-16"),
    "cut": b'{"dataset": "irtd", "parts": [',
    "web page": b"<!DOCTYPE html><title>404</title>",
    "nested lists": b"[" * 200_000 + b"]" * 200_000,
    "nested objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "huge number": b"[" + b"9" * 5_000_000 + b"]",
    "not a number": b"[NaN]",
    "too long": b" " * (LIMIT + 1),
    "another kind": b'"irtd"',
    "a list": b"[]",
}


@pytest.mark.parametrize("kind", NO_JSON)
@pytest.mark.parametrize("document", [Manifest, Ledger])
def test_what_is_no_document(document, kind):
    """What is no JSON, or another document, is refused with the file's name, a remedy, and within a second."""
    begun = time.perf_counter()
    with pytest.raises(AnnotationError) as caught:
        document.parse(NO_JSON[kind], "out/file.json")
    assert time.perf_counter() - begun < 1
    assert caught.value.where == "out/file.json"
    assert caught.value.remedy
    assert len(str(caught.value)) < 1000


def places(value, path=()):
    """Every place of a JSON value."""
    yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from places(inner, (*path, step))


def changed(value, path, new):
    """A copy with another value at a place; without it where the new one is `places`."""
    if not path:
        return new
    whole = copy.deepcopy(value)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if new is places:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return whole


WRONG = (None, True, -1, 1.5, 10**30, "x", [], {}, [[]], {"x": []}, [1], places)


@pytest.mark.parametrize("document", [MANIFEST, LEDGER])
def test_a_wrong_value_anywhere(document):
    """Each value of a manifest and a ledger, exchanged or taken out: the same document, another one, or our error."""
    values = json.loads(document.render())
    refused = 0
    for path in places(values):
        for new in WRONG:
            if new is places and not path:
                continue
            data = json.dumps(changed(values, path, new)).encode()
            try:
                type(document).parse(data)
            except AnnotationError:
                refused += 1
    assert refused > 200


def test_a_document_is_what_was_written():
    """Manifest and ledger come back as they were, identities aside, and render to the same text."""
    read = Manifest.parse(MANIFEST.render().encode())
    assert read.render() == MANIFEST.render()
    assert read.files == MANIFEST.files
    assert Ledger.parse(LEDGER.render().encode()) == LEDGER
    identity = parse_json(json.dumps(PART.identity()).encode(), "", "")
    assert read.parts[0] != PART
    assert read.parts[0].identified(identity) == PART


def test_the_seal_is_of_all_but_the_card():
    """A manifest with another entry of the card has the same seal, one with anything else changed has another."""
    values = json.loads(MANIFEST.render())
    values["files"]["README.md"]["bytes"] += 1
    assert Manifest.parse(json.dumps(values).encode()).seal == MANIFEST.seal
    values["order_seed"] += 1
    assert Manifest.parse(json.dumps(values).encode()).seal != MANIFEST.seal


@pytest.mark.parametrize("name", ["../up.parquet", "/etc/passwd", "a/../../b", "nul\0.parquet", "notes.txt"])
def test_names_that_no_build_writes(name):
    """A manifest that lists a file outside of the folder, or one that no build writes, is refused."""
    values = json.loads(MANIFEST.render())
    values["files"][name] = {"bytes": 1, "sha256": "0"}
    with pytest.raises(AnnotationError, match="lists"):
        Manifest.parse(json.dumps(values).encode())


def test_files_that_cannot_be_read(tmp_path):
    """A file that is not there, a folder in its place and a file below a file are told with their names."""
    with pytest.raises(ReleaseNotFoundError, match=r"no manifest\.json"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(AnnotationError, match="cannot be read"):
        Manifest.read(tmp_path)
    (tmp_path / "ledger.json").write_text("{}")
    with pytest.raises(ReleaseNotFoundError):
        read_json(tmp_path / "ledger.json" / "x.json", "")


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
FRONTS = {
    "date": "date: 2020-13-45",
    "flow": "configs: " + "[" * 100_000 + "]" * 100_000,
    "block": "configs: \n" + "- " * 100_000 + "x",
    "bomb": BOMB + "tags: *a9",
    "loop": "tags: &a [*a]",
    "merge": "a: &a {x: 1}\n"
    + "".join(f"b{i}: &b{i} {{<<: *{'a' if not i else f'b{i - 1}'}}}\n" for i in range(9)),
    "base sixty": "configs: 1" + ":59" * 1_000_000,
    "digits": "configs: " + "9" * 1_000_000,
    "tag": "configs: !!python/object:os.system x",
    "key": "? [a, b]\n: c",
    "two": "a: 1\n---\nb: 2",
    "list": "- a",
    "control": "a: \x00",
}


@pytest.mark.parametrize("kind", FRONTS)
def test_a_card_that_is_made_to_harm(kind):
    """Front matter with impossible values, deep nesting, bombs and endless numbers: our error, at once."""
    begun = time.perf_counter()
    with pytest.raises(AnnotationError):
        card_configs(f"---\n{FRONTS[kind]}\n---\n# Card\n"[:CARD_LIMIT], "README.md")
    assert time.perf_counter() - begun < 5


def test_aliases_in_measure_are_read():
    """A card whose writer has put anchors for what repeats is read as it is meant."""
    entries = (
        "- config_name: a\n  data_files: &f [{split: train, path: a/*}]\n- config_name: b\n  data_files: *f"
    )
    text = f"---\nconfigs:\n{entries}\n---\n"
    assert [list(config_patterns(entry, "")) for entry in card_configs(text, "")] == [[("train", "a/*")]] * 2


@pytest.mark.parametrize(
    "entry", [5, None, True, 1.5, [5], [None], [[]], {"split": 1}, {"path": ["a", 2], "split": "train"}]
)
def test_data_files_of_any_kind(entry):
    """Data files that are no patterns are told as such."""
    with pytest.raises(IrtdDatasetsError, match="data files"):
        list(config_patterns({"config_name": "a", "data_files": entry}, "out"))


def test_front_matter_needs_a_mapping():
    """A card without front matter says so."""
    with pytest.raises(AnnotationError, match="no front matter"):
        parse_front_matter("# Card\n", "README.md")
