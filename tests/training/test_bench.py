"""What `irtd bench-stream` measures is of the rows that are named, and its proposals follow from the figures."""

import functools
import http.server
import io
import json
import threading
from pathlib import Path

import pytest
from folders import make_folder, png, sample_image
from hub_server import hub_server, online
from PIL import Image
from processes import irtd_here
from test_remote import put

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.training import bench
from irtd_datasets.training.bench import STEPS, Way, bench_stream


@functools.cache
def jpeg(number, size=(96, 64)):
    file = io.BytesIO()
    Image.effect_noise(size, 40 + number % 5).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 60 rows with real images; read it, do not change it."""
    root = tmp_path_factory.mktemp("bench") / "made"
    make_folder(root, 60, shards=2, data=jpeg)
    return root


def test_every_step_is_measured(made):
    """Each way gave rows, each step a time, and the report is plain JSON."""
    told = []
    report = bench_stream(f"{made}:all", seconds=0.02, threads=2, tell=told.append)
    assert (report.rows, report.shards, report.units, report.remote) == (60, 2, 4, False)
    assert set(report.milliseconds) == set(STEPS)
    assert all(way.rows > 0 and way.seconds > 0 for way in report.ways)
    assert told == ["opening", *(way.name for way in report.ways)]
    names = {way.name for way in report.ways}
    assert {"stream, bytes", "stream, text only", "decode, Pillow", "decode, Pillow, 2 threads"} <= names
    assert any(name.startswith("batches") for name in names)
    assert report.images.keys() == {"JPEG 96x64 L"}
    assert report.unreadable == 0
    found = json.loads(json.dumps(report.as_dict()))
    assert {way["name"] for way in found["ways"]} == names
    assert report.way("stream, bytes, first pass").rows <= 60


def rates(monkeypatch, of, rest=100.0):
    """Ways get the rates given by the beginning of their names, longest first, in place of measured ones."""
    real = bench._Bench._time

    def time(self, name, rows, each=lambda _: None, *, share=1.0):
        real(self, name, rows, each, share=share)
        known = [start for start in of if name.startswith(start)]
        rate = of[max(known, key=len)] if known else rest
        self._report.ways[-1] = Way(name, 1000, 1000 / rate)
        return self._report.ways[-1]

    monkeypatch.setattr(bench._Bench, "_time", time)


def proposed(report):
    return [(advice.change.split("(")[0], advice.gain) for advice in report.advice]


def test_proposals_follow_from_the_figures(made, monkeypatch):
    """What was faster by a fifth or more is proposed with its gain, the largest first; what was not, is not."""
    rates(monkeypatch, {"batches": 350.0, "stream, decoded": 100.0})
    report = bench_stream(made, seconds=0.001, threads=2)
    assert proposed(report)[0] == ("batches", 3.5)
    assert not [change for change, _ in proposed(report) if "luminance" in change or "table" in change]
    rates(monkeypatch, {"table": 500.0, "decode, Pillow, luminance": 130.0, "batches": 110.0})
    report = bench_stream(made, decode="rgb", seconds=0.001, threads=2)
    changes = [advice.change for advice in report.advice]
    assert not [change for change in changes if change.startswith("batches")]
    assert any("table" in change for change in changes)
    assert any("luminance" in change for change in changes)
    rates(monkeypatch, {})
    assert [gain for _, gain in proposed(bench_stream(made, seconds=0.001)) if gain] == []


def test_shares_of_a_row(made, monkeypatch):
    """Reading is what the stream of bytes takes beyond that of the text, in milliseconds of one row."""
    rates(monkeypatch, {"stream, bytes": 500.0, "stream, text": 1000.0, "decode": 250.0, "collate": 10_000.0})
    spent = bench_stream(made, seconds=0.001).milliseconds
    assert spent == pytest.approx({"text": 1.0, "read": 1.0, "decode": 4.0, "collate": 0.1})


def test_large_images(tmp_path, monkeypatch):
    """For images larger than models see, decoding at that size is tried."""
    make_folder(tmp_path, 4, shards=1, data=functools.partial(jpeg, size=(1600, 1200)))
    rates(monkeypatch, {"decode, Pillow, max_side": 400.0})
    assert ("decode at the size that the model sees, such as max_side=640", 4.0) in [
        (advice.change, advice.gain) for advice in bench_stream(tmp_path, seconds=0.001).advice
    ]
    assert "max_side" not in str(bench_stream(tmp_path, max_side=320, seconds=0.001).advice)


def test_unreadable_images(tmp_path):
    """Images that cannot be decoded are counted and end nothing, be they some or all."""
    make_folder(tmp_path / "some", 30, shards=1, data=lambda n: b"no image" if n % 2 else png(n))
    report = bench_stream(tmp_path / "some", seconds=0.1, threads=2)
    assert 0 < report.unreadable <= 15
    assert any("on_error" in advice.change for advice in report.advice)
    make_folder(tmp_path / "all", 30, shards=1, data=sample_image)
    report = bench_stream(tmp_path / "all", seconds=0.02)
    assert report.unreadable > 0
    assert "no image that was read can be decoded" in report.notes
    assert "decode" not in report.milliseconds


def test_folder_without_index(tmp_path):
    """A folder that has no index says so."""
    make_folder(tmp_path, 20, shards=1, data=png, index=False)
    assert any("index" in advice.change for advice in bench_stream(tmp_path, seconds=0.02).advice)


def test_hub_and_url(tmp_path, made, monkeypatch):
    """A repository on the Hub and a web server are read like a folder, and are known to lie elsewhere."""
    online(monkeypatch)
    with hub_server(tmp_path / "hub") as hub:
        put(hub, made)
        report = bench_stream(
            "tester/made:all", seconds=0.05, storage_options={"endpoint": hub.endpoint, "token": hub.token}
        )
    assert (report.remote, report.rows, set(report.milliseconds)) == (True, 60, set(STEPS))
    assert report.way("table, bytes, shuffled over all rows").rows > 0
    assert report.far.requests == 1000 * report.units / report.rows, "one request a row group"
    assert 0.9 < report.far.fetched <= 1.05
    assert 0 < report.far.round_trip < 1 < report.far.bandwidth
    assert report.far.bound_by in {"line", "round trips", "this machine"}
    handler = functools.partial(_Quiet, directory=str(made))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report = bench_stream(f"http://127.0.0.1:{server.server_port}", seconds=0.05)
        server.shutdown()
    assert (report.remote, report.rows) == (True, 60)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with byte ranges, which the server of the standard library does not know."""

    def log_message(self, *_):
        pass

    def send_head(self):
        wanted = self.headers.get("Range")
        path = self.translate_path(self.path)
        try:
            content = Path(path).read_bytes()
        except OSError:
            self.send_error(404)
            return None
        start, stop = 0, len(content)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = (int(first), int(last) + 1 if last else stop) if first else (stop - int(last), stop)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(min(stop, len(content)) - start))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}")
        self.end_headers()
        return io.BytesIO(content[start:stop])


