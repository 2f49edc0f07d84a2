"""Every task of all three datasets: gold answers are perfect, wrong ones are not, and what is not scored is counted."""

import json

import numpy as np
import pytest
from processes import irtd_here, told

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.evaluate import (
    ScoringOptions,
    Selection,
    gold_answers,
    read_predictions,
    read_questions,
    score,
    score_file,
)
from irtd_datasets.evaluate.compare import compare
from irtd_datasets.evaluate.tasks import METRICS, TASK_METRICS, paper_rows
from irtd_datasets.folder.row_groups import config_names
from irtd_datasets.schema import TASKS

FAST = ScoringOptions(resamples=0)
SKIP = ScoringOptions(resamples=0, missing="skip")


@pytest.fixture(scope="session")
def folders(remote_sensing, built):
    return {**remote_sensing, "irtd": built}


def test_every_task_has_metrics_and_every_metric_a_source():
    """The table names each task of the vocabulary, and every metric but those that an option asks for."""
    assert set(TASK_METRICS) == set(TASKS)
    assert {name for names in TASK_METRICS.values() for name in names} == set(METRICS) - {"judge", "meteor"}
    assert all(metric.source and metric.title for metric in METRICS.values())


def test_published_results_are_of_tasks_and_metrics_that_exist():
    """The papers' rows name tasks and metrics of the table; what is not known is blank."""
    for dataset in ("mmrs_1m", "rs_gpt4v"):
        for row in paper_rows(dataset):
            assert row["metric"] in METRICS
            assert row["task"] in TASK_METRICS
            assert not row["value"] or float(row["value"]) >= 0
    assert not any(row["value"] for row in paper_rows("rs_gpt4v"))


@pytest.mark.parametrize("dataset", ["mmrs_1m", "rs_gpt4v", "irtd"])
def test_gold_answers_are_the_best_on_every_config_and_split(folders, dataset):
    """The dataset's own answers get the best value of every metric, whatever config and split is scored."""
    for config in config_names(folders[dataset]):
        scores = score_file("gold", folders[dataset], config, FAST)
        splits = {one.split for one in scores.questions}
        for found in [
            scores,
            *(score_file("gold", folders[dataset], config, FAST, Selection([s])) for s in splits),
        ]:
            assert found.tasks
            for task, one in found.tasks.items():
                assert (one.unreadable, one.missing) == (0, 0), (config, task, one.problems)
                for name, figure in one.metrics.items():
                    best = METRICS[name].best
                    assert best is None or figure.value == pytest.approx(best, abs=1e-6), (config, task, name)
            assert not found.suspicions


def test_shuffled_gold_answers_are_worse(folders):
    """Each question answered with another one's answer: every headline metric falls."""
    questions = read_questions(folders["mmrs_1m"])
    draw = np.random.default_rng(0)
    answers = {}
    for task in {one.task for one in questions}:
        rows = [one for one in questions if one.task == task]
        answers |= {one.key: rows[i].text for one, i in zip(rows, draw.permutation(len(rows)), strict=True)}
    tasks = score(answers, questions, FAST).tasks
    assert all(one.value < 75 for one in tasks.values()), {name: one.value for name, one in tasks.items()}
    assert tasks["grounding"].metrics["pr90"].value < 40


def test_every_figure_lies_in_its_interval(folders):
    """Half right answers: each metric of each task has an interval, and it holds the value."""
    questions = read_questions(folders["mmrs_1m"])
    answers = {one.key: one.text if n % 2 else "no idea" for n, one in enumerate(questions)}
    for task, one in score(answers, questions, ScoringOptions(resamples=200)).tasks.items():
        for name, figure in one.metrics.items():
            assert figure.low <= figure.value <= figure.high, (task, name, figure)
            assert figure.low < figure.high, (task, name)


