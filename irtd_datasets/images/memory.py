"""What a process does with the memory of images that it lets go of."""

from __future__ import annotations

import numpy as np

__all__ = ["keep_freed_memory"]

_KEPT_BYTES = 24 << 20  # glibc takes no more than 32 MB as a threshold

_kept = False


def keep_freed_memory() -> None:
    """Let glibc keep the memory of an image that was let go of for the next one; once in a process.

    By default it gives such memory back to the system with each image, and the system clears every page of it anew
    for the next: decoding a JPEG of 640 x 512 then takes 2.5 ms instead of 1.0. When a large block is freed, glibc
    raises its thresholds to the size of that block (mallopt(3), M_MMAP_THRESHOLD); this one is never touched, so it
    costs nothing. Up to twice its size may stay with the process afterwards. Other C libraries do not care, nor does
    glibc where its own variables (``MALLOC_TRIM_THRESHOLD_``) were set.
    """
    global _kept  # noqa: PLW0603 - forked workers inherit it with their memory, spawned ones begin anew
    if not _kept:
        _kept = True
        np.empty(_KEPT_BYTES, np.uint8)
