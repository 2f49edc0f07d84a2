"""A run of predictions: journal, file and record beside each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.captioning.journal import Journal
from irtd_datasets.errors import BuildError
from irtd_datasets.evaluate.predict import (
    PredictOptions,
    PredictReport,
    estimate_cost,
    predict_endpoint,
    read_asked,
)
from irtd_datasets.evaluate.questions import Selection, read_questions
from irtd_datasets.folder.row_groups import config_names
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.captioning.endpoint import Endpoint

__all__ = ["PredictRequest", "PredictResult", "run_prediction"]


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What is to be predicted.

    Attributes:
        folder: Dataset folder.
        config: Its config; None as for `irtd_datasets.evaluate.read_questions`.
        out: File of predictions.
        endpoint: Where the model is.
        options: How it is asked.
        selection: Which rows.
        limit: At most so many rounds; None for all.
        dry_run: Tell only how much would be asked.
    """

    folder: Path
    config: str | None
    out: Path
    endpoint: Endpoint
    options: PredictOptions
    selection: Selection
    limit: int | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What was predicted.

    Attributes:
        out: The file.
        questions: Rounds that were wanted.
        expected: Questions, input tokens, output tokens and cost, estimated.
        report: Sums of the run.
        notes: Sentences that a reader of the predictions should know.
    """

    out: Path
    questions: int
    expected: tuple[int, int, int, float]
    report: PredictReport
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("questions", "input_tokens", "output_tokens", "cost")
        return {
            "out": str(self.out),
            "questions": self.questions,
            "expected": dict(zip(names, self.expected, strict=True)),
            "report": self.report.as_dict(),
            "notes": list(self.notes),
        }


def run_prediction(request: PredictRequest) -> PredictResult:
    """Predict, and write three files: the predictions, the journal of paid answers, and a record of the run.

    The predictions (``out``) are written anew by every run, from the journal where it has an answer. The record
    (``out`` with ``.run.json``) has model, address, options and sums; no key is written anywhere.

    Raises:
        EndpointError: The endpoint refused the very first question.
        BuildError: A file cannot be written, or another run writes to the journal.
        UnknownNameError: As `irtd_datasets.evaluate.read_questions`.
    """
    config = request.config
    if config is None and "benchmark" in config_names(request.folder):
        config = "benchmark"
    questions = read_questions(request.folder, config, request.selection)[: request.limit]
    expected = estimate_cost(read_asked(request.folder, config, questions), request.endpoint, request.options)
    report = PredictReport()
    if request.dry_run:
        return PredictResult(request.out, len(questions), expected, report)
    partial = request.out.with_name(f"{request.out.name}.partial")
    with Journal(request.out.with_suffix(".journal.jsonl")) as journal:
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                rows = read_asked(request.folder, config, questions)
                for line in predict_endpoint(rows, request.endpoint, journal, request.options, report):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            partial.replace(request.out)
            record = {
                "irtd_datasets": __version__,
                "dataset": str(request.folder.name),
                "config": config,
                "selection": asdict(request.selection),
                "model": request.endpoint.model,
                "endpoint": request.endpoint.url,
                "max_tokens": request.endpoint.max_tokens,
                "temperature": request.endpoint.temperature,
                "seed": request.endpoint.seed,
                "options": request.options.as_dict(),
                "report": report.as_dict(),
            }
            text = json.dumps(record, indent=1, ensure_ascii=False)
            request.out.with_suffix(".run.json").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise  # the endpoint's
            raise BuildError(
                f"it cannot be written: {error.strerror or error}",
                where=str(request.out),
                remedy="Make room or name another file; answers so far are in the journal.",
            ) from error
    return PredictResult(
        request.out, len(questions), expected, report, tuple(_notes(report, request.endpoint))
    )


def _notes(report: PredictReport, endpoint: Endpoint) -> list[str]:
    notes = []
    others = {name: count for name, count in report.models.items() if name != endpoint.model}
    if len(report.models) > 1:
        named = ", ".join(f"{name!r} {count:,}" for name, count in report.models.items())
        notes.append(f"the endpoint called its model by several names: {named}; were these one model?")
    elif others:
        notes.append(f"the endpoint calls its model {next(iter(others))!r}, asked was {endpoint.model!r}")
    if report.smaller:
        notes.append(
            f"{report.smaller:,} questions were asked again with a smaller image, which the endpoint accepted"
        )
    if report.unreadable_images:
        notes.append(f"{report.unreadable_images:,} images cannot be decoded; their rows have no answer")
    if report.stopped:
        notes.append(f"stopped: {report.stopped}")
    return notes
