"""Readers of label formats: the dialects that real files have, and what is broken in them."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.annotations.boxes_csv import parse_boxes_csv
from irtd_datasets.annotations.captions import parse_caption_lists, parse_captions
from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.dota import parse_dota, parse_vedai
from irtd_datasets.annotations.json_members import read_member_lists
from irtd_datasets.annotations.kaist import parse_bbgt
from irtd_datasets.annotations.label_file import oriented_corners
from irtd_datasets.annotations.masks import regions
from irtd_datasets.annotations.points import parse_points
from irtd_datasets.annotations.tracks import frames_of_lines, parse_track
from irtd_datasets.annotations.voc import parse_voc, parse_xml
from irtd_datasets.annotations.vqa import parse_question_lines, parse_rsvqa, unwrap_javascript
from irtd_datasets.annotations.yolo import parse_yolo
from irtd_datasets.errors import AnnotationError


def voc(inner, head="<filename>1.png</filename><size><width>640</width><height>512</height></size>"):
    return f"<annotation>{head}{inner}</annotation>".encode()


DIALECTS = {
    "corners in any order": (
        "<bndbox><xmax>30</xmax><xmin>10</xmin><ymax>40</ymax><ymin>20</ymin></bndbox>",
        (10, 20, 30, 40),
    ),
    "kaist": ("<bndbox><x>10</x><y>20</y><w>20</w><h>20</h></bndbox>", (10, 20, 30, 40)),
    "roLabelImg": (
        "<type>robndbox</type><robndbox><cx>20</cx><cy>30</cy><w>20</w><h>10</h><angle>0.0</angle></robndbox>",
        (10, 25, 30, 35),
    ),
    "dronevehicle": (
        "<polygon><x1>12</x1><y1>20</y1><x2>30</x2><y2>22</y2><x3>28</x3><y3>40</y3><x4>10</x4><y4>38</y4></polygon>",
        (10, 20, 30, 40),
    ),
    "dior-r": (
        (
            "<robndbox><x_left_top>10</x_left_top><y_left_top>20</y_left_top><x_right_top>30</x_right_top>"
            "<y_right_top>20</y_right_top><x_right_bottom>30</x_right_bottom><y_right_bottom>40</y_right_bottom>"
            "<x_left_bottom>10</x_left_bottom><y_left_bottom>40</y_left_bottom></robndbox>"
        ),
        (10, 20, 30, 40),
    ),
}


@pytest.mark.parametrize(("place", "box"), DIALECTS.values(), ids=DIALECTS)
def test_voc_dialects_give_the_same_kind_of_box(place, box):
    """Every way of writing a place in VOC XML gives the enclosing box in pixels; oriented ones keep their polygon."""
    found = parse_voc(voc(f"<object><name>car</name>{place}<difficult>1</difficult></object>"), "1.xml")
    (item,) = found.objects
    assert item.box == pytest.approx(box)
    assert (item.polygon is None) == ("bndbox>" in place and "rob" not in place)
    assert (found.image, found.width, found.height) == ("1.png", 640, 512)
    assert item.attributes == {"difficult"}
    assert not found.problems


def test_a_turned_box_has_its_corners():
    """A quarter turn of a box swaps its sides about the centre."""
    corners = oriented_corners(20, 30, 20, 10, math.pi / 2)
    assert (min(corners[0::2]), max(corners[0::2])) == pytest.approx((15, 25))
    assert (min(corners[1::2]), max(corners[1::2])) == pytest.approx((20, 40))


def test_voc_points_descriptions_and_hrsc():
    """Points, centroids, referring expressions and the ships of HRSC2016 are read by the same parser."""
    point = parse_voc(voc("<object><name>person</name><point><x>5</x><y>6</y></point></object>"), "1R.xml")
    centroid = parse_voc(
        voc("<object><name>Target</name><centroid><yc>7.5</yc><xc>8</xc></centroid></object>"), "Misc_1.xml"
    )
    described = parse_voc(
        voc(
            "<object><name>golffield</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
            "<description>A green golf field</description></object>"
        ),
        "00001.xml",
    )
    ship = parse_voc(
        b"<HRSC_Image><Img_FileName>1</Img_FileName><Img_FileFmt>bmp</Img_FileFmt><Img_SizeWidth>90</Img_SizeWidth>"
        b"<Img_SizeHeight>80</Img_SizeHeight><HRSC_Objects><HRSC_Object><Class_ID>13</Class_ID><box_xmin>1</box_xmin>"
        b"<box_ymin>2</box_ymin><box_xmax>30</box_xmax><box_ymax>40</box_ymax><mbox_cx>15</mbox_cx><mbox_cy>20</mbox_cy>"
        b"<mbox_w>30</mbox_w><mbox_h>8</mbox_h><mbox_ang>-1.1</mbox_ang></HRSC_Object></HRSC_Objects></HRSC_Image>",
        "1.xml",
    )
    assert point.objects[0].point == (5, 6)
    assert point.objects[0].box is None
    assert centroid.objects[0].point == (8, 7.5)
    assert described.objects[0].description == "A green golf field"
    assert (ship.image, ship.objects[0].label, len(ship.objects[0].polygon)) == ("1.bmp", "13", 8)


@pytest.mark.parametrize(
    "place",
    [
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>x</xmax><ymax>4</ymax></bndbox>",
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax></bndbox>",
        "<bndbox><xmin>nan</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>",
        "<bndbox/>",
        "",
    ],
)
def test_voc_object_without_a_readable_place_is_counted(place):
    """An object whose box cannot be read is left out and listed; the others of the file stay."""
    good = "<object><name>car</name><bndbox><x>1</x><y>1</y><w>1</w><h>1</h></bndbox></object>"
    found = parse_voc(voc(f"<object><name>car</name>{place}</object>{good}"), "1.xml")
    assert len(found.objects) == 1
    assert len(found.problems) == 1
    assert found.problems[0].code in {"box-malformed", "object-without-box"}


def test_size_of_zero_is_no_size():
    """Labelling tools write a size of 0 where they could not open the image; it is not taken for a size."""
    found = parse_voc(voc("", head="<size><width>0</width><height>0</height></size>"), "1.xml")
    assert found.width is None
    assert found.height is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"<html><body>404</body></html>", "no label file"),
        (b"<annotation><object>", "no XML"),
        (b"\0\0\0\0", "NUL"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "document type"),
        (
            '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]><a>&lol2;</a>'.encode(
                "utf-16"
            ),
            "document type",
        ),
        (b'<?xml version="1.0" encoding="utf-7"?><annotation/>', "encoding"),
    ],
)
def test_xml_that_is_no_label_file_is_refused(data, says):
    """Empty files, error pages, pointers and entity bombs are errors that name the file, in whatever encoding."""
    with pytest.raises(AnnotationError, match=r"7\.xml") as caught:
        parse_voc(data, "7.xml")
    assert says in str(caught.value)


def test_xml_in_the_encodings_that_labelling_tools_write():
    """A Chinese path in GBK and a file in UTF-16 do not lose the labels."""
    place = "<bndbox><x>1</x><y>2</y><w>3</w><h>4</h></bndbox>"
    path = "<path>D:\\红外\\1.jpg</path>"
    body = f"<annotation>{path}<object><name>人</name>{place}</object></annotation>"
    for encoding in ("gb2312", "gbk", "utf-16", "utf-8"):
        found = parse_voc(f'<?xml version="1.0" encoding="{encoding}"?>{body}'.encode(encoding), "1.xml")
        assert found.objects[0].label == "人"
        assert found.image == "D:\\红外\\1.jpg"
    with pytest.raises(AnnotationError):
        parse_xml(b"<a>" + b" " * (17 << 20) + b"</a>", "large.xml")


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_labels_or_an_error_of_ours(data):
    """No bytes at all make a parser fail in another way than with an error that names the file."""
    parsers = (
        parse_voc,
        parse_dota,
        parse_vedai,
        parse_bbgt,
        parse_points,
        parse_boxes_csv,
        parse_question_lines,
        lambda data, name: parse_yolo(data, name, 640, 512),
        parse_track,
        lambda data, name: list(parse_coco(data, name)),
        lambda data, name: list(parse_captions(data, name)),
    )
    for parse in parsers:
        try:
            parse(data, "x.txt")
        except AnnotationError as error:  # noqa: PERF203
            assert "x.txt" in str(error)  # noqa: PT017 - either outcome is right


def test_yolo_lines():
    """Detection, confidence and polygon lines are read; others are counted; an empty file has no object."""
    data = b"0 0.5 0.5 0.25 0.5\n3 0.5 0.5 0.25 0.5 0.9\n1 0.1 0.1 0.3 0.1 0.3 0.2 0.1 0.2\nbad line\n4 0.5 0.5\n\n"
    found = parse_yolo(data, "1.txt", 640, 512)
    boxes = [(240, 128, 400, 384), (240, 128, 400, 384), (64, 51.2, 192, 102.4)]
    assert np.array([item.box for item in found.objects]) == pytest.approx(np.array(boxes))
    assert [item.label for item in found.objects] == ["0", "3", "1"]
    assert len(found.objects[2].polygon) == 8
    assert len(found.problems) == 2
    assert parse_yolo(b"", "1.txt", 640, 512).objects == []


def test_dota_lines():
    """Header lines are passed over, the difficulty may be missing, and an empty file has no object."""
    data = (
        b"imagesource:GoogleEarth\ngsd:null\n0 0 4 0 4 2 0 2 ship 0\n1 1 2 1 2 2 1 2 plane\n1 1 2 1 ship 0\n"
    )
    found = parse_dota(data, "P1.txt")
    assert [(item.label, item.box) for item in found.objects] == [
        ("ship", (0, 0, 4, 2)),
        ("plane", (1, 1, 2, 2)),
    ]
    assert [problem.code for problem in found.problems] == ["box-malformed"]
    assert parse_dota(b"", "P1.txt").objects == []


def test_both_layouts_of_vedai_give_the_same():
    """The class stands before or behind the corners, depending on the version; the centre tells which."""
    new = parse_vedai(b"20 15 0.1 11 1 0 10 30 30 10 10 10 20 20", "1.txt")
    old = parse_vedai(b"20 15 0.1 10 30 30 10 10 10 20 20 11 1 0", "1.txt")
    assert new.objects == old.objects
    assert new.objects[0].label == "11"
    assert parse_vedai(b"20 15 0.1 1 1 0 900 900 900 900 1 1 1 1", "1.txt").problems


def test_bbgt_of_kaist():
    """Occlusion and ignore flags become attributes; a file without its first line is refused."""
    found = parse_bbgt(b"% bbGt version=3\nperson? 1 2 3 4 2 0 0 0 0 1 0\n\npeople 5 6 7 8\n", "I1.txt")
    assert [item.label for item in found.objects] == ["person?", "people"]
    assert found.objects[0].attributes == {"occluded", "ignored"}
    assert found.objects[1].box == (5, 6, 12, 14)
    with pytest.raises(AnnotationError, match="bbGt"):
        parse_bbgt(b"person 1 2 3 4", "I1.txt")


def test_track_lines():
    """Commas, tabs and blanks separate; an absent target, NaN and an empty line have no box; corners can be read."""
    lines, problems = parse_track(
        b"1,2,3,4\n1\t2\t3\t4\n0 0 0 0\nNaN,NaN,NaN,NaN\n\n1,2,3\n0 0 4 0 4 4 0 4", "a.txt"
    )
    assert [box for box, _ in lines] == [(1, 2, 4, 6), (1, 2, 4, 6), None, None, None, None, (0, 0, 4, 4)]
    assert [problem.code for problem in problems] == ["box-malformed"]
    assert parse_track(b"104 69 125 109", "g.txt", corners=True)[0][0][0] == (104, 69, 125, 109)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1))
def test_each_line_of_a_track_belongs_to_one_frame(count, every, first):
    """With all frames there, line k belongs to frame k * every; with the others deleted, the numbers say the same."""
    total = (count - 1) * every + 1
    frames = [f"{first + number:06d}" for number in range(total)]
    whole = {frame: line for _, frame, line in frames_of_lines(frames, count, every)}
    assert list(whole.values()) == list(range(count))
    thinned = frames[::every]
    if first == 0 or len(thinned) == 1 or every == 1:
        assert {frame: line for _, frame, line in frames_of_lines(thinned, count + 1, every)} == {
            frame: line for frame, line in whole.items() if frame in thinned
        }


def brute_force_regions(mask):
    """Flood fill, pixel by pixel: what `regions` has to equal."""
    seen, found = np.zeros(mask.shape, bool), []
    for y, x in np.argwhere(mask):
        if seen[y, x]:
            continue
        stack, members = [(y, x)], []
        seen[y, x] = True
        while stack:
            row, column = stack.pop()
            members.append((row, column))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    a, b = row + dy, column + dx
                    inside = 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]
                    if inside and mask[a, b] == mask[y, x] and not seen[a, b]:
                        seen[a, b] = True
                        stack.append((a, b))
        rows, columns = [m[0] for m in members], [m[1] for m in members]
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        found.append((int(mask[y, x]), tuple(map(float, box)), len(members)))
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.integers(1, 3), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_regions_equal_a_flood_fill(seed, height, width, classes, density):
    """Connected regions of any mask, binary or with classes, are those of a flood fill, in the same order."""
    random = np.random.default_rng(seed)
    mask = random.integers(1, classes + 1, (height, width)) * (random.random((height, width)) < density)
    assert [tuple(region) for region in regions(mask, by_value=True)] == brute_force_regions(mask)
    binary = (mask > 0).astype(np.uint8)
    assert [tuple(region) for region in regions(binary * 255)] == brute_force_regions(binary)


def test_small_regions_can_be_left_out():
    """Specks below the asked size are no objects; an empty mask has none."""
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[3, 2] = mask[3, 3] = True
    assert [region.area for region in regions(mask, smallest=2)] == [2]
    assert regions(np.zeros((3, 0))) == []
    assert regions(np.zeros((3, 3))) == []


def coco(images, objects, order=("images", "annotations", "categories"), **keys):
    parts = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}],
    }
    return json.dumps({"info": {"year": 2020}, **{keys.get(key, key): parts[key] for key in order}}).encode()


@pytest.mark.parametrize(
    "order",
    [
        ("images", "annotations", "categories"),
        ("annotations", "categories", "images"),
        ("categories", "annotations", "images"),
    ],
)
def test_coco_in_any_order(order):
    """Objects reach their image whatever stands first in the file; images without objects are kept."""
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 6} for number in (30, 10, 20)
    ]
    objects = [
        {"id": 1, "image_id": 20, "category_id": 2, "bbox": [1, 1, 2, 2], "iscrowd": 1},
        {"id": 2, "image_id": 30, "category_id": 1, "bbox": [0, 0, 3, 2]},
        {"id": 3, "image_id": 20, "category_id": 9, "bbox": [2, 2, 2, 2]},
        {"id": 4, "image_id": 20, "category_id": 1, "bbox": [2, 2, 2]},
        {"id": 5, "image_id": 77, "category_id": 1, "bbox": [2, 2, 2, 2]},
    ]
    *files, last = parse_coco(coco(images, objects, order), "train.json")
    assert [file.image for file in files] == ["30.jpg", "10.jpg", "20.jpg"]
    assert [[item.label for item in file.objects] for file in files] == [["car"], [], ["person", "9"]]
    assert files[2].objects[0].attributes == {"crowd"}
    assert files[2].problems[0].code == "box-malformed"
    assert [problem.code for problem in last.problems] == ["label-without-image"]


def test_coco_relatives():
    """HIT-UAV's keys and five-number boxes, oriented outlines, FLIR's file for each image."""
    hit = parse_coco(
        b'{"images": [{"filename": "a.jpg", "id": 0}], "annotation": [{"image_id": 0, "bbox": [10, 20, 4, 2, 0.0],'
        b' "category_id": 0}, {"image_id": 0, "bbox": [0, 0, 4, 4], "category_id": 0,'
        b' "segmentation": [[2, 0, 4, 2, 2, 4, 0, 2]]}, {"image_id": 0, "bbox": [0, 0, 4, 4], "category_id": 0,'
        b' "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}]}',
        "val.json",
    )
    (file,) = hit
    assert file.objects[0].box == (8, 19, 12, 21)
    assert len(file.objects[0].polygon) == 8
    assert file.objects[1].polygon == (2, 0, 4, 2, 2, 4, 0, 2)
    assert file.objects[2].polygon is None
    image = b'"image": {"file_name": "FLIR_00001", "id": 7}'
    item = b'"annotation": [{"category_id": "3", "bbox": [1, 2, 3, 4]}]'
    flir, turned = b"{" + item + b", " + image + b"}", b"{" + image + b", " + item + b"}"
    for data in (flir, turned):
        (file,) = parse_coco(data, "FLIR_00001.json")
        assert (file.image, file.objects[0].label) == ("FLIR_00001", "3")


def test_a_large_coco_file_takes_bounded_memory(tmp_path, monkeypatch):
    """Above a limit rows go to a temporary file: memory stays far below the file, and every object arrives."""
    monkeypatch.setattr("irtd_datasets.annotations.coco._IN_MEMORY", 500)
    count, per = 6_000, 10
    path = tmp_path / "large.json"
    outline = [[1.0, 2.0] * 20]
    with path.open("w") as file:
        file.write('{"annotations": [')
        for number in range(count):
            record = {"image_id": number % (count // per), "category_id": 1, "bbox": [number % 90, 1, 2, 2]}
            file.write(("," if number else "") + json.dumps({**record, "segmentation": outline}))
        images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(count // per)]
        file.write('], "images": ' + json.dumps(images) + "}")
    expected = [
        (f"{image}.jpg", [number % 90 for number in range(count) if number % (count // per) == image])
        for image in range(count // per)
    ]
    tracemalloc.start()
    with path.open("rb") as file:
        rows = parse_coco(_Small(file), "large.json")
        found = [(one.image, [item.box[0] for item in one.objects]) for one in rows]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == expected
    assert peak < path.stat().st_size


class _Small:
    """A file that gives little at once, as a pipe does."""

    def __init__(self, file):
        self.file = file

    def read(self, size):
        return self.file.read(min(size, 4096))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "json-empty"),
        (b"[]", "json-not-an-object"),
        (b'{"images": [{"id": 1}', "json-truncated"),
        (b'{"images": [1]}', "json-record-type"),
        (b'{"images" [1]}', "json-syntax"),
        (b'{"images": [{}] "x": 1}', "json-syntax"),
        (b"<html>", "json-web-page"),
    ],
)
def test_lists_inside_an_object_are_read_or_refused(data, code):
    """A file that is no object of lists, or is cut, is an error with the code that fits."""
    with pytest.raises(AnnotationError) as caught:
        list(read_member_lists(data, name="train.json", keys={"images"}))
    assert caught.value.code == code


def test_caption_forms():
    """Karpathy's JSON, COCO captions, JSON lines and pairs of lists give the same captions."""
    karpathy = json.dumps(
        {"images": [{"filename": "1.tif", "split": "test", "sentences": [{"raw": " A ."}, {"raw": ""}]}]}
    )
    coco_form = json.dumps(
        {
            "annotations": [{"image_id": 5, "caption": "A ."}, {"image_id": 6, "caption": "B"}],
            "images": [{"id": 5, "file_name": "1.tif"}],
        }
    )
    (first,) = parse_captions(karpathy.encode(), "dataset.json")
    assert (first.captions, first.split, first.problems[0].code) == (("A .",), "test", "caption-empty")
    second, lost = parse_captions(coco_form.encode(), "captions.json")
    assert second.captions == ("A .",)
    assert lost.problems[0].code == "label-without-image"
    (third,) = parse_captions(b'{"filename": "images/1.tif", "captions": ["A ."]}\n', "a.jsonl")
    assert (third.image, third.captions) == ("images/1.tif", ("A .",))
    assert [f.captions for f in parse_caption_lists("1.tif\n2.tif\n", "a\nb\nc\nd\n", "train_caps.txt")] == [
        ("a", "b"),
        ("c", "d"),
    ]
    with pytest.raises(AnnotationError, match="3 captions for 2"):
        parse_caption_lists("1.tif\n2.tif", "a\nb\nc", "train_caps.txt")


