"""The preview shows a fair choice of rows, draws what they say, and lets nothing of a row's text out of its place."""

import base64
import errno
import html
import io
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_folder import deep, encoded, grey, places, row, write_folder
from PIL import Image
from typer.testing import CliRunner

from irtd_datasets.cli.app import app
from irtd_datasets.errors import (
    AnnotationError,
    BuildError,
    ImageError,
    ReleaseNotFoundError,
    UnknownNameError,
)
from irtd_datasets.folder.row_groups import RowGroupRef
from irtd_datasets.hub import preview as preview_module
from irtd_datasets.hub.preview import write_contact_sheet, write_preview
from irtd_datasets.hub.preview_page import ShownImage, render_card
from irtd_datasets.hub.sampling import choose, read_chosen, survey
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import TASKS

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
VOID = {"img", "input", "meta", "br"}


class Page(HTMLParser):
    """Elements of a page: tag, attributes, own text; and every tag that was not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.wrong = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": ""}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "attrs": dict(attrs), "text": ""})

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()["tag"] != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open:
            self.open[-1]["text"] += data

    def all(self, tag, class_=None):
        return [
            element
            for element in self.elements
            if element["tag"] == tag
            and (class_ is None or class_ in element["attrs"].get("class", "").split())
        ]


def card(one, **options):
    settings_ = {"meanings": {}, "colours": {}, "text_limit": 6000, "place_limit": 400, **options}
    return render_card(one, [("image", ShownImage(b"jpeg", 64, 48))], "train", **settings_)


def previewed(folder, out, **options):
    report = write_preview(folder, out, **options)
    text = out.read_text(encoding="utf-8")
    return report, text, Page(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three tasks of very different size, two sources in one of them, two splits, an issue that is rare."""
    rows = [row(n, "vqa", source="Large" if n % 50 else "Small") for n in range(400)]
    rows[333]["issues"] = ["box-outside-image"]
    return write_folder(
        tmp_path_factory.mktemp("made") / "made",
        {
            "train/vqa/train": rows,
            "train/scene/train": [row(n, "scene") for n in range(12)],
            "test/scene/test": [row(100 + n, "scene") for n in range(12)],
            "train/reid/train": [row(n, "reid", source=None) for n in range(3)],
        },
    )


def test_counts_are_of_all_rows(built):
    """Rows by task, source, split, sensor and issue are those of the files, each file once."""
    rows = [one for file in built.glob("*/*/*.parquet") for one in pq.read_table(file).to_pylist()]
    found = survey(built, rows=10)
    assert found.rows == len(rows)
    assert found.counts("task") == Counter(TASKS[one["task"]] for one in rows)
    assert found.counts("source") == Counter(one["source"] or "unknown" for one in rows)
    assert found.issues == Counter(code for one in rows for code in one["issues"])
    assert found.modalities == Counter({"infrared": len(rows)})
    assert sum(found.counts("split").values()) == len(rows)


def test_the_choice_is_balanced_and_shows_rare_issues(folder):
    """Tasks get as many rows each as they have and others leave; in a task sources do; a single flawed row is shown."""
    chosen = choose(survey(folder, rows=40), 40)
    rows = dict(read_chosen(chosen))
    assert len(rows) == len({one["id"] for one in rows.values()}) == 40
    tasks = Counter(TASKS[one["task"]] for one in rows.values())
    assert tasks["reid"] == 3
    assert abs(tasks["vqa"] - tasks["scene"]) <= 2
    sources = Counter(one["source"] for one in rows.values() if one["task"] == TASKS.index("vqa"))
    assert sources["Small"] == 8
    assert Counter(one.split for one in chosen if one.task == "scene")["test"] >= 9
    assert sum("box-outside-image" in one["issues"] for one in rows.values()) == 1


def test_the_choice_depends_on_the_seed_alone(folder):
    """The same seed gives the same rows whatever else is read; another seed gives others."""
    first = choose(survey(folder, rows=20, seed=1), 20)
    assert first == choose(survey(folder, rows=20, seed=1), 20)
    assert first != choose(survey(folder, rows=20, seed=2), 20)
    together = {one for one in choose(survey(folder, rows=200, seed=1), 200) if one.task == "reid"}
    alone = set(choose(survey(folder, ["part3"], rows=200, seed=1), 200))
    assert together == alone


