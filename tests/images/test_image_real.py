"""A sweep over real files of the datasets' sources, where these are at hand."""

import io
import os
import warnings
from pathlib import Path

import pytest
from PIL import Image

from irtd_datasets.errors import ImageError
from irtd_datasets.images import headers
from irtd_datasets.images.files import inspect_image, prepare_image

REAL = Path(os.environ.get("IRTD_REAL") or Path(__file__).resolve().parents[2] / ".." / "shared" / "real")
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
POINTERS = "ucm-lfs-pointers/UCMerced_LandUse/Images/airplane"

REFUSED = {
    "rjpeg/images/DJI_XTS.jpg": "image-truncated",  # ends within its scan; end markers only in its thumbnail
    **{f"{POINTERS}/airplane0{n}.tif": "image-lfs-pointer" for n in range(6)},
}
NOTED = {
    # A second PNG stands behind the first.
    "msistd-uiunet/test_data/Verification_data/Ver_image/MSISTD_95.png": ("220170 bytes of trailing data",),
    "open-sirst-v2/images/targets/Misc_73.png": ("1 byte of trailing data",),
}
# Suffix and content differ; readers go by content.
MISNAMED = {
    **{f"msistd-uiunet/test_data/Verification_data/Ver_image/MSISTD_{n}.png": "BMP" for n in (16, 17, 19)},
}
CONTAINERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}

pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason="the folder of real files is not beside the checkout"
)


def real_images():
    for path in sorted(REAL.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path.relative_to(REAL).as_posix(), path.read_bytes()


def fast_answer(data):
    if data.startswith(b"\xff\xd8\xff"):
        return headers.read_jpeg(data)
    return headers.read_png(data) if data.startswith(b"\x89PNG\r\n\x1a\n") else None


def test_sweep_agrees_with_pillow():
    """Of every real file, size, mode and orientation are Pillow's; the odd ones are those listed."""
    refused, noted, misnamed = {}, {}, {}
    total = fast = 0
    for name, data in real_images():
        total += 1
        try:
            info = inspect_image(data, name)
        except ImageError as error:
            refused[name] = error.code
            continue
        fast += isinstance(fast_answer(data), headers.ImageInfo)
        with Image.open(io.BytesIO(data)) as image:
            orientation = Image.Image.getexif(image).get(0x0112, 1)
            assert (image.format, image.mode, image.size) == (
                info.format,
                info.mode,
                (info.stored_width, info.stored_height),
            ), name
            assert orientation == info.orientation == 1, name
        assert prepare_image(data, name).data is data
        if info.notes:
            noted[name] = info.notes
        if info.format not in {CONTAINERS[Path(name).suffix.lower()], "MPO"}:
            misnamed[name] = info.format
    assert total > 1500
    assert fast > 0.95 * total
    assert refused == REFUSED
    assert noted == NOTED
    assert misnamed == MISNAMED


@pytest.mark.slow
def test_accepted_real_files_decode():
    """Every real file that the header check accepts decodes in full, and the full check says the same."""
    for name, data in real_images():
        if name in REFUSED:
            continue
        assert inspect_image(data, name, verify="decode") == inspect_image(data, name)


def test_radiometric_files():
    """A radiometric JPEG has 8 bits, a drone's thermal file is an MPO, a raw thermal PNG 16-bit grey."""
    facts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (
            "rjpeg/images/FLIR.jpg",
            "rjpeg/images/H20N/DJI_0002_R.JPG",
            "rjpeg/_derived/FLIR_raw.png",
        ):
            info = inspect_image((REAL / name).read_bytes(), name)
            facts[name.split("/")[-1]] = info.format, info.mode, info.bit_depth
    assert facts == {
        "FLIR.jpg": ("JPEG", "RGB", 8),
        "DJI_0002_R.JPG": ("MPO", "RGB", 8),
        "FLIR_raw.png": ("PNG", "I;16", 16),
    }


def test_thermal_alpha_is_kept():
    """An MFNet image, thermal in alpha, is stored as it is, and not thrown away when grey is asked for."""
    path = next((REAL / "mfnet").rglob("*.png"))
    data = path.read_bytes()
    prepared = prepare_image(data, path.name)
    assert prepared.data is data
    assert prepared.mode == "RGBA"
    with pytest.raises(ImageError, match="alpha channel"):
        prepare_image(data, path.name, transform="grey")


def test_grey_copy_of_a_thermal_frame():
    """A thermal frame stored as three equal channels gives back one, losslessly."""
    found = 0
    for name, data in real_images():
        if not name.startswith(("hrsid/", "m3fd/", "vedai/", "superfusion/")):
            continue
        if inspect_image(data, name).mode != "RGB":
            continue
        with Image.open(io.BytesIO(data)) as image:
            red, green, blue = image.split()
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            continue
        prepared = prepare_image(data, name, transform="grey")
        with Image.open(io.BytesIO(prepared.data)) as stored:
            assert stored.mode == "L"
            assert stored.tobytes() == red.tobytes()
        found += 1
    assert found
