"""The card is valid for the Hub, true to the files, and can be made anew from the folder alone."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from PIL import Image
from processes import environment, irtd_here

from irtd_datasets.catalog import spec
from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError
from irtd_datasets.folder.card import (
    SIZE_CATEGORIES,
    in_repository,
    prose,
    render_card,
    repository_of,
    size_category,
    task_categories,
)
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.names import CARD_IMAGES, STATE
from irtd_datasets.folder.value_counts import BOX_SIZES, SIZE_EDGES, count_values
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.folder_card import card_of, write_card
from irtd_datasets.schema import BOX_FRAMES, FIELDS, TASKS, yaml_features
from irtd_datasets.spec import read_table
from irtd_datasets.testing import sample_names

SAMPLED = sample_names()
"""Datasets of this library that a sample can be written of."""


@pytest.fixture(params=SAMPLED)
def folder(request, whole):
    return whole[request.param]


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole["irtd"], tmp_path / "irtd")


def text_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def table(text, heading):
    """Rows of the first table below a heading, as dictionaries."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def number(text):
    return int(text.replace(",", ""))


def rows_of(folder, columns):
    for path in sorted(folder.glob("*/*/*.parquet")):
        yield from pq.read_table(path, columns=columns).to_pylist()


def test_the_hub_reads_the_card(folder):
    """`huggingface_hub` and `datasets` parse the front matter to what the folder has."""
    card = DatasetCard.load(folder / "README.md")
    declared = spec(folder.name)
    assert card.data.pretty_name == declared.title
    assert card.data.license == declared.licence_id
    if declared.licence_id == "other":
        assert card.data.license_name == "terms-of-the-sources"
        assert card.data.license_link.startswith("https://")
    assert card.data.language == ["en"]
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    assert set(configs) == set(infos) <= {config.name for config in declared.configs}
    assert configs.get_default_config_name() == declared.default_config
    for name, values in infos.items():
        splits = {split: info.num_examples for split, info in values.splits.items()}
        loaded = datasets.load_dataset(str(folder), name, streaming=True)
        assert set(splits) == set(loaded)
        assert values.features == next(iter(loaded.values())).features


def test_names_of_the_metadata_are_the_hubs(folder):
    """Licence, tasks and size are identifiers that the Hub knows."""
    data = DatasetCard.load(folder / "README.md").data
    known = {(row["kind"], row["name"]) for row in read_table("irtd_datasets.hub", "names.csv")}
    assert ("licence", data.license) in known
    assert data.task_categories
    assert {("task", task) for task in data.task_categories} <= known
    assert data.size_categories == [size_category(sum(1 for _ in rows_of(folder, ["id"])))]
    assert data.size_categories[0] in SIZE_CATEGORIES


def test_every_task_has_a_category_of_the_hub():
    """A task of our vocabulary that is alone in a folder still gives a category."""
    assert all(task_categories([task]) for task in TASKS)


def test_tables_sum_to_the_rows(folder):
    """Tasks, sources and frames each count every row once, and as the columns have them."""
    text = text_of(folder)
    rows = list(rows_of(folder, ["task", "source", "box_frame"]))
    tasks = table(text, "Tasks")
    assert number(tasks.pop()["rows"]) == len(rows) == sum(number(row["rows"]) for row in tasks)
    for task in {row["task"] for row in tasks}:
        stated = sum(number(row["rows"]) for row in tasks if row["task"] == task)
        assert stated == sum(TASKS[row["task"]] == task for row in rows)
    sources = {row["source"]: number(row["rows"]) for row in table(text, "Sources")}
    named = [row["source"] or "not named by the release" for row in rows]
    assert sources == {source: named.count(source) for source in named}
    frames = {row["frame"].strip("`"): number(row["rows"]) for row in table(text, "Frames")}
    used = ["none" if row["box_frame"] is None else BOX_FRAMES[row["box_frame"]] for row in rows]
    assert {frame: count for frame, count in frames.items() if count} == {f: used.count(f) for f in used}


