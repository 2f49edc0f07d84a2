"""Every parser reads bytes or refuses them with an error of the library, whatever they are."""

import time

import pytest
from parsers import CORPUS, PARSERS, read


@pytest.mark.parametrize("name", PARSERS)
def test_files_that_fuzzing_starts_from_are_read(name):
    """A seed that is refused would leave most of a parser unreached."""
    assert [read(name, data) for data in PARSERS[name].seeds()] == [""] * len(list(PARSERS[name].seeds()))


def test_the_corpus_is_of_parsers_that_are_there():
    """A parser that was renamed keeps its corpus."""
    assert {folder.name for folder in CORPUS.iterdir()} <= set(PARSERS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PARSERS)
def test_the_corpus_is_read_or_refused(name):
    """What fuzzing has reached, its findings included: no other error, and none slow."""
    for file in sorted((CORPUS / name).glob("*")):
        begun = time.process_time()
        try:
            read(name, file.read_bytes())
        except Exception as error:
            raise AssertionError(f"{name}/{file.name}") from error
        assert time.process_time() - begun < 10, file.name
