"""Ends commands by SIGKILL at random moments, and compares what they make in the end with a run that was not disturbed.

    python benchmarks/kills.py --kills 500
    python benchmarks/kills.py --kills 50 --job build --job pairs --seed 3

The jobs are builds (into a folder and into a bucket of an S3 server on this machine), publishing to the Hub of the
tests, constructing for three datasets, pairs, exports, cards, and dataset folders made of others, verdicts of a review
included. Each kill begins with
the same state and ends the command within the time that it takes. After every third one another command follows before
the same one: with other options, of another release or of another dataset. Either it makes what it makes without the
kill, or it refuses; the first command, started again, then makes its own files (or refuses, where they are all there),
and `irtd check` finds no error in a dataset folder. Files are compared by SHA-256. Ends with 1 where it is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 120
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class Job:
    """A command that is killed.

    Attributes:
        command: Its arguments, for a place.
        others: Commands that may come in between.
        made: Digests of what lies there.
        start: What is copied into the place first; empty for nothing.
        check: Whether the place is a dataset folder, which `irtd check` must find good.
        describes: Whether the command only describes what is there, so that what another has made is right.
    """

    command: Callable[[Path], list[object]]
    others: Sequence[Callable[[Path], list[object]]]
    made: Callable[[Path], Any]
    start: str = ""
    check: bool = False
    describes: bool = False


def forked(work: Callable[[], Any], *, kill_after: float | None = None) -> tuple[int, Any]:
    """Run a function in a process group of its own; returns its wait status and what it gave as JSON."""
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            os.setsid()
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()) as errors,
            ):
                try:
                    found = work()
                except BaseException:  # noqa: BLE001 - told by the parent
                    found = [-1, traceback.format_exc()[-2000:]]
            if isinstance(found, int):
                found = [found, errors.getvalue()[-2000:]]
            answer.write(json.dumps(found).encode())
            answer.flush()
            os._exit(0)
        end = time.monotonic() + (DEADLINE if kill_after is None else kill_after)
        status = 0
        while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < end:
            time.sleep(0.002)
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        try:
            return status, json.loads(answer.read())
        except ValueError:
            return status, None


def irtd(*arguments: object) -> int:
    """The command line in this process, with shards of a few images."""
    import irtd_datasets.writing.from_stream
    import irtd_datasets.writing.plan
    from irtd_datasets.cli.app import run

    irtd_datasets.writing.plan.LEAST_SHARD_BYTES = 150_000
    irtd_datasets.writing.plan.SHARD_BYTES = 300_000
    irtd_datasets.writing.from_stream.SHARD_BYTES = 300_000
    sys.argv = ["irtd", *map(str, arguments)]
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def files(place: Path) -> dict[str, str]:
    """SHA-256 of the files that a user sees."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place).parts)
    }


def constructed(place: Path) -> dict[str, str]:
    """The same, for records beside images."""
    return files(place / "out")


# ------------------------------------------------------------------------------------------------- servers


def bucket(place: Path) -> str:
    """Where a place's dataset lies in S3."""
    return f"s3://bucket/{place.name}"


def objects(place: Path) -> Any:
    """What is published in a bucket, by SHA-256."""

    def read() -> dict[str, str]:
        from irtd_datasets.writing.store import Store

        store = Store(bucket(place), _storage())
        names = [name for name in store.listing() if not name.startswith(".")]
        return {
            name: hashlib.sha256(data).hexdigest() for name, data in sorted(store.read_many(names).items())
        }

    return forked(read)[1]


def _storage() -> dict[str, str]:
    return {"endpoint_url": os.environ["KILLS_S3"], "key": "test", "secret": "test"}


def _s3_options() -> list[str]:
    return [text for name, value in _storage().items() for text in ("--storage-option", f"{name}={value}")]