def test_questions_of_rsvqa():
    """Questions meet their answers and images; inactive records are passed over; unanswered ones are counted."""
    images = b'{"images": [{"id": 0, "active": true}, {"id": 1, "active": false}]}'
    questions = (
        b'{"questions": [{"id": 0, "img_id": 0, "question": "a?", "active": true}, {"id": 1, "active": false},'
        b' {"id": 2, "img_id": 0, "question": "b?", "active": true}, {"id": 3, "img_id": 9, "question": "c?"}]}'
    )
    answers = (
        b'{"answers": [{"id": 0, "question_id": 0, "answer": "yes"},'
        b' {"id": 1, "question_id": 3, "answer": "no"}]}'
    )
    first, last = parse_rsvqa(images, questions, answers, name="images.json")
    assert (first.image, first.questions, first.problems[0].code) == (
        "0",
        (("a?", "yes"),),
        "question-without-answer",
    )
    assert [problem.code for problem in last.problems] == ["label-without-image"]
    assert (
        unwrap_javascript(rb"""var a = JSON.parse('{"q": "it\'s \\"so\\""}');""", "a.js")
        == rb"""{"q": "it's \"so\""}"""
    )
    with pytest.raises(AnnotationError, match="not closed"):
        unwrap_javascript(b"var a = JSON.parse('{}", "a.js")


