"""BLEU, ROUGE-L and CIDEr of many captions at once, as the COCO caption evaluation computes them.

The rules are those of ``pycocoevalcap`` (tylin/coco-caption), whose scorers take one caption after another in Python
loops; on the same tokens the numbers are equal, to the last digits. The tokens are our own: `tokens` follows the
Penn Treebank tokenizer that the evaluation calls through Java, closely but not in every rare case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["ORDERS", "Corpus", "bleu_statistics", "bleu_value", "cider", "make_corpus", "rouge_l", "tokens"]

ORDERS = 4
"""Longest n-grams, in words."""

_SMALL, _TINY = 1e-9, 1e-15  # of bleu_scorer.py: what keeps its quotients finite
_SIGMA = 6.0  # of cider_scorer.py: length penalty
_BETA = 1.2  # of rouge.py: weight of the recall
_TOKEN = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|(?:(?!n't\b)\w)+(?:[-./,](?=\w)(?:(?!n't\b)\w)+)*|[^\w\s]")
_PUNCTUATION = frozenset("'`.?!,:-;(){}\"[]")


def tokens(text: str, known: dict[str, str] | None = None) -> list[str]:
    """Words in small letters, without punctuation.

    Args:
        text: Any text.
        known: Words met before, so that millions of words are kept as the thousands that they are.

    Example:
        >>> tokens("There's a T-shaped pier, 3.5 km long; it isn't wide.")
        ['there', "'s", 'a', 't-shaped', 'pier', '3.5', 'km', 'long', 'it', 'is', "n't", 'wide']
    """
    found = [token for token in _TOKEN.findall(text.lower()) if token not in _PUNCTUATION]
    return found if known is None else [known.setdefault(token, token) for token in found]


@dataclass(frozen=True, slots=True)
class _Grams:
    """The n-grams of sentences, counted: one entry for each sentence and n-gram."""

    sentence: NDArray[np.int32]
    gram: NDArray[np.int32]
    count: NDArray[np.int32]
    size: int
    """How many different n-grams there are."""


def _numbered(sentences: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
    """Number of the sentence and of the word, for each word of all sentences."""
    vocabulary: dict[str, int] = {}
    words = np.fromiter(
        (vocabulary.setdefault(word, len(vocabulary)) for sentence in sentences for word in sentence),
        np.int64,
    )
    lengths = np.fromiter((len(sentence) for sentence in sentences), np.int64, len(sentences))
    return np.repeat(np.arange(len(sentences)), lengths), words


def _grams(sentence: Ints, words: Ints) -> list[_Grams]:
    """The n-grams of each order; an n-gram is numbered by the one without its last word, and that word."""
    base = int(words.max(initial=-1)) + 1
    found = []
    grams, where = words, np.arange(len(words))
    for order in range(1, ORDERS + 1):
        if order > 1:
            last = where + order - 1
            whole = last < len(words)
            where, grams, last = where[whole], grams[whole], last[whole]
            same = sentence[where] == sentence[last]
            where, grams = where[same], grams[same] * base + words[last[same]]
        coded = pa.array(grams).dictionary_encode()  # by hashing: far faster than a sort
        grams = coded.indices.to_numpy().astype(np.int64)
        size = max(len(coded.dictionary), 1)
        pairs, counts = _counted(sentence[where] * size + grams)
        # Half the memory of int64; there are fewer than 2**31 words in any file of captions.
        own, gram, count = (one.astype(np.int32) for one in (pairs // size, pairs % size, counts))
        found.append(_Grams(own, gram, count, size))
    return found


def _counted(numbers: Ints) -> tuple[Ints, Ints]:
    """Distinct numbers in order, and how often each occurs; `numpy.unique` is many times slower."""
    numbers = np.sort(numbers)
    first = np.flatnonzero(np.diff(numbers, prepend=-1))
    return numbers[first], np.diff(first, append=len(numbers))


@dataclass(frozen=True, slots=True)
class Corpus:
    """Candidates and references; sentence i below ``rows`` is the candidate of row i, the others are references."""

    rows: int
    row_of: Ints
    """The row of each sentence."""
    lengths: Ints
    grams: list[_Grams]


def make_corpus(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Corpus:
    """Count the n-grams of texts.

    Args:
        candidates: Words of each row's text.
        references: Words of each row's references, at least one.
    """
    rows = len(candidates)
    flat = [reference for many in references for reference in many]
    row_of = np.concatenate(
        [
            np.arange(rows),
            np.repeat(np.arange(rows), np.fromiter((len(many) for many in references), np.int64, rows)),
        ]
    )
    sentence, words = _numbered([*candidates, *flat])
    lengths = np.bincount(sentence, minlength=rows + len(flat))
    return Corpus(rows, row_of, lengths, _grams(sentence, words))


def bleu_statistics(corpus: Corpus) -> Floats:
    """What BLEU of any set of rows is computed from, for each row.

    Returns:
        Shape (rows, 10): n-grams of the candidate that occur in a reference, for n of 1 to 4; its n-grams; its
        words; words of the reference whose length is closest. `bleu_value` takes their sums over rows.
    """
    rows = corpus.rows
    out = np.zeros((rows, 2 * ORDERS + 2))
    for order, grams in enumerate(corpus.grams):
        ours = grams.sentence < rows
        key = corpus.row_of[grams.sentence] * grams.size + grams.gram
        # Of a row's references, the one that has an n-gram most often counts.
        digits = int(grams.count.max(initial=0)).bit_length()
        packed = np.sort(key[~ours] << digits | grams.count[~ours].astype(np.int64))
        packed = packed[np.diff(packed >> digits, append=-1) != 0]
        if len(packed):
            theirs, most = packed >> digits, packed & ((1 << digits) - 1)
            place = np.minimum(np.searchsorted(theirs, key[ours]), len(theirs) - 1)
            shared = np.where(theirs[place] == key[ours], np.minimum(most[place], grams.count[ours]), 0)
            out[:, order] = np.bincount(grams.sentence[ours], weights=shared, minlength=rows)
        out[:, ORDERS + order] = np.maximum(corpus.lengths[:rows] - order, 0)
    out[:, -2] = corpus.lengths[:rows]
    row, length = corpus.row_of[rows:], corpus.lengths[rows:]
    order_of = np.lexsort((length, np.abs(length - corpus.lengths[row]), row))
    first = np.searchsorted(row[order_of], np.arange(rows))
    out[:, -1] = length[order_of][first]
    return out


def bleu_value(sums: Floats) -> Floats:
    """BLEU-1 to BLEU-4 of the sums of `bleu_statistics`; shape (..., 10) to (..., 4).

    Example:
        >>> statistics = bleu_statistics(make_corpus([["a", "red", "ship"]], [[["a", "red", "ship"], ["ship"]]]))
        >>> bleu_value(statistics.sum(0)).round(6).tolist()[:3]
        [1.0, 1.0, 1.0]
    """
    sums = np.asarray(sums, dtype=np.float64)
    quotients = (sums[..., :ORDERS] + _TINY) / (sums[..., ORDERS : 2 * ORDERS] + _SMALL)
    means: Floats = np.cumprod(quotients, axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (sums[..., -2] + _TINY) / (sums[..., -1] + _SMALL)
    penalty = np.where(ratio < 1, np.exp(np.minimum(1 - 1 / ratio, 0)), 1.0)
    out: Floats = means * penalty[..., None]
    return out


def rouge_l(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Floats:
    """ROUGE-L of each row: the best precision and the best recall over its references, as ``rouge.py`` combines them.

    Example:
        >>> rouge_l([["a", "ship"]], [[["a", "red", "ship"]]]).round(4).tolist()
        [0.7722]
    """
    out = np.zeros(len(candidates))
    for row, (candidate, many) in enumerate(zip(candidates, references, strict=True)):
        said = candidate or [""]  # as the split of an empty text there
        precision = recall = 0.0
        for reference in many:
            shared = _common(said, reference or [""])
            precision = max(precision, shared / len(said))
            recall = max(recall, shared / max(len(reference), 1))
        if precision and recall:
            out[row] = (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
    return out


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004, "Bit-parallel LCS-length computation")."""
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    whole = (1 << len(one)) - 1
    free = whole
    for word in two:
        hit = free & places.get(word, 0)
        if hit:
            free = (free + hit) | (free - hit)
    return len(one) - (free & whole).bit_count()