def repository(place: Path) -> Any:
    """What a repository of the Hub holds; its card names it, and its manifest has the card's digest."""
    name = f"{_owner()}/{place.name}"
    try:
        entries = json.loads(_from_hub(f"api/datasets/{name}/tree/main?recursive=true"))
    except urllib.error.HTTPError:
        return {}
    held = {
        entry["path"]: (entry.get("lfs") or entry)["oid"]
        for entry in entries
        if entry["type"] == "file" and entry["path"] != ".gitattributes"
    }
    if {"README.md", "manifest.json"} <= held.keys():
        card, manifest = (
            _from_hub(f"datasets/{name}/resolve/main/{file}") for file in ("README.md", "manifest.json")
        )
        own = hashlib.sha256(card).hexdigest()
        held["README.md"] = hashlib.sha256(card.replace(place.name.encode(), b"NAME")).hexdigest()
        listed = manifest.replace(own.encode(), b"CARD").replace(str(len(card)).encode(), b"SIZE")
        held["manifest.json"] = (
            hashlib.sha256(listed).hexdigest() if own.encode() in manifest else "another card"
        )
    return held


def _from_hub(path: str) -> bytes:
    headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/{path}", headers=headers)
    ) as answer:
        return bytes(answer.read())


def _owner() -> str:
    return os.environ["KILLS_OWNER"]


