"""Gold answers score perfectly, wrong ones count, nothing is dropped in silence, intervals are of images."""

import json

import numpy as np
import pytest
from gold import released_questions
from processes import irtd, irtd_here, told

from irtd_datasets.errors import AnnotationError
from irtd_datasets.evaluate import ScoringOptions, paper_table, score, score_file
from irtd_datasets.evaluate.questions import SCORED_TASKS, read_questions
from irtd_datasets.evaluate.scoring import ERRORS


@pytest.fixture(scope="module")
def questions(built):
    return read_questions(built, "benchmark")


@pytest.fixture(scope="module")
def gold(questions):
    return {one.id: one.text for one in questions}


def test_the_nine_tasks_are_scored(questions):
    """The benchmark of the sample has all nine; captions are not scored."""
    assert {one.task for one in questions} == set(SCORED_TASKS)


def test_gold_answers_are_perfect(questions, gold):
    """The gold texts as predictions: 100 for six tasks, 0 for three errors, psum 600, nsum 0."""
    scores = score(gold, questions)
    for task, one in scores.tasks.items():
        assert one.value == (0 if task in ERRORS else 100), task
        assert (one.low, one.high) == (one.value, one.value)
        assert one.unreadable == one.missing == 0
    assert scores.psum == (600, 600, 600)
    assert scores.nsum == (0, 0, 0)
    assert not scores.suspicions


def test_all_released_answers_are_perfect(real):
    """All 40,200 released answers, as predictions, give perfect scores by the paper's and the released metrics."""
    questions = released_questions(real / "irtd_json_sft" / "json_sft.zip")
    assert len(questions) == 40_200
    scores = score({one.id: one.text for one in questions}, questions, ScoringOptions(resamples=0))
    for task, one in scores.tasks.items():
        assert one.value == (0 if task in ERRORS else 100), task
        assert one.unreadable == 0
    assert scores.tasks["location"].released["f1_score"] == 1
    assert scores.tasks["grounding"].released == {"accuracy": 1, "errors": 0}
    assert scores.tasks["pedestrian_counting"].released["dropped"] == 0


def test_garbage_is_wrong_and_counted(questions, gold):
    """An answer that cannot be read is wrong, stays in the mean, and is told."""
    scores = score(dict.fromkeys(gold, "I cannot answer that."), questions)
    for task, one in scores.tasks.items():
        assert one.unreadable == one.questions > 0
        if task == "location":
            assert one.value == 100
        elif task in ERRORS:
            counts = [max(q.gold, 1) for q in questions if q.task == task]
            assert one.value == pytest.approx(np.mean(counts))
        else:
            assert one.value == 0
    assert {row["problem"] for row in scores.details} == {"unreadable"}


def test_how_unreadable_counts_enter_is_switchable(questions, gold):
    """``worst`` is never better than ``nothing``; ``drop`` leaves the errors without any answer."""
    garbage = dict.fromkeys(gold, "?")
    values = {
        name: score(garbage, questions, ScoringOptions(unreadable=name, resamples=10)).tasks
        for name in ("nothing", "worst", "drop")
    }
    for task in ("aerial_counting", "pedestrian_counting"):
        assert values["worst"][task].value >= values["nothing"][task].value
        assert np.isnan(values["drop"][task].value)
    assert values["drop"]["recognition"].value == 0


@pytest.mark.parametrize(
    ("frame", "write"),
    [
        (
            "per_mille",
            lambda q: [
                [1000 * v / s for v, s in zip(b, (q.width, q.height) * 2, strict=True)] for b in q.gold
            ],
        ),
        (
            "unit",
            lambda q: [[v / s for v, s in zip(b, (q.width, q.height) * 2, strict=True)] for b in q.gold],
        ),
        ("pixel", lambda q: q.gold.tolist()),
    ],
)
def test_predictions_in_a_declared_frame(questions, frame, write):
    """Right boxes in another frame are right once the frame is declared, and a wrong frame is suspected."""
    asked = [one for one in questions if one.task == "grounding"]
    answers = {one.id: json.dumps(write(one)) for one in asked}
    assert score(answers, asked, ScoringOptions(frame=frame)).tasks["grounding"].value == 100
    if frame == "unit":
        (sentence,) = score(answers, asked).suspicions
        assert "count from 0 to 1" in sentence


