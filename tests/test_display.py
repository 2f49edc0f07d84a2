"""Names and values from outside are shown, on terminals and in Markdown, and obeyed nowhere."""

import io
import json
import random
import re
import shutil

import pytest
from processes import irtd_here

from irtd_datasets.display import markdown, one_line, terminal
from irtd_datasets.folder.ledger import Ledger, LedgerLine
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.hub.folder_card import card_of
from irtd_datasets.report.console import _Console, make_table
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build

NASTY = "e\x1b[31m\x1b[2J\x07\x9b5m\u202eliv\u2066 [bold]x[/bold] [/red] <img src=x> |*a*|`b`&lt;"
FILE = NASTY.replace("/", "-")
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A release and a dataset folder in which names of files and values of the ledger are hostile."""
    root = tmp_path_factory.mktemp("hostile")
    release = write_sample_release("irtd", root / "release", rows=30, captions=0).folder
    (release / FILE).write_bytes(b"")
    (release / f"{FILE}.json").write_text("[]")
    out = root / f"out {FILE}"
    build("irtd", ["instruct"], absolute_options(release), out)
    (out / FILE).write_bytes(b"")
    (out / f"{FILE}.parquet").write_bytes(b"PAR1")
    surrogate = (str(out).encode() + b"/\xff\xfe.txt").decode("utf-8", "surrogateescape")
    with open(surrogate, "wb"):  # noqa: PTH123 - a name that is no Unicode
        pass
    return release, out


def commands(release, out):
    """Every command that reads a folder or a release, with what it prints."""
    missing = out.with_name(f"missing {FILE}")
    yield ["list"]
    yield ["doctor", "irtd", "--release", release]
    yield ["doctor", "irtd", "--release", missing]
    yield ["frames", "irtd", "--release", release]
    yield ["build", "irtd", "instruct", "--release", missing, "--out", missing]
    yield ["check", out, "--images", "none"]
    yield ["check", out, "--images", "none", "--json"]
    yield ["card", out]
    yield ["card", missing]
    yield ["overlap", out, out]
    yield ["overlap", out, missing]
    yield ["publish", missing, "a/b", "--dry-run"]
    yield ["export", out, NASTY, "--to", "llava", "--out", missing]
    yield ["preview", out, "--out", missing / "page.html"]
    yield ["bench", out, "--seconds", "0.01"]
    yield ["sources", "--find", release]


def test_no_command_obeys_a_name(hostile):
    """Whatever a command shows of hostile names, nothing in it reaches a terminal as a command, and no tag is lost."""
    for arguments in commands(*hostile):
        done = irtd_here(*arguments)
        shown = done.stdout + done.stderr
        assert not UNSAFE.search(shown), arguments
        assert "Traceback" not in shown
        if "--json" in arguments:
            assert any(FILE in finding["file"] for finding in json.loads(done.stdout)["findings"])


def test_check_shows_the_whole_name(hostile):
    """A name with markup in it is shown as it is, on one line."""
    shown = irtd_here("check", hostile[1], "--images", "none").stdout
    assert one_line(FILE) in shown


def test_a_card_has_names_as_plain_text(hostile, tmp_path):
    """Names of files and values of the ledger stand on the card as text: no tag, no link, no row of a table."""
    out = shutil.copytree(
        hostile[1], tmp_path / "copy", ignore=lambda _, names: [n for n in names if "\udcff" in n]
    )
    ledger = Ledger.read(out)
    nasty = f"{NASTY}\n\n# Heading [link](javascript:x) <script>"
    first = ledger.lines[0]
    counts = RecordCounts(found=3, kept=first.record_counts.kept, dropped={nasty: 1})
    lines = (LedgerLine(first.subset, first.part, nasty, 5, counts, note=nasty), *ledger.lines[1:])
    (out / "ledger.json").write_text(Ledger("irtd", lines).render())
    text = card_of(out)
    assert Manifest.read(out)
    assert not UNSAFE.search(text)
    assert not re.search(r"(?<!\\)<(img|script)", text)
    assert "\n# Heading" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    rows = [line for line in text.splitlines() if "src=x" in line and line.startswith("|")]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 9 for line in rows)


@pytest.mark.parametrize(
    "text", ["plain.jpg", "FLIR_ADAS", "a b-c (1).png", "ümlaut 图像", "63-FLIR_ADAS/x.jpeg"]
)
def test_plain_names_stay(text):
    """Names that nothing obeys are shown to the letter."""
    assert terminal(text) == one_line(text) == markdown(text) == text


def test_json_stays_the_same_json():
    """Escaping control characters in JSON changes no value."""
    text = json.dumps({NASTY: [NASTY, "\u2028", "\udcff"]}, ensure_ascii=False)
    assert json.loads(terminal(text)) == json.loads(text)
    assert not UNSAFE.search(terminal(text))


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_table_breaks_a_word(width):
    """Whatever a table holds and however narrow the console is, every word of it is shown whole."""
    chance = random.Random(width)
    for _ in range(200):
        columns = chance.randint(2, 8)
        shown = make_table(*chance.choices(["rows", "model", "value", "task"], k=columns))
        rows = [
            [
                " ".join("w" * chance.randint(1, 14) for _ in range(chance.randint(1, 4)))
                for _ in range(columns)
            ]
            for _ in range(chance.randint(1, 4))
        ]
        for row in rows:
            shown.add_row(*row)
        file = io.StringIO()
        _Console(file=file, width=width, highlight=False, markup=False).print(shown)
        words = {word.rstrip(",:") for word in file.getvalue().split()}
        assert {word for row in rows for cell in row for word in cell.split()} <= words
