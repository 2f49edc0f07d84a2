"""A folder of pairs, cropped by the command and by the function."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from processes import environment, irtd

from irtd_datasets.errors import BuildError
from irtd_datasets.images.pairs.folder import crop_folder


@pytest.fixture
def pairs(tmp_path):
    """Six pairs: five of one view, and one of two scenes."""
    draw = np.random.default_rng(0)
    root = tmp_path / "pairs"
    for side in ("vis", "ir"):
        (root / side).mkdir(parents=True)
    for number in range(6):
        scene = draw.integers(0, 255, (40, 50), np.uint8)
        other = draw.integers(0, 255, (7, 9), np.uint8) if number == 5 else scene  # no lattice in common
        Image.fromarray(scene).resize((500, 400)).convert("RGB").save(root / "vis" / f"{number}.png")
        Image.fromarray(other).resize((500, 400)).save(root / "ir" / f"{number}.png")
    return root


def crops(out):
    """Every file below the folder with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def command(pairs, out, *more):
    return ["pairs", pairs, "--visible", "vis", "--infrared", "ir", "--out", out, *more]


def test_report_and_crops_agree(pairs, tmp_path):
    """Each pair of one view has its files, byte for byte; the other is refused, and the report says so."""
    out = tmp_path / "out"
    report = crop_folder(pairs, out, infrared="ir", visible="vis", checkerboards=2)
    assert report.counts == {"aligned": 5, "refused": 1}
    records = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert records == list(report.records)
    named = {
        record[key] for record in records for key in record if key.endswith("_crop") or key == "checkerboard"
    }
    assert set(crops(out)) == named | {"pairs.jsonl", ".pairs.json"}
    assert (out / "visible/0.png").read_bytes() == (pairs / "vis/0.png").read_bytes()


def test_killed_at_any_moment_it_starts_again(pairs, tmp_path):
    """After a kill the same command, or one with other options, gives what a run without a kill gives."""
    wanted = {}
    for boards in ("1", "6"):
        assert irtd(*command(pairs, tmp_path / boards, "--checkerboards", boards)).returncode == 0
        wanted[boards] = crops(tmp_path / boards)
    out = tmp_path / "out"
    for begun, boards in ((out, "6"), (out / "visible/1.png", "1")):
        killed = subprocess.Popen(
            [sys.executable, "-m", "irtd_datasets", *map(str, command(pairs, out, "--checkerboards", "6"))],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while killed.poll() is None and not begun.exists():
            time.sleep(0.001)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        done = irtd(*command(pairs, out, "--checkerboards", boards))
        assert done.returncode == 0, done.stderr
        assert crops(out) == wanted[boards]


def test_what_is_refused_now_does_not_stay(pairs, tmp_path):
    """Crops of an earlier run that this one refuses are removed: whoever takes all files takes none of them."""
    out = tmp_path / "out"
    crop_folder(pairs, out, infrared="ir", visible="vis")
    (pairs / "ir/0.png").write_bytes((pairs / "ir/5.png").read_bytes())
    report = crop_folder(pairs, out, infrared="ir", visible="vis")
    assert report.counts == {"aligned": 4, "refused": 2}
    assert {path.stem for path in (out / "infrared").iterdir()} == {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    "name",
    ["a.txt", ".pairs.json", "infrared/0.png"],
    ids=["a file", "a marker of somebody else", "crops of unknown origin"],
)
def test_files_of_others_are_left_alone(pairs, tmp_path, name):
    """A folder that does not say that it was made here is refused, and nothing in it is touched."""
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("{}")
    if name == ".pairs.json":
        (out / "infrared").mkdir()
        (out / "infrared/0.png").write_text("{}")
    before = crops(out)
    with pytest.raises(BuildError, match="another origin"):
        crop_folder(pairs, out, infrared="ir", visible="vis")
    assert crops(out) == before
