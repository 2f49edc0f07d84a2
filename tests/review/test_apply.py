"""`irtd review --apply`: a dataset folder whose rows carry the new text, and an account of every verdict."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from processes import irtd_here

from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.row_groups import config_files
from irtd_datasets.hub.check import check_folder
from irtd_datasets.review.apply import EDITED, REJECTED, apply_verdicts
from irtd_datasets.review.edits import columns_after, why_not_editable
from irtd_datasets.review.exchange import add_export
from irtd_datasets.review.label_studio import BETWEEN, CONFIG, read_tasks
from irtd_datasets.review.rows import Choice, ReviewRows
from irtd_datasets.review.verdicts import (
    Verdict,
    VerdictFile,
    read_verdicts,
    text_digest,
)


def rows(folder, config="pretrain"):
    found = []
    for files in config_files(folder, config).values():
        for file in files:
            found += pq.read_table(file).to_pylist()
    return found


def contents(row):
    return [one["content"] for one in row["messages"]]


def verdict(row, what, reviewer="anna", *, text=None, time="", **more):
    messages = (*contents(row)[:-1], text) if text else ()
    return Verdict(row["id"], text_digest(row["messages"]), what, reviewer, time, messages, **more)


def written(path, *verdicts):
    with VerdictFile(path) as file:
        for one in verdicts:
            file.add(one)
    return path


def test_a_folder_of_the_verdicts(built, tmp_path):
    """Edited, accepted, rejected and other rows; the old text and who changed it stand beside; bytes of images stay."""
    from datasets import load_dataset

    before = {row["id"]: row for row in rows(built)}
    first, second, third, *others = before.values()
    file = written(
        tmp_path / "verdicts.jsonl",
        verdict(first, "reject"),
        verdict(first, "edit", text="The image shows a road."),  # the last one counts
        verdict(second, "reject"),
        verdict(third, "accept"),
    )
    out = tmp_path / "irtd-reviewed"
    made = apply_verdicts(built, "pretrain", [file], out)
    assert (made.edited, made.rejected, made.accepted, made.unjudged) == (1, 1, 1, len(others))
    assert made.not_applied == {}
    after = {row["id"]: row for row in rows(out)}
    assert set(before) - set(after) == {second["id"]}
    changed = after[first["id"]]
    assert contents(changed) == [contents(first)[0], "The image shows a road."]
    old = {"issue": EDITED, "field": "messages[1].content", "value": contents(first)[1]}
    assert changed["corrections"] == [*first["corrections"], old]
    if "origin" in changed:
        assert changed["origin"] == "human:anna"
    assert changed["image"] == first["image"]
    assert all(after[row["id"]] == row for row in (third, *others))
    ledger = json.loads((out / "ledger.json").read_text())
    (line,) = [one for one in ledger["files"] if one["part"] == "captioning"]
    assert line["dropped"][REJECTED] == 1
    assert line["found"] == line["kept"] + sum(line["dropped"].values()) + line["image_missing"]
    assert "irtd review --apply" in line["note"]
    found = check_folder(out, images="all")
    assert not found.errors, found.as_dict()
    loaded = load_dataset(str(out), "pretrain", split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == len(before) - 1


_OPTIONS = {"choices": ["cat", "dog"], "question": "What is it?"}
_ASKED = "What is it?\n(A) cat (B) dog"


@pytest.mark.parametrize(
    ("row", "talk", "edit", "becomes"),
    [
        ({"question": "How many?", "answer": "7"}, ("How many?", "<num>7</num>"), ("How many?", "<num>8</num>"),
         {"answer": "8"}),
        ({"question": "How many?", "answer": "7"}, ("How many?", "<num>7</num>"), ("How many?", "8"), "leave that"),
        ({"question": "How many?", "answer": "7"}, ("How many?", "7"), ("How many?", "a lot"), "a number"),
        ({"question": "Is it?", "answer": "Yes."}, ("Is it?", "Yes."), ("Is it there?", "No"),
         {"question": "Is it there?", "answer": "No"}),
        ({"question": "Is it?", "answer": "yes"}, ("Is it?", "yes"), ("Is it?", "perhaps"), "yes or no"),
        ({**_OPTIONS, "answer": "(A) cat"}, (_ASKED, "(A) cat"), (_ASKED, "(B) dog"), {"answer": "(B) dog"}),
        ({**_OPTIONS, "answer": "(A) cat"}, (_ASKED, "(A) cat"), (_ASKED, "(B) cat"), "one of (A) cat"),
        ({**_OPTIONS, "answer": "(A) cat (B) dog"}, (_ASKED, "(A) cat (B) dog"), (_ASKED, "(B) dog"),
         {"answer": "(B) dog"}),
        ({**_OPTIONS, "answer": "(A) cat"}, (_ASKED, "(A) cat"), (_ASKED.replace("dog", "cow"), "(A) cat"), "leave"),
        ({"question": "mended", "answer": "7"}, ("mnded", "7"), ("other", "7"), "not written in the text"),
        ({"question": "Where?", "answer": "car: [(1, 2)]", "objects": {"point": [[1, 2]]}},
         ("Where?", "car: [(1, 2)]"), ("Where?", "bus: [(1, 2)]"), "column objects"),
        ({"question": None, "answer": None}, ("Say.", "A car."), ("Say.", "A bus."), {}),
    ],
)  # fmt: skip
def test_columns_of_a_scored_row_follow_its_text(row, talk, edit, becomes):
    """A new question and answer stand in their columns; what the scorer could not read any more is refused."""
    row = {"messages": [{"content": one} for one in talk], "choices": [], **row}
    assert why_not_editable(row) == ""
    if isinstance(becomes, dict):
        assert columns_after(row, edit) == becomes
        assert why_not_editable(row, edit) == ""
    else:
        assert becomes in why_not_editable(row, edit)


def test_an_edited_answer_is_scored_as_it_is_now(built, tmp_path):
    """A corrected count stands in the text and in its column, the old text beside; the folder passes its check."""
    (row, *_) = rows(built, "instruct-pedestrian_counting")
    text = contents(row)[-1].replace(row["answer"], "123")
    file = written(tmp_path / "v.jsonl", verdict(row, "edit", text=text))
    made = apply_verdicts(built, "instruct-pedestrian_counting", [file], tmp_path / "out")
    assert (made.edited, made.not_applied) == (1, {})
    (after,) = [
        one for one in rows(tmp_path / "out", "instruct-pedestrian_counting") if one["id"] == row["id"]
    ]
    assert (after["answer"], contents(after)[-1], after["origin"]) == ("123", text, "human:anna")
    assert {"issue": EDITED, "field": "messages[1].content", "value": contents(row)[-1]} in after[
        "corrections"
    ]
    assert not [one for one in check_folder(tmp_path / "out").findings if one.severity == "error"]


def test_verdicts_that_fit_no_row_are_told_and_never_guessed(built, tmp_path):
    """Rows that are gone, texts that were changed since, edits of scored rows: counted by reason, not applied."""
    first, second, *_ = rows(built)
    (scored, *_) = rows(built, "instruct-location")
    file = written(
        tmp_path / "v.jsonl",
        Verdict("irtd/pretrain/none", "0" * 32, "reject", "anna"),
        Verdict(first["id"], "0" * 32, "reject", "anna"),
        verdict(second, "reject", "ben"),
    )
    made = apply_verdicts(built, "pretrain", [file], tmp_path / "a")
    assert made.not_applied == {
        "there is no such row": ["irtd/pretrain/none"],
        "the text was changed since": [first["id"]],
    }
    assert {row["id"] for row in rows(tmp_path / "a")} == {row["id"] for row in rows(built)} - {second["id"]}
    edit = written(tmp_path / "w.jsonl", verdict(scored, "edit", text="car: [(1, 2)]"))
    made = apply_verdicts(built, "instruct-location", [edit], tmp_path / "b")
    ((reason, names),) = made.not_applied.items()
    assert "column objects is read from the numbers" in reason
    assert names == [scored["id"]]
    # The same verdicts on the result: what was edited has another text now.
    again = written(tmp_path / "x.jsonl", verdict(second, "edit", text="The image shows a road."))
    apply_verdicts(built, "pretrain", [again], tmp_path / "c")
    made = apply_verdicts(tmp_path / "c", "pretrain", [again], tmp_path / "d")
    assert made.not_applied == {"the text was changed since": [second["id"]]}


@pytest.mark.parametrize(
    ("rule", "kept", "text"),
    [
        ("keep", True, None),
        ("leave-out", False, None),
        ("by:anna", True, "The image shows a road."),
        ("by:ben", False, None),
        ("by:carl", True, None),
    ],
)
def test_reviewers_who_disagree(built, tmp_path, rule, kept, text):
    """The declared rule decides a row on which two do not say the same; that they do not is told either way."""
    (row, second, *_) = rows(built)
    file = written(
        tmp_path / "v.jsonl",
        verdict(row, "edit", text="The image shows a road."),
        verdict(row, "reject", "ben"),
        verdict(second, "reject"),
        verdict(second, "reject", "ben"),
    )
    made = apply_verdicts(built, "pretrain", [file], tmp_path / "out", disagreement=rule)
    after = {one["id"]: one for one in rows(tmp_path / "out")}
    assert (row["id"] in after) == kept
    if kept:
        assert contents(after[row["id"]])[1] == (text or contents(row)[1])
    assert second["id"] not in after
    assert made.not_applied["reviewers disagree"] == [row["id"]]
    (agreement,) = made.agreement
    assert (agreement.rows, agreement.same) == (2, 1)


def test_two_texts_are_a_disagreement_and_two_equal_ones_are_none(built, tmp_path):
    """Reviewers who edit a row to the same text agree, and both are named; other texts disagree."""
    one, other, *_ = rows(built)
    file = written(
        tmp_path / "v.jsonl",
        *(verdict(one, "edit", name, text="The image shows a road.") for name in ("ben", "anna")),
        *(
            verdict(other, "edit", name, text=f"The image shows what {name} sees.")
            for name in ("ben", "anna")
        ),
    )
    made = apply_verdicts(built, "pretrain", [file], tmp_path / "out")
    after = {row["id"]: row for row in rows(tmp_path / "out")}
    assert contents(after[one["id"]])[1] == "The image shows a road."
    assert after[other["id"]] == other
    assert (made.edited, made.not_applied) == (1, {"reviewers disagree": [other["id"]]})


def test_wrong_use_is_told(built, tmp_path):
    """A rule that does not exist, no verdicts, damaged ones, the folder itself, nothing left: each has its message."""
    file = written(tmp_path / "v.jsonl", verdict(rows(built)[0], "accept"))
    with pytest.raises(UnknownNameError, match="no rule 'first'"):
        apply_verdicts(built, "pretrain", [file], tmp_path / "out", disagreement="first")
    with pytest.raises(ReleaseNotFoundError, match="no such file"):
        apply_verdicts(built, "pretrain", [tmp_path / "none.jsonl"], tmp_path / "out")
    with pytest.raises(BuildError, match="cannot lie where"):
        apply_verdicts(built, "pretrain", [file], built)
    (tmp_path / "bad.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(AnnotationError, match="line 1"):
        apply_verdicts(built, "pretrain", [tmp_path / "bad.jsonl"], tmp_path / "out")
    everything = written(tmp_path / "all.jsonl", *(verdict(row, "reject") for row in rows(built)))
    with pytest.raises(BuildError, match="no row is left"):
        apply_verdicts(built, "pretrain", [everything], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_commands_of_the_documentation(built, tmp_path, monkeypatch):
    """`--apply verdicts.jsonl --out ./irtd-reviewed` from an empty folder, as the documentation has it."""
    monkeypatch.chdir(tmp_path)
    Path("irtd").symlink_to(built)
    first, second, *_ = rows(built)
    written(Path("verdicts.jsonl"), verdict(first, "edit", text="A \u00e9 road."), verdict(second, "reject"))
    done = irtd_here("review", "./irtd:pretrain", "--apply", "verdicts.jsonl", "--out", "./irtd-reviewed")
    assert done.returncode == 0, done.stderr
    assert "Changed 1, left out 1" in done.stdout
    assert len(rows(Path("irtd-reviewed"))) == len(rows(built)) - 1
    again = ("review", "./irtd:pretrain", "--apply", "verdicts.jsonl", "--out", "./again", "--json")
    told = json.loads(irtd_here(*again).stdout)
    assert (told["edited"], told["rejected"]) == (1, 1)
    for arguments, code, words in (
        (("review", "./irtd:pretrain", "--apply", "verdicts.jsonl"), 2, "--out"),
        (("review", "./irtd:pretrain", "--out", "x"), 2, "--apply"),
        (("review", "./irtd:none"), 2, "no config 'none'"),
        (("review", "./nowhere"), 1, "nowhere"),
        (("review", "./irtd:pretrain", "--reviewer", "a\x1b[31m"), 2, "no name of a reviewer"),
        (("review", "./irtd:pretrain", "--task", "reid"), 1, "no row"),
    ):
        done = irtd_here(*arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert "\x1b" not in done.stderr


# Label Studio

# As its documentation shows an exported annotation ("Label Studio JSON format of annotated tasks").
EXPORTED = {
    "id": 1001,
    "result": [],
    "was_cancelled": False,
    "ground_truth": False,
    "created_at": "2021-03-09T22:16:08.728353Z",
    "updated_at": "2021-03-09T22:16:08.728378Z",
    "lead_time": 4.288,
    "result_count": 0,
    "task": 1,
    "completed_by": 10,
}


def result(name, kind, value, **more):
    return {"from_name": name, "id": "Dx_aB91ISN", "source": "$image", "to_name": "image", "type": kind,
            "value": value, **more}  # fmt: skip


def exported(choice, text=None, **changes):
    results = [result("verdict", "choices", {"choices": [choice]})]
    if text is not None:
        results.append(result("text", "textarea", {"text": [text]}, origin="manual"))
    return {**EXPORTED, "result": results, **changes}


def test_tasks_for_label_studio_and_back(built, tmp_path, monkeypatch):
    """Rows and verdicts become tasks with annotations; those that people then make in Label Studio come back."""
    monkeypatch.chdir(tmp_path)
    first, second, third, fourth, fifth, *_ = rows(built)
    written(Path("verdicts.jsonl"), verdict(first, "edit", text="A road."), verdict(second, "accept"))
    done = irtd_here("review", f"{built}:pretrain", "--label-studio", "tasks.json")
    assert done.returncode == 0, done.stderr
    tasks = json.loads(Path("tasks.json").read_text())
    assert [task["data"]["row"] for task in tasks] == [row["id"] for row in rows(built)]
    for task in tasks:
        assert task["data"]["image"].startswith("data:image/jpeg;base64,")
        assert all(f"${name}" in CONFIG for name in ("image", "visible", "question", "text"))
    names = {one["from_name"] for one in tasks[0]["annotations"][0]["result"]}
    assert names == {"verdict", "text"}
    assert all(f'name="{name}"' in Path("tasks.xml").read_text() for name in names)
    # What we wrote ourselves is known already; what Label Studio adds is new.
    for task, more in zip(
        tasks[2:5],
        (
            [exported("edit", "The image shows two roads.")],
            [exported("reject", completed_by={"id": 3, "email": "ben@example.org"})],
            [exported("accept", was_cancelled=True), exported("maybe"), exported("edit", completed_by=None)],
        ),
        strict=True,
    ):
        task["annotations"] += more
    Path("export.json").write_text(json.dumps(tasks))
    added = ("review", f"{built}:pretrain", "--from-label-studio", "export.json", "--json")
    told = json.loads(irtd_here(*added).stdout)
    assert (told["added"], told["known"]) == (2, 2)
    assert told["refused"] == {"skipped in Label Studio": 1, "no verdict is chosen": 1, "nobody is named": 1}
    assert json.loads(irtd_here(*added).stdout)["added"] == 0
    new = list(read_verdicts("verdicts.jsonl"))[2:]
    assert [(one.id, one.verdict, one.reviewer) for one in new] == [
        (third["id"], "edit", "10"),
        (fourth["id"], "reject", "ben@example.org"),
    ]
    # An export can be applied as it is.
    made = apply_verdicts(built, "pretrain", [Path("export.json")], tmp_path / "out")
    after = {row["id"]: row for row in rows(tmp_path / "out")}
    assert contents(after[third["id"]])[1] == "The image shows two roads."
    assert contents(after[first["id"]])[1] == "A road."
    assert fourth["id"] not in after
    assert after[fifth["id"]] == fifth
    assert made.refused["nobody is named"] == 1


def test_a_dialogue_keeps_its_turns_in_label_studio(tmp_path, built):
    """Several answers are one text; one that comes back with another number of them is no verdict."""
    data = {
        "row": "x", "digest": "0" * 32, "roles": ["user", "assistant", "user", "assistant"],
        "contents": ["Q1", "A1", "Q2", "A2"],
    }  # fmt: skip
    file = tmp_path / "export.json"
    for text, expected in (
        (f"B1{BETWEEN}A2", ("Q1", "B1", "Q2", "A2")),
        ("B1", None),
        ("A1\x1b" + BETWEEN + "x", None),
    ):
        file.write_text(json.dumps([{"id": 1, "data": data, "annotations": [exported("edit", text)]}]))
        found = read_tasks(file)
        assert [one.messages for one in found.verdicts] == ([expected] if expected else [])
        assert sum(found.refused.values()) == (expected is None)
    assert read_tasks(tmp_path / "export.json").verdicts == []
    file.write_text(json.dumps([{"id": 1, "data": {"image": "x"}, "annotations": []}]))
    with pytest.raises(AnnotationError, match="no row and digest"):
        read_tasks(file)
    file.write_text("[{")
    with pytest.raises(AnnotationError, match="not valid JSON"):
        read_tasks(file)
    assert len(ReviewRows(built, "pretrain", Choice(sample=2), "anna")) == 2


def test_edits_from_label_studio_have_to_fit_their_rows(built, tmp_path):
    """An edit of an export that a row's columns cannot follow is refused before it becomes a verdict, by its reason."""
    first, second, *_ = rows(built, "instruct-location")
    tasks = [
        {
            "data": {"row": row["id"], "digest": text_digest(row["messages"]), "contents": contents(row),
                     "roles": ["user", "assistant"]},
            "annotations": [exported("edit", text)],
        }
        for row, text in ((first, "Everywhere."), (second, contents(second)[1].replace("(", "(0", 1)))
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    added = add_export(tmp_path / "export.json", tmp_path / "v.jsonl", built, "instruct-location")
    ((reason, count),) = added.refused.items()
    assert (added.added, count) == (1, 1)
    assert "expected '<ref>class</ref>" in reason
    assert [one.id for one in read_verdicts(tmp_path / "v.jsonl")] == [second["id"]]


def test_everybody_who_has_edited_a_row_is_named(built, tmp_path):
    """A row that one person edits, and another edits again: both are named, and both old texts are kept."""
    (first, *_) = rows(built)
    one = written(tmp_path / "a.jsonl", verdict(first, "edit", text="A road."))
    apply_verdicts(built, "pretrain", [one], tmp_path / "a")
    (first,) = [row for row in rows(tmp_path / "a") if row["id"] == first["id"]]
    two = written(tmp_path / "b.jsonl", verdict(first, "edit", "ben", text="A wide road."))
    apply_verdicts(tmp_path / "a", "pretrain", [two], tmp_path / "b")
    (after,) = [row for row in rows(tmp_path / "b") if row["id"] == first["id"]]
    assert after["origin"] == "human:anna,ben"
    assert [one["value"] for one in after["corrections"] if one["issue"] == EDITED][1:] == ["A road."]
