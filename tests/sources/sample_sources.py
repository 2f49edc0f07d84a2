"""Small sources in the layouts and dialects of the real ones, from a seed; images are marked where objects are."""

import io
import json

import numpy as np
from PIL import Image

BRIGHT = 230


def sample_image(width, height, boxes=(), *, seed=0, mode="L", form="PNG"):
    """Bytes of a dark noisy image that is bright inside the boxes."""
    pixels = np.random.default_rng(seed).integers(0, 60, (height, width), np.uint8)
    for x_min, y_min, x_max, y_max in boxes:
        pixels[round(y_min) : round(y_max), round(x_min) : round(x_max)] = BRIGHT
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, quality=95)
    return file.getvalue()


def put(root, name, content):
    """Write a file below a folder."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def voc(name, size, objects, place="bndbox"):
    """A VOC file; objects are (class, box)."""
    width, height = size
    parts = [
        f"<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
    ]
    for label, (x_min, y_min, x_max, y_max) in objects:
        if place == "bndbox":
            inner = f"<bndbox><xmin>{x_min}</xmin><ymin>{y_min}</ymin><xmax>{x_max}</xmax><ymax>{y_max}</ymax></bndbox>"
        else:
            corners = (x_min, y_min, x_max, y_min, x_max, y_max, x_min, y_max)
            keys = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
            inner = (
                f"<polygon>{''.join(f'<{k}>{v}</{k}>' for k, v in zip(keys, corners, strict=True))}</polygon>"
            )
        parts.append(f"<object><name>{label}</name>{inner}</object>")
    return "".join(parts) + "</annotation>"


def llvip(root):
    """Four pairs of LLVIP, two in each split."""
    for number, split in ((10001, "train"), (10002, "train"), (190001, "test"), (190002, "test")):
        box = (10 + number % 7, 12, 30, 40)
        put(root, f"infrared/{split}/{number:06d}.jpg", sample_image(80, 64, [box], seed=number, form="JPEG"))
        put(
            root,
            f"visible/{split}/{number:06d}.jpg",
            sample_image(80, 64, seed=number, mode="RGB", form="JPEG"),
        )
        put(root, f"Annotations/{number:06d}.xml", voc(f"{number:06d}.jpg", (80, 64), [("person", box)]))
    return root


def drone_vehicle(root):
    """Two pairs of DroneVehicle with their white border; boxes count from its corner."""
    for number in (1, 2):
        box = (200, 150, 260, 190)
        pixels = np.full((712, 840), 255, np.uint8)
        pixels[100:-100, 100:-100] = 30
        pixels[150:190, 200:260] = BRIGHT - 40
        file = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").save(file, "JPEG", quality=95)
        for kind in ("img", "imgr"):
            put(root, f"train/train{kind}/{number:05d}.jpg", file.getvalue())
        label = voc(f"{number:05d}.jpg", (840, 712), [("feright car", box), ("*", box)], "polygon")
        for kind in ("label", "labelr"):
            put(root, f"train/train{kind}/{number:05d}.xml", label)
    return root


def vedai(root):
    """Two pairs of VEDAI with labels by number of the class."""
    for number in (0, 57):
        box = (20, 30, 40, 50)
        put(root, f"Vehicules512/{number:08d}_ir.png", sample_image(128, 128, [box], seed=number))
        put(root, f"Vehicules512/{number:08d}_co.png", sample_image(128, 128, seed=number, mode="RGB"))
        put(root, f"Annotations512/{number:08d}.txt", "30 40 0.0 11 1 0 20 40 40 20 30 30 50 50\n")
    put(root, "Annotations512/fold01.txt", "00000000\n")
    put(root, "Annotations512/fold01test.txt", "00000057\n")
    return root


def flir(root):
    """FLIR ADAS v1: COCO for each part, with the classes numbered as in COCO."""
    for split in ("train", "val"):
        images, objects = [], []
        for number in range(3):
            box = (10, 20, 30, 40)
            name = f"thermal_8_bit/FLIR_{number:05d}.jpeg"
            put(root, f"{split}/{name}", sample_image(64, 51, [box], seed=number, form="JPEG"))
            images.append({"id": number, "file_name": name, "width": 64, "height": 51})
            objects.append({"image_id": number, "category_id": 3, "bbox": [10, 20, 20, 20]})
        content = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "car"}]}
        put(root, f"{split}/thermal_annotations.json", json.dumps(content))
    return root


def small_targets(root):
    """IRSTD-1k: masks with two targets, one of a single pixel."""
    boxes = [(5, 5, 8, 7), (30, 20, 31, 21)]
    for number in range(2):
        put(root, f"IRSTD1k_Img/XDU{number}.png", sample_image(64, 48, boxes, seed=number))
        mask = np.zeros((48, 64), np.uint8)
        for x_min, y_min, x_max, y_max in boxes:
            mask[y_min:y_max, x_min:x_max] = 255
        file = io.BytesIO()
        Image.fromarray(mask).save(file, "PNG")
        put(root, f"IRSTD1k_Label/XDU{number}.png", file.getvalue())
    return root


def mfnet(root):
    """MFNet: one four-channel PNG and its class mask."""
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[..., :3] = (10, 20, 30)
    pixels[..., 3] = 40
    pixels[10:20, 10:30, 3] = BRIGHT
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 2
    for name, array in (("images/00001D.png", pixels), ("labels/00001D.png", mask)):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        put(root, name, file.getvalue())
    put(root, "train.txt", "00001D\n")
    return root


def rgbt_cc(root):
    """RGBT-CC: pairs with points in JSON."""
    for split, number in (("train", 1162), ("test", 1)):
        put(root, f"{split}/{number}_T.jpg", sample_image(64, 48, seed=number, mode="RGB", form="JPEG"))
        put(root, f"{split}/{number}_RGB.jpg", sample_image(64, 48, seed=number, mode="RGB", form="JPEG"))
        put(root, f"{split}/{number}_GT.json", json.dumps({"points": [[3, 4], [50.5, 40]], "count": 2}))
    return root


def drone_rgbt(root):
    """DroneRGBT: pairs with points in XML."""
    for number in (1, 2):
        put(root, f"Train/Infrared/{number}R.jpg", sample_image(64, 51, seed=number, form="JPEG"))
        put(root, f"Train/RGB/{number}.jpg", sample_image(64, 51, seed=number, mode="RGB", form="JPEG"))
        point = "<object><name>person</name><point><x>5</x><y>6</y></point></object>"
        put(root, f"Train/GT_/{number}R.xml", f"<annotation>{point * number}</annotation>")
    return root


def lasher(root):
    """LasHeR: two videos whose frames have names of their own in each modality."""
    for split, sequence in (("trainingset", "boycome"), ("testingset", "10phone_boy")):
        base = f"{split}/{sequence}"
        for number in range(3):
            put(root, f"{base}/infrared/i{number:03d}.jpg", sample_image(64, 48, seed=number, form="JPEG"))
            put(root, f"{base}/visible/v{number:03d}.jpg", sample_image(64, 48, seed=number, form="JPEG"))
        put(root, f"{base}/infrared.txt", "1,2,10,10\n0,0,0,0\n3,4,10,10\n")
        put(root, f"{base}/visible.txt", "2,3,10,10\n2,3,10,10\n3,4,10,10\n")
    return root


def lsotb(root):
    """LSOTB-TIR: a training video with a file for each frame, as its folder of classes."""
    for number in range(2):
        name = f"TIR_training_001/airplane_006/{number:08d}"
        put(root, f"TrainingData/{name}.jpg", sample_image(64, 48, seed=number, form="JPEG"))
        put(root, f"Annotations/{name}.xml", voc(f"{number:08d}", (64, 48), [("", (1, 2, 20, 30))]))
    return root


def sysu(root):
    """SYSU-MM01: two persons, two infrared and one visible camera, splits by number of the person."""
    for identity in ("0001", "0002"):
        for camera in (1, 3, 6):
            for number in (1, 2):
                crop = sample_image(20, 40, seed=camera, mode="RGB", form="JPEG")
                put(root, f"cam{camera}/{identity}/{number:04d}.jpg", crop)
    put(root, "exp/train_id.txt", "1\n")
    put(root, "exp/test_id.txt", "2,3\n")
    return root


def llcm(root):
    """LLCM: the camera stands in the name."""
    for band, split in (("nir", "train"), ("vis", "test")):
        person = "0001" if split == "train" else "0002"
        name = f"{band}/{person}/{person}_c03_s1_f1_{band}.jpg"
        put(root, name, sample_image(20, 40, form="JPEG"))
        put(root, f"idx/{split}_{band}.txt", f"{name} 1\n")
    return root


def scenes(root):
    """EPFL RGB-NIR: the folder is the class."""
    for scene in ("country", "water"):
        for number in range(2):
            put(root, f"{scene}/{number:04d}_nir.tiff", sample_image(32, 24, seed=number, form="TIFF"))
            put(
                root,
                f"{scene}/{number:04d}_rgb.tiff",
                sample_image(32, 24, seed=number, mode="RGB", form="TIFF"),
            )
    return root


def class_folders(first, second):
    """A builder of a set of scenes: an image in each of two folders."""

    def build(root):
        for number, folder in enumerate((first, second)):
            put(root, f"{folder}/{number}.jpg", sample_image(32, 24, seed=number, mode="RGB", form="JPEG"))
        return root

    return build


def resisc(root):
    """NWPU-RESISC45 as torchgeo unpacks it, with its lists of splits."""
    for split, name in (("train", "beach_001"), ("val", "beach_002"), ("test", "church_001")):
        scene = name.partition("_")[0]
        put(root, f"NWPU-RESISC45/{scene}/{name}.jpg", sample_image(32, 32, form="JPEG"))
        put(root, f"resisc45-{split}.txt", f"{name}.jpg\n")
    return root


def nwpu_captions(root):
    """NWPU-Captions: a JSON of a list for each scene; two scenes have an image of one name."""
    captions = {"raw": "A pond .", "raw_1": "Water .", "raw_2": "Blue .", "imgid": 1, "sentids": [0, 1, 2]}
    lists = {
        scene: [{"filename": "1.jpg", "split": split, **captions}]
        for scene, split in (("beach", "train"), ("lake", "test"))
    }
    for scene in lists:
        put(root, f"NWPU_images/{scene}/1.jpg", sample_image(32, 32, form="JPEG"))
    put(root, "dataset_nwpu.json", json.dumps(lists))
    return root


def floodnet(root):
    """FloodNet: questions as members of one object, the images of each part in a folder of another name."""
    for folder, file in (
        ("Train_Image", "Training Question.json"),
        ("Valid_Image", "Valid Question.json"),
        ("Test_Image", "Test_Question.json"),
    ):
        asked = {"Image_ID": f"{folder[:2]}1.JPG", "Question": "How many buildings?", "Ground_Truth": 4}
        put(root, f"Images/{folder}/{folder[:2]}1.JPG", sample_image(40, 30, form="JPEG"))
        put(root, f"Questions/{file}", json.dumps({"7": asked, "8": {**asked, "Question": "Is it flooded?"}}))
    return root


def _points(label, box, comma=","):
    x_min, y_min, x_max, y_max = box
    corners = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min))
    points = "".join(f"<point>{x}{comma}{y}</point>" for x, y in corners)
    return (
        "<annotation><source><filename>1.tif</filename></source><objects><object><coordinate>pixel</coordinate>"
        f"<possibleresult><name>{label}</name></possibleresult><points>{points}</points></object></objects></annotation>"
    )


def fair1m(root):
    """FAIR1M: XML with `points`, in two parts."""
    for part in ("part1", "part2"):
        put(
            root,
            f"train/{part}/images/1.tif",
            sample_image(64, 48, [(5, 6, 20, 30)], mode="RGB", form="TIFF"),
        )
        put(root, f"train/{part}/labelXml/1.xml", _points("Small Car", (5, 6, 20, 30)))
    return root


def air_sarship(root):
    """AIR-SARShip-2.0: 16-bit TIFF, points with a blank."""
    file = io.BytesIO()
    Image.fromarray(np.full((48, 64), 900, np.uint16)).save(file, "TIFF")
    put(root, "AIR-SARShip-2.0-data/83.tiff", file.getvalue())
    put(root, "AIR-SARShip-2.0-xml/83.xml", _points("ship", (5, 6, 20, 30), ", "))
    return root


def hrrsd(root):
    """HRRSD: VOC below OPT2017."""
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        put(root, f"OPT2017/JPEGImages/{number:05d}.jpg", sample_image(64, 48, form="JPEG"))
        put(
            root, f"OPT2017/Annotations/{number:05d}.xml", voc("", (64, 48), [("T junction", (5, 6, 20, 30))])
        )
        put(root, f"OPT2017/ImageSets/Main/{split}.txt", f"{number:05d}\n")
    return root


def rsod(root):
    """RSOD: a folder for each class."""
    for part in ("aircraft", "oiltank"):
        put(root, f"{part}/JPEGImages/{part}_1.jpg", sample_image(64, 48, form="JPEG"))
        put(root, f"{part}/Annotation/xml/{part}_1.xml", voc("", (64, 48), [(part, (5, 6, 20, 30))]))
    return root


_TURNED = "10 20 30 20 30 40 10 40 0.0 10 20 20 20"


def ucas(root):
    """UCAS-AOD as it is published: the folder is the class."""
    for folder in ("CAR", "PLANE"):
        put(root, f"{folder}/P0001.png", sample_image(64, 48, [(10, 20, 30, 40)]))
        put(root, f"{folder}/P0001.txt", _TURNED.replace(" ", "\t") + "\n")
    return root


def ucas_arranged(root):
    """UCAS-AOD as its benchmark arranges it: the class stands in the line, lists divide it."""
    for number, split in enumerate(("train", "val", "test"), 1):
        put(root, f"AllImages/P000{number}.png", sample_image(64, 48, [(10, 20, 30, 40)]))
        put(root, f"labelTxt/P000{number}.txt", f"airplane {_TURNED}\n")
        put(root, f"ImageSets/{split}.txt", f"P000{number}\n")
    return root


def visdrone(root):
    """VisDrone: an ignored region, a car and a person who stands."""
    for split in ("train", "val", "test-dev"):
        base = f"VisDrone2019-DET-{split}"
        put(root, f"{base}/images/1.jpg", sample_image(64, 48, form="JPEG"))
        lines = "0,0,10,10,0,0,0,0\n20,20,10,12,1,4,0,1\n40,10,5,9,1,1,0,0\n"
        put(root, f"{base}/annotations/1.txt", lines)
    return root


def mar20(root):
    """MAR20: a robndbox for each aircraft in polygons' XML."""
    for number, split in ((1, "train"), (2, "test")):
        put(root, f"JPEGImages/{number}.jpg", sample_image(64, 48, form="JPEG"))
        label = voc(f"{number}.jpg", (64, 48), [("A7", (5, 6, 20, 30))], "polygon")
        put(root, f"Annotations/Oriented Bounding Boxes/{number}.xml", label)
        put(root, f"ImageSets/Main/{split}.txt", f"{number}\n")
    return root
