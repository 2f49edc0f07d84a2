"""`irtd construct irtd pretrain --captions llm`: who is asked about what, what it costs, and that nothing is lost."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from chat_server import GOOD, chat_server
from PIL import Image
from processes import environment, irtd_here, told
from source_sets import HEIGHT, WIDTH, sample_image, scenery, voc

from irtd_datasets.captioning.journal import read_answers
from irtd_datasets.folder.row_groups import config_files

TABLE = """\
name,reader,infrared,visible,alignment,labels,splits,exhaustive,tasks,modality
pairs,voc,ir/{split:train|test}/{stem}.*,vi/{split}/{stem}.*,aligned,labels/{stem}.xml,,"person,car,bike",caption,infrared
alone,voc,{split:train|test}/{stem}.*,,,labels/{stem}.xml,,"person,car,bike",caption,infrared
target,voc,ir/{split:train|test}/{stem}.*,vi/{split}/{stem}.*,aligned,labels/{stem}.xml,,,caption,infrared
crops,voc,ir/{split:train|test}/{stem}.*,vi/{split}/{stem}.*,aligned,labels/{stem}.xml,,"person,car,bike",reid,infrared
"""
FAULTY = GOOD.format(n=3) + " The sky is blue."


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The suite runs offline; these tests talk to loopback only."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


class Pairs:
    """Source sets with visible partners, and the command that captions them."""

    def __init__(self, folder):
        self.folder = folder
        self.sources = folder / "sources"
        self.out = folder / "irtd"
        self.journal = folder / "irtd.captions.jsonl"
        self.table = folder / "table.csv"
        self.table.write_text(TABLE)

    def put(self, path, data):
        file = self.sources / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def add(self, source, numbers, split="train", *, dark=()):
        for number in numbers:
            stem = f"{source}{number:03d}"
            paired = source != "alone"
            self.put(f"{source}/{'ir/' if paired else ''}{split}/{stem}.png", sample_image(f"ir {stem}"))
            self.put(f"{source}/labels/{stem}.xml", voc(scenery(number)).encode())
            if paired:
                data = night() if number in dark else sample_image(f"vi {stem}", suffix="jpg")
                self.put(f"{source}/vi/{split}/{stem}.{'png' if number in dark else 'jpg'}", data)

    def arguments(self, server, *more, model="vl", yes=True):
        return [
            *("construct", "irtd", "pretrain", "--sources", self.sources, "--source-table", self.table),
            *("--out", self.out, "--captions", "llm", "--endpoint", server.url, "--model", model, *more),
            *(["--yes"] if yes else []),
        ]  # fmt: skip

    def run(self, server, *more, code=0, **options):
        done = irtd_here(*self.arguments(server, "--json", *more, **options))
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def rows(self, config="pretrain"):
        found = []
        for files in config_files(self.out, config).values():
            for file in files:
                found += pq.read_table(file).to_pylist()
        return {row["image"]["path"]: row for row in found}

    def shards(self):
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted((self.out / "pretrain").rglob("*.parquet"))
        }


def night():
    """A visible image that shows nothing."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 9, (HEIGHT, WIDTH, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pairs(tmp_path):
    """Six training pairs, two of the test part, two images without a partner."""
    made = Pairs(tmp_path)
    made.add("pairs", range(6))
    made.add("pairs", range(6, 8), "test")
    made.add("alone", range(2))
    return made


def sent(server):
    """Mean colour spread of each image sent: visible and infrared ones differ by their bytes alone here."""
    return [digest for digest, _ in server.asked]


def test_visible_partners_are_described(pairs):
    """Training images with a partner get the model's text, those without their rule caption; rows say which."""
    with chat_server() as server:
        result = pairs.run(server)
        assert len(server.asked) == 6
        facts = {body["messages"][0]["content"][1]["text"] for body in server.bodies}
    assert any("visible partner" in one and "say: The image contains 1 bike" in one for one in facts)
    assert result["tasks"]["model_captions"]["rows"] == 6
    assert result["tasks"]["rule_captions"]["rows"] == 2
    assert result["captions"]["report"]["asked"] == 6
    rows = pairs.rows()
    assert len(rows) == 8
    for name, row in rows.items():
        by_model = name.startswith("pairs/ir/train/")
        part = "model_captions" if by_model else "rule_captions"
        assert row["id"].startswith(f"irtd/pretrain/{part}/constructed/")
        assert row["issues"] == (["caption-from-visible"] if by_model else [])
        text = row["messages"][1]["content"]
        assert text.startswith("The image shows a wide road" if by_model else "The image contains")
        assert row["messages"][0]["content"] == "Describe this picture in detail."
    answers = {answer.id: answer for answer in read_answers(pairs.journal)}
    assert set(answers) == {row["id"] for row in rows.values() if row["issues"]}
    notes = {
        line["part"]: line["note"] for line in json.loads((pairs.out / "ledger.json").read_text())["files"]
    }
    assert "texts by the language model vl (prompts " in notes["model_captions"]
    assert "language model" not in notes["rule_captions"]
    assert server.url not in (pairs.out / "README.md").read_text()


