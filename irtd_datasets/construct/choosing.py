"""Choosing among candidates: strata in turn, and each picture checked before it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.build.progress import Progress
from irtd_datasets.construct.exclusion import LIKE_OWN, Exclusion, Looks, bits_of
from irtd_datasets.construct.plan import Gathering, Options, TaskResult
from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import prepare_image

if TYPE_CHECKING:
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.sources import Source

__all__ = ["choose"]


def choose(
    gathering: Gathering,
    exclusion: Exclusion,
    options: Options,
    *,
    look: bool = True,
    progress: Progress | None = None,
) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]]]:
    """Take as many candidates of each source and task as are wanted, strata in turn.

    Args:
        gathering: The candidates.
        exclusion: What must not be taken.
        options: What is wanted.
        look: Whether pictures are opened: decoded, compared with the excluded ones and with each other.
        progress: Told what goes on.

    Returns:
        The records of each task, and the counts.
    """
    progress = progress or Progress()
    chosen: dict[str, list[Candidate]] = {}
    results: dict[str, list[TaskResult]] = {}
    taken = Looks()
    for found in gathering.surveys:
        progress.stage(f"choosing from {found.source}")
        source = gathering.sources[found.source]
        checks = _Pictures(source, exclusion, taken, options.max_distance) if look else None
        for task, pool in found.pools.items():
            result = TaskResult(gathering.wants[found.source][task], pool.offered)
            results.setdefault(task, []).append(result)
            rows = (
                pool.rows if options.limit is None else min(pool.rows, _share(options.limit, task, gathering))
            )
            for candidate in pool.ordered():
                if result.chosen >= rows:
                    break
                reason = found.stands_elsewhere(candidate) or exclusion.why_not(candidate, source.row)
                if not reason and checks is not None:
                    reason = checks.why_not(candidate)
                if reason:
                    result.rejected[reason] += 1
                    continue
                result.chosen += 1
                chosen.setdefault(task, []).append(candidate)
    return chosen, results


def _share(limit: int, task: str, gathering: Gathering) -> int:
    """What each source may give when a task is limited: an equal share, rounded up."""
    sources = sum(task in wants for wants in gathering.wants.values())
    return -(-limit // max(1, sources))


class _Pictures:
    """Checks of the pictures of one source; each picture is opened once.

    Args:
        source: The source.
        exclusion: Pictures that must not be taken.
        taken: Pictures that were taken, of all sources: sets share pictures, as FLIR and FLIR_ADAS do.
        max_distance: Bits up to which a picture counts as one of another subset.
    """

    def __init__(self, source: Source, exclusion: Exclusion, taken: Looks, max_distance: int) -> None:
        self._source = source
        self._exclusion = exclusion
        self._max_distance = max_distance
        self._verdicts: dict[str, str] = {}
        self._taken = taken

    def why_not(self, candidate: Candidate) -> str:
        """Why a candidate cannot be taken; empty where it can."""
        for name in candidate.made.members or (candidate.image,):
            if name not in self._verdicts:
                # Crops of people all look alike: they are compared with nothing.
                self._verdicts[name] = self._check(name, candidate, alike=not candidate.made.members)
            if self._verdicts[name]:
                return self._verdicts[name]
        return ""

    def _check(self, name: str, candidate: Candidate, *, alike: bool) -> str:
        try:
            data = self._source.picture(LabelledImage(self._source.name, name))
            picture = prepare_image(data, name)
            bits = bits_of(data, name) if alike else None
        except ImageError as error:
            return error.code
        except OSError:
            return "picture missing"
        if candidate.size is not None and alike and candidate.size != (picture.width, picture.height):
            return "picture of another size than its labels say"
        if not alike:
            return ""
        if self._exclusion.looks.nearest(data, bits, self._max_distance) is not None:
            return "looks like a picture of another subset"
        if self._taken.nearest(data, bits, LIKE_OWN) is not None:
            return "same frame as one that was taken"
        self._taken.add(name, data, bits)
        return ""
