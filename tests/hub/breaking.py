"""Ways to break a good dataset folder, one for each rule of the check, each in exactly that way."""

import io
import json
import shutil
import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from irtd_datasets.hub import check_card, check_files, check_shards

SHARD = "instruct/location/train-00000-of-00001.parquet"
OTHER = "instruct/grounding/train-00000-of-00001.parquet"
INDEX = "index/instruct.location.parquet"
IMAGE_RULES = {
    "image-null",
    "image-unreadable",
    "image-too-large",
    "image-not-viewable",
    "image-size",
    "image-gps",
}
"""Rules that need images to be decoded."""
BREAKERS = {}


def breaks(rule):
    """Register a function of the folder and a monkeypatch under a rule."""

    def register(function):
        assert rule not in BREAKERS
        BREAKERS[rule] = function
        return function

    return register


# ------------------------------------------------------------------------------------------------- helpers


def edit_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def edit_card(folder, change):
    """Change the values of the front matter."""
    path = folder / "README.md"
    _, head, text = path.read_text().split("---\n", 2)
    values = yaml.safe_load(head)
    change(values)
    path.write_text(f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n{text}")


def config(values, name="instruct-location"):
    return next(entry for entry in values["configs"] if entry["config_name"] == name)


def info(values, name="instruct-location"):
    return next(entry for entry in values["dataset_info"] if entry["config_name"] == name)


def rewrite(path, change=lambda table: table, *, metadata="keep", features=None, **options):
    """Write a shard anew, with another table, other feature metadata or other options of the writer."""
    table = change(pq.read_table(path))
    stored = table.schema.metadata
    if metadata is None:
        stored = None
    if features is not None:
        stored = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    settings = {
        "row_group_size": 100,
        "write_page_index": True,
        "compression": {"image.bytes": "none", "visible.bytes": "none", "original.bytes": "none"},
        "write_statistics": ["width", "height", "task"],
    }
    pq.write_table(table.replace_schema_metadata(stored), path, **{**settings, **options})


def replaced(name, make):
    """A change of one column, given as a function of its Python values."""

    def change(table):
        index = table.schema.get_field_index(name)
        values = pa.array(make(table[name].to_pylist()), table.schema.field(name).type)
        return table.set_column(index, table.schema.field(name), values)

    return change


def first(value):
    return lambda values: [value(values[0]), *values[1:]]


def features_of(path):
    return json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def with_image(data):
    return replaced("image", first(lambda old: {"bytes": data, "path": old["path"]}))


# --------------------------------------------------------------------------------------------------- folder


@breaks("build-unfinished")
def _(folder, _patch):
    (folder / ".build" / "instruct").mkdir(parents=True)


@breaks("script")
def _(folder, _patch):
    (folder / "irtd.py").write_text("")


@breaks("python-file")
def _(folder, _patch):
    (folder / "helper.py").write_text("")


@breaks("file-foreign")
def _(folder, _patch):
    (folder / "notes").mkdir()
    (folder / "notes" / "to do.docx").write_bytes(b"x")


@breaks("too-many-files")
def _(_folder, patch):
    patch.setattr(check_files, "_FILES", 3)


@breaks("file-too-large")
def _(_folder, patch):
    patch.setattr(check_files, "_FILE_ADVISED", 1000)


@breaks("no-rows")
def _(folder, _patch):
    for path in folder.glob("*/*/*.parquet"):
        rewrite(path, lambda table: table.slice(0, 0))


# ------------------------------------------------------------------------------------- manifest and ledger


@breaks("manifest-missing")
def _(folder, _patch):
    (folder / "manifest.json").unlink()


@breaks("manifest-unreadable")
def _(folder, _patch):
    (folder / "manifest.json").write_text('{"dataset": "irtd", "parts": [')


@breaks("shard-missing")
def _(folder, _patch):
    (folder / SHARD).unlink()


@breaks("shard-unlisted")
def _(folder, _patch):
    shutil.copy(folder / SHARD, folder / "instruct" / "location" / "train-00001-of-00002.parquet")


@breaks("shard-size")
def _(folder, _patch):
    rewrite(folder / SHARD, row_group_size=5)


@breaks("shard-rows")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.slice(1))


