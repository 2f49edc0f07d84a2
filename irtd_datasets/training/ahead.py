"""Row groups from afar, fetched before they are needed: as many as keep the line busy, and no more than fit a budget.

The order of the rows is that of the stream's blocks, whatever comes first. Row groups are asked for in the order in
which their first rows are needed, and a row is handed out as soon as its own has come; the first row of all as soon as
its own image has. The images of a row are let go of with it, so that a block that is being used up makes room for the
next one.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.remote import crew

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from irtd_datasets.remote import Line
    from irtd_datasets.remote.crew import Task
    from irtd_datasets.training.order import Block
    from irtd_datasets.training.shards import GroupReader
    from irtd_datasets.training.source import Source

__all__ = ["Ahead", "Piece", "pieces_of"]

_GROUPS = 16  # row groups of a process that are fetched at a time
# One connection may be slow, and while an answer ends others go on, so that the line has no pause.
_ALWAYS = 4
_LOOK_AGAIN = 0.02


class Piece:
    """Rows of one row group that a block needs.

    Attributes:
        unit: Which unit of the source.
        rows: Which rows of its row group, in the order in which they come.
        left: Rows that have not been handed out.
        size: Bytes, roughly.
        coming: What reads them; None before that.
        first: Whether nothing was fetched before it, so that somebody waits for its first row.
        shared: Whether other ranks or workers take the other rows of its row group.
    """

    __slots__ = ("coming", "first", "left", "rows", "shared", "size", "unit")

    def __init__(self, unit: int, rows: NDArray[np.int64], size: int) -> None:
        self.unit, self.rows, self.size = unit, rows, size
        self.left = len(rows)
        self.coming: Task[GroupReader] | None = None
        self.first = False
        self.shared = False


def pieces_of(source: Source, block: Block, start: int, stop: int) -> list[tuple[Piece, int]]:
    """The rows at places ``start`` to ``stop`` of a block: of each its piece, and its number in the row group."""
    counts = source.units.counts[block.units]
    ends = np.cumsum(counts)
    wanted = block.order[start:stop]
    which = np.searchsorted(ends, wanted, "right")
    inside = wanted - (ends - counts)[which]
    pieces: dict[int, Piece] = {}
    rows = np.empty(len(wanted), np.int64)
    # Not `np.unique`, which imports numpy.ma: that takes longer than all else before a first row.
    for place in np.flatnonzero(np.bincount(which)).tolist():
        unit = int(block.units[place])
        mine = which == place
        rows[mine] = source.rows_of(unit)[inside[mine]]
        share = source.unit_bytes * int(mine.sum()) // max(int(counts[place]), 1)
        pieces[place] = piece = Piece(unit, rows[mine], share)
        piece.shared = (start > 0 or stop < len(block.order)) and len(piece.rows) < int(counts[place])
    return [(pieces[place], row) for place, row in zip(which.tolist(), rows.tolist(), strict=True)]


class Ahead:
    """The rows of some blocks of a source from afar.

    Args:
        source: Where they are.
        blocks: The blocks, and which of their rows.
        load: Reads a piece.
        line: The way to its server.
        budget: Bytes that are fetched, or being fetched, and not handed out.
    """

    def __init__(
        self,
        source: Source,
        blocks: Iterator[tuple[Block, int, int]],
        load: Callable[[Piece], GroupReader],
        line: Line,
        budget: int,
    ) -> None:
        self._source, self._blocks, self._load, self._line, self._budget = source, blocks, load, line, budget
        self._lock = threading.RLock()  # what is done at once calls back at once
        self._planned: deque[list[tuple[Piece, int]]] = deque()
        self._todo: deque[Piece] = deque()
        self._active: set[Piece] = set()
        self._held = 0.0
        self._scale = (
            1.0  # what is fetched of a unit, in proportion to its size: few columns are little of it
        )
        self._first_came = self._closed = False
        self._begun = False
        self.advance()

    def rows(self) -> Generator[dict[str, Any], None, None]:
        """The rows in their order."""
        try:
            while self._next():
                for piece, row in self._planned[0]:
                    yield self._reader(piece).row(row)
                    piece.left -= 1
                    with self._lock:
                        self._held -= piece.size / len(piece.rows)
                    if not piece.left:
                        piece.coming = None
                    self.advance()
                with self._lock:
                    self._planned.popleft()
        finally:
            self.close()

    def close(self) -> None:
        """Ask for nothing more."""
        with self._lock:
            self._closed = True
            for piece in list(self._active):
                if piece.coming is not None:
                    piece.coming.give_up()

    def advance(self) -> None:
        """Ask for what comes next, as far as line and budget allow."""
        with self._lock:
            while (
                not self._closed and self._plan() and self._may_start(self._todo[0] if self._todo else None)
            ):
                self._start(self._todo.popleft())

    def _next(self) -> bool:
        with self._lock:
            return self._plan()

    def _plan(self) -> bool:
        """Look into the next block where all pieces before are asked for; False where there is none in hand."""
        if not self._todo and len(self._planned) < 2:
            found = next(self._blocks, None)
            if found is not None:
                rows = pieces_of(self._source, *found)
                self._planned.append(rows)
                self._todo.extend(dict.fromkeys(piece for piece, _ in rows))
        return bool(self._planned)

    def _may_start(self, piece: Piece | None) -> bool:
        if piece is None:
            return False
        active = len(self._active)
        if not active and not self._held:
            return True
        if active >= _GROUPS or self._held + piece.size * self._scale > self._budget:
            return False
        under_way, window = self._line.under_way, self._line.window
        if not self._first_came:  # nothing takes the line from the first row
            return not active or 0 < under_way <= window // 2
        return active < _ALWAYS or under_way + piece.size * self._scale <= window

    def _start(self, piece: Piece) -> None:
        piece.size = int(piece.size * self._scale)
        self._held += piece.size
        piece.first, self._begun = not self._begun, True
        self._active.add(piece)
        piece.coming = crew("group", _GROUPS).submit(lambda: self._load(piece))
        piece.coming.add_done_callback(lambda _: self._came(piece))

    def _came(self, piece: Piece) -> None:
        with self._lock:
            self._active.discard(piece)
            self._first_came = True
            if piece.coming is not None and not piece.coming.cancelled() and not piece.coming.exception():
                fetched = piece.coming.result().fetched
                self._scale *= max(fetched, 1) / max(piece.size, 1)
                self._held += fetched - piece.size
                piece.size = fetched
        self.advance()

    def _reader(self, piece: Piece) -> GroupReader:
        coming = piece.coming
        if coming is None:
            with self._lock:
                if piece.coming is None:  # the budget was full: what is needed is asked for all the same
                    self._todo.remove(piece)
                    self._start(piece)
                coming = piece.coming
        assert coming is not None
        while not coming.done():
            wait([coming], _LOOK_AGAIN)
            self.advance()
        return coming.result()
