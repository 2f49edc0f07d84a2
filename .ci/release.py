"""Release a version: one step that sets it everywhere, closes the changelog, builds, commits and tags.

Usage:
    python .ci/release.py VERSION

It writes VERSION into pyproject.toml, the package and CITATION.cff, turns "Unreleased" in CHANGELOG.md into the version
with today's date, builds wheel and sdist into ``dist``, commits, and tags ``vVERSION``. Nothing is pushed or uploaded;
the last lines say how. It needs the extra `dev`, a clean checkout, and entries under "Unreleased".
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")

# File, and the place of the version in it.
PLACES = {
    "pyproject.toml": r'(?m)^(version = ")[^"]+(")$',
    "irtd_datasets/version.py": r'(?m)^(__version__ = ")[^"]+(")$',
    "CITATION.cff": r"(?m)^(version: )\S+()$",
}


def git(*arguments: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def with_version(text: str, place: str, version: str) -> str:
    """A file with another version.

    Example:
        >>> with_version('version = "0.1.0"', PLACES["pyproject.toml"], "0.2.0")
        'version = "0.2.0"'
    """
    changed, count = re.subn(place, rf"\g<1>{version}\g<2>", text)
    if count != 1:
        raise SystemExit(f"the version stands there {count} times, expected once: {place}")
    return changed


def with_release(changelog: str, version: str, day: str) -> str:
    r"""A changelog whose unreleased entries are those of a version; a new empty section stands above.

    Example:
        >>> print(with_release("# Log\n\n## [Unreleased]\n\n- new\n", "0.2.0", "2026-01-31"))
        # Log
        <BLANKLINE>
        ## [Unreleased]
        <BLANKLINE>
        ## [0.2.0] - 2026-01-31
        <BLANKLINE>
        - new
        <BLANKLINE>
    """
    head, found, rest = changelog.partition("## [Unreleased]\n")
    if not found or not rest.partition("\n## [")[0].strip():
        raise SystemExit("CHANGELOG.md has nothing under [Unreleased]: say what is new first")
    if f"## [{version}]" in changelog:
        raise SystemExit(f"CHANGELOG.md has a section of {version} already")
    return f"{head}{found}\n## [{version}] - {day}\n{rest}"


def main(version: str) -> None:
    """Do it all, or nothing where something is in the way."""
    if not VERSION.fullmatch(version):
        raise SystemExit(f"{version!r} is no version: write it as 1.2.3 or 1.2.3rc1")
    if git("status", "--porcelain"):
        raise SystemExit("the checkout has changes that are not committed")
    if git("tag", "--list", f"v{version}"):
        raise SystemExit(f"the tag v{version} exists already")
    day = dt.datetime.now(dt.timezone.utc).date().isoformat()
    texts = {
        name: with_version((ROOT / name).read_text("utf-8"), place, version) for name, place in PLACES.items()
    }
    cited = re.sub(r"(?m)^date-released: .*\n", "", texts["CITATION.cff"])
    texts["CITATION.cff"] = cited.replace(
        f"version: {version}\n", f"version: {version}\ndate-released: {day}\n"
    )
    texts["CHANGELOG.md"] = with_release((ROOT / "CHANGELOG.md").read_text("utf-8"), version, day)
    for name, text in texts.items():
        (ROOT / name).write_bytes(text.encode())
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", "dist"], cwd=ROOT, check=True)
    git("commit", "--quiet", "-m", f"Version {version}", "--", *texts)
    git("tag", "-a", f"v{version}", "-m", f"irtd-datasets {version}")
    print(f"Tagged v{version}; wheel and sdist are in dist. Publish them when `.ci/run` has passed:")
    print(f"  git push --follow-tags\n  python -m twine upload dist/irtd_datasets-{version}*")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