def cider(corpus: Corpus) -> Floats:
    """CIDEr of each row, 0 to 10: ``cider_scorer.py``, which clips and has a length penalty, as CIDEr-D of the paper.

    How rare an n-gram is, is counted over the references of all rows given.
    """
    rows = corpus.rows
    sentences = len(corpus.row_of)
    total = np.zeros(sentences)
    log_rows = np.log(float(rows)) if rows else 0.0
    for grams in corpus.grams:
        ours = grams.sentence < rows
        row = corpus.row_of[grams.sentence]
        in_row, _ = _counted(row[~ours] * grams.size + grams.gram[~ours])
        documents = np.bincount(in_row % grams.size, minlength=grams.size)
        weight = grams.count * (log_rows - np.log(np.maximum(documents, 1.0)))[grams.gram]
        norm = np.sqrt(np.bincount(grams.sentence, weights=weight**2, minlength=sentences))
        key = row * grams.size + grams.gram
        known, values = key[ours], weight[ours]
        if not len(known):
            continue
        place = np.minimum(np.searchsorted(known, key[~ours]), len(known) - 1)
        said = np.where(known[place] == key[~ours], values[place], 0.0)
        product = np.minimum(said, weight[~ours]) * weight[~ours]
        similar = np.bincount(grams.sentence[~ours], weights=product, minlength=sentences)
        norms = norm * norm[corpus.row_of]
        total += similar / np.where(norms != 0, norms, 1.0)
    bigrams = np.maximum(corpus.lengths - 1, 0)
    penalty = np.exp(-((bigrams[corpus.row_of] - bigrams) ** 2) / (2 * _SIGMA**2))
    of_reference = (total * penalty / ORDERS)[rows:]
    counts = np.bincount(corpus.row_of[rows:], minlength=rows)
    sums = np.bincount(corpus.row_of[rows:], weights=of_reference, minlength=rows)
    out: Floats = 10 * sums / np.maximum(counts, 1)
    return out
