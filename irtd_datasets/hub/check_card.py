"""The card of a dataset folder: the Hub's metadata rules, its configs against the files, and its text."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError
from irtd_datasets.folder.card import size_category
from irtd_datasets.folder.front_matter import parse_front_matter, read_card, split_card
from irtd_datasets.folder.names import CARD, part_of
from irtd_datasets.hub.check_files import Shard, is_safe
from irtd_datasets.hub.folder_card import card_of
from irtd_datasets.schema import arrow_schema, yaml_features
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.folder.manifest import Manifest
    from irtd_datasets.hub.findings import Findings

__all__ = ["ConfigFiles", "check_card", "check_text"]

ConfigFiles = dict[str, dict[str, list[str]]]
"""Names of Parquet files by config and split, as `datasets` would read them."""

_CONFIGS, _CONFIGS_SHOWN, _SPLITS = 4_000, 100, 30
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_CONFIG_NAME = re.compile(r'[^<>:/\\|?*"\x00-\x1f]+')
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_HIDING_TAGS = {"not-for-all-audiences", "nsfw", "porn", "hentai", "inappropriate"}


def check_card(
    root: Path, shards: Sequence[Shard], found: Sequence[str], manifest: Manifest | None, findings: Findings
) -> tuple[ConfigFiles, set[str]]:
    """Check the front matter against the Hub's rules and against the files.

    Args:
        root: The folder.
        shards: Its Parquet files that can be read.
        found: Names of all its files.
        manifest: Its manifest, if there is one.
        findings: Takes what is found.

    Returns:
        The files of each config and split, and the configs whose features stand on the card.
    """
    values = _front_matter(root, findings)
    if values is None:
        return {}, set()
    by_name = {shard.name: shard for shard in shards}
    _check_metadata(values, sum(shard.rows for shard in shards), findings)
    configs = _check_configs(root, values.get("configs"), found, findings)
    described = _check_infos(values.get("dataset_info"), configs, by_name, manifest, findings)
    reached = {name for splits in configs.values() for names in splits.values() for name in names}
    for name in by_name:
        if name not in reached:
            findings.add("shard-unreachable", "no pattern of the card matches it", name)
    return configs, described


def _front_matter(root: Path, findings: Findings) -> dict[str, Any] | None:
    try:
        return parse_front_matter(read_card(root), CARD)
    except ReleaseNotFoundError:
        findings.add("card-missing", "there is no card", CARD)
    except AnnotationError as error:
        findings.add("card-yaml", error.problem, CARD)
    return None


def _strings(value: Any) -> list[str]:  # noqa: ANN401 - a value of YAML
    """A string or a list as a list of strings."""
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return [str(entry) for entry in entries]


def _mappings(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a value of YAML
    """A mapping, or the mappings of a list."""
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, dict)]


def _check_metadata(values: Mapping[str, Any], rows: int, findings: Findings) -> None:
    # Of the Hub's documentation: its licences, and its tasks for images, for text, and for both.
    known = {(row["kind"], row["name"]) for row in read_table("irtd_datasets.hub", "names.csv")}
    licences = _strings(values.get("license"))
    for licence in licences or ["(none)"]:
        if ("licence", licence) not in known:
            findings.add("card-licence", f"license is {licence!r}", CARD)
    if "other" in licences and not (values.get("license_name") and values.get("license_link")):
        findings.add("card-licence-name", "license is 'other'", CARD)
    for language in _strings(values.get("language")):
        if not _LANGUAGE.fullmatch(language) and language not in {"code", "multilingual"}:
            findings.add("card-language", f"language {language!r}", CARD)
    sizes = _strings(values.get("size_categories"))
    if sizes != [size_category(rows)]:
        given = ", ".join(sizes) or "none"
        findings.add("card-size", f"{given} is given, {rows:,} rows are {size_category(rows)}", CARD)
    for task in _strings(values.get("task_categories")):
        if ("task", task) not in known:
            findings.add("card-task", f"task category {task!r}", CARD)
    _check_viewer(values, findings)


def _check_viewer(values: Mapping[str, Any], findings: Findings) -> None:
    if values.get("viewer") is False:
        findings.add("card-viewer-off", "viewer: false", CARD)
    for tag in _strings(values.get("tags")):
        if tag.lower() in _HIDING_TAGS:
            findings.add("card-viewer-off", f"tag {tag!r}", CARD)


def _check_configs(root: Path, configs: Any, found: Sequence[str], findings: Findings) -> ConfigFiles:  # noqa: ANN401
    if not isinstance(configs, list) or not configs:
        findings.add("config-data-files", "the card declares no configs", CARD)
        return {}
    files: ConfigFiles = {}
    defaults = []
    for entry in configs:
        name = entry.get("config_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _CONFIG_NAME.fullmatch(name):
            findings.add("config-name", f"config_name is {name!r}", CARD)
            continue
        if name in files:
            findings.add("config-duplicate", f"config {name!r} stands there twice", CARD)
        if entry.get("default") or name == "default":
            defaults.append(name)
        files[name] = _config_files(root, name, entry.get("data_files"), found, findings)
    if len(defaults) > 1 or (not defaults and len(files) > 1):
        findings.add("config-default", f"defaults: {', '.join(defaults) or 'none'}", CARD)
    if len(configs) > _CONFIGS:
        findings.add("config-too-many", f"{len(configs):,} configs", CARD)
    elif len(configs) > _CONFIGS_SHOWN:
        findings.add("config-many", f"{len(configs):,} configs", CARD)
    return files


def _config_files(
    root: Path,
    config: str,
    data_files: Any,  # noqa: ANN401 - a value of YAML
    found: Sequence[str],
    findings: Findings,
) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    entries = data_files if isinstance(data_files, list) else [data_files]
    for entry in entries:
        plain = isinstance(entry, str)
        if not plain and not (isinstance(entry, dict) and set(entry) == {"split", "path"}):
            findings.add("config-data-files", f"config {config!r}: {entry!r:.200}", CARD)
            continue
        split, paths = ("train", entry) if plain else (entry["split"], entry["path"])
        if not isinstance(split, str) or not _SPLIT_NAME.fullmatch(split):
            findings.add("split-name", f"config {config!r}: split {split!r}", CARD)
            continue
        for pattern in paths if isinstance(paths, list) else [paths]:
            splits.setdefault(split, []).extend(_matches(root, config, pattern, set(found), findings))
    if len(splits) > _SPLITS:
        findings.add("split-too-many", f"config {config!r} has {len(splits)} splits", CARD)
    return splits


def _matches(root: Path, config: str, pattern: Any, found: set[str], findings: Findings) -> list[str]:  # noqa: ANN401
    if not isinstance(pattern, str) or not is_safe(pattern):
        findings.add("pattern-outside", f"config {config!r}: {pattern!r}", CARD)
        return []
    names = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file())
    names = [name for name in names if name in found]
    other = [name for name in names if not name.endswith(".parquet")]
    if other:
        findings.add("format-mixed", f"config {config!r}, pattern {pattern!r}: {other[0]}", CARD)
    if not names:
        findings.add("pattern-unmatched", f"config {config!r}: no file matches {pattern!r}", CARD)
    return [name for name in names if name.endswith(".parquet")]


def _check_infos(
    infos: Any,  # noqa: ANN401 - a value of YAML
    configs: ConfigFiles,
    shards: Mapping[str, Shard],
    manifest: Manifest | None,
    findings: Findings,
) -> set[str]:
    by_config = {str(entry.get("config_name", "default")): entry for entry in _mappings(infos)}
    for name in by_config:
        if name not in configs:
            findings.add("info-unknown", f"dataset_info of {name!r}", CARD)
    known: dict[int, bool] = {}  # features of many configs are one list or equal ones
    for name, splits in configs.items():
        info = by_config.get(name)
        if info is None:
            findings.add("info-missing", f"config {name!r}", CARD)
            continue
        _check_splits(name, splits, info, shards, manifest, findings)
        files = [shards[file] for names in splits.values() for file in names if file in shards]
        _check_features(name, info.get("features"), files, known, findings)
    return {name for name, info in by_config.items() if info.get("features")}


def _check_splits(
    config: str,
    splits: Mapping[str, Sequence[str]],
    info: Mapping[str, Any],
    shards: Mapping[str, Shard],
    manifest: Manifest | None,
    findings: Findings,
) -> None:
    given = {str(entry.get("name")): entry for entry in _mappings(info.get("splits"))}
    for split in sorted({*splits, *given}):
        files = [shards[name] for name in splits.get(split, ()) if name in shards]
        rows = sum(shard.rows for shard in files)
        stated = given.get(split, {}).get("num_examples")
        where = f"config {config!r}, split {split!r}"
        if stated != rows:
            findings.add(
                "split-rows", f"{where}: num_examples is {stated}, the files have {rows:,} rows", CARD
            )
        if not rows:
            findings.add("split-empty", f"{where} has no rows", CARD)
        elif rows == 1:
            findings.add(
                "config-one-row", f"{where} has one row: the viewer will show it without a distribution", CARD
            )
        if manifest is not None and manifest.parts:
            parts = {part_of(shard.name) for shard in files}
            size = sum(part.num_bytes for part in manifest.parts if part.key in parts and part.split == split)
            if given.get(split, {}).get("num_bytes") != size:
                stated = given.get(split, {}).get("num_bytes")
                findings.add(
                    "split-bytes", f"{where}: num_bytes is {stated}, the manifest says {size:,}", CARD
                )
    size = sum(shards[name].size for names in splits.values() for name in names if name in shards)
    if info.get("download_size") != size:
        stated = info.get("download_size")
        findings.add(
            "split-bytes",
            f"config {config!r}: download_size is {stated}, the files have {size:,} bytes",
            CARD,
        )


def _check_features(
    config: str,
    given: Any,  # noqa: ANN401 - a value of YAML
    files: Sequence[Shard],
    known: dict[int, bool],
    findings: Findings,
) -> None:
    if not given or not files:
        return
    ours = arrow_schema(metadata=False)
    if given == yaml_features() and all(shard.schema.remove_metadata().equals(ours) for shard in files):
        return
    for shard in files:
        stored = (shard.schema.metadata or {}).get(b"huggingface")
        key = hash((repr(given), str(shard.schema.remove_metadata()), stored))
        if key not in known:
            problem = _difference(given, shard)
            known[key] = not problem
            if problem:
                findings.add("features-card", f"config {config!r}: {problem}", shard.name)


def _difference(given: Any, shard: Shard) -> str:  # noqa: ANN401 - a value of YAML
    """How features on the card differ from a file; empty when they do not."""
    from datasets import Features

    try:
        card = Features._from_yaml_list(given)  # noqa: SLF001 - what `datasets` itself reads cards with
    except Exception as error:  # noqa: BLE001 - any value of YAML may stand there
        return f"`datasets` cannot read the features ({type(error).__name__}: {error})"
    names, present = set(card), set(shard.schema.names)
    if names != present:
        return f"only on the card {sorted(names - present)}, only in the file {sorted(present - names)}"
    for name, kind in zip(card, card.arrow_schema.types, strict=True):
        if shard.schema.field(name).type != kind:
            return f"column {name!r} is {shard.schema.field(name).type}, on the card {kind}"
    stored = shard.features
    if stored is not None:
        file = Features.from_dict(stored)
        wrong = [name for name in card if name in file and card[name] != file[name]]
        if wrong:
            return f"column {wrong[0]!r} is {file[wrong[0]]} in the file's metadata, {card[wrong[0]]} on the card"
    return ""


def check_text(root: Path, findings: Findings) -> None:
    """The text of the card and its front matter against those that the folder's files give."""
    try:
        text = read_card(root)
        expected = card_of(root)
    except IrtdDatasetsError:
        return  # whatever it is, the files have been told of
    if text == expected:
        return
    _compare(_sections(expected), _sections(text), findings)


