"""Asking again: pauses that grow and differ, or those that the server asks for."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.remote.answers import asked_wait, error_status, passes
from irtd_datasets.remote.crew import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_WAIT", "Retry"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

LONGEST_WAIT = 300.0
"""Seconds; where a server asks for more, the user is told instead."""

_LONGEST_PAUSE = 30.0
_AWAY = frozenset(
    {None, 429, 502, 503, 504, *range(520, 525)}
)  # no answer, too busy to give one, or a gateway's


@dataclass(frozen=True, slots=True)
class Retry:
    """How often something is asked for, and how long is waited in between.

    Attributes:
        attempts: How often in all.
        first: Seconds of the first pause where the server asks for none; each later one is twice as long.
        patience: Seconds from the first try during which a server that does not answer, or is busy or away behind a
            gateway, is asked again, however often that is: it may start again, or the network be down. 0 counts tries
            there, too.
    """

    attempts: int = 4
    first: float = 0.5
    patience: float = 0.0

    def wait(self, attempt: int, asked: float | None) -> float | None:
        """Seconds to wait before the next try; None where there is none.

        Args:
            attempt: How often was tried.
            asked: Seconds that the server asks to wait.
        """
        if attempt >= self.attempts or (asked is not None and asked > LONGEST_WAIT):
            return None
        if asked is not None:
            return asked
        # Chance keeps many processes from asking again at the same moment.
        spread = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return min(self.first * 2.0 ** (attempt - 1), _LONGEST_PAUSE) * spread

    def _pause(self, attempt: int, spent: float, asked: float | None, error: Exception) -> float | None:
        status = error_status(error)
        left = self.patience - spent
        if not self.patience or status not in _AWAY or (status is not None and left <= 0):
            return self.wait(attempt, asked)
        # How often was asked says nothing of a server that is away; often enough, it is not asked at once again.
        pause = self.wait(max(min(attempt, self.attempts - 1), 0), asked)
        if asked is not None and attempt >= self.attempts and pause is not None:
            pause = max(pause, self.wait(self.attempts - 1, None) or 0.0)
        return None if pause is None or left <= 0 else pause if asked is not None else min(pause, left)

    def call(
        self,
        action: Callable[[], _T],
        sleep: Callable[[float], None] | None = None,
        passing: Callable[[Exception], bool] = passes,
    ) -> _T:
        """Call until it succeeds, while the failure is one that passes.

        Args:
            action: What to do. Errors of this library are final.
            sleep: How to wait.
            passing: Whether a failure passes.

        Raises:
            Exception: The last error of the action; its attribute ``tried`` says how often and how long.
        """
        attempt, begun = 0, time.monotonic()
        while True:
            attempt += 1
            try:
                return action()
            except IrtdDatasetsError:
                raise
            except Exception as error:
                asked = asked_wait(error)
                pause, spent = None, time.monotonic() - begun
                if passing(error) and not abandoned():
                    pause = self._pause(attempt, spent, asked, error)
                if pause is None:
                    tries = f"tried {attempt} times in {spent:.0f} s" if attempt > 1 or spent > 1 else ""
                    with contextlib.suppress(AttributeError):
                        error.tried = tries  # type: ignore[attr-defined]
                    raise
                if asked is not None and asked >= 1:
                    _log.warning("the server asks to wait for %.0f s (status %s)", asked, error_status(error))
                elif pause >= 1:
                    _log.warning("asked again in %.0f s: %s: %.200s", pause, type(error).__name__, error)
            (sleep or time.sleep)(pause)
