"""Question-answer pairs of instruct and descriptions of RS-GPT4V by a model: asked, held against labels, counted."""

import json
import re

import pytest
from chat_server import chat_server
from processes import irtd_here
from source_sets import rows, scenery

from irtd_datasets.captioning.journal import read_answers
from irtd_datasets.schema import TASKS

CONVERSATION = """\
Question: What stands in the scene?
Answer: A person and a car.

Question: Is a bus there?
Answer: No."""
REASONING = "Question: Why might a driver be careful?\nAnswer: The person is close to the road and could step onto it."
DETAIL = (
    "The image shows a road with a person and a car. The person is warm against a cooler ground, and the car stands "
    "close by, with buildings far behind both of them."
)
LOCAL = "The object is long and smooth and lies apart from what is beside it."


def kind_of(body):
    """Which prompt a request has."""
    text = next(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")
    for name, words in (
        ("conversation", "Write a conversation"),
        ("reasoning", "needs reasoning"),
        ("region", "Look only at"),
        ("detail", "in detail"),
    ):
        if words in text:
            return name
    raise AssertionError(text)


GOOD = {"conversation": CONVERSATION, "reasoning": REASONING, "detail": DETAIL, "region": LOCAL}


def replies(**other):
    return lambda body: {**GOOD, **other}[kind_of(body)]


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The suite runs offline; these tests talk to loopback only."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


class Street:
    """Training and test images, and the command."""

    def __init__(self, sources, folder):
        sources.street("train", range(4))
        sources.street("test", range(4, 6))
        self.sources, self.out = sources, folder / "irtd"

    def run(self, server, *more, code=0):
        done = irtd_here(
            *("construct", "irtd", "instruct", "--sources", self.sources.folder, "--out", self.out, "--json"),
            *("--source-table", self.sources.table, "--qa", "llm", "--endpoint", server.url, "--model", "vl"),
            *("--yes", "--concurrency", "1", *more),
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def street(sources, tmp_path):
    return Street(sources, tmp_path)


def test_three_texts_of_each_training_image_beside_the_rules(street):
    """Each training image has a conversation, a description and reasoning; rules give their rows as without a model."""
    with chat_server(reply=replies()) as server:
        told = street.run(server)
        bodies = server.bodies
    assert len(bodies) == 4 * 3
    for task in ("conversation", "detailed_description", "reasoning"):
        assert told["tasks"][task]["rows"] == 4
        found = rows(street.out, f"instruct-{task}")
        assert {TASKS[row["task"]] for row in found} == {task}
        for row in found:
            assert row["id"].startswith(f"irtd/instruct/{task}/constructed/")
            assert row["image"]["path"].startswith("street/train/")
            assert row["origin"] == "model:vl"
            assert row["answer"] is None
    (talk, *_) = rows(street.out, "instruct-conversation")
    assert [one["content"] for one in talk["messages"]] == [
        *("What stands in the scene?", "A person and a car."),
        *("Is a bus there?", "No."),
    ]
    assert told["tasks"]["location"]["rows"] > 0
    assert {row["origin"] for row in rows(street.out, "instruct-location")} == {"rule"}
    prompts = [
        part["text"] for body in bodies for part in body["messages"][0]["content"] if part["type"] == "text"
    ]
    assert all("infrared image" in text and "person: [0." in text for text in prompts)
    assert any("The image contains" in text for text in prompts)
    notes = {
        line["part"]: line["note"] for line in json.loads((street.out / "ledger.json").read_text())["files"]
    }
    assert "texts by the language model vl (prompts " in notes["reasoning"]
    assert "language model" not in notes["location"]


def test_a_second_run_pays_nothing_and_writes_the_same(street):
    """All answers come from the journal; the rows are the same."""
    with chat_server(reply=replies()) as server:
        street.run(server)
        first = rows(street.out, "instruct")
        told = street.run(server)
        assert len(server.asked) == 12
    assert told["captions"]["estimate"]["questions"] == 0
    assert rows(street.out, "instruct") == first
    assert len(list(read_answers(street.out.with_name("irtd.captions.jsonl")))) == 12


def test_what_contradicts_the_labels_is_refused_and_counted(street):
    """A wrong answer is asked for once more; then it is refused with its reason, and the other texts stay."""
    wrong = "Question: How many cars are there?\nAnswer: Nine.\nQuestion: What else?\nAnswer: A person."
    with chat_server(reply=replies(conversation=wrong)) as server:
        told = street.run(server)
        assert sum(len(body["messages"]) == 3 for body in server.bodies) == 4
    counts = told["tasks"]["conversation"]["sources"]["street"]
    assert (counts["candidates"], counts["rows"], counts["rejected"]) == (4, 0, {"text labels-count": 4})
    assert all(told["tasks"][one]["rows"] == 4 for one in ("detailed_description", "reasoning"))
    assert told["captions"]["report"]["rejected"] == {"labels-count": 4}
    notes = (street.out / "ledger.json").read_text()
    assert "conversation" not in [line["part"] for line in json.loads(notes)["files"] if line["kept"]]


def test_an_empty_answer_is_asked_again_and_then_left_open(street):
    """An endpoint that answers with nothing has not answered: the exit code is 1, and the next run asks again."""
    empty = replies(reasoning="empty")
    with chat_server(reply=empty) as server:
        told = street.run(server, "--ask", "attempts=1", code=1)
        assert told["tasks"]["reasoning"]["rows"] == 0
        assert told["captions"]["unanswered"] == 4
        server.reply = replies()
        asked = len(server.asked)
        told = street.run(server)
        assert len(server.asked) == asked + 4
    assert told["tasks"]["reasoning"]["rows"] == 4


def test_the_estimate_comes_first_and_wrong_use_is_told(street, tmp_path):
    """Without --yes nothing is asked; ways to texts that a dataset has not are refused by name."""
    base = ("construct", "irtd", "instruct", "--sources", street.sources.folder, "--out", street.out)
    with chat_server(reply=replies()) as server:
        asked = (
            *base,
            "--source-table",
            street.sources.table,
            "--qa",
            "llm",
            "--endpoint",
            server.url,
            "--model",
            "vl",
        )
        done = irtd_here(*asked)
        assert (done.returncode, "12 questions to ask" in done.stderr) == (2, True), done.stderr
        told = json.loads(irtd_here(*asked, "--dry-run", "--json").stdout)
        assert told["captions"]["estimate"]["questions"] == 12
        assert server.asked == []
        own = tmp_path / "detail.txt"
        own.write_text("Tell of {image}.{facts}")
        server.reply = lambda _: DETAIL
        irtd_here(*asked, "--yes", "--prompt", f"detail={own}", "--limit", "1")
        texts = [body["messages"][0]["content"][1]["text"] for body in server.bodies]
        assert sum(text.startswith("Tell of an infrared image") for text in texts) == 1
    for more, words in (
        (("--qa", "rule"), "--qa cannot be 'rule'"),
        (("--qa", "llm"), "needs a model"),
        (("--describe", "llm", "--model", "m"), "--describe is for a dataset of remote sensing"),
        (("--model", "m"), "--model is for"),
    ):
        done = irtd_here(*base, *more)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    done = irtd_here(
        "construct", "irtd", "pretrain", "--qa", "llm", "--model", "m", "--sources", street.sources.folder
    )
    assert (done.returncode, "--qa is for instruct" in done.stderr) == (2, True)
    done = irtd_here(
        "construct", "mmrs_1m", "--describe", "llm", "--model", "m", "--sources", street.sources.folder
    )
    assert (done.returncode, "Leave --describe out" in done.stderr) == (2, True), done.stderr


OPTICAL = """\
name,reader,infrared,labels,splits,exhaustive,tasks,modality
ships,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,"person,car,bike,bus",detection,optical
"""


def test_local_then_global_then_talk_for_rs_gpt4v(sources, tmp_path):
    """Single objects first, the image with these, then talk with that; a build reads all four tasks."""
    sources.table.write_text(OPTICAL)
    for split in ("train", "test"):
        for number in range(2):
            name = f"{split}/{split[0]}{number}"
            sources.add("ships", f"{name}.png", f"labels/{name}.xml", scenery(number))
    out = tmp_path / "more"
    command = (
        *("construct", "rs_gpt4v", "--sources", sources.folder, "--source-table", sources.table, "--out", out),
        *("--describe", "llm", "--model", "vl", "--yes", "--json", "--concurrency", "1"),
    )  # fmt: skip
    with chat_server(
        reply=replies(region="The red object is long and lies apart from the others.")
    ) as server:
        done = irtd_here(*command, "--endpoint", server.url)
        assert done.returncode == 0, done.stderr
        kinds = [kind_of(body) for body in server.bodies]
        bodies = server.bodies
        paid = len(server.asked)
        assert irtd_here(*command, "--endpoint", server.url).returncode == 0
        assert len(server.asked) == paid
    objects = [len(scenery(number)) for number in (0, 1)] * 2
    expected = [["region"] * count + ["detail", "conversation", "reasoning"] for count in objects]
    assert kinds == [kind for one in expected for kind in one]
    whole = next(body for body in bodies if kind_of(body) == "detail")["messages"][0]["content"][1]["text"]
    assert "Of single objects it is known: The red object is long" in whole
    talk = next(body for body in bodies if kind_of(body) == "conversation")["messages"][0]["content"][1][
        "text"
    ]
    assert f"A description says: {DETAIL}" in talk
    told = json.loads(done.stdout)
    assert {part["task"] for part in told["parts"]} == {
        *("region_captioning", "detailed_description", "conversation", "reasoning")
    }  # fmt: skip
    assert {part["origin"] for part in told["parts"]} == {"model:vl"}
    built = irtd_here("build", "rs_gpt4v", "default", "--release", out, "--out", tmp_path / "built", "--quiet",
                      "--frame", "square_unit")  # fmt: skip
    assert built.returncode == 0, built.stderr
    found = rows(tmp_path / "built", "default")
    by_task = {
        task: [row for row in found if TASKS[row["task"]] == task]
        for task in {TASKS[r["task"]] for r in found}
    }
    assert {task: len(some) for task, some in by_task.items()} == dict.fromkeys(
        ("region_captioning", "detailed_description", "conversation", "reasoning"), 4
    )
    assert {row["origin"] for row in found} == {"model:vl"}
    region = by_task["region_captioning"][0]
    assert re.search(r"region: \[0\.\d+, ", region["messages"][0]["content"])
    assert len(region["messages"]) == 2 * len(region["objects"]["label"])


def test_wrong_descriptions_are_refused_by_task(sources, tmp_path):
    """A local text about something that is not there is refused, and the steps behind it go on without it."""
    sources.table.write_text(OPTICAL)
    sources.add("ships", "train/a.png", "labels/train/a.xml", scenery(1))
    with chat_server(reply=replies(region="The bus is long and stands beside a wall.")) as server:
        done = irtd_here(
            *("construct", "rs_gpt4v", "--sources", sources.folder, "--source-table", sources.table),
            *("--out", tmp_path / "more", "--describe", "llm", "--model", "vl", "--yes", "--json"),
            *("--endpoint", server.url),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"] == {"region_captioning": {"labels-class": len(scenery(1))}}
    assert {part["task"] for part in told["parts"]} == {"detailed_description", "conversation", "reasoning"}
