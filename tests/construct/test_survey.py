"""Candidates: which images may be used, thinned videos, pools that do not depend on order."""

import random
from itertools import pairwise
from types import SimpleNamespace

from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.construct.exclusion import Exclusion, Looks, aliases
from irtd_datasets.construct.pool import Candidate, Pool
from irtd_datasets.construct.survey import FRAMES_A_VIDEO, OWN_DIVISION, survey
from irtd_datasets.construct.targets import TOTAL, Target, targets, wanted
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks.generation import Made, Rules
from irtd_datasets.releases.resolve import read_layouts
from irtd_datasets.sources import TABLE, get


class Fake:
    """A source that says what a test wants."""

    def __init__(self, images, *, divided=True):
        self.name = "made"
        self._images = images
        splits = SimpleNamespace(every=None, lists=(), field="split")
        pattern = SimpleNamespace(fields=frozenset({"split"} if divided else ()))
        self.layout = SimpleNamespace(splits=splits, infrared=pattern)

    def images(self):
        return iter(self._images)


CAR = LabelledObject("car", (10, 10, 60, 60))


def image(name, split="test", **more):
    return LabelledImage(
        "made", name, (CAR,), 640, 512, split=split, exhaustive=frozenset({"car", "person"}), **more
    )


def location(images, rows=50, *, divided=True, **options):
    target = Target("location", "made", rows, ("test", "validation"), "ground")
    return survey(Fake(images, divided=divided), {"location": target}, Rules(), **options)


def names(found, task="location"):
    """Candidates that could be taken."""
    return [one.image for one in found.pools[task].ordered() if not found.stands_elsewhere(one)]


def test_only_images_held_out_are_asked_about():
    """Test and validation go to the benchmark, train to pretrain; a split that nobody knows to neither."""
    images = [image("a", "train"), image("b", "test"), image("c", "validation"), image("d", None)]
    found = location(images)
    assert sorted(names(found)) == ["b", "c"]
    assert found.left_out == {"other split": 1, "split not known": 1}
    assert names(location(images, subset="pretrain")) == ["a"]


def test_an_image_sequence_or_person_in_two_splits_is_left_out():
    """What stands in a split for training as well is no test, whether the image, its video or who it shows."""
    images = [
        image("twice", "test"),
        image("v1/1", "test", sequence="v1"),
        image("p/1", "test", identity="p"),
        image("clean", "test", sequence="v2", identity="q"),
        image("twice", "train"),
        image("v1/2", "train", sequence="v1"),
        image("p/2", "train", identity="p"),
    ]
    found = location(images)
    assert names(found) == ["clean"]
    reasons = {found.stands_elsewhere(one) for one in found.pools["location"].ordered()}
    assert reasons == {"", "image in two splits", "sequence in two splits", "identity in two splits"}


def test_an_undivided_source_is_divided_once_and_for_all():
    """A fifth goes to the benchmark and the rest to pretrain, whole videos together, whatever the seed."""
    images = [image(f"{n}", None) for n in range(600)]
    images += [image(f"v{n}/{k}", None, sequence=f"v{n}", frame=k * 100) for n in range(60) for k in range(3)]
    first = set(names(location(images, 2000, divided=False)))
    again = set(names(location(images, 2000, divided=False, seed=5)))
    rest = set(names(location(images, 2000, divided=False, subset="pretrain")))
    assert first == again
    assert not first & rest
    assert len(first | rest) == len(images)
    assert abs(len(first) / len(images) - OWN_DIVISION) < 0.06
    videos = [{name.partition("/")[0] for name in part if "/" in name} for part in (first, rest)]
    assert not videos[0] & videos[1]


def test_a_video_of_100_000_frames_is_thinned():
    """Few frames of a video, a second apart, without holding its frames; the first ranks come from all videos."""
    images = (image(f"v/{n:06d}", sequence="v", frame=n) for n in range(100_000))
    found = location(images, 1000)
    taken = sorted(int(name[2:]) for name in names(found))
    assert len(taken) == FRAMES_A_VIDEO
    assert min(b - a for a, b in pairwise(taken)) >= 25
    assert sum(found.left_out.values()) == 100_000 - FRAMES_A_VIDEO
    several = [image(f"v{v}/{n}", sequence=f"v{v}", frame=n) for v in range(8) for n in range(0, 500, 25)]
    first = names(location(several, 8))[:8]
    assert {name.partition("/")[0] for name in first} == {f"v{v}" for v in range(8)}


