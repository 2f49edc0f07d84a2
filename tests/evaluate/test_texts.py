"""BLEU, ROUGE-L and CIDEr equal the reference implementation on random and on degenerate captions."""

import importlib.util
import random
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.evaluate import ScoringOptions, read_questions, score
from irtd_datasets.evaluate.meteor import add_meteor
from irtd_datasets.evaluate.texts import bleu_statistics, bleu_value, cider, make_corpus, rouge_l, tokens

WORDS = st.lists(
    st.sampled_from(["a", "the", "ship", "pier", "near", "two", "red", "water", "cars", "road", "on", "is"]),
    max_size=14,
)
ROWS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=5)), min_size=1, max_size=8)


def reference(candidates, references):
    """BLEU-1 to 4, ROUGE-L and CIDEr of the reference implementation."""
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gold = {row: [" ".join(one) for one in many] for row, many in enumerate(references)}
    said = {row: [" ".join(one)] for row, one in enumerate(candidates)}
    bleu, _ = Bleu(4).compute_score(gold, said, verbose=0)
    _, rouge = Rouge().compute_score(gold, said)
    if not any(text for many in gold.values() for text in many):
        return bleu, rouge, np.zeros(len(said))  # it ends in an error where no reference has a word
    _, consensus = Cider().compute_score(gold, said)
    return bleu, rouge, consensus


def agree(candidates, references):
    bleu, rouge, consensus = reference(candidates, references)
    ours = bleu_value(bleu_statistics(make_corpus(candidates, references)).sum(0))
    assert ours == pytest.approx(bleu, rel=1e-9, abs=1e-12)
    assert rouge_l(candidates, references) == pytest.approx(rouge, rel=1e-12)
    assert cider(make_corpus(candidates, references)) == pytest.approx(consensus, rel=1e-9, abs=1e-12)


@given(ROWS)
@settings(deadline=None, max_examples=150)
def test_random_captions_agree(rows):
    """Any words, any number of references, empty ones among them: the numbers are those of pycocoevalcap."""
    agree([one for one, _ in rows], [many for _, many in rows])


@pytest.mark.parametrize(
    ("candidates", "references"),
    [
        ([["ship"]], [[["ship"]]]),
        ([[]], [[["ship"]]]),
        ([[], ["a"]], [[["ship"]], [["a"]]]),
        ([["a"] * 300, ["ship"]], [[["a"] * 2], [["ship"] * 70, ["ship", "ship"]]]),
        ([["a", "b", "c", "d"]] * 3, [[["a", "b", "c", "d"]]] * 3),
    ],
)
def test_degenerate_captions_agree(candidates, references):
    """Nothing said, one word, endless repetition, one row, rows that are all alike."""
    agree(candidates, references)


def test_a_large_corpus_agrees():
    """A vocabulary of hundreds of words, five references each, as caption releases have them."""
    draw = random.Random(0)
    words = [f"w{draw.randrange(600)}" for _ in range(9000)]
    sentence = lambda: words[(at := draw.randrange(8900)) : at + draw.randrange(3, 25)]  # noqa: E731
    references = [[sentence() for _ in range(5)] for _ in range(300)]
    candidates = [draw.choice(many) if draw.random() < 0.5 else sentence() for many in references]
    agree(candidates, references)


def test_gold_captions_have_the_best_value():
    """A text that is its only reference has BLEU and ROUGE-L of 1 and a CIDEr of 10."""
    texts = [["a", "ship", "near", "pier", str(number)] for number in range(5)]
    assert bleu_value(
        bleu_statistics(make_corpus(texts, [[text] for text in texts])).sum(0)
    ) == pytest.approx(1)
    assert rouge_l(texts, [[text, ["x"]] for text in texts]) == pytest.approx(1)
    assert cider(make_corpus([[*"abcde"], [*"fghij"]], [[[*"abcde"]], [[*"fghij"]]])) == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A ship's bow, isn't it?", ["a", "ship", "'s", "bow", "is", "n't", "it"]),
        (
            "3.5 km; 1,024 cars (many) -- all 'parked'.",
            ["3.5", "km", "1,024", "cars", "many", "all", "parked"],
        ),
        ("U.S. and/or well-known", ["u.s", "and/or", "well-known"]),
        ("", []),
    ],
)
def test_words_are_told_from_punctuation(text, expected):
    """Small letters, clitics apart, hyphens and numbers whole, punctuation gone."""
    assert tokens(text) == expected


def test_meteor_is_that_of_the_evaluation(remote_sensing, monkeypatch):
    """With Java, METEOR is the program's own figure on the same words; without it, one message."""
    folder = remote_sensing["rs_gpt4v"]
    questions = read_questions(folder, "captioning")[:4]
    answers = {one.key: "a road near one car" for one in questions}
    scores = score(answers, questions, ScoringOptions(resamples=0))
    if shutil.which("java") is not None and importlib.util.find_spec("pycocoevalcap") is not None:
        from pycocoevalcap.meteor.meteor import Meteor

        right = {i: [" ".join(tokens(text)) for text in one.references] for i, one in enumerate(questions)}
        compute, calls = Meteor.compute_score, []

        def spied(program, references, answers):
            wanted, each = compute(program, references, answers)
            calls.append((references, answers, wanted))
            return wanted, each

        monkeypatch.setattr(Meteor, "compute_score", spied)
        metrics = add_meteor(scores).tasks["captioning"].metrics
        ((references, said, wanted),) = calls
        assert references == right
        assert said == {i: ["a road near one car"] for i in right}
        assert wanted > 0
        assert metrics["meteor"].value == pytest.approx(100 * wanted)
        assert metrics.keys() - {"meteor"} == scores.tasks["captioning"].metrics.keys()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnknownNameError, match="Java"):
        add_meteor(scores)
