"""Models are asked about the scored rows of a config, and what they answer is scored."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from chat_server import chat_server
from processes import environment, irtd_here, told

from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.captioning.journal import Journal
from irtd_datasets.errors import EndpointError
from irtd_datasets.evaluate import Selection, read_predictions, read_questions, score
from irtd_datasets.evaluate.predict import (
    Asked,
    PredictOptions,
    PredictReport,
    _answer,
    predict,
    predict_endpoint,
    read_asked,
)
from irtd_datasets.evaluate.questions import gold_answers


def ask(server, rows, folder, options=None, **settings):
    endpoint = Endpoint("m", server.url, _sleep=lambda _: None, temperature=0, **settings)
    report = PredictReport()
    with Journal(folder / "p.journal.jsonl") as journal:
        lines = list(predict_endpoint(rows, endpoint, journal, options, report))
    return lines, report


def rows_of(folder, config, **selection):
    questions = read_questions(folder, config, Selection(**selection))
    return questions, list(read_asked(folder, config, questions))


def test_every_round_is_asked_in_order_and_paid_once(remote_sensing, tmp_path):
    """Rounds come with id and number in the order of the rows; the same run again asks nothing."""
    questions, rows = rows_of(remote_sensing["mmrs_1m"], "vqa")
    with chat_server(["yes"] * 999, delay=0.01) as server:
        lines, report = ask(server, rows, tmp_path, PredictOptions(concurrency=3))
        assert server.most <= 3
        asked = len(server.asked)
        again, second = ask(server, rows, tmp_path, PredictOptions(concurrency=3))
        assert len(server.asked) == asked == report.asked
    assert again == lines
    assert second.asked == 0
    assert second.from_journal == report.answered == len(questions)
    assert [(line["id"], line.get("round", 0)) for line in lines] == [
        (one.id, one.round) for one in questions
    ]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = score(read_predictions(file), questions)
    assert 0 < found.tasks["vqa"].value < 100
    assert found.tasks["vqa"].missing == 0


def test_dialogues_are_told_what_was_said(remote_sensing, tmp_path):
    """A later round of a conversation comes with the earlier questions and the model's own answers."""
    _, rows = rows_of(remote_sensing["rs_gpt4v"], "conversation", splits=["train"])
    rows = [row for row in rows if len(row.rounds) > 1][:1]
    with chat_server(["first answer", "second answer"]) as server:
        lines, _ = ask(server, rows, tmp_path, PredictOptions(system="Be brief."))
        bodies = server.bodies
    assert [line["answer"] for line in lines] == ["first answer", "second answer"]
    assert [message["role"] for message in bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert bodies[1]["messages"][2]["content"] == "first answer"
    assert bodies[1]["messages"][3]["content"] == rows[0].rounds[1][1]
    assert bodies[1]["messages"][1] == bodies[0]["messages"][1]


@pytest.mark.parametrize("family", ["llava", "qwen2-vl", "qwen2.5-vl", "qwen3-vl", "internvl", "paligemma"])
def test_boxes_come_back_in_the_frame_of_the_row(remote_sensing, family):
    """What a perfect model of each family would answer is worth everything after it was brought back."""
    from irtd_datasets.boxes.text import parse_boxes
    from irtd_datasets.training.targets import Style, find_target, restyle, smart_resize

    questions, rows = rows_of(remote_sensing["mmrs_1m"], "grounding")
    gold = gold_answers(questions)
    answers = {}
    style = Style(find_target(family))
    for row in rows:
        height, width = smart_resize(row.height, row.width)
        for number, _ in row.rounds:
            key = row.id if row.single else f"{row.id}#{number}"
            parsed = parse_boxes(gold[key])
            said = restyle([(parsed, True)], row.frame, row.width, row.height, style).texts[0]
            answers[key] = _answer(row, said, (width, height), PredictOptions(family=family))
    found = score(answers, questions).tasks["grounding"]
    assert found.unreadable == 0
    assert found.metrics["pr50"].value == 100
    assert found.metrics["miou"].value > 90


def test_boxes_of_a_question_are_written_for_the_family(remote_sensing, tmp_path):
    """The box that a region caption is asked for stands in the family's markup, and the question's form is told."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "region_captioning")
    _, grounding = rows_of(remote_sensing["mmrs_1m"], "grounding")
    with chat_server(["x"] * 99) as server:
        ask(server, [rows[0], grounding[0]], tmp_path, PredictOptions(family="internvl", concurrency=1))
        texts = [body["messages"][0]["content"][1]["text"] for body in server.bodies]
    assert "<box>[[" in texts[0]
    assert "from 0 to 1000" in texts[-1]


def test_large_images_are_sent_smaller_after_a_refusal(remote_sensing, tmp_path):
    """An endpoint that answers 400 to an image gets a smaller one; the report counts it, and nothing is lost."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "classification")
    row = Asked("a/1", "vqa", ((0, "Is there a ship?"),), big_image(), rows[0].frame, 1500, 900)
    with chat_server([400, 413, "yes"]) as server:
        lines, report = ask(server, [row], tmp_path)
    assert [line["answer"] for line in lines] == ["yes"]
    assert max(lines[0]["image"]) < 600
    assert (report.smaller, report.failed, report.unanswered) == (2, 0, 0)


def big_image():
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 1500), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("script", [401, "html", 404, "stream"])
def test_an_endpoint_that_refuses_ends_the_run(remote_sensing, tmp_path, script):
    """What every question would meet is an error at once, not a file of nothing."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "vqa")
    with chat_server([script] * 99) as server, pytest.raises(EndpointError):
        ask(server, rows, tmp_path)


def test_trouble_on_the_way_is_asked_again(remote_sensing, tmp_path):
    """Limits, failures, cut and empty answers cost an attempt, not the row; what stays open is counted."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "classification")
    with chat_server([503, "cut", "empty", (429, {"Retry-After": "0"}), "airport"]) as server:
        lines, _ = ask(server, rows[:1], tmp_path, attempts=5)
    assert [line["answer"] for line in lines] == ["airport"]
    with chat_server([503] * 99) as server, pytest.raises(EndpointError, match="no answer after 2 attempts"):
        ask(server, rows[1:2], tmp_path, attempts=2)