def test_rounds_are_scored_one_by_one(folders):
    """A row of many rounds has one answer for each; a prediction without a round is counted, not guessed."""
    questions = read_questions(folders["mmrs_1m"], "vqa")
    row = next(one.id for one in questions if one.rounds > 2)
    rounds = [one for one in questions if one.id == row]
    answers = {f"{row}#{one.round}": one.text for one in rounds}
    found = score(answers, questions, SKIP)
    assert found.tasks["vqa"].questions == len(rounds)
    assert [line["round"] for line in found.details] == [one.round for one in rounds]
    wrong = score({**answers, rounds[0].key: "maybe"}, questions, SKIP)
    assert wrong.tasks["vqa"].value == pytest.approx(100 * (1 - 1 / len(rounds)))
    other = next(one.id for one in questions if one.rounds > 2 and one.id != row)
    found = score({**answers, other: "yes"}, questions, SKIP)
    assert found.left_out["predictions without a round, of rows that have several"] == 1


def test_rows_are_selected(folders):
    """Split, task, source and modality choose rows; the others are counted by reason; a wrong name lists the right."""
    folder = folders["mmrs_1m"]
    left_out = {}
    for selection, what in (
        (Selection(tasks=["vqa"]), "task"),
        (Selection(sources=["FloodNet"]), "source"),
        (Selection(modalities=["sar"]), "modality"),
    ):
        found = score_file("gold", folder, None, FAST, selection)
        left_out = found.left_out
        assert left_out[f"{what} not selected"] > 0
        assert len(found.questions) > 0
    assert {one.modality for one in found.questions} == {"sar"}
    assert {one.split for one in read_questions(folders["rs_gpt4v"], None, Selection(["test"]))} == {"test"}
    for selection, words in (
        (Selection(["dev"]), "no split 'dev'"),
        (Selection(tasks=["vqas"]), "no task 'vqas'"),
        (Selection(sources=["none"]), "no source 'none'"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            read_questions(folder, None, selection)


def test_one_split_of_two_can_be_predicted(folders):
    """A test file against a config with train rows is scored, and the train rows are counted, not an error."""
    questions = read_questions(folders["rs_gpt4v"])
    test = [one for one in questions if one.split == "test"]
    found = score(gold_answers(test), questions, FAST)
    assert len(found.questions) == len(test)
    assert sum(found.left_out.values()) == len(questions) - len(test)
    assert all("split train" in reason for reason in found.left_out)
    with pytest.raises(AnnotationError, match=r"1 of .* rows have no prediction"):
        score(gold_answers(test[1:]), questions, FAST)


def test_ids_that_are_not_there_are_counted(folders):
    """Ids of another dataset are counted beside those that are scored; with none right, one is shown."""
    questions = read_questions(folders["rs_gpt4v"], "vqa")
    gold = gold_answers(questions)
    found = score({**gold, "irtd/x/1": "yes", "nobody": "no"}, questions, FAST)
    assert found.left_out["predictions whose id is not among the rows"] == 2
    assert found.tasks["vqa"].value == 100
    without = {name.removeprefix("rs_gpt4v/"): text for name, text in gold.items()}
    found = score(without, questions, FAST)
    assert found.tasks["vqa"].value == 100
    assert found.left_out["ids without the name of the dataset, completed"] == len(gold)
    with pytest.raises(AnnotationError, match="ids are not in this config"):
        score({"irtd/x/1": "yes"}, questions, FAST)
    with pytest.raises(AnnotationError, match="there is no prediction in it"):
        score({}, questions, FAST)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("p.jsonl", lambda rows: "".join(json.dumps(row) + "\n" for row in rows)),
        ("p.jsonl", lambda rows: "\ufeff" + "".join(json.dumps(row) + "\r\n" for row in rows)),
        ("p.json", json.dumps),
        ("p.json", lambda rows: json.dumps(rows, indent=1)),
        ("p.json", lambda rows: json.dumps({row["id"]: row["answer"] for row in rows})),
        ("p.json", lambda rows: json.dumps({row["id"]: row["answer"] for row in rows}, indent=1)),
        (
            "p.csv",
            lambda rows: "id,answer\r\n" + "".join(f'{row["id"]},"{row["answer"]}"\r\n' for row in rows),
        ),
        (
            "p.csv",
            lambda rows: "\ufeffID,Prediction\n" + "".join(f"{row['id']},{row['answer']}\n" for row in rows),
        ),
        (
            "samples.jsonl",
            lambda rows: "".join(
                json.dumps({"doc_id": n, "doc": {"id": row["id"]}, "filtered_resps": [[row["answer"]]]})
                + "\n"
                for n, row in enumerate(rows)
            ),
        ),
    ],
)
def test_predictions_are_read_in_every_form(tmp_path, name, write):
    """JSON lines, lists and objects, CSV, logs of lmms-eval, with a byte order mark and either end of line."""
    rows = [{"id": "a/1", "answer": "yes"}, {"id": "a/2", "answer": "7"}]
    (tmp_path / name).write_bytes(write(rows).encode())
    assert read_predictions(tmp_path / name) == {"a/1": "yes", "a/2": "7"}


