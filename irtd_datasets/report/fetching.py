"""What `irtd fetch` and `irtd doctor --hashes` show, and the places in `irtd list`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from irtd_datasets.report.console import make_console, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from irtd_datasets.fetching.hashes import ComparedFile
    from irtd_datasets.fetching.run import FetchReport
    from irtd_datasets.spec import DatasetSpec

__all__ = ["fetch_as_dict", "hashes_as_list", "show_fetch", "show_hashes", "show_places"]

_KINDS = {
    "web": "direct link",
    "hub": "direct link",
    "drive": "Google Drive",
    "baidu": "by hand, Baidu Netdisk",
    "onedrive": "by hand, OneDrive",
    "source": "source set",
}


def fetch_as_dict(report: FetchReport) -> dict[str, Any]:
    """What a fetch did, as plain values."""
    return {
        "dataset": report.dataset,
        "folder": str(report.folder),
        "files": [asdict(one) for one in report.files],
        "by_hand": [asdict(one) for one in report.by_hand],
    }


def show_fetch(report: FetchReport) -> None:
    """Print a line for each file, and what is left to do."""
    console = make_console()
    for one in report.files:
        size = "size unknown" if one.size is None else f"{one.size:,} bytes"
        console.print(styled(f"{one.status}: {one.name}", f" ({size}) from {one.where}. {one.note}"))
    for left in report.by_hand:
        what = "everything" if left.files == ("*",) else ", ".join(left.files)
        configs = f" of {', '.join(left.configs)}" if left.configs else ""
        head = "here, not verified" if left.here else "by hand, instead" if left.instead else "by hand"
        if left.here or not left.steps:
            console.print(styled(f"{head}: {what}", f"{configs} ({left.where})"))
        else:
            console.print(
                styled(f"{head}: {what}", f"{configs}. {left.where}. {left.steps} Terms: {left.licence}.")
            )
    if not report.files and not report.by_hand:
        console.print(
            f"No place is known for {report.dataset}: its project's page may name one (`irtd list`)."
        )
        return
    if not report.sound:
        console.print("Not everything came; the same command goes on from what is here.")
        return
    name, folder = report.dataset, report.folder
    console.print(f"Then: `irtd doctor {name} --release {folder}` and `irtd build {name} --release {folder}`")


def hashes_as_list(compared: Sequence[ComparedFile]) -> list[dict[str, Any]]:
    """Compared files as plain values."""
    return [asdict(one) for one in compared]


def show_hashes(compared: Sequence[ComparedFile]) -> None:
    """Print what the files of a release are, those that differ first."""
    console = make_console()
    order = {"differs": 0, "unreadable": 1, "repacked": 2, "same": 3, "unknown": 4}
    for one in sorted(compared, key=lambda one: order[one.status]):
        console.print(styled(f"{one.status}: {one.where}", f" ({one.note})"))
    counts = {status: sum(one.status == status for one in compared) for status in order}
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    console.print(f"Compared with the known SHA-256: {told or 'no file here'}")


def show_places(console: Console, spec: DatasetSpec) -> None:
    """Print where the files of a dataset are handed out."""
    for place in spec.places:
        facts = [f"for {', '.join(place.configs)}"]
        if place.code:
            facts.append(f"code {place.code}")
        if place.kind != "source":
            facts.append("size unknown" if place.size is None else f"{place.size:,} bytes")
            facts.append(f"SHA-256 {place.sha256}" if place.sha256 else "SHA-256 unknown")
        where = f"`irtd sources {place.url}`" if place.kind == "source" else place.url
        files = place.files[0] if len(place.files) == 1 else f"{place.files[0]} ... {place.files[-1]}"
        console.print(styled(f"  {files}", f": {_KINDS[place.kind]}, {where} ({'; '.join(facts)})"))