def test_the_ledger_and_all_fields_are_on_it(folder):
    """Each annotation file has its line with what was kept; each column its sentence; the terms stand there."""
    text = text_of(folder)
    ledger = json.loads((folder / "ledger.json").read_text())
    lines = table(text, "What became of the release")
    assert len(lines) == len(ledger["files"]) + 1
    assert number(lines[-1]["kept"]) == ledger["totals"]["kept"]
    fields = {row["field"].strip("`"): row["meaning"] for row in table(text, "Fields")}
    assert list(fields) == list(FIELDS)
    declared = spec(folder.name)
    assert declared.terms in text
    assert declared.citation in text
    here = Counter()
    for line in Ledger.read(folder).lines:
        counts = line.record_counts
        for one in (counts.flagged, counts.quirks, counts.repairs) if counts else ():
            here.update(one)
    shown = {row["code"].strip("`"): number(row["here"]) for row in table(text, "Known issues")}
    assert shown == {issue.code: here[issue.code] for issue in declared.issues if here[issue.code]}
    flagged = Counter(code for row in rows_of(folder, ["issues"]) for code in row["issues"])
    assert {code: here[code] for code in flagged} == flagged


def test_the_examples_on_it_run(folder):
    """The code blocks of the card run one after another with plain `datasets`."""
    blocks = re.findall(r"```python\n(.*?)```", text_of(folder), re.DOTALL)
    assert len(blocks) == 2
    program = "\n".join(blocks).replace("PATH_OR_REPO", str(folder))
    program += "\nimport os, sys\nassert not any(name.startswith('irtd_datasets') for name in sys.modules)\n"
    # Arrow's reading threads sometimes abort an interpreter that ends with a stream half read.
    program += "sys.stdout.flush()\nos._exit(0)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "role" in done.stdout


def test_made_anew_it_has_the_same_bytes(folder):
    """From manifest, ledger and Parquet files alone comes the very README.md that the build wrote."""
    assert card_of(folder).encode() == (folder / "README.md").read_bytes()


def test_an_edited_or_lost_card_is_restored(copy):
    """`irtd card` brings back the build's card and Croissant file; where nothing is wrong it writes nothing."""
    path, croissant = copy / "README.md", copy / "croissant.json"
    before, described = path.read_bytes(), croissant.read_bytes()
    assert write_card(copy) == []
    path.write_text("---\nlicense: mit\n---\n# Mine\n")
    croissant.write_text("{}")
    assert write_card(copy) == ["README.md", "croissant.json"]
    assert (path.read_bytes(), croissant.read_bytes()) == (before, described)
    path.unlink()
    done = irtd_here("card", copy)
    assert (done.returncode, path.read_bytes()) == (0, before)
    assert [entry.name for entry in copy.iterdir() if entry.name.startswith(".")] == [STATE]


def test_a_card_of_another_version_is_noted_in_the_manifest(copy, monkeypatch):
    """After a change of the library's text, `irtd card` gives a folder that passes the check, hashes included."""
    from irtd_datasets.hub import folder_card
    from irtd_datasets.hub.check import check_folder

    render = folder_card.render_card
    monkeypatch.setattr(
        folder_card, "render_card", lambda *given, **named: render(*given, **named) + "\nMore prose.\n"
    )
    assert "card-stale" in check_folder(copy, images="none").counts
    assert write_card(copy) == ["README.md", "manifest.json"]
    assert check_folder(copy, images="none", hashes=True).errors == ()
    assert text_of(copy).endswith("More prose.\n")


def test_printing_changes_nothing(copy):
    """`--print` gives the card as it would be written and leaves the file alone."""
    before = text_of(copy)
    (copy / "README.md").write_text("other")
    done = irtd_here("card", copy, "--print")
    assert (done.returncode, done.stdout) == (0, before)
    assert text_of(copy) == "other"