def test_odd_answers_are_taken_as_they_are(tmp_path):
    """Numbers, lists and null as answers; rounds by number or as a list."""
    lines = [
        {"id": "a", "answer": 7},
        {"id": "b", "answer": None},
        {"id": "c", "answer": [1, 2, 3, 4]},
        {"id": "d", "round": 1, "answer": "x"},
        {"id": "e", "answers": ["x", 2]},
        {"id": "f", "round_id": 0, "answer": True},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_predictions(tmp_path / "p.jsonl") == {
        "a": "7", "b": "", "c": "[1, 2, 3, 4]", "d#1": "x", "e#0": "x", "e#1": "2", "f#0": "true",
    }  # fmt: skip
    for line, words in (
        ({"id": "a", "round": -1, "answer": ""}, "no whole number"),
        ({"id": "a", "round": "one", "answer": ""}, "no whole number"),
        ({"id": "", "answer": ""}, "no text under 'id'"),
    ):
        (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line))
        with pytest.raises(AnnotationError, match=words):
            read_predictions(tmp_path / "p.jsonl")
    with pytest.raises(ReleaseNotFoundError, match="it is a folder"):
        read_predictions(tmp_path)


def test_hard_boxes_are_wrong_not_an_error(folders):
    """NaN, infinity, thousands of boxes and megabytes of text are answers like any other."""
    questions = read_questions(folders["mmrs_1m"], "grounding")[:21]  # three times each
    many = json.dumps([[n, n, n + 1, n + 1] for n in range(10_000)])
    hard = [
        "[NaN, 0, 1, 1]",
        "[1e999, 0, 1, 1]",
        many,
        "a " * 2_000_000,
        "[1e300, 1e300, 1e301, 1e301]",
        "[]",
        "null",
    ]
    answers = {one.key: hard[n % len(hard)] for n, one in enumerate(questions)}
    found = score(answers, questions, FAST)
    assert found.tasks["grounding"].metrics["pr50"].value == 0
    assert found.tasks["grounding"].unreadable > 0
    detection = read_questions(folders["mmrs_1m"], "detection")
    hard[2] = many[:20_000]  # cut off in the middle
    found = score(
        {one.key: hard[n % len(hard)] for n, one in enumerate(detection[:21])}, detection[:21], FAST
    )
    assert found.tasks["detection"].metrics["ap50"].value < 5


def test_exchanged_axes_are_told(folders):
    """Boxes with y first throughout score badly, and the report says why."""
    questions = read_questions(folders["mmrs_1m"], "grounding")
    answers = {}
    for one in questions:
        a, b, c, d = json.loads(one.text)
        answers[one.key] = json.dumps([b, a, d, c])
    (sentence,) = score(answers, questions, FAST).suspicions
    assert "x and y exchanged" in sentence
    named = {
        key: json.dumps([{"box_2d": [round(1000 * v) for v in json.loads(text)]}])
        for key, text in answers.items()
    }
    found = score(named, questions, FAST)
    assert not found.suspicions
    assert found.tasks["grounding"].metrics["pr50"].value == 100


