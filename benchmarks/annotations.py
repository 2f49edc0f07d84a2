"""Reading speed of source datasets: label files a second on one core, and a COCO file of 1 GB in bounded memory.

    python benchmarks/annotations.py --corpus /tmp/irtd-annotations

Makes 20,000 VOC and 20,000 YOLO label files with 1 to 7 objects each, their images (hard links to one), and a
COCO file of 1 GB with polygons. Beside the library's ways run the ones that converters are usually made of:
ElementTree with ``find`` for each field, and ``json.load`` of the whole file. Needs the library's ``dev`` extra
(psutil). Each way runs in a process of its own, in turn with the others.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

FILES = 20_000
COCO_BYTES = 1_000_000_000


def corpus(root: Path) -> None:
    """Label files, images and the large COCO file."""
    from PIL import Image

    if (root / "complete").exists():
        return
    chance = random.Random(0)
    for name in ("voc/JPEGImages", "voc/Annotations", "yolo/frames"):
        (root / name).mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    Image.effect_noise((640, 512), 40).save(image, "JPEG")
    first = {
        kind: root / folder / "000000.jpg"
        for kind, folder in (("voc", "voc/JPEGImages"), ("yolo", "yolo/frames"))
    }
    for number in range(FILES):
        boxes = []
        for _ in range(chance.randint(1, 7)):
            x, y = chance.randint(0, 600), chance.randint(0, 480)
            boxes.append((x, y, x + chance.randint(5, 39), y + chance.randint(5, 31)))
        (root / f"voc/Annotations/{number:06d}.xml").write_text(_voc(number, boxes))
        lines = (
            f"0 {(a + c) / 1280:.6f} {(b + d) / 1024:.6f} {(c - a) / 640:.6f} {(d - b) / 512:.6f}\n"
            for a, b, c, d in boxes
        )
        (root / f"yolo/frames/{number:06d}.txt").write_text("".join(lines))
        for path in first.values():
            if not number:
                path.write_bytes(image.getvalue())
            else:
                os.link(path, path.with_name(f"{number:06d}.jpg"))
    _coco(root / "large.json")
    (root / "table.csv").write_text(
        "name,reader,infrared,labels,splits,classes\n"
        "VOC,voc,JPEGImages/{stem}.*,Annotations/{stem}.xml,train,person=person\n"
        "YOLO,yolo,frames/{stem}.*,frames/{stem}.txt,train,0=person\n"
    )
    (root / "complete").touch()


def _voc(number: int, boxes: list[tuple[int, int, int, int]]) -> str:
    """As labelImg writes it, with all its fields and tabs."""
    head = (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{number:06d}.jpg</filename>\n\t<path>C:\\data\\"
        f"{number:06d}.jpg</path>\n\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n\t<size>\n\t\t<width>640"
        "</width>\n\t\t<height>512</height>\n\t\t<depth>1</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
    )
    parts = [head]
    for a, b, c, d in boxes:
        parts.append(
            "\t<object>\n\t\t<name>person</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n\t\t"
            f"<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{a}</xmin>\n\t\t\t<ymin>{b}</ymin>\n\t\t\t<xmax>{c}</xmax>"
            f"\n\t\t\t<ymax>{d}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        )
    return "".join(parts) + "</annotation>\n"


def _coco(path: Path) -> None:
    chance = random.Random(0)
    outline = [[round(chance.uniform(0, 600), 2) for _ in range(50)]]
    images = 100_000
    with path.open("w") as file:
        listed = [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 512}
            for number in range(images)
        ]
        file.write('{"info": {"year": 2020}, "images": ' + json.dumps(listed) + ', "annotations": [')
        number = 0
        while file.tell() < COCO_BYTES:
            block = [
                json.dumps(
                    {
                        "segmentation": outline,
                        "area": 200.0,
                        "iscrowd": 0,
                        "image_id": chance.randrange(images),
                        "bbox": [10.5, 20.25, 30.0, 40.0],
                        "category_id": 1,
                        "id": number + step,
                    }
                )
                for step in range(1000)
            ]
            file.write(("," if number else "") + ",".join(block))
            number += 1000
        file.write('], "categories": [{"id": 1, "name": "person"}]}')


def parse(root: Path, kind: str) -> dict[str, float]:
    """The parser alone, on bytes in memory."""
    from irtd_datasets.annotations.voc import parse_voc
    from irtd_datasets.annotations.yolo import parse_yolo

    folder, suffix = ("voc/Annotations", "*.xml") if kind == "voc" else ("yolo/frames", "*.txt")
    files = [(path.read_bytes(), path.name) for path in sorted((root / folder).glob(suffix))]
    start = time.perf_counter()
    if kind == "voc":
        objects = sum(len(parse_voc(data, name).objects) for data, name in files)
    else:
        objects = sum(len(parse_yolo(data, name, 640, 512).objects) for data, name in files)
    return {"seconds": time.perf_counter() - start, "files": len(files), "objects": objects}


def source(root: Path, kind: str, *, check: bool) -> dict[str, float]:
    """From the folder to labelled images: listing, pairing, reading, parsing, splits, classes, edges."""
    from irtd_datasets.sources import SourceOptions, open_source, read_table

    table = read_table(root / "table.csv")
    opened = open_source(kind.upper(), root / kind, table=table, options=SourceOptions(check_images=check))
    start = time.perf_counter()
    files = objects = 0
    for image in opened.images():
        files += 1
        objects += len(image.objects)
    return {"seconds": time.perf_counter() - start, "files": files, "objects": objects}


def plain_voc(root: Path) -> dict[str, float]:
    """What converters do: ElementTree, `find` for each field, no checks."""
    start = time.perf_counter()
    files = objects = 0
    for path in sorted((root / "voc/Annotations").iterdir()):
        tree = ET.parse(path).getroot()
        boxes = []
        for item in tree.findall("object"):
            place = item.find("bndbox")
            boxes.append(
                (
                    item.find("name").text,
                    *(float(place.find(key).text) for key in ("xmin", "ymin", "xmax", "ymax")),
                )
            )
        files += 1
        objects += len(boxes)
    return {"seconds": time.perf_counter() - start, "files": files, "objects": objects}


def coco(root: Path, *, plain: bool) -> dict[str, float]:
    """The COCO file of 1 GB, image by image."""
    start = time.perf_counter()
    if plain:
        with (root / "large.json").open() as file:
            content = json.load(file)
        objects, images = len(content["annotations"]), len(content["images"])
    else:
        from irtd_datasets.annotations.coco import parse_coco

        objects = images = 0
        for found in parse_coco(root / "large.json", "large.json"):
            images += 1
            objects += len(found.objects)
    return {"seconds": time.perf_counter() - start, "objects": objects, "images": images}


WAYS = {
    "voc, parser": lambda root: parse(root, "voc"),
    "voc, source": lambda root: source(root, "voc", check=False),
    "voc, source and headers of images": lambda root: source(root, "voc", check=True),
    "voc, ElementTree and find": plain_voc,
    "yolo, parser": lambda root: parse(root, "yolo"),
    "yolo, source": lambda root: source(root, "yolo", check=False),
}
LARGE = {
    "coco, streamed": lambda root: coco(root, plain=False),
    "coco, json.load": lambda root: coco(root, plain=True),
}


def main() -> None:
    """Run all ways in turn and print medians."""
    from measure import alternate, machine, table, verdict

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder to make the files in")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("files", "coco"), help="one of the two tables")
    args = parser.parse_args()
    if args.way:
        print(json.dumps((WAYS | LARGE)[args.way](args.corpus)))
        return
    corpus(args.corpus)

    def ways(names: dict[str, object]) -> dict[str, object]:
        return {
            name: (lambda name=name: [__file__, "--corpus", str(args.corpus), "--way", name])
            for name in names
        }

    print(machine())
    if args.only != "coco":
        small = alternate(ways(WAYS), args.runs, before=lambda: None)
        rows = [
            [
                name,
                f"{result.median:.2f}",
                f"{result.facts['files'] / result.median:,.0f}",
                f"{max(result.loads):.1f}",
            ]
            for name, result in small.items()
        ]
        print(table(["what", "seconds", "files a second", "load"], rows), "\n")
        for kind, least in (("voc", 12_000), ("yolo", 13_000)):
            result = small[f"{kind}, source"]
            rate = result.facts["files"] / result.median
            print(verdict(f"{kind} files a second on one core", rate, least, at_least=True))
    if args.only != "files":
        large = alternate(ways(LARGE), 1, before=lambda: None, memory=True)
        rows = [
            [name, f"{result.median:.1f}", f"{result.peak.rss / 1e6:,.0f}", f"{result.facts['objects']:,}"]
            for name, result in large.items()
        ]
        size = (args.corpus / "large.json").stat().st_size
        print(f"COCO file of {size / 1e6:,.0f} MB")
        print(table(["what", "seconds", "peak RSS, MB", "objects"], rows))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