@contextlib.contextmanager
def servers(work: Path) -> Iterator[None]:
    """A Hub and an S3 server in processes of their own; the environment says where they are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    hub = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "hub_server", work / "hub"], stdout=subprocess.PIPE, **quiet
    )
    s3 = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        **quiet,
    )
    try:
        assert hub.stdout is not None
        told = json.loads(hub.stdout.readline())
        os.environ |= {
            "HF_ENDPOINT": told["endpoint"], "HF_TOKEN": told["token"], "KILLS_OWNER": told["owner"],
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
            "KILLS_S3": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        _until_bucket()
        yield
    finally:
        for process in (hub, s3):
            process.terminate()
            process.wait()


def _until_bucket() -> None:
    for _ in range(300):
        request = urllib.request.Request(f"{os.environ['KILLS_S3']}/bucket", method="PUT")
        try:
            urllib.request.urlopen(request).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the S3 server does not answer")


# ---------------------------------------------------------------------------------------------------- jobs


def jobs(work: Path) -> dict[str, Job]:  # noqa: C901 - a function for each command
    """What is killed; `work` has what `prepare` makes."""
    one, two, third, pairs, built = (work / name for name in ("one", "two", "mmrs_1m", "pairs", "built"))

    def build(release: Path, *more: object) -> Callable[[Path], list[object]]:
        return lambda place: ["build", "irtd", "instruct", "--release", release, "--out", place, "-q", *more]

    def to_s3(release: Path, *more: object) -> Callable[[Path], list[object]]:
        return lambda place: [
            *("build", "irtd", "instruct-location", "--release", release, "--out", bucket(place), "-q"),
            *("--scratch", place / "scratch", *_s3_options(), *more),
        ]  # fmt: skip

    def construct(dataset: str, place: str, *more: object) -> Callable[[Path], list[object]]:
        subset = ["benchmark"] if dataset == "irtd" else []
        given = ["--sources", work / place, "--source-table", work / f"{dataset}.csv", *more]
        return lambda folder: ["construct", dataset, *subset, *given, "--out", folder / "out", "-q"]

    def pair(*more: object) -> Callable[[Path], list[object]]:
        return lambda place: [
            "pairs",
            pairs,
            "--visible",
            "vis",
            "--infrared",
            "ir",
            "--out",
            place / "out",
            *more,
        ]

    def export(model: str, *more: object) -> Callable[[Path], list[object]]:
        return lambda place: ["export", built, "instruct", "--to", model, "--out", place / "out", *more]

    def publish(name: str) -> Callable[[Path], list[object]]:
        # Publishing writes the name of the repository into the card of the folder.
        return lambda place: [
            "publish",
            place / name,
            f"{_owner()}/{place.name}",
            "--accept-terms",
            "--replace",
            "-q",
        ]

    def subset(*more: object) -> Callable[[Path], list[object]]:
        return lambda place: ["subset", built, *more, "--out", place, "-q"]

    def split(place: Path) -> list[object]:
        return ["split", built, "--validation", "0.2", "--out", place, "-q"]

    def merge(place: Path) -> list[object]:
        return ["merge", f"{built}:instruct-location", f"{built}:instruct-grounding", "--out", place, "-q"]

    def dedup(place: Path) -> list[object]:
        return ["dedup", built, "--out", place, "-q"]

    def review(verdicts: str) -> Callable[[Path], list[object]]:
        given = [f"{built}:instruct-location", "--apply", work / verdicts]
        return lambda place: ["review", *given, "--out", place, "-q"]

    def detect(layout: str) -> Callable[[Path], list[object]]:
        return lambda place: [
            "export",
            built,
            "instruct-grounding",
            "--layout",
            layout,
            "--out",
            place / "out",
        ]

    drop = ("--on-defect", "drop")
    return {
        "build": Job(
            build(one),
            (
                build(one, *drop), build(two), build(one, "--workers", "2"),
                lambda place: ["build", "irtd", "instruct-location", "--release", one, "--out", place, "-q"],
                lambda place: ["build", "mmrs_1m", "vqa", "--release", third, "--out", place, "-q"],
            ),
            files, check=True,
        ),
        "rebuild": Job(build(two), (build(one), build(two, *drop)), files, start="built", check=True),
        "S3": Job(to_s3(one), (to_s3(one, *drop), to_s3(two)), objects),
        "publish": Job(publish("built"), (publish("less"),), repository, start="both"),
        "construct irtd": Job(
            construct("irtd", "sources"),
            (construct("irtd", "sources", "--seed", 7), construct("irtd", "other_sources")),
            constructed,
        ),
        "construct mmrs_1m": Job(
            construct("mmrs_1m", "sources"),
            (construct("mmrs_1m", "other_sources"), construct("rs_gpt4v", "sources")),
            constructed,
        ),
        "construct rs_gpt4v": Job(
            construct("rs_gpt4v", "sources"),
            (construct("rs_gpt4v", "other_sources"), construct("mmrs_1m", "sources")),
            constructed,
        ),
        "pairs": Job(
            pair("--checkerboards", 1), (pair("--checkerboards", 6), pair("--checkerboards", 3)), constructed
        ),
        "export": Job(export("llava"), (export("qwen2-vl"), export("llava", "--layout", "json")), constructed),
        "subset": Job(
            subset("--rows", 30), (subset("--rows", 20), split, build(one)), files, check=True
        ),
        "split": Job(split, (subset("--rows", 20), merge), files, check=True),
        "merge": Job(merge, (split, subset("--rows", 20)), files, check=True),
        "dedup": Job(dedup, (merge,), files, check=True),
        "review": Job(
            review("verdicts.jsonl"), (review("others.jsonl"), dedup), files, check=True
        ),
        "export detection": Job(
            detect("coco"), (detect("yolo"), detect("voc")), constructed
        ),
        "card": Job(
            lambda place: ["card", place],
            (build(one), build(two)),
            files, start="edited", check=True, describes=True,
        ),
    }  # fmt: skip


def prepare(work: Path) -> None:
    """Make the releases, source sets, pairs and folders that the jobs need."""
    import numpy as np
    from PIL import Image

    from irtd_datasets.testing import write_sample_release

    sys.path.append(str(ROOT / "tests" / "construct"))
    from source_sets import Sources

    write_sample_release("irtd", work / "one", rows=60, captions=0)
    write_sample_release("irtd", work / "two", rows=50, captions=0)
    write_sample_release("mmrs_1m", work / "mmrs_1m", rows=40)
    for name, release in (("built", "one"), ("edited", "one"), ("less", "two")):
        if irtd("build", "irtd", "instruct", "--release", work / release, "--out", work / name, "-q"):
            raise SystemExit("the sample cannot be built")
    (work / "edited" / "README.md").write_text("---\n---\n")
    for name in ("built", "less"):
        shutil.copytree(work / name, work / "both" / name)
    for name, numbers in (("sources", range(8)), ("other_sources", range(3, 14))):
        made = Sources(work / name)
        for source in ("street", "HIT-UAV", "DIOR-RSVG"):
            for split in ("train", "test"):
                made.street(split, numbers, source)
    made.table.replace(work / "irtd.csv")
    for path in work.glob("*sources/DIOR-RSVG/labels/*/*.xml"):
        described = "</name><description>The one on the left</description>"
        path.write_text(path.read_text().replace("</name>", described))
    columns = "name,reader,infrared,labels,splits,classes,exhaustive,tasks,modality\n"
    layout = "voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,"
    (work / "mmrs_1m.csv").write_text(f'{columns}HIT-UAV,{layout},,"car,person,bike",detection,infrared\n')
    (work / "rs_gpt4v.csv").write_text(
        f'{columns}DIOR-RSVG,{layout},,,"grounding,region_captioning",optical\n'
    )
    _judge(work)
    draw = np.random.default_rng(0)
    for side in ("vis", "ir"):
        (work / "pairs" / side).mkdir(parents=True)
    for number in range(8):
        scene = Image.fromarray(draw.integers(0, 255, (40, 50), np.uint8)).resize((500, 400))
        scene.convert("RGB").save(work / "pairs" / "vis" / f"{number}.png")
        scene.save(work / "pairs" / "ir" / f"{number}.png")


def _judge(work: Path) -> None:
    """Write verdicts on rows of the folder that is built."""
    import pyarrow.parquet as pq

    from irtd_datasets.review.verdicts import Verdict, VerdictFile, text_digest

    rows = [
        (row["id"], text_digest(row["messages"]))
        for file in sorted(work.glob("built/*/*/*.parquet"))
        for row in pq.read_table(file, columns=["id", "messages"]).to_pylist()
    ]
    for name, step in (("verdicts.jsonl", 3), ("others.jsonl", 2)):
        with VerdictFile(work / name) as verdicts:
            for number, (row, digest) in enumerate(rows[::step]):
                verdicts.add(Verdict(row, digest, ("accept", "reject")[number % 2], "anna"))


# ---------------------------------------------------------------------------------------------------- kills


class Kills:
    """Kills the command of a job again and again.

    Args:
        name: The job's name.
        job: The job.
        work: Where everything lies.
        draw: Chooses moments and commands.
    """

    def __init__(self, name: str, job: Job, work: Path, draw: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._name, self._job, self._work, self._draw = name, job, work, draw
        self._number = 0
        self._usual: dict[tuple[int, bool], Any] = {}
        begun = time.monotonic()
        place = self._place()
        code, self._wanted = self._run(job.command, place)
        self._seconds = time.monotonic() - begun
        if code or not self._wanted:
            raise SystemExit(f"{name} does not run: {self._said}")

    def one(self, *, another: bool) -> None:
        """One kill, and what comes after it."""
        place = self._place()
        _, answer = forked(
            lambda: irtd(*self._job.command(place)), kill_after=self._draw.uniform(0.02, 1.0) * self._seconds
        )
        ended = (
            bool(answer) or self._job.made(place) == self._wanted
        )  # killed after the last file was in place
        self.counts.update(["kills", *(["ended before"] if ended else [])])
        right = self._another(place, after=ended) if another else self._wanted
        code, made = self._run(self._job.command, place)
        if code and another and "Traceback" not in self._said:
            # The other command has made another thing here, which this one does not touch.
            self.counts["refused after another"] += 1
            return
        self._compare("again", code, made, right if self._job.describes else self._wanted)
        if self._job.check:
            _, found = forked(lambda: _errors(place))
            if found:
                self._tell(f"irtd check: {found}")

    def _another(self, place: Path, *, after: bool) -> Any:
        """Run another command, in a place where the first one ended or did not; returns what it makes."""
        which = self._draw.randrange(len(self._job.others))
        command = self._job.others[which]
        usual = self._usually(which, command, after=after)
        code, made = self._run(command, place)
        self.counts["another command"] += 1
        if code:
            self.counts["refused"] += 1
            if "Traceback" in self._said or code not in {1, 2}:
                self._tell(f"another command: {self._said}")
            return self._wanted
        if usual[0]:
            # Refused where the first one has ended, so this one had not: its last word was missing (a tag).
            usual = self._usually(which, command, after=False)
        self._compare("another command", code, made, usual[1])
        return usual[1]

    def _usually(
        self, which: int, command: Callable[[Path], list[object]], *, after: bool
    ) -> tuple[int, Any]:
        """What another command makes where nothing is killed: alone, or after the first one."""
        if (which, after) not in self._usual:
            fresh = self._place()
            if after:
                self._run(self._job.command, fresh)
            self._usual[which, after] = self._run(command, fresh)
            if self._usual[which, after][0] and self._job.start == "" and not after:
                raise SystemExit(f"{self._name}: another command does not run: {self._said}")
        return self._usual[which, after]

    def _compare(self, when: str, code: int, made: Any, wanted: Any) -> None:
        if code and (made != wanted or "Traceback" in self._said):
            self._tell(f"{when}: ends with {code}: {self._said}")
        elif made != wanted:
            other = sorted(name for name in {*made, *wanted} if made.get(name) != wanted.get(name))
            self._tell(f"{when}: {len(other)} other files, such as {other[:3]}")

    def _tell(self, what: str) -> None:
        self.counts["problems"] += 1
        print(f"{self._name}, kill {self.counts['kills']}: {what}", flush=True)

    def _run(self, command: Callable[[Path], list[object]], place: Path) -> tuple[int, Any]:
        _, answer = forked(lambda: irtd(*command(place)))
        code, self._said = answer or (-1, "it hangs")
        return code, self._job.made(place)

    def _place(self) -> Path:
        self._number += 1
        place = self._work / "places" / f"{self._name.replace(' ', '-')}-{self._number}"
        shutil.rmtree(
            self._work / "places" / f"{self._name.replace(' ', '-')}-{self._number - 3}", ignore_errors=True
        )
        if self._job.start:
            shutil.copytree(self._work / self._job.start, place)
        else:
            place.mkdir(parents=True)
        return place


def _errors(place: Path) -> list[str]:
    from irtd_datasets.hub.check import check_folder

    return [f"{finding.rule} {finding.file}" for finding in check_folder(place, images="none").errors]


def run(kills: int, seed: int, names: Sequence[str]) -> Counter[str]:
    """Kill so often, the jobs in turn; prints the figures of each and returns the sum."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ |= {"HF_HOME": f"{folder}/home", "XDG_CACHE_HOME": f"{folder}/home"}
        with servers(work):
            _, failed = forked(lambda: prepare(work) or 0)
            if failed != [0, ""] and (not failed or failed[0]):
                raise SystemExit(f"the samples cannot be made: {failed}")
            _import()
            todo = jobs(work)
            found = {name: Kills(name, todo[name], work, Random(f"{seed}/{name}")) for name in names or todo}
            for number in range(kills):
                name = list(found)[number % len(found)]
                found[name].one(another=number // len(found) % 3 == 2)
    total: Counter[str] = Counter()
    for name, job in found.items():
        print(f"{name}: {dict(job.counts)}", flush=True)
        total += job.counts
    return total


def _import() -> None:
    """Import what the commands need once; nothing here starts a thread."""
    import irtd_datasets.cli.construction
    import irtd_datasets.hub.check
    import irtd_datasets.hub.publish
    import irtd_datasets.images.pairs.folder
    import irtd_datasets.training.export
    import irtd_datasets.writing.engine  # noqa: F401


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append")
    options = parser.parse_args()
    begun = time.monotonic()
    total = run(options.kills, options.seed, options.job or ())
    print(f"in all: {dict(total)} in {time.monotonic() - begun:.0f} s")
    sys.exit(bool(total["problems"]))


if __name__ == "__main__":
    main()
