"""The readers on real files of many sources; what each of them has was counted once by hand or by another program."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irtd_datasets.sources import find_sources, merge_tables, open_source, read_table

TABLE = merge_tables(read_table(Path(__file__).parent / "real_sources.csv"))

# name, folder, images, objects, problems
COUNTS = [
    ("roadscene", "roadscene", 33, 238, {"image-without-label": 3}),
    ("HIT-UAV", "hit-uav", 36, 324, {"class-left-out": 2, "label-wrong": 1}),
    ("hit-uav-rotated", "hit-uav", 36, 324, {"class-left-out": 2}),
    ("hit-uav-json", "hit-uav", 18, 112, {}),
    ("hit-uav-rotated-json", "hit-uav", 18, 112, {}),
    ("kaist-demo", "kaist", 1, 2, {"label-without-image": 30}),
    ("llvip-fusion", "llvip", 22, 0, {}),
    ("m3fd-pair", "m3fd", 1, 0, {}),
    ("vedai-pairs", "vedai", 2, 0, {}),
    ("dota-devkit", "dota", 1, 64, {"label-without-image": 6}),
    ("dota-yolo-devkit", "dota", 2, 348, {"box-empty": 2}),
    ("dota-patches", "dota", 1, 19, {}),
    ("mmrotate-dota", "mmrotate", 1, 1, {"box-outside": 3, "label-without-image": 1}),
    ("mmrotate-dior", "mmrotate", 1, 1, {}),
    ("anti-uav-yolo", "anti-uav", 30, 30, {}),
    ("aerial-cars", "aerial-cars", 8, 206, {}),
    ("vtuav", "vtuav-hmft", 6, 6, {"label-without-image": 5}),
    ("msistd", "msistd-uiunet", 22, 26, {}),
    ("uiunet", "msistd-uiunet", 10, 14, {}),
    ("dnanet", "dnanet-demo", 3, 4, {}),
    ("rdian", "rdian-example", 1, 1, {}),
    ("SIRST", "sirst", 60, 68, {}),
    ("sirst-xml", "sirst", 60, 60, {}),
    ("NUDT-SIRST", "nudt-sirst", 51, 68, {"split-unknown": 21}),
    ("SIRST-V2", "open-sirst-v2", 40, 51, {}),
    ("sirst-v2-centroids", "open-sirst-v2", 34, 41, {"image-without-label": 6}),
    ("MassMIND", "massmind", 3, 0, {}),
    ("hrsid-inshore", "hrsid", 0, 0, {"label-without-image": 40, "image-without-label": 1}),
    ("NWPU-VHR-10", "nwpu-vhr10", 40, 256, {}),
    ("SIMD", "simd", 22, 331, {"box-clipped": 1}),
    ("DIOR-RSVG", "dior-rsvg", 1, 1, {"split-list-missing": 2}),
    ("sydney", "jbarata-captions", 3, 0, {"label-without-image": 122}),
    ("rsicd-coco", "rsicd", 0, 0, {"label-without-image": 300, "image-without-label": 4}),
    ("rsvqa-sentinel", "rsvqa", 18, 0, {}),
    ("rsvqa-usgs", "rsvqa", 9, 0, {}),
    ("rsvqa-records", "rsvqa", 0, 0, {"label-without-image": 30, "image-without-label": 18}),
    ("RSSCN7", "rsscn7", 35, 0, {}),
    ("UCMerced", "ucm-lfs-pointers", 0, 0, {"image-unreadable": 6}),
    ("wrd", "wrd", 8, 0, {}),
    ("mfnet-pair", "mfnet", 1, 0, {}),
]


def read(real, name, folder):
    source = open_source(name, real / folder, table=TABLE)
    return source, list(source.images())


@pytest.mark.parametrize(
    ("name", "folder", "expected_images", "objects", "problems"), COUNTS, ids=[row[0] for row in COUNTS]
)
def test_counts_on_real_files(name, folder, expected_images, objects, problems, real):
    """Each reader finds what the real folder has, and reports exactly what is wrong in it."""
    source, images = read(real, name, folder)
    assert len(images) == expected_images
    assert sum(len(image.objects) for image in images) == objects
    assert source.problems.counts == problems
    for image in images:
        for item in image.objects:
            if item.box:
                x_min, y_min, x_max, y_max = item.box
                assert 0 <= x_min < x_max <= image.width
                assert 0 <= y_min < y_max <= image.height


@pytest.mark.parametrize(
    ("upright", "oriented"), [("HIT-UAV", "hit-uav-rotated"), ("hit-uav-json", "hit-uav-rotated-json")]
)
def test_upright_and_oriented_labels_of_hit_uav_agree(upright, oriented, real):
    """In XML as in JSON, each oriented box has the class and the centre of its upright one, within a pixel or two."""
    ours, theirs = (
        {image.image.rsplit("/", 1)[-1]: image.objects for image in read(real, name, "hit-uav")[1]}
        for name in (upright, oriented)
    )
    assert set(ours) == set(theirs)
    for name, objects in ours.items():
        if not objects:
            continue
        assert [item.label for item in theirs[name]] == [item.label for item in objects]
        centres = np.array([np.reshape(item.polygon, (4, 2)).mean(0) for item in theirs[name]])
        expected = np.array([np.reshape(item.box, (2, 2)).mean(0) for item in objects])
        off = np.abs(centres - expected).max(1)
        assert np.median(off) < 1.5
        assert off.max() < 12


def test_masks_and_boxes_of_small_targets_agree(real):
    """Boxes from SIRST's masks are nearly those that SIRST-V2 publishes, and their hull is SIRST's own box."""
    masks = {image.image.rsplit("/", 1)[-1]: image for image in read(real, "SIRST", "sirst")[1]}
    published = {
        image.image.rsplit("/", 1)[-1]: image for image in read(real, "SIRST-V2", "open-sirst-v2")[1]
    }
    hulls = {image.image.rsplit("/", 1)[-1]: image for image in read(real, "sirst-xml", "sirst")[1]}
    agree = 0
    for name, image in masks.items():
        boxes = np.array([item.box for item in image.objects])
        hull = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        assert np.abs(np.array(hull) - hulls[name].objects[0].box).max() <= 1
        if name in published and len(published[name].objects) == len(boxes):
            theirs = np.array(sorted(item.box for item in published[name].objects))
            agree += np.abs(np.array(sorted(map(tuple, boxes))) - theirs).max() <= 1.5
    assert agree >= 10


def test_targets_are_brighter_or_darker_than_their_surroundings(real):
    """Boxes of small targets lie on targets: their pixels differ from those around in nearly all images."""
    source, images = read(real, "SIRST", "sirst")
    differs = 0
    for image in images:
        pixels = np.asarray(Image.open(io.BytesIO(source.image_bytes(image))).convert("L")).astype(float)
        x_min, y_min, x_max, y_max = map(int, image.objects[0].box)
        around = pixels[max(y_min - 5, 0) : y_max + 5, max(x_min - 5, 0) : x_max + 5]
        differs += pixels[y_min:y_max, x_min:x_max].mean() > around.mean() + 3
    assert differs >= 0.9 * len(images)


def test_both_modalities_of_vtuav_have_their_own_box(real):
    """Line k of each file belongs to frame 10 k; the boxes of the two modalities differ by some pixels."""
    _, images = read(real, "vtuav", "vtuav-hmft")
    last = images[-1]
    assert last.image.endswith("000050.jpg")
    assert last.frame == 5
    assert last.objects[0].box == (600, 125, 668, 206)
    assert last.visible_objects[0].box == (604, 130, 670, 213)


def test_captions_and_questions_of_real_files(real):
    """Sentences and questions arrive as they stand in the release."""
    _, (first, *_) = read(real, "sydney", "jbarata-captions")
    assert first.image.endswith("1.tif")
    assert len(first.captions) == 5
    assert first.split == "train"
    assert first.captions[0] == "A residential area with houses arranged neatly ."
    _, images = read(real, "rsvqa-sentinel", "rsvqa")
    assert images[0].questions[0] == ("Is it a rural or an urban area", "rural")
    assert sum(len(image.questions) for image in images) == 1802
    _, (golf,) = read(real, "DIOR-RSVG", "dior-rsvg")
    assert golf.objects[0].description == "A green and brown golf field"
    assert golf.objects[0].box == (
        133,
        237,
        684,
        672,
    )


def test_infrared_of_mfnet_is_no_colour(real):
    """The fourth channel of the real four-channel PNG is an image of its own."""
    source, (image,) = read(real, "mfnet-pair", "mfnet")
    infrared = np.asarray(Image.open(io.BytesIO(source.image_bytes(image))))
    colour = np.asarray(Image.open(io.BytesIO(source.visible_bytes(image))))
    assert infrared.shape == (480, 640)
    assert colour.shape == (480, 640, 3)
    assert infrared.std() > 5
    assert abs(np.corrcoef(infrared.ravel(), colour.mean(2).ravel())[0, 1]) < 0.9


def test_real_folders_are_recognised(real):
    """Folders of real sources are found by their names, and said to be readable where they are."""
    found = {one.row.name: one.readable for one in find_sources(real)}
    for name in ("HIT-UAV", "SIRST", "NUDT-SIRST", "SIRST-V2", "SIMD", "RSSCN7", "DIOR-RSVG", "NWPU-VHR-10"):
        assert found[name]
    assert found["VEDAI"] is False
