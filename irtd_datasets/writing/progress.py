"""What a build tells while it runs."""

from __future__ import annotations

__all__ = ["Progress"]


class Progress:
    """The silent base class; a command line or a notebook overrides what it wants to show."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def total(self, bytes_: int) -> None:
        """Image bytes that are going to be written."""

    def advance(self, bytes_: int) -> None:
        """Image bytes written since the last call."""
