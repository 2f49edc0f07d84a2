"""The three ways to a row that `docs/architecture.md` shows are those that the program goes."""

import contextlib
import importlib
import re
import sys
import threading
from functools import reduce

import datasets
import pytest
from processes import ROOT, irtd_here

from irtd_datasets.training import stream

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEP = re.compile(r"`([\w/]+)\.py` \(`([\w.]+)`\)")
MOST = 8


def steps_from(start):
    """Files and functions of the walk whose row of the table begins so: each step's name and its code."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    steps = {}
    for file, function in STEP.findall(line):
        module = importlib.import_module(f"irtd_datasets.{file.replace('/', '.')}")
        steps[reduce(getattr, function.split("."), module).__code__] = f"{file}.py"
    return steps


@contextlib.contextmanager
def traced(steps):
    """Notes the steps in the order of their first calls, and for each which step it was called from."""
    order, callers = [], {}
    files = list(steps.values())

    def note(frame, event, _):
        if event != "call" or frame.f_code not in steps:
            return
        file, caller = steps[frame.f_code], frame.f_back
        while caller is not None and caller.f_code not in steps:
            caller = caller.f_back
        if file not in callers:
            order.append(file)
        callers.setdefault(file, set()).add(steps[caller.f_code] if caller is not None else file)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert order == files
    back = {(a, b) for b, found in callers.items() for a in found if files.index(a) > files.index(b)}
    assert not back, f"the later step calls the earlier one: {back}"


def load(release, _):
    rows = datasets.load_dataset(
        "irtd", "instruct", data_dir=str(release.folder), split="train", streaming=True
    )
    return len(list(rows))


def build(release, out):
    done = irtd_here("build", "irtd", "instruct", "--release", release.folder, "--out", out / "irtd")
    assert done.returncode == 0, done.stderr
    return done


def read(built, _):
    return len(list(stream(f"{built}:instruct", decode="rgb", seed=1)))


@pytest.mark.parametrize(
    ("start", "way", "of"),
    [
        ("`load_dataset` on a release", load, "unpacked"),
        ("`irtd build` to a [shard]", build, "unpacked"),
        ("`stream` to a row", read, "built"),
    ],
)
def test_a_walk_is_as_the_page_shows_it(start, way, of, request, tmp_path):
    """Its files in the order of their first calls, eight at most, none of which calls one before it."""
    steps = steps_from(start)
    assert 1 < len(steps) == len(set(steps.values())) <= MOST
    place = request.getfixturevalue(of)
    with traced(steps):
        assert way(place, tmp_path)