@breaks("shard-hash")
def _(folder, _patch):
    data = bytearray((folder / SHARD).read_bytes())
    data[len(data) // 3] ^= 1  # in the middle of an image
    (folder / SHARD).write_bytes(data)


@breaks("file-missing")
def _(folder, _patch):
    (folder / INDEX).unlink()


@breaks("file-changed")
def _(folder, _patch):
    with (folder / INDEX).open("ab") as file:
        file.write(b"x")


@breaks("shard-swapped")
def _(folder, _patch):
    shutil.copy(folder / "benchmark/security/test-00000-of-00001.parquet", folder / SHARD)


@breaks("shard-name")
def _(folder, _patch):
    (folder / SHARD).rename(folder / "instruct" / "location" / "train-1.parquet")


@breaks("shard-sequence")
def _(folder, _patch):
    (folder / SHARD).rename(folder / "instruct" / "location" / "train-00001-of-00002.parquet")


@breaks("shard-unreachable")
def _(folder, _patch):
    shutil.copy(folder / SHARD, folder / "instruct" / "location" / "old-00000-of-00001.parquet")


@breaks("manifest-changed")
def _(folder, _patch):
    edit_json(folder / "manifest.json", lambda values: values.update(order_seed=7))


@breaks("ledger-missing")
def _(folder, _patch):
    (folder / "ledger.json").unlink()


@breaks("ledger-unreadable")
def _(folder, _patch):
    (folder / "ledger.json").write_text("[]")


@breaks("ledger-unbalanced")
def _(folder, _patch):
    edit_json(folder / "ledger.json", lambda values: values["files"][0].update(found=10_000))


@breaks("ledger-rows")
def _(folder, _patch):
    def change(values):
        values["files"][0]["kept"] -= 1
        values["files"][0]["dropped"] = {"box-malformed": 1}

    edit_json(folder / "ledger.json", change)


@breaks("ledger-totals")
def _(folder, _patch):
    edit_json(folder / "ledger.json", lambda values: values["totals"].update(kept=1))


# ----------------------------------------------------------------------------------------------------- card


def _of_card(rule, change):
    breaks(rule)(lambda folder, _patch: edit_card(folder, change))


@breaks("card-missing")
def _(folder, _patch):
    (folder / "README.md").unlink()


@breaks("card-yaml")
def _(folder, _patch):
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("license: other", "license: [other"))


_of_card("card-licence", lambda values: values.update(license="apache 2"))
_of_card("card-licence-name", lambda values: values.pop("license_name"))
_of_card("card-language", lambda values: values.update(language=["English"]))
_of_card("card-size", lambda values: values.update(size_categories=["1M<n<10M"]))
_of_card("card-task", lambda values: values.update(task_categories=["infrared-detection"]))
_of_card("card-viewer-off", lambda values: values.update(viewer=False))
_of_card("config-name", lambda values: config(values).update(config_name="instruct/location"))
_of_card("config-duplicate", lambda values: values["configs"].append(config(values)))
_of_card("config-data-files", lambda values: config(values).update(data_files=[{"split": "train"}]))
_of_card("config-default", lambda values: config(values).update(default=True))
_of_card("split-name", lambda values: config(values)["data_files"][0].update(split="train-small"))
_of_card(
    "pattern-unmatched", lambda values: config(values)["data_files"][0].update(path="instruct/nothing/*")
)
_of_card("pattern-outside", lambda values: config(values)["data_files"][0].update(path="../other/*.parquet"))
_of_card("format-mixed", lambda values: config(values)["data_files"][0].update(path="ledger.json"))
_of_card("info-missing", lambda values: values["dataset_info"].remove(info(values)))
_of_card("info-unknown", lambda values: info(values).update(config_name="instruct-location-2"))
_of_card("split-rows", lambda values: info(values)["splits"][0].update(num_examples=7))
_of_card("split-bytes", lambda values: info(values).update(download_size=7))
_of_card("features-card", lambda values: info(values)["features"].pop())


@breaks("config-too-many")
def _(_folder, patch):
    patch.setattr(check_card, "_CONFIGS", 2)


@breaks("config-many")
def _(_folder, patch):
    patch.setattr(check_card, "_CONFIGS_SHOWN", 2)


@breaks("split-too-many")
def _(folder, _patch):
    paths = [{"split": f"part{number}", "path": SHARD} for number in range(31)]
    edit_card(folder, lambda values: config(values).update(data_files=paths))


@breaks("split-empty")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.slice(0, 0))


@breaks("config-one-row")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.slice(0, 1))


@breaks("card-stale")
def _(folder, _patch):
    text = (folder / "README.md").read_text()
    assert "| location |" in text
    (folder / "README.md").write_text(text.replace("| location |", "| localisation |", 1))


@breaks("card-edited")
def _(folder, _patch):
    with (folder / "README.md").open("a") as file:
        file.write("\n## Our results\n\nBetter than all others.\n")


# -------------------------------------------------------------------------------------------------- footers


@breaks("shard-unreadable")
def _(folder, _patch):
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data[: len(data) // 2])


@breaks("features-missing")
def _(folder, _patch):
    rewrite(folder / SHARD, metadata=None)
    edit_card(folder, lambda values: values.pop("dataset_info"))


@breaks("features-file")
def _(folder, _patch):
    features = features_of(folder / SHARD)
    features.pop("task")
    rewrite(folder / SHARD, features=features)


@breaks("features-notation")
def _(folder, _patch):
    features = features_of(folder / SHARD)
    features["choices"] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
    rewrite(folder / SHARD, features=features)


@breaks("schema-differs")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.drop_columns(["answer"]))