def test_both_parts_are_configs(pairs):
    """The parts load as configs of their own in plain `datasets`, and together as `pretrain`."""
    from datasets import load_dataset

    with chat_server() as server:
        pairs.run(server)
    counts = {
        config: load_dataset(str(pairs.out), config, split="train", cache_dir=str(pairs.folder)).num_rows
        for config in ("pretrain", "pretrain-model_captions", "pretrain-rule_captions")
    }
    assert list(counts.values()) == [8, 6, 2]


def test_second_run_asks_nothing_and_writes_the_same(pairs):
    """All answers come from the journal, whatever became of the folder; the bytes are the same."""
    with chat_server() as server:
        pairs.run(server)
        first = pairs.shards()
        again = pairs.run(server)
        assert len(server.asked) == 6
        assert pairs.shards() == first
        assert again["captions"]["estimate"]["questions"] == 0
        pairs.out = pairs.folder / "other"
        pairs.run(server, "--journal", pairs.journal, yes=False)
        assert len(server.asked) == 6
        assert pairs.shards() == first


def test_rejected_captions_are_counted_and_fall_back(pairs):
    """A text with faults is asked for again once; what fails then has its reason in the ledger and a rule caption."""
    with chat_server([FAULTY, FAULTY, "I'm sorry, I can't see it."]) as server:
        result = pairs.run(server, "--concurrency", "1")
        assert Counter(len_ for _, len_ in server.asked) == {1: 6, 3: 1}
    (source,) = result["tasks"]["model_captions"]["sources"].values()
    assert source["rejected"] == {"caption colour": 1, "caption refusal": 1}
    assert (source["candidates"], source["rows"]) == (6, 4)
    assert result["tasks"]["rule_captions"]["rows"] == 4
    assert len(pairs.rows()) == 8
    ledger = json.loads((pairs.out / "ledger.json").read_text())
    assert any("not accepted: colour 1, refusal 1" in line["note"] for line in ledger["files"])


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("Nine cars stand there.", "caption labels-count"),
        ("A bike leans on a wall.", "caption labels-class"),
        ("There is no person in it.", "caption labels-absent"),
        ("A person stands on the right side of the image.", "caption labels-side"),
    ],
)
def test_captions_against_the_labels_are_refused(pairs, said, fault):
    """A caption with a wrong count, class or side is asked for once more, then refused and counted by its reason."""
    for file in pairs.sources.glob("pairs/*/train/pairs*"):
        if "001" not in file.name:
            file.unlink()
    with chat_server(reply=lambda _: f"{GOOD.format(n=3)} {said}") as server:
        result = pairs.run(server)
        asked = [body["messages"] for body in server.bodies]
    counts = result["tasks"]["model_captions"]["sources"]["pairs"]
    assert counts["rejected"] == {fault: 1}
    assert [len(messages) for messages in asked] == [1, 3]
    assert fault.removeprefix("caption ") in str(asked[1][-1]["content"])
    row = next(row for path, row in pairs.rows().items() if "pairs001" in path)
    assert row["origin"] == "rule"


def test_dark_partners_are_not_paid_for(pairs):
    """A visible image that shows nothing is not sent; its pair keeps the rule caption."""
    pairs.add("pairs", [9], dark=[9])
    with chat_server() as server:
        result = pairs.run(server)
        assert len(server.asked) == 6
    assert result["tasks"]["model_captions"]["sources"]["pairs"]["rejected"] == {"caption dark": 1}
    assert pairs.rows()["pairs/ir/train/pairs009.png"]["issues"] == []


def test_partnerless_images_as_chosen(pairs):
    """`partnerless`: an image without a partner has a rule caption, is described itself, or is left out."""
    with chat_server() as server:
        result = pairs.run(server, "--rule", "partnerless=infrared")
        asked = [body["messages"][0]["content"][1]["text"] for body in server.bodies]
        assert sum(text.startswith("This is an infrared image") for text in asked) == 2
        assert result["tasks"]["model_captions"]["rows"] == 8
        assert pairs.rows()["alone/train/alone001.png"]["issues"] == ["caption-from-infrared"]
        result = pairs.run(server, "--rule", "partnerless=leave-out")
        assert len(server.asked) == 8
    assert set(result["tasks"]) == {"model_captions"}
    assert len(pairs.rows()) == 6


