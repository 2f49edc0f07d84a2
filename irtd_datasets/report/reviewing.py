"""What `irtd review` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irtd_datasets.report.console import make_console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irtd_datasets.review.apply import Applied
    from irtd_datasets.review.exchange import Added

__all__ = ["show_added", "show_applied", "show_state"]


def show_state(state: Mapping[str, Any]) -> None:
    """Print how far a review is, and how far reviewers agree."""
    console = make_console()
    console.print(f"{state['done']:,} of {state['total']:,} rows judged: {_told(state['counts'])}")
    for one in state["agreement"]:
        console.print(_agreement(one))


def _agreement(one: Mapping[str, Any]) -> str:
    value = "is not defined" if one["kappa"] is None else f"{one['kappa']:.2f}"
    both = " and ".join(one["reviewers"])
    return f"{both}: {one['same']:,} of {one['rows']:,} rows the same, Cohen's kappa {value}"


def show_added(added: Added) -> None:
    """Print what came of an export of Label Studio."""
    console = make_console()
    console.print(f"{added.added:,} verdicts added, {added.known:,} were there already")
    if added.refused:
        console.print(f"No verdicts: {_told(added.refused)}")


def show_applied(made: Applied) -> None:
    """Print what became of the rows and of the verdicts."""
    console = make_console()
    console.print(f"{made.rows:,} rows: {made.folder}")
    console.print(f"Changed {made.edited:,}, left out {made.rejected:,}, accepted {made.accepted:,}")
    for code, rows in made.not_applied.items():
        console.print(
            f"Not applied, {code}: {len(rows):,} ({', '.join(rows[:3])}{', ...' * (len(rows) > 3)})"
        )
    if made.refused:
        console.print(f"No verdicts: {_told(made.refused)}")
    for one in made.agreement:
        console.print(_agreement(one.as_dict()))


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