def test_question_lines():
    """RSIVQA puts no separator between question and answer; a line without either is counted."""
    files = parse_question_lines(
        b"P1: is it?yes\nP1: how many?15\nP2 broken\n2.tif:what?farm land\n", "vqa.txt"
    )
    assert [(f.image, f.questions) for f in files] == [
        ("P1", (("is it?", "yes"), ("how many?", "15"))),
        ("2.tif", (("what?", "farm land"),)),
    ]
    assert files[0].problems[0].code == "question-without-answer"


def test_points_and_tables():
    """Points of RGBT-CC and labelme, and boxes in tables with commas or semicolons."""
    labelme = parse_points(b'{"shapes": [{"points": [[1, 2]]}, {"points": []}]}', "a.json")
    assert [item.point for item in labelme.objects] == [(1, 2)]
    assert len(labelme.problems) == 1
    with pytest.raises(AnnotationError, match="no list of points"):
        parse_points(b'{"count": 3}', "a.json")
    table = parse_boxes_csv(
        b"Image;Label;xmin;ymin;xmax;ymax;width;height\na;car;1;2;3;4;64;48\na;bus;1;2;x;4;64;48\n", "b.csv"
    )
    assert table[0].objects[0].box == (1, 2, 3, 4)
    assert (table[0].width, table[0].height) == (64, 48)
    assert table[0].problems[0].code == "box-malformed"
    with pytest.raises(AnnotationError, match="expected an image"):
        parse_boxes_csv(b"a,b\n1,2\n", "b.csv")