def test_rows_of_one_image_make_way_for_others(tmp_path):
    """Of twenty images with five questions each, a sample of twenty shows every image once."""
    rows = [row(n, image={"bytes": grey(), "path": f"{n // 5}.png"}) for n in range(100)]
    made = write_folder(tmp_path / "made", {"train/vqa/train": rows})
    assert len({one.image for one in choose(survey(made, rows=20), 20)}) == 20


@given(rows=st.integers(1, 60), seed=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_choice_has_as_many_rows_as_asked(folder, rows, seed):
    """Exactly the number asked, or all there are; no row twice."""
    chosen = choose(survey(folder, ["part1", "part2", "part3"], rows=rows, seed=seed), rows)
    assert len(chosen) == min(rows, 27)
    assert len({(one.group, one.row) for one in chosen}) == len(chosen)


def test_images_are_read_from_chosen_row_groups_alone(folder, tmp_path, monkeypatch):
    """A sample reads each row group that holds a chosen row once, and no other, with its images."""
    read = []
    original = RowGroupRef.read

    def spy(self, columns, **options):
        read.append(self)
        return original(self, columns, **options)

    monkeypatch.setattr(RowGroupRef, "read", spy)
    report = write_preview(folder, tmp_path / "p.html", rows=8)
    assert report.row_groups == 45
    assert len(read) == len(set(read)) == report.row_groups_read <= 8


def test_the_page_is_whole_and_loads_nothing(built, tmp_path):
    """Well-formed, the same bytes again, no address of anything outside, one script, allowed by its hash."""
    report, text, page = previewed(built, tmp_path / "p.html", rows=40)
    assert (report.shown, report.not_shown) == (40, 0)
    assert report.bytes == (tmp_path / "p.html").stat().st_size
    assert page.wrong == []
    assert page.open == []
    assert len(page.all("article", "card")) == len(page.all("img")) == 40
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert element["attrs"].get(name, "data:").startswith("data:")
    assert "url(#iron)" in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#iron"}
    assert "@import" not in text
    (policy,) = [e["attrs"]["content"] for e in page.all("meta") if "http-equiv" in e["attrs"]]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(page.all("script")) == 1
    write_preview(built, tmp_path / "again.html", rows=40)
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "p.html").read_bytes()


NASTY = (
    '</p><script>document.title="broken"</script><img src=x onerror="document.title=\'broken\'">'
    "&amp;\x00\x1b \"' ]]>"
)


def nasty_row():
    return row(
        1,
        id=f"made/{NASTY}",
        source=NASTY,
        question=NASTY,
        choices=[NASTY, "b"],
        answer=NASTY,
        messages=[{"role": NASTY, "content": NASTY}],
        objects=places(NASTY, box=[[1, 2, 30, 40]]),
        issues=[NASTY],
        image_note=NASTY,
        corrections=[{"issue": NASTY, "field": NASTY, "value": NASTY}],
    )


def test_text_stays_text(tmp_path):
    """Markup, quotes and control characters in any field of a row are shown, and make no element of the page."""
    made = write_folder(tmp_path / "made", {"train/vqa/train": [nasty_row()]})
    _, text, page = previewed(made, tmp_path / "p.html")
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert [e["attrs"]["src"][:5] for e in page.all("img")] == ["data:"]
    assert not any(name.startswith("on") for e in page.elements for name in e["attrs"])
    shown = NASTY.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    for class_ in ("question", "answer"):
        assert [e["text"] for e in page.all("p", class_)] == [shown]
    assert [e["attrs"]["data-source"] for e in page.all("article")] == [shown]
    assert "\x00" not in text
    assert html.escape(NASTY[:20]) in text


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_stays_text(text):
    """A card with any text in it is well-formed and shows that text."""
    page = Page(card(row(messages=[{"role": "user", "content": text}], objects=places(text, point=[[1, 2]]))))
    assert page.wrong == []
    assert page.open == []
    (turn,) = page.all("p", "turn")
    control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
    assert turn["text"] == control.sub("\ufffd", text)