def test_an_endpoint_that_times_out_leaves_the_round_open(remote_sensing, tmp_path):
    """A stall is given up after the timeout, and the next run asks again."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "classification")
    with chat_server(["airport", "stall"]) as server:
        lines, report = ask(
            server, rows[:2], tmp_path, PredictOptions(concurrency=1), attempts=1, timeout=0.5
        )
    assert (len(lines), report.unanswered) == (1, 1)
    with chat_server(["harbor"]) as server:
        lines, report = ask(server, rows[:2], tmp_path)
    assert (len(lines), report.asked, report.from_journal) == (2, 1, 1)


def test_a_function_answers_rows():
    """`predict` takes any callable: it gets the question and what was said before it in a conversation."""
    talk = [("user", "What is it?"), ("assistant", "a"), ("user", "And where?"), ("assistant", "b")]
    row = {
        "id": "rs_gpt4v/x/1",
        "image": None,
        "messages": [dict(zip(("role", "content"), one, strict=True)) for one in talk],
    }
    for task, seen in (("conversation", ["1", "3"]), ("vqa", ["1", "1"])):
        lines = list(predict([{**row, "task": task}], lambda asked: str(len(asked["messages"]))))
        assert lines == [{"id": row["id"], "round": n, "answer": seen[n]} for n in (0, 1)]


def test_the_command_predicts_and_the_other_scores(remote_sensing, tmp_path, monkeypatch):
    """`irtd predict`, ended and run again, then `irtd score`; the key stands in no file."""
    monkeypatch.setenv("IRTD_ENDPOINT_TOKEN", "secret-key")
    out = tmp_path / "c.jsonl"
    folder = remote_sensing["mmrs_1m"]
    with chat_server(["airport"] * 999) as server:
        command = (
            "predict",
            f"{folder}:classification",
            "--endpoint",
            server.url,
            "--model",
            "m",
            "--out",
            out,
        )
        dry = irtd_here(*command, "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "nothing was asked" in dry.stdout
        assert not server.asked
        done = irtd_here(*command, "--limit", "3", "--json")
        assert json.loads(done.stdout)["report"]["answered"] == 3
        done = irtd_here(*command)
        assert done.returncode == 0, done.stderr
        assert "from the journal" in done.stdout
        assert server.keys[0] == "Bearer secret-key"
    record = json.loads((tmp_path / "c.run.json").read_text())
    assert (record["model"], record["config"], record["options"]["encoding"]) == (
        "m",
        "classification",
        "jpeg",
    )
    for file in tmp_path.iterdir():
        assert "secret-key" not in file.read_text(errors="ignore"), file
    scored = irtd_here("score", out, "--dataset", folder, "--config", "classification", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["tasks"]["classification"]["missing"] == 0
    told(irtd_here(*command[:-1], tmp_path / "d.jsonl", "--family", "bert"), 2, "bert")
    assert "IRTD_ENDPOINT_TOKEN" in os.environ


def test_a_name_that_changes_on_the_way_is_told(remote_sensing, tmp_path):
    """Answers under other names of the model are kept, and the report counts each name."""
    folder = remote_sensing["mmrs_1m"]
    out = tmp_path / "p.jsonl"
    script = [{"text": "yes", "model": name} for name in ("m", "m", "n")]
    with chat_server(script) as server:
        command = ("predict", f"{folder}:vqa", "--endpoint", server.url, "--model", "m", "--out", out)
        done = irtd_here(*command, "--limit", "3", "--concurrency", "1", "--json")
    assert done.returncode == 0, done.stderr
    told_ = json.loads(done.stdout)
    assert told_["report"]["models"] == {"m": 2, "n": 1}
    assert any("several names" in note for note in told_["notes"])


@pytest.mark.parametrize("script", ["html", "stream", 401])
def test_what_is_no_answer_on_the_way_ends_the_run_and_keeps_the_others(remote_sensing, tmp_path, script):
    """An endpoint that turns into something else stops the run; answers before it are kept, and the rest follows."""
    _, rows = rows_of(remote_sensing["mmrs_1m"], "vqa")
    rows = rows[:4]
    with chat_server(["yes", "no", *[script] * 9]) as server:
        lines, report = ask(server, rows, tmp_path, PredictOptions(concurrency=1))
        assert (len(lines), report.asked) == (2, 2)
        assert report.stopped
        assert len(server.asked) == 3
    with chat_server(["yes"] * 99) as server:
        lines, report = ask(server, rows, tmp_path, PredictOptions(concurrency=1))
    assert report.from_journal == 2
    assert report.unanswered == 0
    assert len(lines) == sum(len(row.rounds) for row in rows)


def test_an_endpoint_that_is_not_there_is_an_error(remote_sensing, tmp_path):
    """A refused connection is asked again and then told, with nothing written as an answer."""
    with chat_server() as server:
        url = server.url  # of a server that is gone
    done = irtd_here(
        "predict", f"{remote_sensing['mmrs_1m']}:vqa", "--endpoint", url, "--model", "m",
        "--out", tmp_path / "p.jsonl", "--limit", "1", "--attempts", "1",
    )  # fmt: skip
    told(done, 1, "cannot be reached")
    assert not (tmp_path / "p.jsonl").exists()


def test_a_killed_run_pays_for_nothing_twice(remote_sensing, tmp_path):
    """After SIGKILL the same command asks only what was not answered, and writes every round in its order."""
    folder, out = remote_sensing["mmrs_1m"], tmp_path / "p.jsonl"
    questions = read_questions(folder, "vqa")
    with chat_server(["yes"] * 999, delay=0.1) as server:
        command = [
            sys.executable, "-m", "irtd_datasets", "predict", f"{folder}:vqa", "--endpoint", server.url,
            "--model", "m", "--out", str(out), "--concurrency", "2",
        ]  # fmt: skip
        journal = tmp_path / "p.journal.jsonl"
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            until = time.monotonic() + 120
            while not journal.exists() or len(journal.read_bytes().splitlines()) < 5:
                assert running.poll() is None
                assert time.monotonic() < until
            running.kill()
        assert not out.exists()
        kept = journal.read_bytes().count(b"\n")
        before = len(server.asked)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        after = len(server.asked) - before
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["id"], one.get("round", 0)) for one in lines] == [(one.id, one.round) for one in questions]
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == kept + after
    assert before - kept <= 2  # what was under way when it was killed