@breaks("schema-earlier")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.drop_columns(["registration", "origin"]))


@breaks("schema-foreign")
def _(folder, _patch):
    rewrite(folder / SHARD, lambda table: table.append_column("mood", pa.array(["fine"] * table.num_rows)))


@breaks("columns-too-many")
def _(folder, _patch):
    def wide(table):
        columns = {f"column {number}": pa.nulls(table.num_rows, pa.bool_()) for number in range(1001)}
        return pa.table(columns)

    rewrite(folder / SHARD, wide, compression="none", write_statistics=False)


@breaks("column-name")
def _(folder, _patch):
    def long(table):
        return table.append_column("n" * 501, pa.nulls(table.num_rows, pa.bool_()))

    rewrite(folder / SHARD, long)


@breaks("image-as-bytes")
def _(folder, _patch):
    def plain(table):
        return table.append_column("thumbnail", table["image"].combine_chunks().field("bytes"))

    rewrite(folder / SHARD, plain)


@breaks("modality-timeseries")
def _(folder, _patch):
    def boxes(table):
        values = pa.array([[1.0, 2.0, 3.0, 4.0]] * table.num_rows, pa.list_(pa.float32()))
        return table.append_column("bbox", values)

    rewrite(folder / SHARD, boxes)


@breaks("modality-tabular")
def _(folder, _patch):
    keep = ["id", "width", "height"]
    features = {name: features_of(folder / SHARD)[name] for name in keep}
    rewrite(folder / SHARD, lambda table: table.select(keep), features=features, compression="none")


@breaks("viewer-page")
def _(_folder, patch):
    patch.setattr(check_shards, "PAGE_BYTES", 10_000)


@breaks("row-group-rows")
def _(_folder, patch):
    patch.setattr(check_shards, "PAGE_ROWS", 2)


@breaks("row-group-bytes")
def _(_folder, patch):
    patch.setattr(check_shards, "_GROUP_BYTES", 10_000)


@breaks("page-index")
def _(folder, _patch):
    rewrite(folder / SHARD, write_page_index=False)


@breaks("image-compressed")
def _(folder, _patch):
    rewrite(folder / SHARD, compression="snappy")


@breaks("image-statistics")
def _(folder, _patch):
    # Of short ones only: the writer leaves statistics out that are longer than 4 kB.
    small = encoded(Image.new("L", (8, 8)), "PNG")
    rewrite(
        folder / SHARD,
        replaced("image", lambda values: [{"bytes": small, "path": None}] * len(values)),
        write_statistics=True,
    )


@breaks("statistics-two-values")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("width", lambda values: [640 + n % 2 for n in range(len(values))]))


@breaks("label-range")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("task", first(lambda _: 99)))


# ----------------------------------------------------------------------------------------------------- rows


@breaks("id-duplicate")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("id", lambda values: [values[1], *values[1:]]))


@breaks("local-path")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("image_note", first(lambda _: "found in /home/ada/flir/1.jpeg")))


@breaks("machine-name")
def _(folder, patch):
    patch.setattr(socket, "gethostname", lambda: "babbage-17.example.org")
    rewrite(folder / SHARD, replaced("image_note", first(lambda _: "copied from babbage-17")))


@breaks("source-forbidden")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("source", first(lambda _: "SYSU-MM01")))


@breaks("source-unknown")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("source", first(lambda _: "SOMEBODYS-SET")))


# ------------------------------------------------------------------------------------------------- images


@breaks("image-null")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("image", first(lambda _: None)))


@breaks("image-unreadable")
def _(folder, _patch):
    whole = pq.read_table(folder / SHARD)["image"][0]["bytes"].as_py()
    rewrite(folder / SHARD, with_image(whole[: len(whole) // 2]))


@breaks("image-too-large")
def _(folder, _patch):
    rewrite(folder / SHARD, with_image(encoded(Image.new("1", (20_000, 10_000)), "PNG")))


@breaks("image-not-viewable")
def _(folder, _patch):
    rewrite(folder / SHARD, with_image(encoded(Image.fromarray(np.ones((512, 640), np.float32)), "TIFF")))


@breaks("image-size")
def _(folder, _patch):
    rewrite(folder / SHARD, replaced("width", first(lambda old: old + 7)))


@breaks("image-gps")
def _(folder, _patch):
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0), 3: "W", 4: (0.0, 7.0, 0.0)}
    rewrite(folder / SHARD, with_image(encoded(Image.new("L", (640, 512)), "JPEG", exif=exif)))
