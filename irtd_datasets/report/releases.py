"""What `irtd list`, `doctor` and `frames` show."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from irtd_datasets.report.console import make_console, make_table, show_count, styled
from irtd_datasets.report.fetching import show_places
from irtd_datasets.schema import FIELDS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from irtd_datasets.rows.doctor import Diagnosis
    from irtd_datasets.rows.frame_report import FrameFile
    from irtd_datasets.spec import DatasetSpec

__all__ = ["fields_as_list", "show_diagnosis", "show_fields", "show_frames", "show_spec", "spec_as_dict"]


def spec_as_dict(spec: DatasetSpec) -> dict[str, Any]:
    """A dataset's declaration as plain values."""
    values = asdict(spec)
    values["configs"] = {
        config.name: {
            "splits": config.splits,
            "tasks": list(dict.fromkeys(member.part.task for member in config.members)),
            "released": config.records,
            "released_rounds": config.rounds,
            "public": config.public,
        }
        for config in spec.configs
    }
    return values


def fields_as_list() -> list[dict[str, str]]:
    """The columns as plain values."""
    return [
        {"name": field.name, "type": field.describe_type(), "meaning": field.doc} for field in FIELDS.values()
    ]


def show_spec(spec: DatasetSpec) -> None:
    """Print one dataset: configs, tasks, counts, what is missing, terms, how to get it."""
    console = make_console()
    console.print(styled(spec.name, f"  {spec.title} {spec.version}: {spec.summary}"))
    console.print(f"{spec.paper}  {spec.homepage}")
    table = make_table("config", "split", "task", "annotation file", "released")
    for config in spec.configs:
        tasks = list(dict.fromkeys(member.part.task for member in config.members))
        files = list(dict.fromkeys(member.part.file for member in config.members))
        table.add_row(
            config.name,
            ", ".join(config.splits),
            tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks",
            files[0] if len(files) == 1 else f"{len(files)} files",
            f"{config.rounds:,} rounds"
            if config.rounds is not None
            else show_count(config.records, "unknown" if config.public else "not released"),
        )
    console.print(table)
    for subset in spec.subsets:
        console.print(styled(subset.name, f": {subset.available}"))
    if spec.not_released:
        console.print(styled("Not released", f": {'; '.join(spec.not_released)}."))
    console.print(styled("Terms", f": {spec.licence} {spec.terms}"))
    console.print(styled("How to get it"))
    for step in spec.obtain:
        console.print(f"  - {step}")
    if spec.places:
        console.print(
            styled("Where it is", f": `irtd fetch {spec.name} --to FOLDER` gets what has a direct link")
        )
        show_places(console, spec)


def show_frames(found: FrameFile) -> None:
    """Print which frames are possible for the numbers in a file, and why."""
    console, result = make_console(), found.report
    console.print(styled("verdict", f": {found.verdict}"))
    for reason in result.evidence:
        console.print(f"  {reason}")
    places = ", ".join(f"{count:,} of kind {kind}" for kind, count in found.places.items()) or "none"
    console.print(f"{found.file}: {found.form or 'no known form'}, {found.records:,} records")
    console.print(f"places: {places}; {found.unreadable:,} unreadable; {found.sampled:,} looked at")
    console.print(f"images of those: {found.images:,}, found {found.found:,}, square {found.square:,}")
    if not found.found:
        return
    console.print(f"numbers: {result.minimum:g} to {result.maximum:g}, {_decimals(result.decimals)}")
    console.print(f"boxes: {result.zero_size:,} of zero size, {result.not_finite:,} not finite")
    table = make_table("frame", "boxes in its range", "inside the image")
    for name, share in result.legal.items():
        inside = result.inside.get(name)
        table.add_row(name, f"{share:.1%}", "" if inside is None else f"{inside:.1%}")
    console.print(table)


def _decimals(counts: dict[int, int]) -> str:
    total = sum(counts.values())
    return "decimals needed: " + ", ".join(
        f"{digits} ({count / total:.0%})" for digits, count in counts.items()
    )


def show_fields() -> None:
    """Print the columns of the schema."""
    table = make_table("field", "type", "meaning")
    for field in FIELDS.values():
        table.add_row(field.name, field.describe_type(), field.doc)
    make_console().print(table)


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what a release has and lacks."""
    console = make_console()
    console.print(f"{diagnosis.dataset} release at {diagnosis.root}")
    console.print(_files_table(diagnosis))
    for note in dict.fromkeys(note for file in diagnosis.files for note in file.notes):
        console.print(note)
    streamed: dict[str, list[str]] = {}
    for file in diagnosis.files:
        if file.streamed:
            streamed.setdefault(file.streamed, []).append(file.config)
    for stream, configs in streamed.items():
        names = ", ".join(dict.fromkeys(configs))
        console.print(f"Images of {names}: {stream}, read as one stream when built")
    if diagnosis.folders:
        console.print(_folders_table(diagnosis))
    table = make_table("config", "rows", title="Can be built")
    for name, rows in diagnosis.configs.items():
        if rows:
            table.add_row(name, f"{rows:,}")
    console.print(table if table.row_count else "No config can be built from what is here.")
    _show_problems(console, diagnosis)


def _files_table(diagnosis: Diagnosis) -> Table:
    by_rounds = any(file.rounds_released is not None for file in diagnosis.files)
    head = ("rounds", "in the paper") if by_rounds else ("released",)
    table = make_table("annotation file", "config", "records", *head, "where", title="Annotation files")
    for file in diagnosis.files:
        if file.where or file.released is not None or file.rounds_released is not None or file.problem:
            repairs = f" (repaired: {', '.join(file.repairs)})" if file.repairs else ""
            where = file.where or ("cannot be read" if file.problem else "not here")
            numbers = (
                (f"{file.rounds:,}", show_count(file.rounds_released))
                if by_rounds
                else (show_count(file.released, "unknown" if file.public else "not released"),)
            )
            table.add_row(file.file, file.config, f"{file.records:,}", *numbers, where + repairs)
    return table


def _folders_table(diagnosis: Diagnosis) -> Table:
    table = make_table("images of", "found", "needed", "where", title="Images")
    for folder in diagnosis.folders:
        where = (
            ", ".join(f"{place} ({count:,})" for place, count in folder.places.most_common(3)) or "nowhere"
        )
        notes = "".join(f"; {note} ({count:,})" for note, count in folder.notes.items())
        table.add_row(folder.folder, f"{folder.found:,}", f"{folder.needed:,}", where + notes)
    return table


def _show_problems(console: Console, diagnosis: Diagnosis) -> None:
    # One file can feed several parts.
    problems = dict.fromkeys(file.problem for file in diagnosis.files if file.problem)
    lines = [f"Problem: {problem}" for problem in problems]
    for file in diagnosis.files:
        if file.dropped:
            reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(file.dropped.items()))
            lines.append(f"Left out of {file.file}: {reasons}")
    for folder in diagnosis.folders:
        if folder.ambiguous:
            lines.append(f"Ambiguous: {folder.ambiguous_count:,} images of {folder.folder}, such as")
            lines += [f"  {line}" for line in folder.ambiguous]
    if any(not folder.found for folder in diagnosis.folders):
        lines.append(
            "Images that lie elsewhere: --images FOLDER=PATH, with a folder of the table and the path of a folder, "
            "zip or tar."
        )
    if diagnosis.unknown_files:
        lines.append(f"Not known, ignored: {', '.join(diagnosis.unknown_files)}")
    for line in lines:
        console.print(line)
