"""One vocabulary of issues for all datasets: every code stands in it once, and no two mean the same."""

import ast
import itertools
import re
from pathlib import Path

import pytest

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.rows.box_text import ISSUES
from irtd_datasets.spec import issue_codes, issues_from_table, read_table

PACKAGE = Path(__file__).parents[1] / "irtd_datasets"
# Problems of source sets, of pairs of images and of texts alone have tables of their own.
PLACES = ("annotations/conversations.py", "annotations/json_records.py", "images/*.py", "rows/*.py")
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")

# What hands a code on: by name, the positions of the code among its arguments.
CARRIERS = {"fail": 0, "drop": 0, "_note": 0, "_add": 1, "_append": 1, "_write_bad": 1}

ALIKE = {
    frozenset(pair)
    for pair in (
        ("empty-answer", "empty-question"),  # what is missing: the answer, or the question
        ("empty-answer", "turn-order"),  # a turn without text, or two turns of one speaker
        ("question-template", "answer-template"),
        ("utf-16", "utf-32"),
        ("image-empty", "json-empty"),  # one image, or the annotation file
        ("image-lfs-pointer", "json-lfs-pointer"),
        ("json-bad-records", "json-unreadable"),  # some records, or the file
    )
}
"""Codes whose meanings use the same words and that were compared: they mean different things."""


def words(meaning):
    return set(re.findall(r"[a-z0-9]+", meaning.lower())) - {
        "a",
        "the",
        "of",
        "is",
        "it",
        "in",
        "or",
        "no",
        "its",
        "that",
    }


def used_codes():
    """Codes that the code hands on, with a place each."""
    for pattern in (*PLACES, *(f"{name}/**/*.py" for name in DATASETS)):
        for path in sorted(PACKAGE.glob(pattern)):
            where = path.relative_to(PACKAGE).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for value in handed_on(node):
                    for inner in ast.walk(value):
                        if isinstance(inner, ast.Constant) and CODE.fullmatch(str(inner.value)):
                            yield inner.value, f"{where}:{inner.lineno}"


def handed_on(node):
    """The expressions of a node that stand for codes."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg in {"code", "issues", "quirks"})
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in CARRIERS:
            yield from node.args[CARRIERS[name] : CARRIERS[name] + 1]
        if name == "append" and getattr(node.func, "value", None) is not None:
            owner = node.func.value
            if getattr(owner, "id", getattr(owner, "attr", "")) in {"issues", "quirks"}:
                yield from node.args
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in {"issues", "quirks", "code"}:
        yield node.value


def test_every_code_of_the_code_stands_in_the_table():
    """A code that a reader, a parser or a row can give has its meaning in the vocabulary."""
    codes = issue_codes()
    used = dict(used_codes())
    assert len(used) > 60
    assert {code: where for code, where in used.items() if code not in codes} == {}
    assert set(ISSUES.values()) <= set(codes)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_refers_to_the_vocabulary(name):
    """The table of a dataset has codes, counts and evidence only; scope, kind and meaning are those of all datasets."""
    rows = read_table(f"irtd_datasets.{name}", "issues.csv")
    assert {tuple(row) for row in rows} <= {("code", "file", "count", "evidence")}
    codes = issue_codes()
    for issue in spec(name).issues:
        shared = codes[issue.code]
        assert (issue.scope, issue.kind, issue.meaning) == (shared.scope, shared.kind, shared.meaning)


def test_no_two_codes_mean_the_same():
    """Meanings differ, and where they share most of their words somebody has compared them."""
    rows = read_table("irtd_datasets", "issues.csv")
    assert len({row["code"] for row in rows}) == len(rows)
    assert len({" ".join(sorted(words(row["meaning"]))) for row in rows}) == len(rows)
    for one, other in itertools.combinations(rows, 2):
        ours, theirs = words(one["meaning"]), words(other["meaning"])
        alike = len(ours & theirs) / len(ours | theirs)
        pair = frozenset((one["code"], other["code"]))
        assert (alike >= 0.4) == (pair in ALIKE), f"compare {sorted(pair)}"


def test_the_vocabulary_uses_its_words():
    """Scopes and kinds are the known ones; meanings are sentences; no code is an ending of another."""
    for code in issue_codes().values():
        assert code.scope in {"row", "file", "record", "unreadable"}
        assert code.kind in {"label", "text", "caveat", "format"}
        assert code.meaning.endswith(".")
        assert CODE.fullmatch(code.code)
    names = set(issue_codes())
    assert not {
        (one, other) for one in names for other in names if one != other and one.endswith(f"-{other}")
    }


def test_a_code_of_one_s_own_says_what_it_means(tmp_path, monkeypatch):
    """A package of its own may add a code with its meaning; a code without one is refused by name."""
    package = tmp_path / "foors_codes"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    table = package / "issues.csv"
    table.write_text("code,file,count,evidence,scope,kind,meaning\ncloud-cover,,,seen,row,caveat,Clouds.\n")
    (issue,) = issues_from_table("foors_codes")
    assert (issue.code, issue.scope, issue.kind, issue.meaning) == ("cloud-cover", "row", "caveat", "Clouds.")
    table.write_text("code,file,count,evidence\ncloud-cover,,,seen\n")
    with pytest.raises(UnknownNameError, match="cloud-cover"):
        issues_from_table("foors_codes")