def _compare(ours: Mapping[str, str], theirs: Mapping[str, str], findings: Findings) -> None:
    for title, body in ours.items():
        if title in {"", "front matter"}:
            continue
        if title not in theirs:
            findings.add("card-stale", f"the section {title!r} is missing", CARD)
        elif theirs[title] != body:
            change = _first_change(body, theirs[title])
            findings.add("card-stale", f"the section {title!r} differs: {change}", CARD)
    edited = [f"the section {title!r} is not of the build" for title in theirs if title not in ours]
    if theirs.get("") != ours.get(""):
        edited.append("the prose is not that of the library")
    if theirs.get("front matter") != ours.get("front matter"):
        edited.append(f"the front matter differs: {_keys(ours, theirs)}")
    for message in edited:
        findings.add("card-edited", message, CARD)


def _sections(text: str) -> dict[str, str]:
    """Front matter, what stands before the first heading of the second level (named ""), and each such section."""
    front, rest = split_card(text)
    sections = {"front matter": front}
    title = ""
    body: list[str] = []
    repeated: Counter[str] = Counter()
    for line in rest.splitlines():
        if line.startswith("## "):
            sections[title] = "\n".join(body).strip()
            title, body = line[3:].strip(), []
            repeated[title] += 1
            if repeated[title] > 1:
                title = f"{title} ({repeated[title]})"
        else:
            body.append(line.rstrip())
    sections[title] = "\n".join(body).strip()
    return sections


def _first_change(expected: str, found: str) -> str:
    ours, theirs = expected.splitlines(), found.splitlines()
    for index in range(max(len(ours), len(theirs))):
        a = ours[index] if index < len(ours) else "(nothing)"
        b = theirs[index] if index < len(theirs) else "(nothing)"
        if a != b:
            return f"{b[:120]!r} where the files give {a[:120]!r}"
    return "in its blanks"


def _keys(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    try:
        a, b = (
            parse_front_matter(f"---\n{sections['front matter']}\n---", CARD) for sections in (ours, theirs)
        )
    except AnnotationError as error:
        return error.problem
    changed = sorted(str(key) for key in {*a, *b} if a.get(key) != b.get(key))
    return ", ".join(changed) or "in its form only"
