"""The report is one page that loads nothing, tells every figure, and draws both answers on the worst rows."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from processes import irtd_here

from irtd_datasets.evaluate import ScoringOptions, read_questions, score, score_file
from irtd_datasets.evaluate.page import write_report

FAST = ScoringOptions(resamples=20)


class Counted(HTMLParser):
    """How often each tag with its class stands in a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag, kind=None):
        return sum(name == tag and (kind is None or attrs.get("class") == kind) for name, attrs in self.tags)


@pytest.fixture(scope="module")
def reported(remote_sensing, tmp_path_factory):
    folder = remote_sensing["mmrs_1m"]
    questions = read_questions(folder)
    answers = {one.key: "[0.1, 0.2, 0.3, 0.4]<script>alert(1)</script>" for one in questions}
    scores = score(answers, questions, FAST)
    path = tmp_path_factory.mktemp("report") / "r.html"
    write_report(scores, folder, "default", path, name="a & b", worst=3)
    return scores, path


def test_the_page_tells_every_figure_and_loads_nothing(reported):
    """Every task and metric is there, the paper's numbers too; no script, no address, and texts are escaped."""
    scores, path = reported
    text = path.read_text()
    page = Counted(text)
    shown = " ".join(page.text)
    for task, one in scores.tasks.items():
        assert task in shown
        assert f"{one.value:.2f}" in shown
    assert "EarthGPT" in shown
    assert "a & b" in shown
    assert page.count("script") == 0
    assert "<script>alert" not in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "default-src 'none'" in text


def test_the_worst_rows_are_drawn(reported):
    """Each task shows its worst rows as images, with the right places and those of the model over them."""
    scores, path = reported
    page = Counted(path.read_text())
    assert page.count("figure") == 3 * len(scores.tasks)
    assert page.count("img") == page.count("figure")
    assert page.count("rect", "said") + page.count("polygon", "said") >= 3
    assert page.count("rect", "gold") + page.count("polygon", "gold") >= 3
    assert page.count("line", "whisker") >= 1


def test_a_perfect_file_has_no_worst_rows(remote_sensing, built, tmp_path):
    """Nothing is shown as worst where everything is right; IR-TD stands in its paper's table with its sums."""
    write_report(score_file("gold", built, None, FAST), built, None, tmp_path / "r.html")
    page = Counted((tmp_path / "r.html").read_text())
    assert page.count("figure") == 0
    assert "485.79" in page.text
    assert "600.00" in page.text


def test_the_command_writes_the_page(built, tmp_path):
    """`irtd score --report` writes it beside what it prints, and a place that cannot be written is one message."""
    done = irtd_here("score", "gold", "--dataset", built, "--resamples", "9", "--report", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").stat().st_size > 1000
    done = irtd_here(
        "score", "gold", "--dataset", built, "--resamples", "9", "--report", tmp_path / "no" / "r.html"
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_the_page_opens_in_a_browser(reported, tmp_path):
    """Headless Chromium shows the page with all of its images decoded."""
    chromium = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
    )
    if chromium is None:
        pytest.skip("there is no Chromium here; CHROMIUM names its program")
    shot = tmp_path / "shot.png"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += [f"--screenshot={shot}", "--window-size=1200,3000", reported[1].as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert shot.stat().st_size > 10_000