def test_intervals_are_drawn_over_images():
    """Rows of one image go together: ten copies of each row, of the same image, leave the interval as it is."""
    from irtd_datasets.boxes import Frame
    from irtd_datasets.evaluate.questions import Question

    draw = np.random.default_rng(0)
    right = draw.random(120) < 0.6
    wide, narrow = [], []
    for copies, images, into in ((10, "same", wide), (10, "own", narrow)):
        rows = [
            Question(
                f"{i}/{c}",
                "relationship",
                (),
                True,
                "yes",
                Frame.PIXEL,
                9,
                9,
                f"{i}" if images == "same" else f"{i}/{c}",
            )
            for i in range(120)
            for c in range(copies)
        ]
        answers = {row.id: "yes" if right[int(row.id.partition("/")[0])] else "no" for row in rows}
        found = score(answers, rows).tasks["relationship"]
        assert found == score(answers, rows).tasks["relationship"]
        into.append(found.high - found.low)
    spread = 100 * np.sqrt(right.mean() * (1 - right.mean()) / 120)
    assert wide[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert narrow[0] < wide[0] / 2.5


def test_a_sum_needs_all_of_its_tasks(questions, gold):
    """Psum and nsum are not given where a task has no rows."""
    some = [one for one in questions if one.task != "scene"]
    scores = score({one.id: one.text for one in some}, some)
    assert np.isnan(scores.psum[0])
    assert scores.nsum[0] == 0
    assert scores.as_dict()["psum"]["value"] is None


def test_the_table_of_the_paper_adds_up():
    """Each row's psum and nsum are the sums of its metrics, as printed in the paper, to its rounding."""
    rows = paper_table()
    assert len(rows) == 16
    for row in rows:
        for names, total in ((set(SCORED_TASKS) - set(ERRORS), "psum"), (set(ERRORS), "nsum")):
            assert sum(float(row[name]) for name in names) == pytest.approx(float(row[total]), abs=0.025), row


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_missing_rows_are_an_error_unless_chosen(questions, gold):
    """A row without a prediction stops the scoring, counts as wrong, or is left out, as the caller chooses."""
    some = dict(list(gold.items())[1:])
    first = next(iter(gold))
    with pytest.raises(AnnotationError, match=f"1 of {len(gold)} rows have no prediction:\n{first}"):
        score(some, questions)
    wrong = score(some, questions, ScoringOptions(missing="wrong"))
    assert sum(one.missing for one in wrong.tasks.values()) == 1
    skipped = score(some, questions, ScoringOptions(missing="skip"))
    assert skipped.skipped == 1
    assert sum(one.questions for one in skipped.tasks.values()) == len(gold) - 1


def test_bad_files_of_predictions_say_where(built, gold, tmp_path):
    """Unknown and repeated ids, broken lines and missing keys are named with their lines."""
    good = [{"id": name, "answer": text} for name, text in gold.items()]
    cases = [
        ([{"id": "irtd/none/0", "answer": "A"}], "ids are not in this config:\nirtd/none/0"),
        ([*good, good[0]], f"line {len(good) + 1}: the id '{good[0]['id']}' occurs before"),
        ([{"id": 3, "answer": "A"}], "line 1: there is no text under 'id'"),
        ([{"id": "a", "text": "A"}], "neither 'answer' nor 'prediction', only 'id', 'text'"),
        ([[1]], "record 0: '1' is no JSON object"),
    ]
    for records, words in cases:
        with pytest.raises(AnnotationError, match=words):
            score_file(write(tmp_path / "p.jsonl", records), built)
    (tmp_path / "p.jsonl").write_text('{"id": "a", "answer": "b"}\n{"id": \n')
    with pytest.raises(AnnotationError, match=r"line 2: .* is no JSON object"):
        score_file(tmp_path / "p.jsonl", built)
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match="UTF-8"):
        score_file(tmp_path / "p.jsonl", built)
    with pytest.raises(AnnotationError, match="ids are not in this config"):
        score_file(write(tmp_path / "p.jsonl", good), built, "pretrain")


def test_the_command_prints_the_table_and_writes_details(built, gold, tmp_path):
    """`irtd score` shows the paper's rows, the model's under them, intervals, and writes a line for each answer."""
    file = write(tmp_path / "p.jsonl", [{"id": name, "prediction": text} for name, text in gold.items()])
    process = irtd("score", file, "--dataset", built, "--details", tmp_path / "d.jsonl", "--name", "oracle")
    assert process.returncode == 0, process.stderr
    for words in ("IRGPT CL", "485.79", "oracle", "600.00", "95% interval", "psum", "f1_score 1.0000"):
        assert words in process.stdout
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == set(gold)
    found = json.loads(irtd_here("score", file, "--dataset", built, "--json").stdout)
    assert found["psum"]["value"] == 600
    assert found["tasks"]["grounding"]["released"]["accuracy"] == 1


def test_mistakes_at_the_command_line_are_messages(built, tmp_path):
    """A missing file, no dataset folder, an unknown frame or choice: one message each, with the usual exit codes."""
    file = write(tmp_path / "p.jsonl", [{"id": "a", "answer": "b"}])
    told(irtd_here("score", tmp_path / "none", "--dataset", built), 1, "no such file")
    told(irtd_here("score", file, "--dataset", tmp_path), 1, "no dataset folder")
    told(irtd_here("score", file, "--dataset", built), 1, "ids are not in this config", "Ids look like")
    told(irtd_here("score", file, "--dataset", built, "--missing", "maybe"), 2, "missing is 'maybe'")
    told(irtd_here("score", file, "--dataset", built, "--config", "none"), 2, "no config 'none'")
    told(irtd_here("score", file, "--dataset", built, "--frame", "metres"), 1, "no frame is called")
