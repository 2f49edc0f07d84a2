"""Makes the release that the benchmarks read: JPEGs of about 60 kB that all differ, and the records naming them.

A few hundred images are drawn; every file is one of them with a comment segment of its own (ITU-T T.81, B.2.4.5)
and, for most, of its own length. So each is a valid JPEG with real entropy-coded data, no two have the same bytes, and
20,000 are written in seconds.
"""

from __future__ import annotations

import io
import json
import tarfile
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FLIR = "63-FLIR_ADAS/training/PreviewData"
PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"
BASES = 200
SIZE = (640, 512)
_COMMENT_BYTES = (64, 8192)
_OPTIONS = ("car", "person", "bike", "sign", "truck", "motor", "scooter", "bus", "light", "train", "hydrant")
_FLIR_NUMBERS = 100_000
_VERSION = 1


def base_images(count: int = BASES) -> list[bytes]:
    """JPEGs of 640x512 that differ in content and size, 50 to 65 kB with their comment."""
    import numpy as np
    from PIL import Image

    from irtd_datasets.testing.scenes import render_scene, street_scene

    images = []
    for index in range(count):
        random = Random(f"benchmark/{index}")
        scene = street_scene(random, ["car", "person", "car", "bike"][: 1 + index % 4], f"benchmark/{index}")
        grey = np.asarray(render_scene(scene, index).convert("L"), dtype=np.int16)
        noise = np.random.default_rng(index).normal(0, 6, grey.shape)
        file = io.BytesIO()
        Image.fromarray(np.clip(grey + noise, 0, 255).astype(np.uint8)).save(
            file, "JPEG", quality=74 + index % 11
        )
        images.append(file.getvalue())
    return images


def distinct(base: bytes, number: int) -> bytes:
    """A base image with a comment segment that only image ``number`` has."""
    random = Random(number)
    comment = random.randbytes(random.randint(*_COMMENT_BYTES))
    segment = b"\xff\xfe" + (2 + 5 + len(comment)).to_bytes(2, "big") + f"{number:05d}".encode() + comment
    # Behind the JFIF segment, which Pillow writes first and which has to stay first.
    end = 4 + int.from_bytes(base[4:6], "big")
    return base[:end] + segment + base[end:]


def flir_name(number: int) -> str:
    """Name of a frame as released: five digits."""
    return f"FLIR_{number:05d}.jpeg"


def instruct_release(folder: Path, images: int, rows_per_image: int = 1) -> Path:
    """A release with Location.json and Security.json, each about one half of the images; made once.

    Args:
        folder: Where releases are kept.
        images: Number of JPEGs.
        rows_per_image: Records that name each of them.
    """
    if images > _FLIR_NUMBERS:
        raise SystemExit(f"a FLIR frame has five digits: at most {_FLIR_NUMBERS} images")
    root = folder / f"instruct-v{_VERSION}-{images}x{rows_per_image}"
    if (root / "complete").exists():
        return root
    image_folder = root / FLIR
    image_folder.mkdir(parents=True, exist_ok=True)
    bases = base_images()
    numbers = list(range(images))
    for number in numbers:
        (image_folder / flir_name(number)).write_bytes(distinct(bases[number % len(bases)], number))
    texts = root / "json_sft"
    texts.mkdir(exist_ok=True)
    half = images // 2
    write_records(texts / "Location.json", location_records(numbers[:half], rows_per_image))
    write_records(texts / "Security.json", security_records(numbers[half:], rows_per_image))
    (root / "complete").touch()
    return root


def location_records(numbers: list[int], per_image: int) -> list[tuple[str, str, str]]:
    """Images, questions and answers in the form of Location.json."""
    records = []
    for number in numbers:
        random = Random(f"location/{number}")
        for label in random.sample(("car", "person", "bike"), per_image):
            points = sorted(
                (random.randint(5, 995), random.randint(139, 907)) for _ in range(random.randint(1, 6))
            )
            answer = f"<ref>{label}</ref> at <pos>[{', '.join(map(str, points))}]</pos>"
            records.append(
                (f"{FLIR}/{flir_name(number)}", f" Locate all {label} from left to right.", answer)
            )
    return records


def security_records(numbers: list[int], per_image: int) -> list[tuple[str, str, str]]:
    """Images, questions and answers in the form of Security.json."""
    records = []
    for number in numbers:
        random = Random(f"security/{number}")
        for _ in range(per_image):
            words = random.sample(_OPTIONS, 4)
            lettered = [f"({letter}) {word}" for letter, word in zip("ABCD", words, strict=True)]
            question = "What object does not appear in the picture?\n" + " ".join(lettered)
            answer = " ".join(
                lettered[index] for index in sorted(random.sample(range(4), random.randint(1, 3)))
            )
            records.append((f"{FLIR}/{flir_name(number)}", question, answer))
    return records


def write_records(path: Path, records: list[tuple[str, str, str]]) -> None:
    """Records as json_sft has them."""
    values = [
        {
            "id": str(index),
            "image": [PREFIX + image],
            "conversations": [
                {"from": "human", "value": f"<image>\n{question}"},
                {"from": "gpt", "value": answer},
            ],
        }
        for index, (image, question, answer) in enumerate(records)
    ]
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def caption_release(folder: Path, images: int, parts: int = 5) -> Path:
    """A release with new_relative.json and the cut archive of its images; made once."""
    root = folder / f"pretrain-v{_VERSION}-{images}"
    if (root / "complete").exists():
        return root
    root.mkdir(parents=True, exist_ok=True)
    bases = base_images()
    names = [f"{index % 40 + 1}-Source/train/{index:06d}.jpg" for index in range(images)]
    values = [
        {
            "image_path": name,
            "description": f"The image shows a street at night, seen as number {index}. " * 12,
        }
        for index, name in enumerate(names)
    ]
    (root / "new_relative.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    joined = root / "joined.tmp"
    with tarfile.open(joined, "w:gz", compresslevel=6) as archive:
        for index, name in enumerate(names):
            data = distinct(bases[index % len(bases)], index)
            header = tarfile.TarInfo(f"Data4MLLM/IR-TD-version250724/{name}")
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    share = -(-joined.stat().st_size // parts)
    with joined.open("rb") as source:
        for part in range(parts):
            data = source.read(share)
            (root / f"IR-TD-version250724.tar.gza{chr(ord('a') + part)}").write_bytes(data)
    joined.unlink()
    (root / "complete").touch()
    return root