def test_frames_that_are_labelled_sparsely_are_taken():
    """A set that labels every twentieth frame gives every second of them, not those whose number fits a grid."""
    images = [image(f"v/{n}", sequence="v", frame=n) for n in range(19, 600, 20)]
    assert len(names(location(images))) == 15


def test_the_order_of_images_does_not_matter():
    """The same labels in another order give the same candidates in the same order; another seed does not."""
    images = [image(f"{n}") for n in range(300)]
    first = names(location(images, 20))
    mixed = random.Random(1).sample(images, len(images))
    assert names(location(mixed, 20)) == first
    assert names(location(images, 20, seed=1)) != first


def test_a_pool_gives_strata_in_turn_and_stays_small():
    """Strata alternate until they are used up, and no more candidates are kept than can be needed."""
    pool = Pool(10)
    for number in range(5000):
        stratum = "rare" if number % 1000 == 0 else "often"
        made = Made("?", "!", stratum)
        pool.offer(Candidate((0, number.to_bytes(8, "big"), ""), "location", "made", str(number), made))
    given = [one.made.stratum for one in pool.ordered()]
    assert given[:10] == ["often", "rare"] * 5
    assert pool.offered == 5000
    assert len(given) <= 5 + 10 * 1.5 + 20


def test_targets_add_up_to_the_paper():
    """37,000 rows over nine tasks, each from a source of the table that can be read, no pair twice."""
    assert sum(target.rows for target in targets()) == TOTAL
    assert {target.task for target in targets()} == {part.name for part in SPEC.subset("benchmark").parts}
    pairs = [(target.task, target.source) for target in targets()]
    assert len(set(pairs)) == len(pairs)
    for target in targets():
        assert get(target.source).modality == "infrared"
        assert target.view in ("ground", "aerial")


def test_splits_and_view_of_a_source_are_the_same_for_all_tasks():
    """One reading serves all tasks of a source."""
    seen = {}
    for target in targets():
        facts = (frozenset(target.splits), target.view)
        assert seen.setdefault(target.source, facts) == facts, target.source


def test_sources_that_are_not_listed_can_give_some():
    """A source that the table of targets does not name gives to the tasks of its row, or to none if so wanted."""
    row = next(row for row in TABLE if row.name == "HIT-UAV")
    found = wanted(row, ("grounding", "scene", "aerial_counting"), others=True)
    assert set(found) == {"grounding", "aerial_counting"}
    assert all(target.view == "aerial" and not target.listed for target in found.values())
    assert wanted(row, ("grounding",), others=False) == {}


def test_images_of_the_release_are_known_by_every_name():
    """A released image counts as taken under the names that its source set gives it."""
    layouts = read_layouts("irtd_datasets.irtd")
    exclusion = Exclusion()
    exclusion.names.update(aliases("23-RGBTCrowdCounting/train/1162_Grey.jpg", layouts))
    exclusion.names.update(aliases("63-FLIR_ADAS/training/PreviewData/FLIR_00018.jpeg", layouts))
    exclusion.videos.add(("LSOTB-TIR", "person_039"))

    def candidate(source, name, sequence=None):
        return exclusion.why_not(
            Candidate((0, b"", ""), "location", source, name, Made("?", "!"), sequence=sequence), get(source)
        )

    assert candidate("RGBTCrowdCounting", "train/1162_T.jpg")
    assert not candidate("RGBTCrowdCounting", "train/1163_T.jpg")
    assert candidate("FLIR_ADAS", "train/thermal_8_bit/FLIR_00018.jpeg")
    assert candidate("FLIR", "train/thermal_8_bit/FLIR_00018.jpeg")
    assert candidate("LSOTB-TIR", "TrainingData/x/person_039/00000001.jpg", "x/person_039")
    assert not candidate("LSOTB-TIR", "TrainingData/x/person_040/00000001.jpg", "x/person_040")


def test_looks_find_copies_and_near_copies():
    """The same file is found even where it has no hash; another image only within the bits allowed."""
    looks = Looks()
    looks.add("a", b"one", 0b1111)
    looks.add("flat", b"two", None)
    assert looks.nearest(b"two", None, 6) == "flat"
    assert looks.nearest(b"three", 0b1000, 3) == "a"
    assert looks.nearest(b"three", 0b1000, 2) is None
    assert looks.nearest(b"three", None, 64) is None