def test_infrared_of_16_bit_is_sent_as_seen(pairs):
    """Raw infrared is mapped to 8 bits by its percentiles; a flat frame is not asked about."""
    raw = np.random.default_rng(3).integers(7000, 7400, (64, 80)).astype(np.uint16)
    for number, values in ((7, raw), (8, np.full_like(raw, 7000))):
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        pairs.put(f"alone/train/alone{number:03d}.png", file.getvalue())
        pairs.put(f"alone/labels/alone{number:03d}.xml", voc([], (80, 64)).encode())
    with chat_server() as server:
        result = pairs.run(server, "--rule", "partnerless=infrared")
        assert len(server.asked) == 9
    assert result["tasks"]["model_captions"]["sources"]["alone"]["rejected"] == {"caption flat": 1}
    assert pairs.rows()["alone/train/alone007.png"]["bit_depth"] == 16


def test_labels_without_words_are_no_obstacle(pairs):
    """A pair whose labels allow no rule caption is described; crops of people are not."""
    pairs.add("target", range(2))
    pairs.add("crops", range(2))
    with chat_server() as server:
        result = pairs.run(server)
        texts = [body["messages"][0]["content"][1]["text"] for body in server.bodies]
    assert sum("labels" not in text for text in texts) == 2
    assert result["tasks"]["model_captions"]["sources"]["target"]["rows"] == 2
    assert "crops" not in result["tasks"]["model_captions"]["sources"]
    assert result["tasks"]["rule_captions"]["sources"]["crops"]["rows"] == 2


