"""A label is true only when all of it was read: one damaged label, in any format, and nothing false is said."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from irtd_datasets.irtd.tasks import MAKERS
from irtd_datasets.irtd.tasks.generation import Labels, Rules
from irtd_datasets.rows.seeded import Draw
from irtd_datasets.sources import open_source, read_table
from irtd_datasets.sources.problems import CODES, DOUBTS

WIDTH, HEIGHT = 320, 256
CLASSES = ("person", "car")


def png(array=None):
    file = io.BytesIO()
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8) if array is None else array).save(file, "PNG")
    return file.getvalue()


def read(folder, files, **row):
    """The images of a source that consists of some files, and its problems."""
    for name, content in files.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    row = {"name": "set", "infrared": "images/{stem}.*", "exhaustive": "person,car", **row}
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    source = open_source("set", folder / "set", table=read_table(folder / "table.csv"))
    return list(source.images()), source.problems.counts


# Each format writes objects, one text for each; damage replaces one of the texts.


def _voc(label, box):
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{label}</name><bndbox>{corners}</bndbox></object>"


def _yolo(label, box):
    x_min, y_min, x_max, y_max = box
    place = (
        (x_min + x_max) / 2 / WIDTH,
        (y_min + y_max) / 2 / HEIGHT,
        (x_max - x_min) / WIDTH,
        (y_max - y_min) / HEIGHT,
    )
    return (
        f"{CLASSES.index(label) if label in CLASSES else label} {' '.join(f'{value:.6f}' for value in place)}"
    )


def _coco(label, box):
    category = CLASSES.index(label) + 1 if label in CLASSES else 99
    x_min, y_min, x_max, y_max = box
    return json.dumps(
        {"image_id": 1, "category_id": category, "bbox": [x_min, y_min, x_max - x_min, y_max - y_min]}
    )


def _dota(label, box):
    x_min, y_min, x_max, y_max = box
    return f"{x_min} {y_min} {x_max} {y_min} {x_max} {y_max} {x_min} {y_max} {label} 0"


def _kaist(label, box):
    x_min, y_min, x_max, y_max = box
    return f"{label} {x_min} {y_min} {x_max - x_min} {y_max - y_min} 0 0 0 0 0 0 0"


def _table(label, box):
    return ",".join(map(str, ("a.png", label, *box)))


def _labelme(label, box):
    return json.dumps({"label": label, "shape_type": "rectangle", "points": [list(box[:2]), list(box[2:])]})


def _visdrone(label, box):
    x_min, y_min, x_max, y_max = box
    number = {"person": 1, "car": 4}.get(label, 12)
    return f"{x_min},{y_min},{x_max - x_min},{y_max - y_min},1,{number},0,0"


def _file_of(objects):
    head = '{"images": [{"id": "1", "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}], "annotations": ['
    also = '{"image_id": 2, "category_id": 1, "bbox": [1, 2, 30, 40]}'
    names = '], "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]}'
    return head + ",".join([*objects, also]) + names


NUMBERED = {"classes": "0=person,1=car"}
NAMED = {"classes": "person=person,car=car"}
FORMATS = {
    "voc": (_voc, lambda objects: f"<annotation>{''.join(objects)}</annotation>", "labels/{stem}.xml", NAMED),
    "yolo": (_yolo, "\n".join, "labels/{stem}.txt", NUMBERED),
    "coco": (_coco, _file_of, "labels/{file}.json", NAMED),
    "dota": (_dota, "\n".join, "labels/{stem}.txt", NAMED),
    "bbgt": (_kaist, lambda objects: "\n".join(["% bbGt version=3", *objects]), "labels/{stem}.txt", NAMED),
    "boxes-csv": (
        _table,
        lambda objects: "\n".join(["image,label,x_min,y_min,x_max,y_max", *objects]),
        "labels/{file}.csv",
        NAMED,
    ),
    "points-json": (
        _labelme,
        lambda objects: f'{{"shapes": [{",".join(objects)}]}}',
        "labels/{stem}.json",
        NAMED,
    ),
    "visdrone": (_visdrone, "\n".join, "labels/{stem}.txt", {"classes": "1=person,4=car"}),
}
LOST = {
    "exchanged corners": lambda label, box: (label, (*box[2:], *box[:2])),
    "no width": lambda label, box: (label, (box[0], box[1], box[0], box[3])),
    "outside": lambda label, box: (label, tuple(value + 2000 for value in box)),
    "not a number": lambda label, box: (label, (*box[:3], float("nan"))),
    "infinite": lambda label, box: (label, (*box[:3], float("inf"))),
    "unknown class": lambda label, box: ("pedestrain", box),  # codespell:ignore
    "no class": lambda label, box: ("", box),
    "a fraction as class": lambda label, box: ("0.15", box),
}
# A rectangle of labelme is any two of its corners.
SOUND = {("points-json", "exchanged corners"), ("dota", "exchanged corners")}


def objects_of(image):
    return sorted((item.label, tuple(round(value) for value in item.box or ())) for item in image.objects)


def rows_of(image):
    made = []
    for task, make in MAKERS.items():
        made += make(
            Labels(image, size=(WIDTH, HEIGHT), view="aerial"), Rules(), Draw(0, "set", "a.png", task)
        )
    return made


@st.composite
def labels(draw):
    found = []
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(2, 200)), draw(st.integers(2, 150))
        w, h = draw(st.integers(8, 100)), draw(st.integers(8, 100))
        found.append((draw(st.sampled_from(CLASSES)), (x, y, x + w, y + h)))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("damage", LOST)
@pytest.mark.parametrize("reader", FORMATS)
@given(labels(), st.data())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_damaged_label_states_nothing_false(reader, damage, tmp_path_factory, objects, data):
    """With one label lost, an image has all other objects at most and no row; undamaged, it has all objects."""
    write, join, pattern, row = FORMATS[reader]
    place = data.draw(st.integers(0, len(objects) - 1))
    name = pattern.format(stem="a", file="all")
    images = {"images/a.png": png(), "images/b.png": png()}
    row = {"reader": reader, "labels": pattern, **row}
    texts = [write(*one) for one in objects]
    found, problems = read(tmp_path_factory.mktemp("sound"), {**images, name: join(texts)}, **row)
    truth = sorted((label, tuple(map(float, box))) for label, box in objects)
    (whole,) = (image for image in found if image.image == "images/a.png")
    assert objects_of(whole) == truth, problems
    assert not whole.unclear
    texts[place] = write(*LOST[damage](*objects[place]))
    try:
        found, problems = read(tmp_path_factory.mktemp("damaged"), {**images, name: join(texts)}, **row)
    except ValueError as error:
        pytest.fail(str(error))
    for image in found:
        if image.image == "images/a.png" and objects_of(image) != truth:
            assert image.unclear
            assert not image.exhaustive
            assert rows_of(image) == []
            assert set(problems) & (DOUBTS | {"label-unreadable"})
    if (reader, damage) not in SOUND:
        assert set(problems) - {"image-without-label", "label-without-image"}, "lost, and not counted"


@pytest.mark.parametrize("reader", [reader for reader in FORMATS if reader != "visdrone"])
def test_what_another_dialect_writes_is_read_or_counted(reader, tmp_path):
    """A file of any other format in the place of one gives no exhaustive image without objects, and a problem."""
    objects = [("person", (10, 20, 60, 90)), ("car", (100, 20, 160, 90))]
    _, _, pattern, row = FORMATS[reader]
    for other, (write, join, _, _) in FORMATS.items():
        if other == reader or {other, reader} == {"yolo", "dota"}:
            continue
        files = {
            "images/a.png": png(),
            pattern.format(stem="a", file="all"): join([write(*one) for one in objects]),
        }
        images, problems = read(tmp_path / other, files, reader=reader, labels=pattern, **row)
        for image in images:
            assert objects_of(image) == sorted(objects) or not image.exhaustive, other
        assert set(problems) & (DOUBTS | {"label-unreadable", "label-without-image"}), other


TEXTS = {
    "pixels": "0 160 128 40 30",
    "confidence and track": "0 0.5 0.5 0.1 0.1 0.93 1",
    "keypoints": "0 0.7 0.6 0.05 0.2 " + " ".join(f"0.7{n} 0.6{n} 2" for n in range(5)),
    "keypoints in two numbers": "0 0.8 0.7 0.05 0.2 " + " ".join(f"0.8{n} 0.7{n}" for n in range(5)),
    "two corners": "0 0.6 0.6 0.9 0.9",
    "no class": "0.5 0.5 0.1 0.1 0.2",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_numbers_of_another_format_are_no_boxes(text, tmp_path):
    """What has the count of numbers of a YOLO line and is none makes the whole file refused, the good lines, too."""
    files = {"images/a.png": png(), "labels/a.txt": f"1 0.2 0.2 0.3 0.3\n{text}\n"}
    (image,), problems = read(tmp_path, files, reader="yolo", labels="labels/{stem}.txt", **NUMBERED)
    assert (image.objects, image.exhaustive) == ((), frozenset())
    assert problems["box-malformed"] >= 1


def test_a_class_written_as_a_float_is_the_class(tmp_path):
    """Class ``1.0`` is class 1; a confidence or a track number behind a box is left out."""
    files = {
        "images/a.png": png(),
        "labels/a.txt": "1.0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.1 0.1 0.9\n0 0.8 0.8 0.1 0.1 0.9 17",
    }
    (image,), problems = read(tmp_path, files, reader="yolo", labels="labels/{stem}.txt", **NUMBERED)
    assert [item.label for item in image.objects] == ["car", "car", "person"]
    assert not problems
    assert image.exhaustive == {"person", "car"}


def coco_of(folder, images, objects, **more):
    names = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    content = {"images": images, "annotations": objects, "categories": names, **more}
    files = {f"images/{name}.png": png() for name in "ab"} | {"labels/x.json": json.dumps(content)}
    found, problems = read(folder, files, reader="coco", labels="labels/{file}.json", **NAMED)
    return {image.image[7:8]: image for image in found}, problems


PERSON = {"category_id": 1, "bbox": [10, 20, 30, 40]}


def test_several_of_a_thing_in_coco(tmp_path):
    """One image under two ids has the objects of both; two images under one id have none that is believed."""
    a, b = {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}
    other = {"image_id": 2, "category_id": 2, "bbox": [50, 60, 30, 40]}
    found, problems = coco_of(
        tmp_path / "1", [a, {**a, "id": 2}, {**b, "id": 3}], [{"image_id": 1, **PERSON}, other]
    )
    assert len(found["a"].objects) == 2
    assert problems["image-listed-twice"] == 1
    found, problems = coco_of(tmp_path / "2", [a, {**b, "id": 1}], [{"image_id": 1, **PERSON}])
    assert all(image.unclear for image in found.values())
    assert problems["label-ambiguous"] == 2
    found, problems = coco_of(tmp_path / "3", [a, b], [{"image_id": 1, **PERSON}] * 2)
    assert len(found["a"].objects) == 1
    assert problems == {"object-listed-twice": 1}


def test_an_empty_image_of_coco_is_believed_only_when_the_file_is_complete(tmp_path):
    """Objects of unlisted images, no list of objects at all, and ids that are none leave empty images in doubt."""
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    found, _ = coco_of(tmp_path / "1", images, [{"image_id": 1, **PERSON}])
    assert found["b"].exhaustive == {"person", "car"}
    found, problems = coco_of(tmp_path / "2", images, [{"image_id": 1, **PERSON}, {"image_id": 77, **PERSON}])
    assert (bool(found["a"].exhaustive), bool(found["b"].exhaustive)) == (True, False)
    assert problems == {"label-without-image": 1, "labels-astray": 1}
    found, _ = coco_of(tmp_path / "3", images, [{"image_id": 1, **PERSON}, {"image_id": None, **PERSON}])
    assert not any(image.exhaustive for image in found.values())
    for objects in ([], None):
        found, problems = coco_of(tmp_path / f"4{objects}", images, objects)
        assert not found
        assert problems == {"image-without-label": 2}


def test_the_fifth_number_of_a_box_is_an_angle_only_where_it_can_be_nothing_else(tmp_path):
    """Scores and degrees are no angles in radians: all such boxes of the file are left out."""
    images = [{"id": 1, "file_name": "a.png"}]
    for fifth, sound in (((0.0, 0.4), True), ((-0.5, 0.3), True), ((0.9, 0.4), False), ((90, 0), False)):
        objects = [{"image_id": 1, "category_id": 1, "bbox": [100, 100, 50, 20, value]} for value in fifth]
        objects[1]["bbox"][0] = 200
        found, problems = coco_of(tmp_path / str(fifth[0]), images, objects)
        assert len(found["a"].objects) == (2 if sound else 0)
        assert found["a"].unclear == (not sound)
        assert problems.get("box-malformed", 0) == (0 if sound else 2)


def test_an_image_in_two_files_is_read_once(tmp_path):
    """With the same objects in both it is sound; with others in each it is unclear, and never two rows."""
    for second, unclear in (([10, 20, 30, 40], False), ([90, 20, 30, 40], True)):
        files = {"images/a.png": png()}
        for name, box in (("x", [10, 20, 30, 40]), ("y", second)):
            content = {
                "images": [{"id": 1, "file_name": "a.png"}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": box}],
                "categories": [{"id": 1, "name": "person"}],
            }
            files[f"labels/{name}.json"] = json.dumps(content)
        images, problems = read(
            tmp_path / str(unclear), files, reader="coco", labels="labels/{file}.json", **NAMED
        )
        assert [image.unclear for image in images] == [unclear]
        assert problems["image-listed-twice"] == 1


def test_masks_of_any_colours(tmp_path):
    """Dark indices of a palette, dark greys and colours are objects; classes and grey islands are told."""
    place = np.zeros((HEIGHT, WIDTH), np.uint8)
    place[10:20, 30:40] = 1
    palette = Image.fromarray(place)
    palette.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    file = io.BytesIO()
    palette.save(file, "PNG")
    dark = place * 38
    red = np.stack([place * 128, place * 0, place * 0], axis=-1)
    rows = {"reader": "masks", "labels": "masks/{stem}.*", "label": "target", "exhaustive": "target"}
    for number, mask in enumerate((file.getvalue(), png(dark), png(red))):
        (image,), problems = read(
            tmp_path / str(number), {"images/a.png": png(), "masks/a.png": mask}, **rows
        )
        assert [item.box for item in image.objects] == [(30, 10, 40, 20)]
        assert not problems
    island = place * 255
    island[100:110, 100:110] = 60
    (image,), problems = read(tmp_path / "grey", {"images/a.png": png(), "masks/a.png": png(island)}, **rows)
    assert image.unclear
    assert problems == {"mask-grey": 1}
    classes = place.copy()
    classes[50:60, 50:60] = 2
    images, problems = read(
        tmp_path / "classes", {"images/a.png": png(), "masks/a.png": png(classes)}, **rows
    )
    assert not images
    assert problems == {"label-unreadable": 1, "image-without-label": 1}


def test_files_are_seen_whatever_their_extension_and_spelling(tmp_path):
    """Every extension of an image is seen, any other is counted; composed and decomposed names are one."""
    names = ["a.jfif", "b.pgm", "c.ppm", "d.jp2", "e.jpe", "f.xyz"]
    images, problems = read(tmp_path / "1", {f"images/{name}": png() for name in names}, reader="images")
    assert len(images) == 5
    assert problems == {"extension-unknown": 1}
    files = {"images/cafe\u0301.png": png(), "labels/caf\u00e9.txt": "0 0.5 0.5 0.5 0.5"}
    (image,), problems = read(tmp_path / "2", files, reader="yolo", labels="labels/{stem}.txt", **NUMBERED)
    assert len(image.objects) == 1
    assert not problems


def test_an_exact_name_is_not_ambiguous(tmp_path):
    """Of two images of one stem, a label file's exact name means the one with that extension."""
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, **PERSON}],
        "categories": [{"id": 1, "name": "person"}],
    }
    files = {"images/a.png": png(), "images/a.bmp": png(), "labels/x.json": json.dumps(content)}
    images, problems = read(tmp_path, files, reader="coco", labels="labels/{file}.json", **NAMED)
    assert [image.image for image in images] == ["images/a.png"]
    assert problems == {"image-without-label": 1}


def test_doubts_are_codes():
    """Each doubt is a problem that is counted and has a meaning."""
    assert set(CODES) >= DOUBTS
