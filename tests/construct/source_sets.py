"""Small source sets on disk, with labels in VOC, and a table for them."""

import hashlib
import io

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from irtd_datasets.folder.row_groups import config_files

WIDTH, HEIGHT = 160, 128
TABLE = """\
name,reader,infrared,labels,splits,sequence,classes,exhaustive,tasks,modality
street,voc,{split:train|val|test}/{stem}.*,labels/{split}/{stem}.xml,,,,"person,car,bike,bus,truck",\
"recognition,grounding,location,relationship,security,pedestrian_counting",infrared
above,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,,,"car,person","aerial_counting,location",infrared
video,voc,{split:train|test}/{seq}/{stem}.*,labels/{split}/{seq}/{stem}.xml,,{seq},,"person,car",location,infrared
whole,voc,{stem}.*,labels/{stem}.xml,,,,"person,car","location,security",infrared
scenes,class-folders,{scene}/{stem}.*,,,,,,scene,infrared
"""


def sample_image(name, *, size=(WIDTH, HEIGHT), suffix="png"):
    """An image that no other name gives: blocks of grey drawn from the name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).save(
        file, {"jpg": "JPEG"}.get(suffix, suffix)
    )
    return file.getvalue()


def voc(objects, size=(WIDTH, HEIGHT)):
    """A VOC label file."""
    listed = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, box in objects
    )
    return (
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>"
        f"{listed}</annotation>"
    )


def scenery(number):
    """Objects of an image, different for each number."""
    x = 5 + number * 7 % 60
    objects = [("person", (x, 20, x + 18, 70)), ("car", (x + 40, 60, x + 80, 100))]
    if number % 2:
        objects.append(("car", (2, 90, 40, 120)))
    if number % 3 == 0:
        objects.append(("bike", (120, 10, 150, 40)))
    return objects


class Sources:
    """A folder of source sets that a test writes into."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.table = folder.parent / "table.csv"
        self.table.write_text(TABLE)

    def add(self, source, image, label=None, objects=(), data=None):
        """One image with its labels."""
        path = self.folder / source / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample_image(f"{source}/{image}") if data is None else data)
        if label is not None:
            labels = self.folder / source / label
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(voc(objects))

    def street(self, split, numbers, source="street"):
        """Images with objects in a split."""
        for number in numbers:
            name = f"{split}/{number:04d}"
            self.add(source, f"{name}.png", f"labels/{name}.xml", scenery(number))

    def scenes(self, count=3):
        """Class folders."""
        for scene in ("field", "forest", "indoor", "street", "water"):
            for number in range(count):
                self.add("scenes", f"{scene}/{number}.png")


def rows(folder, config, *columns):
    """The rows of a config of a dataset folder, all columns or some."""
    found = []
    for files in config_files(folder, config).values():
        for file in files:
            found += pq.read_table(file, columns=list(columns) or None).to_pylist()
    return found
