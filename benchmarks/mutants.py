"""Damages every kind of file that the library reads, its own included, and counts what it makes of them.

    python benchmarks/mutants.py --mutants 1000
    python benchmarks/mutants.py --mutants 200 --kind manifest --kind card --seed 5
    python benchmarks/mutants.py --parsers --mutants 100000

Each mutant is a file with one to three changes: bits, bytes, runs that are cut out, doubled, exchanged or zeroed, other
numbers and words, deep nesting. A process of its own reads it. Counted are changes that nothing tells (of a dataset
folder: `irtd check` finds what it found before; of a release: the build ends with 0, and the rows are fewer than the
ledger accounts for), tracebacks and crashes, and readings of more than 10 s or 600 MB. Ends with 1 where there are any.

Such a reading takes about a second. With ``--parsers`` the bytes go to each parser itself (those of `tests/fuzzing`), a
thousand a second: of these only tracebacks, seconds and megabytes are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS, MEGABYTES = 10, 600
_PIPE = 1 << 16
_NUMBERS = (
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"null",
    b"9" * 5_000,
    b"18446744073709551616",
    b"true",
    b'""',
    b"[]",
    b"{}",
)
_WORDS = (
    b"\x1b[2J",
    b"../../x",
    b"\0",
    b"\xff\xfe",
    b"&a [*a]",
    b"2020-13-45",
    b"!!python/object:os.system x",
    b"\r\n---\n",
)


# ------------------------------------------------------------------------------------------------ changes


def mutate(data: bytes, draw: Random) -> bytes:
    """The bytes with one to three changes, never as they were."""
    changed = data
    while changed == data or _same_values(changed, data):
        for _ in range(draw.choice((1, 1, 2, 3))):
            changed = draw.choice(_CHANGES)(changed, draw)
        if not data:
            return changed or b"x"
    return changed


def _same_values(changed: bytes, data: bytes) -> bool:
    """Whether both are JSON that says the same, such as with other blanks."""
    try:
        return data[:1] in b"{[" and bool(json.loads(changed) == json.loads(data))
    except (ValueError, RecursionError):
        return False


def _run(data: bytes, draw: Random) -> tuple[int, int]:
    """A run of bytes: mostly short, and anywhere, more often near an end, where formats have their structure."""
    where = draw.random()
    at = int(
        len(data) * (where if draw.random() < 0.6 else where**6 if draw.random() < 0.5 else 1 - where**6)
    )
    return at, min(len(data), at + draw.choice((1, 2, 4, 16, 100, 512, 5_000)))


def _flip(data: bytes, draw: Random) -> bytes:
    at, _ = _run(data, draw)
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _other_byte(data: bytes, draw: Random) -> bytes:
    at, _ = _run(data, draw)
    return data[:at] + bytes([draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))]) + data[at + 1 :]


def _cut_out(data: bytes, draw: Random) -> bytes:
    start, stop = _run(data, draw)
    return data[:start] + data[stop:]


def _doubled(data: bytes, draw: Random) -> bytes:
    start, stop = _run(data, draw)
    return data[:stop] + data[start:stop] * draw.choice((1, 1, 3, 50)) + data[stop:]


def _zeroed(data: bytes, draw: Random) -> bytes:
    start, stop = _run(data, draw)
    return data[:start] + bytes(stop - start) + data[stop:]


def _exchanged(data: bytes, draw: Random) -> bytes:
    (first, end), (other, stop) = sorted((_run(data, draw), _run(data, draw)))
    if end > other:
        return data
    return data[:first] + data[other:stop] + data[end:other] + data[first:end] + data[stop:]


def _ended(data: bytes, draw: Random) -> bytes:
    return data[: _run(data, draw)[0]]


def _another(pattern: bytes, values: Sequence[bytes]) -> Callable[[bytes, Random], bytes]:
    """Exchange one thing that looks like a number or a word."""

    def change(data: bytes, draw: Random) -> bytes:
        start, _ = _run(data, draw)
        found = re.compile(pattern).search(data, start)
        return data if found is None else data[: found.start()] + draw.choice(values) + data[found.end() :]

    return change


def _nested(data: bytes, draw: Random) -> bytes:
    at, _ = _run(data, draw)
    return (
        data[:at]
        + draw.choice((b"[", b'{"a":', b"- ", b"<a>", b"((")) * draw.choice((50, 100_000))
        + data[at:]
    )


_CHANGES: Sequence[Callable[[bytes, Random], bytes]] = (
    _flip, _flip, _other_byte, _cut_out, _doubled, _zeroed, _exchanged, _ended, _nested,
    _another(rb"-?\d+(\.\d+)?", _NUMBERS), _another(rb"[A-Za-z_]{3,}", (*_WORDS, *_NUMBERS)),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------- kinds


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        folder: What is copied for each mutant.
        pattern: Its files of this kind.
        read: Reads the copy; returns what must not change without a word, or raises an error of the library.
        told: Whether a reading that gave something else has said so.
    """

    folder: str
    pattern: str
    read: Callable[[Path, Random], Any]
    told: Callable[[Any, Any], bool] = lambda _before, _after: False