def test_rule_captions_replace_and_come_back(pairs):
    """No image stands in both parts: `--captions rule` takes the place of both; going back costs nothing."""
    with chat_server() as server:
        pairs.run(server)
        first = pairs.shards()
        done = irtd_here(
            *("construct", "irtd", "pretrain", "--sources", pairs.sources, "--source-table", pairs.table),
            *("--out", pairs.out, "--quiet"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert {row["id"].split("/")[2] for row in pairs.rows().values()} == {"rule_captions"}
        assert len(pairs.rows()) == 8
        pairs.run(server)
        assert len(server.asked) == 6
    assert pairs.shards() == first


def test_estimate_comes_before_the_first_question(pairs):
    """Without --yes and a terminal nothing is asked, and the message says what it would cost, as a dry run does."""
    with chat_server() as server:
        told(
            irtd_here(*pairs.arguments(server, "--price", "2,10", yes=False)),
            2, "6 questions to ask", "cost about 0.0", "nothing was asked", "--yes",
        )  # fmt: skip
        dry = pairs.run(server, "--price", "2,10", "--dry-run", yes=False)
        assert not server.asked
    assert not pairs.journal.exists()
    assert not (pairs.out / "manifest.json").exists()
    assert dry["captions"]["estimate"]["questions"] == 6
    assert dry["captions"]["report"] is None
    assert dry["tasks"]["model_captions"]["rows"] == 6


def test_run_ends_before_the_cost_is_passed(pairs):
    """`--max-cost` builds with what is there; the next run goes on with the rest."""
    limit = ("--price", "1", "--max-cost", "0.0025", "--concurrency", "1")
    with chat_server() as server:
        result = pairs.run(server, *limit)
        first = len(server.asked)
        assert 0 < first < 6
        assert result["captions"]["unanswered"] == 6 - first
        assert len(pairs.rows()) == first + 2
        pairs.run(server)
        assert len(server.asked) == 6
    assert len(pairs.rows()) == 8


def test_passing_trouble_is_waited_for(pairs):
    """A limit with Retry-After, a failure, a stall and a cut answer cost time, no caption and no second answer."""
    script = [(429, {"Retry-After": "0"}), 503, "stall", "cut"]
    with chat_server(script) as server:
        result = pairs.run(server, "--ask", "timeout=1", "--concurrency", "2")
        answered = Counter(sent(server))
    assert result["tasks"]["model_captions"]["rows"] == 6
    assert sum(answered.values()) == 6 + len(script)
    assert len(list(read_answers(pairs.journal))) == 6


def test_lasting_trouble_is_told_and_mended_by_the_next_run(pairs):
    """A question without an answer leaves its image out, and exit code 1 says to run again, which asks it alone."""
    with chat_server([500]) as server:
        result = pairs.run(server, "--ask", "attempts=1", "--concurrency", "1", code=1)
        assert result["captions"]["unanswered"] == 1
        assert len(pairs.rows()) == 7
        result = pairs.run(server)
        assert result["captions"]["report"]["asked"] == 1
    assert len(pairs.rows()) == 8


@pytest.mark.parametrize(("trouble", "words"), [(402, "no credit left"), ("html", "no chat completion")])
def test_refusal_builds_nothing_and_keeps_what_was_paid(pairs, trouble, words):
    """When every further question would be refused the run ends with a message; the answers so far are kept."""
    with chat_server(["ok", "ok", *[trouble] * 9]) as server:
        done = irtd_here(*pairs.arguments(server, "--concurrency", "1"))
        told(done, 1, words, "2 of 6 images have their caption", "no answer that was paid")
        assert not (pairs.out / "pretrain").exists()
        server.script = []
        assert pairs.run(server)["captions"]["report"]["asked"] == 4


def test_killed_command_asks_nothing_twice(pairs):
    """Killed at any moment and run again: each image is asked about once, but for those under way at the kill."""
    pairs.add("pairs", range(10, 34))
    with chat_server(delay=0.05) as server:
        command = [sys.executable, "-m", "irtd_datasets"]
        command += map(str, pairs.arguments(server, "--concurrency", "2", "--quiet"))
        for kill in (signal.SIGKILL, signal.SIGINT):
            before = len(server.asked)
            process = subprocess.Popen(
                command, env=environment(HF_HUB_OFFLINE="0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            deadline = time.monotonic() + 60
            while len(server.asked) < before + 6 and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            os.kill(process.pid, kill)
            _, errors = process.communicate(timeout=30)
            assert process.returncode == (130 if kill == signal.SIGINT else -kill)
            assert (b"interrupted" in errors) == (kill == signal.SIGINT)
        time.sleep(0.2)
        kept = len(list(read_answers(pairs.journal)))
        assert kept >= 8
        result = pairs.run(server)
        assert result["captions"]["report"]["from_journal"] == kept
        assert max(Counter(sent(server)).values()) <= 2
        assert (
            len(server.asked) - 30 <= 2
        )  # what the SIGKILL met under way; an interrupt waits for its answers
    assert len(pairs.rows("pretrain-model_captions")) == 30


def test_prompts_come_from_files(pairs, tmp_path):
    """A prompt of the user takes the place of the library's and is another question; mistakes in it are told."""
    prompt = tmp_path / "visible.txt"
    prompt.write_text('Tell {words} words as {"json": 1}.{facts}\n', encoding="utf-8")
    with chat_server() as server:
        pairs.run(server, "--prompt", f"visible={prompt}", "--ask", "words=40")
        text = server.bodies[0]["messages"][0]["content"][1]["text"]
        assert text.startswith('Tell 40 words as {"json": 1}. The labels')
        pairs.run(server)
        assert len(server.asked) == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", ""], "needs a model"),
        (["--endpoint", "localhost:8000"], "no address of an endpoint"),
        (["--price", "cheap"], "--price cheap is no price"),
        (["--ask", "words=many"], "no whole number of at least 5"),
        (["--ask", "top_p=1"], "no name 'top_p'"),
        (["--ask", "temperature=nan"], "no number of at least 0"),
        (["--prompt", "night=x"], "no prompt 'night'"),
        (["--prompt", "visible=gone.txt"], "cannot be read"),
        (["--token-env", "NO_SUCH_VARIABLE"], "no variable NO_SUCH_VARIABLE"),
        (["--captions", "rule"], "--endpoint is for captions by a language model"),
        (["--captions", "magic"], "is for captions by a language model"),
    ],
)
def test_wrong_use_is_told(pairs, arguments, words):
    """Mistakes are messages with exit code 2, before anything is read or asked."""
    with chat_server() as server:
        told(irtd_here(*pairs.arguments(server), *arguments), 2, words)
        assert not server.asked


def test_damaged_prompt_is_told(pairs, tmp_path):
    """An empty prompt, one that is no text, and one with a place that nothing fills name their file."""
    for content, words in (
        (b"", "is empty"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"{fact}", "nothing fills {fact}"),
    ):
        file = tmp_path / "prompt.txt"
        file.write_bytes(content)
        with chat_server() as server:
            told(irtd_here(*pairs.arguments(server, "--prompt", f"visible={file}")), 2, words, str(file))


def test_keys_come_from_the_environment_alone(pairs, monkeypatch):
    """The key of the endpoint is that of its variable, or of the one named; the Hugging Face token stays at home."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("IRTD_ENDPOINT_TOKEN", "sk-one")
    monkeypatch.setenv("MY_KEY", "sk-two")
    with chat_server() as server:
        pairs.run(server)
        pairs.run(server, "--token-env", "MY_KEY", model="other")
        assert {*server.keys[:6]} == {"Bearer sk-one"}
        assert {*server.keys[6:]} == {"Bearer sk-two"}
    for file in (pairs.journal, *pairs.out.glob("*")):
        assert file.is_dir() or "sk-" not in file.read_text()