def test_no_card_is_made_of_files_that_are_not_the_builds(copy):
    """A shard that is cut, gone or another than the manifest tells of is named, and nothing is written."""
    shard = copy / "instruct/location/train-00000-of-00001.parquet"
    whole = shard.read_bytes()
    (copy / "README.md").write_text("untouched")
    shard.write_bytes(whole[:-100])
    with pytest.raises(AnnotationError, match="location"):
        write_card(copy)
    shutil.copy(copy / "instruct/grounding/train-00000-of-00001.parquet", shard)
    with pytest.raises(BuildError, match="the manifest tells of"):
        write_card(copy)
    shard.unlink()
    with pytest.raises(BuildError, match="missing"):
        write_card(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(ReleaseNotFoundError, match="no manifest"):
        write_card(copy)
    assert text_of(copy) == "untouched"


@pytest.mark.parametrize("name", SAMPLED)
def test_the_prose_has_no_number(name):
    """Hand-written text of a card holds names with digits and citations, and no count, size or range."""
    text = re.sub(r"\]\([^)]*\)", "]", prose(spec(name)))  # addresses
    text = re.sub(r"arXiv \d{4}\.\d{4,5}|ICCV \d{4}|et al\., \d{4}|WheatCao/\S+", "", text)
    words = re.findall(r"\S*\d\S*", text)
    names = ("MMRS-1M", "RS-GPT4V", "GPT-4V")
    assert [word for word in words if not any(name in word for name in names)] == []


@pytest.mark.parametrize("name", SAMPLED)
def test_each_source_has_terms_at_most_once(name):
    """The table of terms has no source twice and no other word for redistribution than the three."""
    terms = spec(name).source_terms
    assert len({one.source for one in terms}) == len(terms)
    assert {one.redistribution for one in terms} <= {"allowed", "forbidden", "unknown"}
    assert all(one.licence for one in terms)
    assert all(one.evidence for one in terms if one.redistribution != "unknown")


def test_every_component_of_mmrs_and_rs_gpt4v_has_terms():
    """No component dataset that these releases name is without a line."""
    for name, titles in (
        ("mmrs_1m", {row["title"] for row in read_table("irtd_datasets.mmrs_1m", "components.csv")}),
        ("rs_gpt4v", {row["source"] for row in read_table("irtd_datasets.rs_gpt4v", "sources.csv")}),
    ):
        assert {one.source for one in spec(name).source_terms} == titles


def test_unknown_sources_have_unknown_terms():
    """A source without a line, and a row without a source, are not taken for free."""
    assert spec("irtd").terms_of("NOBODY").redistribution == "unknown"
    assert spec("irtd").terms_of(None).redistribution == "unknown"
    assert spec("irtd").terms_of("FLIR_ADAS").redistribution == "forbidden"


def test_values_are_counted_with_and_without_statistics(folder, tmp_path):
    """Counts from footers are those of the columns; a file without statistics is read."""
    files = sorted(folder.glob("*/*/*.parquet"))
    rows = [row["source"] for row in rows_of(folder, ["source"])]
    assert count_values(files, "source") == {source: rows.count(source) for source in rows}
    plain = pq.read_table(files[0], columns=["source"])
    pq.write_table(plain, tmp_path / "a.parquet", write_statistics=False)
    assert count_values([tmp_path / "a.parquet"], "source") == count_values(files[:1], "source")
    with pytest.raises(AnnotationError, match="nothing"):
        count_values(files, "nothing")


def test_features_stand_once_in_the_front_matter(folder):
    """All configs share one list of features, which every reader sees; there are no tags and no other anchors."""
    head = text_of(folder).split("---\n")[1]
    assert head.count("&features") == 1
    assert head.count("- name: image_note") == 1
    values = yaml.safe_load(head)
    assert head.count("*features") == len(values["configs"]) - 1
    assert not re.search(r"(^|\s)(![\w!]|[&*](?!features\b)\w)", head)
    assert all(info["features"] == yaml_features() for info in values["dataset_info"])


def test_the_card_shows_what_is_here(folder):
    """Its images are small files of the folder that the manifest lists; the numbers on it are the folder's."""
    text, manifest = text_of(folder), Manifest.read(folder)
    shown = re.findall(r"!\[[^\]]+\]\((card/[\w.-]+)\)", text)
    assert (
        sorted(shown)
        == sorted(CARD_IMAGES.values())
        == sorted(n for n in manifest.files if n.startswith("card/"))
    )
    for name in shown:
        with Image.open(folder / name) as image:
            image.load()
            assert image.width >= 700
        assert (folder / name).stat().st_size < 200_000
    rows = table(text, "Rows")
    sizes = {row["config"]: float(row["MB on disk"].replace(",", "")) for row in rows}
    shards = sum(path.stat().st_size for path in folder.glob("*/*/*.parquet"))
    assert sizes[spec(folder.name).default_config] <= round(shards / 1e6, 1)
    counted, whole = sum(number(row["rows"]) for row in rows), sum(part.rows for part in manifest.parts)
    several = counted > whole  # configs that show the same rows
    assert (f"show the same {whole:,} rows" in text) == several
    assert (f"adds up the configs and shows {counted:,}." in text) == several
    assert f"irtd-datasets {manifest.made_with[0]} " in text


def test_box_sizes_are_counted(folder):
    """The classes of box sizes hold each box, or else polygon, once, by the side of a square of the same area."""
    expected = Counter()
    for row in rows_of(folder, ["objects"]):
        objects = row["objects"]
        nothing = [None] * len(objects["label"])
        for box, polygon in zip(objects["box"] or nothing, objects["polygon"] or nothing, strict=True):
            if box:
                area = abs((box[2] - box[0]) * (box[3] - box[1]))
            elif polygon:
                corners = list(zip(polygon[::2], polygon[1::2], strict=True))
                area = abs(sum(a * d - c * b for (a, b), (c, d) in pairwise([*corners, corners[0]]))) / 2
            else:
                continue
            expected[sum(area**0.5 >= edge for edge in SIZE_EDGES) - 1] += 1
    assert count_values(folder.glob("*/*/*.parquet"), BOX_SIZES) == expected


def test_lost_images_of_the_card_are_drawn_again(copy):
    """`irtd card` restores images of the card that were lost or changed, to the same bytes."""
    before = {name: (copy / name).read_bytes() for name in CARD_IMAGES.values()}
    (copy / CARD_IMAGES["tasks"]).unlink()
    (copy / CARD_IMAGES["rows"]).write_bytes(b"other")
    report = check_folder(copy, images="none")
    assert {finding.rule for finding in report.errors} == {"file-changed", "file-missing"}
    assert all("irtd card" in finding.remedy for finding in report.errors)
    assert sorted(write_card(copy)) == sorted([CARD_IMAGES["tasks"], CARD_IMAGES["rows"]])
    assert {name: (copy / name).read_bytes() for name in CARD_IMAGES.values()} == before
    assert check_folder(copy, images="none").errors == ()


def test_a_published_card_names_its_repository(copy):
    """In a repository the examples have its name, which `irtd card` and the check take for granted."""
    path = copy / "README.md"
    path.write_text(in_repository(text_of(copy), "you/irtd"))
    assert 'load_dataset("you/irtd", "instruct", split="train")' in text_of(copy)
    assert "PATH_OR_REPO" not in text_of(copy)
    assert write_card(copy) == ["manifest.json"]
    assert repository_of(text_of(copy)) == "you/irtd"
    assert not {"card-stale", "card-edited"} & set(check_folder(copy, images="none").counts)
    assert in_repository(text_of(copy), "they/irtd").count("they/irtd") == 2


def test_other_shards_are_other_rows_for_the_cache(copy):
    """Plain `load_dataset` of a folder whose shards were replaced does not give the rows that it has in its cache."""

    def cache(parts):
        names = ("instruct-location", "instruct-reid")
        text = render_card(spec("irtd"), parts, Ledger.read(copy), copy, seal=manifest.seal)
        (copy / "README.md").write_text(text)
        return [datasets.load_dataset_builder(str(copy), name).cache_dir for name in names]

    manifest = Manifest.read(copy)
    before = cache(manifest.parts)
    assert cache(manifest.parts) == before
    values = json.loads(manifest.render())
    shards = {shard["file"]: shard for part in values["parts"] for shard in part["shards"]}
    name = next(name for name in shards if name.startswith("instruct/location/"))
    for entry in (shards[name]["summary"], values["files"][name]):
        entry["sha256"] = "0" * 64
    after = cache(Manifest.parse(json.dumps(values).encode()).parts)
    assert after[0] != before[0]