def test_a_confidence_orders_detections(folders):
    """Boxes with a confidence are ranked by it, whatever their place in the answer."""
    questions = [
        one
        for one in read_questions(folders["mmrs_1m"], "detection")
        if not one.gold.oriented and len(one.gold.labels)
    ]
    values = {}
    for right, wrong in ((0.9, 0.1), (0.1, 0.9)):
        answers = {}
        for one in questions:
            entries = [
                {"bbox": [0.9, 0.9, 1.0, 1.0], "label": label, "score": wrong} for label in one.gold.labels
            ]
            unit = one.gold.boxes / max(one.width, one.height)
            pad = (
                (max(one.width, one.height) - np.array([one.width, one.height]))
                // 2
                / max(one.width, one.height)
            )
            entries += [
                {"bbox": box, "label": label, "score": right}
                for box, label in zip((unit + np.tile(pad, 2)).tolist(), one.gold.labels, strict=True)
            ]
            answers[one.key] = json.dumps(entries)
        values[right] = score(answers, questions, FAST).tasks["detection"].metrics["ap50"].value
    assert values[0.9] > 95 > values[0.1] + 20


def test_two_models_are_compared_on_the_same_images(folders):
    """The difference has an interval, narrower than those of the models; rows of one model alone are left out."""
    questions = read_questions(folders["mmrs_1m"], "vqa")
    draw = np.random.default_rng(0)
    first = {one.key: one.text if draw.random() < 0.6 else "never" for one in questions}
    second = {one.key: one.text if draw.random() < 0.5 else first[one.key] for one in questions}
    second.pop(questions[0].key)
    found = compare(first, second, questions, ScoringOptions(resamples=300))
    row = next(row for row in found.rows if row.metric == "accuracy")
    assert row.difference.value == pytest.approx(row.two - row.one)
    assert 0 < row.difference.low <= row.difference.value <= row.difference.high
    alone = score(first, questions, ScoringOptions(resamples=300, missing="skip")).tasks["vqa"]
    assert row.difference.high - row.difference.low < alone.high - alone.low
    assert found.left_out == {"rows that only one of the files answers": 1}
    same = compare(first, first, questions, ScoringOptions(resamples=50))
    assert all(tuple(row.difference) == (0, 0, 0) for row in same.rows)


def test_the_commands_work_on_every_dataset(folders, tmp_path):
    """`irtd score gold` and `irtd compare` print the right paper's table, and `--json` has every metric."""
    for dataset, words in (("mmrs_1m", "EarthGPT"), ("rs_gpt4v", "unknown"), ("irtd", "IRGPT CL")):
        shown = irtd_here("score", "gold", "--dataset", folders[dataset], "--resamples", "20")
        assert shown.returncode == 0, shown.stderr
        assert words in shown.stdout
    found = json.loads(
        irtd_here("score", "gold", "--dataset", folders["rs_gpt4v"], "--split", "test", "--json").stdout
    )
    assert found["tasks"]["vqa"]["metrics"]["accuracy"]["value"] == 100
    assert found["left_out"]["split not selected"] > 0
    questions = read_questions(folders["mmrs_1m"], "vqa")
    for name, answer in (("one", "yes"), ("two", "no")):
        rows = [{"id": one.id, "round": one.round, "answer": answer} for one in questions]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("compare", tmp_path / "one.jsonl", tmp_path / "two.jsonl", "--dataset", folders["mmrs_1m"])
    shown = irtd_here(*command, "--config", "vqa", "--resamples", "50")
    assert shown.returncode == 0, shown.stderr
    assert "difference" in shown.stdout
    told(
        irtd_here("score", "gold", "--dataset", folders["rs_gpt4v"], "--split", "dev"),
        2,
        "no split 'dev'",
        "test",
    )
    told(irtd_here("score", tmp_path, "--dataset", folders["rs_gpt4v"]), 1, "it is a folder")