def _irtd(*arguments: object) -> int:
    """The command line in this process; errors of its own are exit codes."""
    from irtd_datasets.cli.app import run

    sys.argv = ["irtd", *map(str, arguments)]
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _check(folder: Path) -> Any:
    from irtd_datasets.hub.check import check_folder

    report = check_folder(folder, images="none")
    return sorted((finding.rule, finding.file, finding.message) for finding in report.findings)


def _own_file(folder: Path, draw: Random) -> Any:
    """A file of a dataset folder: whichever command reads it, and then what the check says."""
    found = _check(folder / "irtd")
    irtd = folder / "irtd"
    command = draw.choice((
        ["check", irtd, "-q"], ["card", irtd], ["preview", irtd, "--out", folder / "p.html"], ["overlap", irtd, irtd],
        ["export", irtd, "instruct-location", "--to", "llava", "--out", folder / "x"],
        ["score", "gold", "--dataset", irtd, "--config", "instruct"],
        ["build", "irtd", "instruct", "--release", folder / "release", "--out", irtd, "-q"],
        ["build", "irtd", "instruct-location", "--release", folder / "release", "--out", irtd, "-q"],
        ["publish", irtd, "someone/irtd", "--dry-run", "--accept-terms", "-q"],
    ))  # fmt: skip
    _irtd(*command)
    return found


def _state(folder: Path, _draw: Random) -> Any:
    """What only a build reads: the folder is as it was afterwards, whatever was there."""
    code = _irtd("build", "irtd", "instruct", "--release", folder / "release", "--out", folder / "irtd", "-q")
    return [code, _check(folder / "irtd")]


def _release(dataset: str, config: str) -> Callable[[Path, Random], Any]:
    def read(folder: Path, _draw: Random) -> Any:
        out = folder / "built"
        if _irtd("build", dataset, config, "--release", folder / "release", "--out", out, "-q"):
            return None
        ledger = json.loads((out / "ledger.json").read_text())
        assert not [rule for rule, *_ in _check(out) if rule.startswith(("ledger", "shard", "manifest"))]
        return {"totals": ledger["totals"], "files": [{**line, "messages": 0} for line in ledger["files"]]}

    return read


def _accounted(before: Any, after: Any) -> bool:
    """Whether fewer rows of a release are refused, or each of them is counted under a reason or a repair."""
    if after is None:
        return True
    lost = before["totals"]["found"] - after["totals"]["found"]
    return lost <= 0 or any(line["repairs"] or line["note"] for line in after["files"])


def _cache(folder: Path, _draw: Random) -> Any:
    from irtd_datasets.training import table

    rows = table(folder / "irtd:instruct", cache=folder / "cache")
    return [str({**row, "image": None}) for row in rows]


def _scores(folder: Path, _draw: Random) -> Any:
    from irtd_datasets.training.scores import read_scores

    return [
        values.tolist()
        for values in read_scores(folder / "scores.parquet", [f"row/{n}" for n in range(500)]).values()
    ]


