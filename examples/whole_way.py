"""The whole way on your own source sets: construct, caption, load, stream, train, ask a model, score.

    python examples/whole_way.py --sources DIR --out ./whole-way
    python examples/whole_way.py --sources DIR --out ./whole-way --endpoint http://localhost:8000/v1 --model NAME

Constructs `instruct` (nine tasks by rule, question-answer pairs by a model), `pretrain` (captions by a model) and
`benchmark` of IR-TD into one folder, loads them with plain `datasets`, streams them, trains the tiny LLaVA of
``train_vlm.py`` for some steps where the extra `examples` is installed, lets the model answer the benchmark, and scores
it. Each step is a command that is printed, so that you can run it alone.

Without ``--endpoint`` a stand-in on this machine answers: it describes every image in the same words and picks the
first option, and is good for trying the way only. It notes the hash of
what it is sent, which is compared with the rows. Nothing is asked twice: run the same command again to go on.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.util
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from datasets import Image, load_dataset

from irtd_datasets.training import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

TRAINING = ("torch", "torchdata", "transformers", "trl")
SUBSETS = {"instruct": "train", "pretrain": "train", "benchmark": "test"}
TEXT = (
    "The image shows a scene in which the ground is cooler than what stands on it. Warm shapes stand out against it, "
    "some close together and some apart, and the background has an even temperature without small detail."
)
ANSWERS = (
    (
        "Write a conversation",
        "Question: What stands out?\nAnswer: Warm shapes.\nQuestion: What is the ground like?\nAnswer: It is even.",
    ),
    (
        "needs reasoning",
        f"Question: Why do some shapes stand out?\nAnswer: They are warmer than the ground. {TEXT}",
    ),
    ("escribe", TEXT),
    ("Answer with one number", "2"),
    ("yes or no", "yes"),
    ("letter", "(A)"),
    ("Detect the bounding box", "<box>[10, 10, 60, 60]</box>"),
    ("from left to right", "car: [(500, 500)]"),
)


class StandIn(BaseHTTPRequestHandler):
    """Answers chat completions with the text that fits the question.

    Attributes:
        sent: SHA-256 of every image that it was sent.
    """

    sent: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        """One answer."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        for part in [] if isinstance(content, str) else content:
            if "image_url" in part:
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                self.sent.add(hashlib.sha256(data).hexdigest())
        asked = content if isinstance(content, str) else " ".join(one.get("text", "") for one in content)
        text = next((answer for words, answer in ANSWERS if words in asked), TEXT)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": "stand-in"}
        answer = json.dumps({**head, "choices": [choice]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextlib.contextmanager
def endpoint(address: str | None) -> Iterator[str]:
    """The endpoint that was named, or the stand-in while the block runs."""
    if address is not None:
        yield address
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def run(*arguments: object) -> None:
    """Print a command and run it; a command that fails ends the way."""
    words = [str(one) for one in arguments]
    print("$", " ".join(words), flush=True)
    program = [sys.executable, "-m", "irtd_datasets"] if words[0] == "irtd" else [sys.executable]
    done = subprocess.run([*program, *words[1:]], check=False)  # noqa: S603 - what is printed above
    if done.returncode:
        raise SystemExit(done.returncode)


def construct(args: argparse.Namespace, folder: Path, asked: list[Any]) -> None:
    """The three subsets; training first, so that the benchmark takes what is left of sets of scenes."""
    shared: list[Any] = ["--sources", args.sources, "--out", folder]
    shared += ["--source-table", args.source_table] if args.source_table else []
    shared += ["--limit", args.limit] if args.limit else []
    run("irtd", "construct", "irtd", "instruct", *shared, "--qa", "llm", *asked)
    run("irtd", "construct", "irtd", "pretrain", *shared, "--captions", "llm", *asked)
    run("irtd", "construct", "irtd", "benchmark", *shared)


def read(folder: Path) -> dict[str, int]:
    """Load each subset with plain `datasets`, and stream it; both have the same rows."""
    rows = {}
    for subset, split in SUBSETS.items():
        loaded = load_dataset(str(folder), subset, split=split)
        partners = len(loaded) - loaded.data.column("visible").null_count
        streamed = sum(1 for _ in stream(f"{folder}:{subset}", split=split, columns=["id", "messages"]))
        if streamed != len(loaded):
            raise SystemExit(f"{subset}: {len(loaded)} rows loaded, {streamed} streamed")
        print(f"{subset}: {len(loaded):,} rows, {partners:,} with a visible partner")
        rows[subset] = len(loaded)
    return rows


def prove(folder: Path) -> None:
    """Compare what the stand-in was sent with what the rows of captions say and show."""
    loaded = load_dataset(str(folder), "pretrain", split="train")
    for name in ("image", "visible"):
        loaded = loaded.cast_column(name, Image(decode=False))
    asked = same = 0
    for row in loaded:
        noted = [one["value"] for one in row["corrections"] if one["field"] == "record.sent_sha256"]
        if any(one not in StandIn.sent for one in noted):
            raise SystemExit(f"{row['id']}: the endpoint was not sent the image that the row names")
        shown = [row[name]["bytes"] for name in ("visible", "image") if row[name] is not None]
        asked += bool(noted)
        same += any(hashlib.sha256(one).hexdigest() in noted for one in shown)
    print(f"captions: {asked} images sent as their rows say, {same} of them byte for byte what the row shows")


def main() -> None:
    """Walk the whole way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, required=True, help="folder of source sets")
    parser.add_argument("--source-table", type=Path, help="a table of further source sets")
    parser.add_argument("--out", type=Path, default=Path("whole-way"))
    parser.add_argument("--endpoint", help="base of an OpenAI-compatible interface; default: a stand-in")
    parser.add_argument("--model", default="stand-in")
    parser.add_argument("--limit", type=int, help="most records of each task, about")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    args = parser.parse_args()
    folder, here = args.out / "irtd", Path(__file__).resolve().parent
    args.out.mkdir(parents=True, exist_ok=True)
    with endpoint(args.endpoint) as address:
        asked = ["--endpoint", address, "--model", args.model, "--yes"]
        construct(args, folder, asked)
        read(folder)
        if args.endpoint is None and StandIn.sent:
            prove(folder)
        missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
        if missing:
            print(f'not trained: {", ".join(missing)} not installed (pip install "irtd-datasets[examples]")')
        else:
            options = ["--steps", args.steps, "--out", args.out / "training"]
            run("python", here / "train_vlm.py", "--data", f"{folder}:instruct", *options)
        predictions = args.out / "benchmark.jsonl"
        run("irtd", "predict", f"{folder}:benchmark", "--out", predictions, *asked[:-1])
        run("irtd", "score", predictions, "--dataset", folder, "--config", "benchmark", "--missing", "wrong")


if __name__ == "__main__":
    main()