def test_places_are_drawn_where_objects_has_them():
    """Boxes, oriented boxes and points stand in pixels of the image, with their label; no number is changed."""
    objects = places(
        "ship",
        "plane",
        box=[[1, 2, 30.5, 40], []],
        polygon=[[], [5, 6, 20, 7, 19, 30, 4, 29]],
        point=[[], [12, 13]],
    )
    page = Page(card(row(objects=objects)))
    (svg,) = page.all("svg", "marks")
    assert svg["attrs"]["viewbox"] == "0 0 64 48"
    assert [e["text"] for e in page.all("text")] == ["ship", "plane", "plane"]
    paths = [e["attrs"]["d"] for e in page.all("path")]
    assert paths[0] == "M1 2H30.5V40H1Z"
    assert paths[1] == "M5 6L20 7L19 30L4 29Z"
    assert "12 " in paths[2]
    assert " 13" in paths[2]
    assert [e["text"] for e in page.all("li", "c0") + page.all("li", "c1")] == [
        "ship",
        "plane \N{MULTIPLICATION SIGN} 2",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_places_without_a_place_are_left_out(value):
    """Numbers that are none are not drawn, and the card says how many places were."""
    page = Page(card(row(objects=places("a", "b", box=[[1, 2, value, 4], [1, 2, 3, 4]]))))
    assert len(page.all("path")) == 1
    assert "1 of 2 places drawn" in page.all("figcaption")[0]["text"]


def test_a_row_of_a_thousand_boxes_is_bounded():
    """Only so many places are drawn and so much text is shown, and both say what is missing."""
    made = row(
        objects=places(*["car"] * 1000, box=[[1, 2, 3, 4]] * 1000),
        messages=[{"role": "user", "content": "x" * 100_000}],
    )
    text = card(made, place_limit=50, text_limit=200)
    page = Page(text)
    assert len(page.all("path")) == 50
    assert "50 of 1000 places drawn" in text
    assert "(99,800 more characters)" in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("choices", "answer", "right"),
    [
        (["person", "car"], "(B) car", ["B"]),
        (["person", "motor", "light"], "(B) motor (C) light", ["B", "C"]),
        (["cargo", "harbor"], "harbor", ["B"]),
        (["cargo", "harbor"], "sea", []),
    ],
)
def test_the_released_answer_is_marked(choices, answer, right):
    """Options are lettered in order; those that the answer names by letter or by word are marked."""
    page = Page(card(row(question="Which?", choices=choices, answer=answer)))
    letters = [e["text"] for e in page.all("b")]
    marked = ["right" in e["attrs"].get("class", "") for e in page.all("li")]
    assert [letter for letter, is_right in zip(letters, marked, strict=True) if is_right] == right


def test_deep_images_are_mapped_by_percentiles():
    """One hot and one dead pixel do not turn a 16-bit image grey; infinite values do not either."""
    seen = viewable(deep())
    pixels = np.asarray(seen.image)[..., 0]
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert len(np.unique(pixels)) > 200
    assert re.fullmatch(r"16-bit values 70\d\d.* to 89\d\d.* shown as black to white", seen.note)
    values = np.linspace(-3, 5, 48 * 64, dtype=np.float32).reshape(48, 64)
    values[0] = np.nan
    values[1] = np.inf
    seen = viewable(encoded(Image.fromarray(values), "TIFF"))
    assert len(np.unique(np.asarray(seen.image))) > 200
    assert seen.note.startswith("real values")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_kind_of_image_is_seen(mode):
    """Each mode of Pillow becomes 8-bit RGB no larger than asked; opacity, which can hold another band, is left out."""
    image = Image.linear_gradient("L").convert("RGB").convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    seen = viewable(encoded(image, form), side=100)
    assert (seen.image.mode, max(seen.image.size), seen.note) == ("RGB", 100, "")