def _journal(folder: Path, _draw: Random) -> Any:
    from irtd_datasets.captioning.journal import Journal

    with Journal(folder / "journal.jsonl") as journal:
        return len(journal)


def _predictions(folder: Path, _draw: Random) -> Any:
    return _irtd("score", folder / "predictions.jsonl", "--dataset", folder / "irtd", "--config", "instruct")


def _staged(folder: Path, _draw: Random) -> Any:
    """What a stopped build has left: the next one ends as it would without."""
    code = _irtd(
        "build", "irtd", "instruct", "--release", folder / "release", "--out", folder / "stopped", "-q"
    )
    return [code, _tree(folder / "stopped")]


def _tree(folder: Path) -> Any:
    import hashlib

    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _labels(folder: Path, _draw: Random) -> Any:
    return _irtd(
        "construct", "irtd", "benchmark", "--sources", folder / "sources", "--out", folder / "made", "-q"
    )


def _any(_before: Any, _after: Any) -> bool:
    return True


KINDS = {
    "manifest": Kind("folder", "irtd/manifest.json", _own_file),
    "ledger": Kind("folder", "irtd/ledger.json", _own_file),
    "card": Kind("folder", "irtd/README.md", _own_file),
    "croissant": Kind("folder", "irtd/croissant.json", _own_file),
    "index": Kind("folder", "irtd/index/*.parquet", _own_file),
    "shard": Kind("folder", "irtd/instruct/*/*.parquet", _own_file),
    "identities": Kind("folder", "irtd/.built.json", _state),
    "staged": Kind("staged", "stopped/.build/**/*", _staged),
    "text cache": Kind("cache", "cache/**/*", _cache),
    "scores": Kind("scores", "scores.parquet", _scores),
    "journal": Kind("journal", "journal.jsonl", _journal, _any),
    "predictions": Kind("predictions", "predictions.jsonl", _predictions, _any),
    "annotations": Kind("plain", "release/json_sft/*.json", _release("irtd", "instruct"), _accounted),
    "zip": Kind("zip", "release/json_sft.zip", _release("irtd", "instruct"), _accounted),
    "images": Kind("plain", "release/*/**/*.jp*g", _release("irtd", "instruct"), _any),
    "cut archive": Kind("captions", "release/IR-TD-version*", _release("irtd", "pretrain"), _accounted),
    "conversations": Kind("rs_gpt4v", "release/**/*.json*", _release("rs_gpt4v", "default"), _accounted),
    "labels": Kind("sources", "sources/street/labels/**/*.xml", _labels, _any),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- what is read


def prepare(work: Path) -> None:
    """Make what the mutants are made of: releases, a dataset folder, what a stopped build leaves, caches and tables."""
    from irtd_datasets.testing import write_sample_release

    for name, options in {"zip": {}, "plain": {"form": "folder"}}.items():
        write_sample_release("irtd", work / name / "release", rows=40, captions=0, **options)
    write_sample_release("irtd", work / "captions" / "release", rows=20, captions=12)
    write_sample_release("rs_gpt4v", work / "rs_gpt4v" / "release", rows=60)
    for name in ("folder", "staged", "predictions"):
        shutil.copytree(work / "plain", work / name)
    for name in ("folder", "predictions", "cache"):
        code = _irtd(
            "build",
            "irtd",
            "instruct",
            "--release",
            work / "plain" / "release",
            "--out",
            work / name / "irtd",
            "-q",
        )
        if code:
            raise SystemExit("the sample release cannot be built")
    _stop_a_build(work / "staged")
    _cache(work / "cache", Random())
    from irtd_datasets.training.scores import write_scores

    ids = [f"row/{number}" for number in range(500)]
    (work / "scores").mkdir()
    write_scores(work / "scores" / "scores.parquet", ids, clip=[number / 7 for number in range(500)])
    (work / "journal").mkdir()
    line = {
        "key": "k",
        "id": "a",
        "model": "m",
        "text": "Two cars.",
        "finish_reason": "stop",
        "input_tokens": 5,
    }
    lines = [json.dumps({**line, "key": f"k{number}"}) for number in range(30)]
    (work / "journal" / "journal.jsonl").write_text("\n".join(lines) + "\n")
    import pyarrow.parquet as pq

    with (work / "predictions" / "predictions.jsonl").open("w") as file:
        for shard in sorted((work / "predictions" / "irtd" / "instruct").rglob("*.parquet")):
            for row in pq.read_table(shard, columns=["id", "answer"]).to_pylist():
                file.write(json.dumps(row) + "\n")
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "construct"))
    from source_sets import Sources

    sources = Sources(work / "sources" / "sources")
    sources.street("test", range(6))


