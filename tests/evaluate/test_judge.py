"""Free answers are judged by a model behind an endpoint; every verdict is kept and paid once."""

import json

import pytest
from chat_server import chat_server
from processes import irtd_here, told

from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.errors import EndpointError
from irtd_datasets.evaluate import ScoringOptions, Selection, read_questions, score
from irtd_datasets.evaluate.judge import PROMPT, JudgeOptions, judge, read_verdict
from irtd_datasets.evaluate.questions import gold_answers

FAST = ScoringOptions(resamples=20, missing="skip")


@pytest.fixture(scope="module")
def answered(remote_sensing):
    """The folder and scores of gold answers to its conversations, one of them empty."""
    folder = remote_sensing["rs_gpt4v"]
    questions = read_questions(folder, "conversation", Selection(splits=["test"]))
    answers = gold_answers(questions)
    answers[questions[0].key] = "<think>nothing yet"
    return folder, score(answers, questions, FAST)


def run(answered, server, path, **settings):
    folder, scores = answered
    endpoint = Endpoint("j", server.url, _sleep=lambda _: None, temperature=0, **settings)
    return judge(scores, folder, "conversation", endpoint, path, JudgeOptions(concurrency=2))


def test_every_verdict_is_kept_and_paid_once(answered, tmp_path):
    """The mean, its interval, prompt, model and each verdict are there; the same run again asks nothing."""
    path = tmp_path / "judge.jsonl"
    count = len(answered[1].questions)
    with chat_server(['{"reason": "fits", "score": 8}'] * 999) as server:
        scores, report = run(answered, server, path)
        asked = len(server.asked)
        again, second = run(answered, server, path)
        assert len(server.asked) == asked
        said = server.bodies[0]["messages"][0]["content"]
    assert "Reference answer" in said
    assert scores.tasks["conversation"].metrics["judge"] == again.tasks["conversation"].metrics["judge"]
    assert scores.tasks["conversation"].metrics["judge"].value == pytest.approx((8 * (count - 1) + 1) / count)
    assert (report.judged, report.empty, report.unreadable, report.open) == (count, 1, 0, 0)
    assert (second.asked, second.judged) == (0, count)
    head, *lines = map(json.loads, (tmp_path / "judge.verdicts.jsonl").read_text().splitlines())
    assert (head["prompt"], head["model"]) == (PROMPT, "j")
    assert [(one["id"], one["round"]) for one in lines] == [(one.id, one.round) for one in scores.questions]
    assert lines[-1]["verdict"] == '{"reason": "fits", "score": 8}'


def test_verdicts_without_a_score_are_counted(answered, tmp_path):
    """A verdict that gives no score counts for nothing and is told; one that never came stays open."""
    with chat_server(["a fine answer", 400, *["score: 5"] * 999]) as server:
        scores, report = run(answered, server, tmp_path / "j.jsonl")
    assert report.unreadable >= 1  # the same answer to the same question is judged once
    assert report.open >= 1
    lines = [json.loads(line) for line in (tmp_path / "j.verdicts.jsonl").read_text().splitlines()[1:]]
    known = [one["score"] for one in lines if one["score"] is not None]
    assert len(known) == report.judged
    assert scores.tasks["conversation"].metrics["judge"].value == pytest.approx(sum(known) / len(known))


def test_a_judge_that_refuses_is_an_error(answered, tmp_path):
    """Where nothing at all was judged there is no figure."""
    with chat_server([401] * 99) as server, pytest.raises(EndpointError):
        run(answered, server, tmp_path / "j.jsonl")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"reason": "8 of 10 facts", "score": 6}', 6),
        ('```json\n{"score": "7"}\n```', 7),
        ("<think>score: 3</think>Score: 9", 9),
        ("[[2]]", 2),
        ("10", 10),
        ("7.5", 7.5),
        ("I give 4 out of 10.", 4),
        ("score: 3 or score: 5", None),
        ("score: 11", None),
        ("score: 0", None),
        ("between 3 and 5", None),
        ("", None),
    ],
)
def test_scores_are_read_from_verdicts(text, found):
    """JSON, marks in brackets and bare numbers are read; two scores, none, and one out of range are not."""
    assert read_verdict(text) == found


def test_the_command_judges(remote_sensing, tmp_path):
    """`irtd score --judge-endpoint` adds the figure; an address without a name is one message."""
    folder = remote_sensing["rs_gpt4v"]
    questions = read_questions(folder, "conversation")
    file = tmp_path / "p.jsonl"
    lines = ({"id": one.id, "round": one.round, "answer": one.text} for one in questions)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ("score", file, "--dataset", folder, "--config", "conversation", "--resamples", "9")
    with chat_server(["Score: 9"] * 999) as server:
        address = ("--judge-endpoint", server.url)
        done = irtd_here(*command, *address, "--judge-model", "j", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tasks"]["conversation"]["metrics"]["judge"]["value"] == 9
        assert "answers judged" in irtd_here(*command, *address, "--judge-model", "j").stdout
        told(irtd_here(*command, *address), 2, "--judge-model")
    assert (tmp_path / "p.judge.verdicts.jsonl").exists()
