"""Questions to an endpoint that are paid for once: journal, limit of cost, and what a run has charged so far."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import Event, Lock, local
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from irtd_datasets.captioning.journal import Answer
from irtd_datasets.errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.journal import Journal

__all__ = ["PaidRun", "RunReport", "image_tokens", "question_key"]

Item = TypeVar("Item")
Done = TypeVar("Done")


class Prices(Protocol):
    """What a run may cost."""

    @property
    def max_cost(self) -> float | None:
        """Most that may be charged; None for no limit."""

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Price of some tokens."""


@dataclass
class RunReport:
    """Sums of a run.

    Attributes:
        asked: Questions that were paid in this run, corrections included.
        from_journal: Answers taken from the journal.
        failed: Questions that the endpoint did not answer; the next run asks them again.
        input_tokens: Charged in this run, as far as the endpoint says.
        output_tokens: Charged in this run.
        cost: Of these tokens.
        stopped: Why the run ended early; empty when it did not.
        over_cost: Whether it ended at ``max_cost``.
        models: How often each model answered, by the name that the endpoint gave it.
    """

    asked: int = 0
    from_journal: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    stopped: str = ""
    over_cost: bool = False
    models: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()
        }


def image_tokens(width: float, height: float) -> int:
    """About how many tokens an image counts as: one for each 28 x 28 pixels."""
    return math.ceil(width / 28) * math.ceil(height / 28)


def question_key(endpoint: Endpoint, *asked: object) -> str:
    """What makes two questions to a model the same: a hash of its name and settings, and of plain values."""
    settings = (endpoint.model, endpoint.max_tokens, endpoint.temperature, endpoint.seed)
    return hashlib.sha256(json.dumps((*settings, *asked)).encode()).hexdigest()


class PaidRun:
    """What the threads of one run share.

    Args:
        endpoint: Where to ask.
        journal: An open journal; every answer is in it before anything is done with it.
        report: Filled.
        prices: What may be charged.
    """

    def __init__(self, endpoint: Endpoint, journal: Journal, report: RunReport, prices: Prices) -> None:
        self._endpoint, self._journal, self._report, self._prices = endpoint, journal, report, prices
        self._guard = Lock()
        self._under_way = 0.0
        self._charge = 1.0  # charged input tokens for each estimated one, the highest so far
        self._asking: dict[str, Lock] = {}
        self.first_error: EndpointError | None = None
        self._mine = local()
        self.over = Event()  # nobody wants more: questions that wait to be asked again are given up

    def in_order(
        self, work: Callable[[Item], Done], items: Iterable[Item], concurrency: int, name: str
    ) -> Iterator[Done]:
        """Do something with each item in threads, a bounded number ahead, and give the results in order.

        Args:
            work: What is done, with the help of this run.
            items: Read as needed.
            concurrency: Threads.
            name: Of the threads.

        Raises:
            EndpointError: The endpoint refused the very first question, and the journal answered none.
        """
        waiting: deque[Future[Done]] = deque()
        remaining = iter(items)
        with ThreadPoolExecutor(concurrency, thread_name_prefix=name) as pool:
            try:
                waiting.extend(pool.submit(work, item) for item in islice(remaining, concurrency * 2))
                while waiting:
                    done = waiting.popleft().result()
                    waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
                    yield done
            finally:
                self.over.set()
                for future in waiting:
                    future.cancel()
        if self.first_error and not self._report.asked and not self._report.from_journal:
            raise self.first_error

    @property
    def last_error(self) -> EndpointError | None:
        """Why the last question of this thread was not answered."""
        return getattr(self._mine, "error", None)

    def lock(self, key: str) -> Lock:
        """A lock for one question, so that it is asked once."""
        with self._guard:
            return self._asking.setdefault(key, Lock())

    def known(self, key: str, turn: int) -> Answer | None:
        """The answer in the journal; None when there is none."""
        known = self._journal.get(key, turn)
        if known is not None:
            with self._guard:
                self._report.from_journal += 1
        return known

    def ask(
        self, row: str, key: str, turn: int, messages: list[dict[str, Any]], tokens: int, *, sent: str = ""
    ) -> Answer | None:
        """Ask and write the answer down; None when nothing more is asked or the endpoint did not answer.

        ``sent`` is the SHA-256 of the image among the messages.
        """
        self._mine.error = None
        expected = self._may_ask(tokens)
        if expected is None:
            return None
        try:
            reply = self._endpoint.ask(messages, self.over)
        except EndpointError as error:
            with self._guard:
                self._under_way -= expected
                self._report.failed += 1
                self.first_error = self.first_error or error
                self._mine.error = error
                if error.fatal:
                    self._report.stopped = self._report.stopped or str(error)
                    self.over.set()
            return None
        answer = Answer(
            key,
            row,
            self._endpoint.model,
            reply.text,
            reply.finish_reason,
            reply.input_tokens,
            reply.output_tokens,
            turn,
            sent,
        )
        self._journal.add(answer)
        with self._guard:
            self._under_way -= expected
            self._charge = max(self._charge, (reply.input_tokens or 0) / tokens)
            report = self._report
            report.asked += 1
            report.input_tokens += reply.input_tokens or tokens
            report.output_tokens += reply.output_tokens or len(reply.text) // 4
            report.models[reply.model or self._endpoint.model] += 1
            report.cost = self._prices.cost(report.input_tokens, report.output_tokens)
        return answer

    def _may_ask(self, tokens: int) -> float | None:
        """Reserve the cost of a question and return it; None when no more is asked."""
        with self._guard:
            if self._report.stopped:
                return None
            expected = self._prices.cost(tokens * self._charge, self._endpoint.max_tokens)
            limit = self._prices.max_cost
            if limit is not None and self._report.cost + self._under_way + expected > limit:
                self._report.stopped = f"the next question could go beyond the cost of {limit}"
                self._report.over_cost = True
                return None
            self._under_way += expected
            return expected