def _stop_a_build(folder: Path) -> None:
    """Leave what a build leaves that ends before it puts its shards into place."""
    from irtd_datasets.writing.folder import DatasetFolder

    publish = DatasetFolder.publish
    DatasetFolder.publish = lambda *_: os._exit(0)  # type: ignore[method-assign]
    try:
        child = os.fork()
        if child == 0:
            _irtd(
                "build",
                "irtd",
                "instruct",
                "--release",
                folder / "release",
                "--out",
                folder / "stopped",
                "-q",
            )
            os._exit(1)
        os.waitpid(child, 0)
    finally:
        DatasetFolder.publish = publish  # type: ignore[method-assign]


# ------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Outcome:
    """What became of one reading: what it gave, what was not caught, seconds and megabytes."""

    found: Any
    error: str
    refused: bool
    seconds: float
    megabytes: float


def reading(kind: Kind, folder: Path, draw: Random) -> Outcome:
    """Read a folder in a process of its own."""
    begun = time.perf_counter()
    answer = folder.with_name("answer")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(6 * SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            answer.write_text(json.dumps(_read(kind, folder, draw)))
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - begun
    try:
        found, error, refused = json.loads(answer.read_text())
        answer.unlink()
    except (OSError, ValueError):
        found, error, refused = None, f"the process ended with {status}", False
    return Outcome(found, error, refused, seconds, usage.ru_maxrss / 1024)


def _read(kind: Kind, folder: Path, draw: Random) -> Any:
    from irtd_datasets.errors import IrtdDatasetsError

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            found = kind.read(folder, draw)
        except IrtdDatasetsError:
            return None, "", True
        except BaseException:  # noqa: BLE001 - the very thing that is looked for
            return None, traceback.format_exc(), False
    said = errors.getvalue()
    return found, said if "Traceback" in said else "", False


def run(
    work: Path, mutants: int, seed: int, names: Sequence[str], keep: Path | None = None
) -> dict[str, Counter[str]]:
    """Read so many mutants of the kinds in turn; returns what was counted of each."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    before: dict[str, Any] = {}
    least = 0.0
    place = work / "mutant" / "here"
    for number in range(mutants):
        name = names[number % len(names)]
        kind, draw = KINDS[name], Random(f"{seed}/{name}/{number}")
        if name not in before:
            _copy(work / kind.folder, place)
            whole = reading(kind, place, Random(0))
            if whole.error or whole.refused or whole.found is None:
                raise SystemExit(f"{name} is not read as it is: {whole.error}")
            before[name], least = whole.found, max(least, whole.megabytes)
        _copy(work / kind.folder, place)
        files = sorted(path for path in place.glob(kind.pattern) if path.is_file() and path.name != "lock")
        path = draw.choice(files)
        data = mutate(path.read_bytes(), draw)
        path.unlink()
        path.write_bytes(data)
        got = reading(kind, place, draw)
        silent = got.found == before[name] if kind.read is _own_file else got.found != before[name]
        if kind.read in (_state, _staged):
            silent = got.found != before[name]
        wrong = {
            "tracebacks": bool(got.error),
            "silent": not got.error and not got.refused and silent and not kind.told(before[name], got.found),
            f"over {SECONDS} s": got.seconds > SECONDS,
            f"over {MEGABYTES} MB": got.megabytes > MEGABYTES,
        }
        counts[name].update(["mutants", *(what for what, so in wrong.items() if so)])
        counts[name]["refused"] += got.refused
        if any(wrong.values()):
            what = ", ".join(what for what, so in wrong.items() if so)
            last = got.error.strip().splitlines()[-1:] or [""]
            figures = f"({got.seconds:.1f} s, {got.megabytes:.0f} MB) {last[0]:.300}"
            print(f"{name} {number}: {path.relative_to(place)}: {what} {figures}", flush=True)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{number}-{path.name}").write_bytes(data)
                (keep / f"{name}-{number}-{path.name}.txt").write_text(got.error + repr(got.found)[:2000])
    return counts


def run_parsers(mutants: int, seed: int) -> dict[str, Counter[str]]:
    """Give mutants of their seeds and of their corpus to all parsers, those of each in a process of its own."""
    from parsers import CORPUS, PARSERS

    each = -(-mutants // len(PARSERS))
    counts: dict[str, Counter[str]] = {}
    for name, parser in PARSERS.items():
        files = [*parser.seeds(), *(file.read_bytes() for file in sorted((CORPUS / name).glob("*")))]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as told, contextlib.suppress(BaseException):
                for number in range(each):
                    told.write(_parse(name, files, Random(f"{seed}/{name}/{number}"), number))
                    told.flush()
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            said = lines.read().splitlines()
        usage = os.wait4(child, 0)[2]
        found = counts[name] = Counter(line.partition(":")[0] for line in said)
        found["mutants"] = len(said)
        found["tracebacks"] += each > len(said)  # the process has ended
        found[f"over {MEGABYTES} MB"] += usage.ru_maxrss / 1024 > MEGABYTES
        for line in said:
            if not line.startswith(("read", "refused")):
                print(f"{name} {line}", flush=True)
    return counts


def _parse(name: str, files: Sequence[bytes], draw: Random, number: int) -> str:
    """What a parser makes of one mutant, as a line."""
    from parsers import read

    data = mutate(draw.choice(files), draw)
    begun = time.perf_counter()
    signal.alarm(6 * SECONDS)
    try:
        what = "refused" if read(name, data) else "read"
    except Exception as error:  # noqa: BLE001 - the very thing that is looked for
        what = f"tracebacks: {number}: {type(error).__name__}: {str(error)[:200]!r}"
    return f"{what if time.perf_counter() - begun < SECONDS else f'over {SECONDS} s: {number}'}\n"


def _copy(source: Path, target: Path) -> None:
    """A copy whose files are links: whoever writes one anew writes another file."""
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder for the mutants that show something")
    parser.add_argument("--parsers", action="store_true", help="give them to the parsers themselves")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    begun = time.perf_counter()
    if options.parsers:
        sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "fuzzing"))
        _tell(run_parsers(options.mutants, options.seed), begun)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HF_HOME": f"{folder}/home", "XDG_CACHE_HOME": f"{folder}/home"}
        with contextlib.redirect_stdout(io.StringIO()):
            child = os.fork()  # threads of Arrow, which reading starts, must not be in the process that forks
            if child == 0:
                code = 1
                try:
                    prepare(Path(folder))
                    code = 0
                except BaseException:  # noqa: BLE001 - told by its exit code
                    traceback.print_exc()
                os._exit(code)
            if os.waitpid(child, 0)[1]:
                raise SystemExit("the samples cannot be made")
        _import()
        counts = run(Path(folder), options.mutants, options.seed, options.kind or list(KINDS), options.keep)
    _tell(counts, begun)


def _tell(counts: dict[str, Counter[str]], begun: float) -> NoReturn:
    """Print the counts, and end."""
    total: Counter[str] = Counter()
    for name, found in counts.items():
        print(f"{name}: {dict(found)}")
        total += found
    print(f"in all: {dict(total)} in {time.perf_counter() - begun:.0f} s")
    sys.exit(any(total[what] for what in total if what not in {"mutants", "refused", "read"}))


def _import() -> None:
    """Import what the readings need once, not in each of them."""
    import irtd_datasets.cli.construction
    import irtd_datasets.cli.evaluation
    import irtd_datasets.hub.check
    import irtd_datasets.hub.overlap
    import irtd_datasets.hub.preview
    import irtd_datasets.training.export
    import irtd_datasets.writing.engine  # noqa: F401


if __name__ == "__main__":
    main()