def test_command(made):
    """The command prints ways, steps and proposals; --json prints the report and nothing else."""
    arguments = ("bench-stream", f"{made}:all", "--seconds", "0.01", "--threads", "2")
    shown = irtd_here(*arguments).stdout
    for words in ("60 rows in 2 shards", "stream, bytes", "Where the time goes", "decode", "read", "96x64"):
        assert words in shown
    found = json.loads(irtd_here(*arguments, "--json").stdout)
    assert found["rows"] == 60
    assert found["ways"][0]["rows_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("nowhere",), 1, "no such folder"),
        (("{made}:nothing",), 2, "The configs are all"),
        (("{made}", "--decode", "grey"), 2, "unknown decoding 'grey'"),
        (("{made}", "--seconds", "0"), 2, "seconds is 0.0"),
        (("{made}", "--batch-size", "-1"), 2, "batch_size is -1"),
        (("{made}", "--seconds", "often"), 2, "--help"),
    ],
)
def test_wrong_arguments(made, arguments, code, match):
    """A mistake of the user's is a message."""
    done = irtd_here("bench-stream", *(argument.format(made=made) for argument in arguments))
    assert done.returncode == code
    assert match in done.stderr


def test_wrong_numbers(made, tmp_path):
    """The function refuses what the command refuses."""
    with pytest.raises(UnknownNameError, match="threads is -1"):
        bench_stream(made, threads=-1)
    with pytest.raises(ReleaseNotFoundError):
        bench_stream(tmp_path)