def test_an_image_that_cannot_be_shown_says_why(tmp_path):
    """Cut, empty, missing, foreign and over-large images leave a card with the reason; the others are shown."""
    large = encoded(Image.new("1", (20_000, 10_000)))
    jpeg = encoded(Image.effect_noise((300, 300), 90), "JPEG")
    images = [jpeg, jpeg[: len(jpeg) // 2], b"", b"<html>quota exceeded</html>", large]
    rows = [row(n, image={"bytes": data, "path": f"{n}.png"}) for n, data in enumerate(images)]
    rows.append(row(9, image=None))
    made = write_folder(tmp_path / "made", {"train/vqa/train": rows})
    report, text, page = previewed(made, tmp_path / "p.html")
    assert (report.shown, report.not_shown) == (6, 5)
    assert len(page.all("img")) == 1
    assert len(page.all("p", "missing")) == 5
    assert "decompression bomb" in text
    assert text.count("there is no image") == 2


def test_thumbnails_shrink_until_the_page_is_small_enough(tmp_path, monkeypatch):
    """Sixty images of noise fit a page of 1 MB; none is left out."""
    noise = [encoded(Image.effect_noise((700, 600), 120), "JPEG", quality=95) for _ in range(3)]
    rows = [row(n, image=noise[n % 3], width=700, height=600) for n in range(60)]
    made = write_folder(tmp_path / "made", {"train/vqa/train": rows})
    monkeypatch.setattr(preview_module, "MAX_PAGE_BYTES", 1 << 20)
    report, _, page = previewed(made, tmp_path / "p.html", rows=60)
    assert (report.shown, report.not_shown) == (60, 0)
    assert report.bytes < 1 << 20
    assert len(page.all("img")) == 60


def test_a_pair_is_shown_as_two_images(tmp_path):
    """The visible partner is a second image of the card, and both as a checkerboard a third; one alone has boxes."""
    made = row(1, visible={"bytes": grey(200), "path": "v.png"}, objects=places("a", box=[[1, 2, 3, 4]]))
    _, _, page = previewed(write_folder(tmp_path / "made", {"train/vqa/train": [made]}), tmp_path / "p.html")
    frames = page.all("div", "frame")
    assert [e["attrs"]["data-image"] for e in frames] == ["image", "visible", "checkerboard"]
    seen = [
        Image.open(io.BytesIO(base64.b64decode(e["attrs"]["src"].partition(",")[2]))) for e in page.all("img")
    ]
    assert [image.getpixel((5, 5))[0] for image in seen] == [90, 200, 90]
    assert len(page.all("svg", "marks")) == 1


def test_issues_are_explained(built, tmp_path):
    """Chips and filters of an issue carry its meaning from the dataset's own table."""
    _, _, page = previewed(built, tmp_path / "p.html")
    chips = [e for e in page.all("li") if e["text"] == "label-reference-object"]
    assert chips
    assert all("the reference object" in e["attrs"]["title"] for e in chips)
    facets = {(e["attrs"]["data-facet"], e["attrs"]["data-value"]) for e in page.all("button", "facet")}
    assert {
        ("task", "grounding"),
        ("source", "FLIR_ADAS"),
        ("split", "test"),
        ("issue", "label-reference-object"),
    } <= facets


def test_bad_input(folder, tmp_path, monkeypatch):
    """No folder, no such config or split, no rows, a damaged file, a place that cannot be written: one message each."""
    out = tmp_path / "p.html"
    with pytest.raises(ReleaseNotFoundError, match=r"no README\.md"):
        write_preview(tmp_path, out)
    with pytest.raises(UnknownNameError, match="no config 'x'"):
        write_preview(folder, out, configs=["x"])
    with pytest.raises(UnknownNameError, match="no split 'dev'"):
        write_preview(folder, out, splits=["dev"])
    empty = write_folder(tmp_path / "empty", {"train/vqa/train": []})
    with pytest.raises(ReleaseNotFoundError, match="there are no rows"):
        write_preview(empty, out)
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    file = damaged / "train" / "reid" / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(AnnotationError, match="cannot be read as Parquet"):
        write_preview(damaged, out)
    with pytest.raises(BuildError, match="No such file"):
        write_preview(folder, tmp_path / "nowhere" / "p.html", rows=3)
    with pytest.raises(BuildError, match="unknown file extension"):
        write_contact_sheet(folder, tmp_path / "sheet.xyz", rows=3)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(BuildError, match="No space left"):
        write_preview(folder, out, rows=3)
    assert not list(tmp_path.glob("*.html"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_contact_sheet_of_broken_images_is_an_error(tmp_path):
    """Where a drawn image needs one that cannot be decoded, the message names the row."""
    made = write_folder(tmp_path / "made", {"train/vqa/train": [row(image=b"no image")]})
    with pytest.raises(ImageError, match="made/train/vqa/0"):
        write_contact_sheet(made, tmp_path / "sheet.png")


def test_command_line(built, tmp_path, monkeypatch):
    """`irtd preview` writes the page, the sheet, or both; --json has the counts; a mistake is a message."""
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    done = run.invoke(app, ["preview", str(built), "--rows", "9", "--config", "instruct"])
    assert done.exit_code == 0, done.output
    assert "9 of 80 rows" in done.output
    assert (tmp_path / "preview.html").is_file()
    done = run.invoke(app, ["preview", str(built), "--contact-sheet", "s.png", "--rows", "5", "--json"])
    (sheet,) = json.loads(done.output)
    assert (sheet["shown"], sheet["out"]) == (5, "s.png")
    with Image.open("s.png") as image:
        assert image.width > 1600
    done = run.invoke(
        app, ["preview", str(built), "-o", "p.html", "--contact-sheet", "s.png", "--rows", "5", "--json"]
    )
    assert [one["out"] for one in json.loads(done.output)] == ["s.png", "p.html"]
    assert isinstance(run.invoke(app, ["preview", str(tmp_path)]).exception, ReleaseNotFoundError)
    assert isinstance(run.invoke(app, ["preview", str(built), "--config", "no"]).exception, UnknownNameError)
    assert run.invoke(app, ["preview", str(built), "--rows", "0"]).exit_code == 2


# In a browser


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """The document after its scripts have run, for a file and what follows ``#``."""
    chromium = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
    )
    if chromium is None:
        pytest.skip("there is no Chromium here; CHROMIUM names its program")
    profile = tmp_path_factory.mktemp("profile")

    def dump(file, fragment=""):
        command = [
            chromium,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--dump-dom",
            f"{file.as_uri()}#{fragment}",
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout.decode()

    return dump


def test_filters_work_in_a_browser(built, tmp_path, browse):
    """What stands after # chooses the cards that are shown: those of the task that name the word, and no others."""
    _, _, page = previewed(built, tmp_path / "p.html", rows=60)
    cards = page.all("article", "card")
    wanted = [e for e in cards if e["attrs"]["data-task"] in ("location", "grounding")]
    found = Page(browse(tmp_path / "p.html", "task=location&task=grounding&labels=0&values=iron"))
    shown = [e for e in found.all("article", "card") if "hidden" not in e["attrs"]]
    assert 0 < len(wanted) < len(cards)
    assert {e["attrs"]["data-task"] for e in shown} == {"location", "grounding"}
    assert len(shown) == len(wanted)
    (status,) = [e["text"] for e in found.all("output")]
    assert status == f"{len(wanted)} of 60 rows of this sample"
    (body,) = found.all("body")
    assert set(body["attrs"]["class"].split()) == {"no-labels", "values-iron"}
    pressed = {
        e["attrs"]["data-value"] for e in found.all("button", "facet") if e["attrs"]["aria-pressed"] == "true"
    }
    assert pressed == {"location", "grounding"}
    found = Page(browse(tmp_path / "p.html", "issue=box-outside-image&q=which%20nothing"))
    assert all("hidden" in e["attrs"] for e in found.all("article", "card"))
    assert "hidden" not in found.all("p", "empty")[0]["attrs"]


PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  document.body.dataset.loaded = images.filter((one) => one.complete && one.naturalWidth > 0).length;
  const marks = [...document.querySelectorAll(".marks")].map((svg) => {
    const a = svg.getBoundingClientRect(), b = svg.previousElementSibling.getBoundingClientRect();
    return Math.abs(a.x - b.x) + Math.abs(a.y - b.y) + Math.abs(a.width - b.width) + Math.abs(a.height - b.height);
  });
  document.body.dataset.apart = Math.max(...marks);
  document.querySelector(".grid .frame").click();
  document.body.dataset.large = document.querySelector("dialog").open;
});</script></body>"""


def test_thumbnails_load_and_marks_lie_on_them(tmp_path, browse):
    """Each thumbnail decodes, the drawing covers exactly its image, a click enlarges, a row's script never runs."""
    rows = [row(n, objects=places("a", box=[[1, 2, 30, 40]])) for n in range(5)]
    made = write_folder(tmp_path / "made", {"train/vqa/train": [*rows, nasty_row()]})
    write_preview(made, tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    # A copy without the policy, so that the probe may run, and so would a script of the row.
    open_text = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", PROBE)
    (tmp_path / "probe.html").write_text(open_text, encoding="utf-8")
    found = Page(browse(tmp_path / "probe.html"))
    (body,) = found.all("body")
    assert body["attrs"]["data-loaded"] == "6"
    assert float(body["attrs"]["data-apart"]) < 1
    assert body["attrs"]["data-large"] == "true"
    assert found.all("title")[0]["text"] == "made: preview"
    # As it is, the policy lets the page's own script run and no other.
    closed = Page(browse_injected(tmp_path, text, browse))
    assert closed.all("output")[0]["text"].startswith("6 rows in this sample;")
    assert "data-loaded" not in closed.all("body")[0]["attrs"]


def browse_injected(tmp_path, text, browse):
    (tmp_path / "injected.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    return browse(tmp_path / "injected.html")
