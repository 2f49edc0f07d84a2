"""A row in a notebook: what is seen, whatever form its image has, and nothing of it obeyed."""

import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

import irtd_datasets
from irtd_datasets.errors import AnnotationError

ROW = {
    "id": "irtd/instruct/grounding/1",
    "image": None,
    "visible": None,
    "task": 2,
    "modality": 0,
    "source": "FLIR_ADAS",
    "messages": [
        {"role": "user", "content": "Where is the car?"},
        {"role": "assistant", "content": "There."},
    ],
    "answer": None,
    "objects": {"label": ["car"], "box": [[4.0, 5.0, 20.0, 30.0]], "polygon": [], "point": []},
    "width": 64,
    "height": 48,
    "bit_depth": 8,
    "issues": [],
}


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


GREY = Image.fromarray(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64))
DEEP = Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64))
FORMS = {
    "bytes": {"bytes": encoded(GREY), "path": "1.png"},
    "pillow": GREY,
    "palette": GREY.convert("P"),
    "colour with opacity": GREY.convert("RGBA"),
    "16 bits": DEEP,
    "16 bits in bytes": {"bytes": encoded(DEEP), "path": None},
    "floats": Image.fromarray(np.linspace(-40, 90, 48 * 64, dtype=np.float32).reshape(48, 64)),
    "an array": np.zeros((48, 64, 3), np.uint8),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_shown_whatever_form_its_image_has(form):
    """Image with boxes, partner and conversation as HTML; the image with boxes as PNG; texts in a terminal."""
    shown = irtd_datasets.show({**ROW, "image": FORMS[form], "visible": FORMS[form]})
    page = shown._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<svg" in page
    assert "M4 5H20V30H4Z" in page
    assert "Where is the car?" in page
    assert "partner (visible)" in page
    png = Image.open(io.BytesIO(shown._repr_png_()))
    assert png.size == (64, 48)
    assert png.convert("L").getextrema()[0] < png.convert("L").getextrema()[1]
    assert repr(shown).splitlines() == [
        "irtd/instruct/grounding/1",
        "grounding",
        "infrared",
        "FLIR_ADAS",
        "64 x 48",
        "user: Where is the car?",
        "assistant: There.",
    ]


def test_nothing_in_a_row_is_obeyed():
    """Names, labels and texts are escaped; long ones are cut; control characters reach no terminal."""
    evil = '</style></p><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[2J'
    row = {
        **ROW,
        "id": evil,
        "source": evil,
        "messages": [{"role": evil, "content": evil * 1000}],
        "image": GREY,
        "issues": [evil],
        "answer": evil,
        "objects": {
            "label": [evil],
            "box": [[float("nan"), 1, 2, 3]],
            "polygon": [[1, 2, 3]],
            "point": [[1.0, 2.0]],
        },
    }
    page = irtd_datasets.show(row)._repr_html_()
    assert "<script" not in page
    assert page.count("<img") == 1
    assert not re.search(r"<[^>]+onerror", page)
    assert len(page) < 60_000
    assert "\x1b" not in repr(irtd_datasets.show(row))


@pytest.mark.parametrize("image", [None, {"bytes": b"no image", "path": "x.png"}, "x.png", object()])
def test_a_row_without_an_image_is_shown_without(image):
    shown = irtd_datasets.show({**ROW, "image": image})
    assert "Where is the car?" in shown._repr_html_()
    assert shown._repr_png_() is None


@pytest.mark.parametrize("value", [None, [ROW], {"id": 1}, "row"])
def test_what_is_no_row_is_refused_with_words(value):
    with pytest.raises(AnnotationError, match="no row of a dataset folder"):
        irtd_datasets.show(value)


@pytest.mark.slow  # starts a kernel
def test_a_notebook_shows_rows(built, tmp_path):
    """A cell that ends with a row, of `datasets` or of a stream, shows it; other dictionaries stay as they are."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        "import irtd_datasets",
        (
            "from datasets import load_dataset\n"
            f"rows = load_dataset({str(built)!r}, 'instruct-grounding', cache_dir={str(tmp_path)!r})['train']\nrows[0]"
        ),
        "irtd_datasets.show(rows[0])",
        f"from irtd_datasets.training import stream\nnext(iter(stream({f'{built}:instruct-location'!r})))",
        "{'id': 1}",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = {"name": "here", "display_name": "here", "language": "python"}
    kernel["argv"] = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specs = tmp_path / "kernels" / "here"
    specs.mkdir(parents=True)
    (specs / "kernel.json").write_text(json.dumps(kernel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path))
        nbclient.NotebookClient(notebook, kernel_name="here", timeout=120).execute()
    outputs = [cell["outputs"][-1]["data"] if cell["outputs"] else {} for cell in notebook.cells]
    for shown in outputs[1:4]:
        assert "data:image/jpeg" in shown["text/html"]
        assert "<svg" in shown["text/html"]
    assert "image/png" in outputs[2]
    assert "text/html" not in outputs[4]
    (tmp_path / "notebook.ipynb").write_text(nbformat.writes(notebook))
