"""Looks for bytes that a parser neither reads nor refuses, led by which lines of this library they reach.

    python benchmarks/fuzz.py --seconds 600                        # each binary parser, one after the other
    python benchmarks/fuzz.py --parser tiff --parser zip --seconds 60 --corpus found --keep 8

Needs atheris (`pip install atheris`; Linux and macOS). The parsers and the files that they start from are those of
`tests/fuzzing`. A finding is any error but those of the library, a reading of more than 10 s, or more than 600 MB. What
is found is written to the folder of the corpus, and ends the run with 1. With ``--keep`` the smallest files that reach
something new are put into `tests/fuzzing/corpus`, which every run of the tests reads.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES, LONGEST = 10, 600, 1 << 14
_KEPT_BYTES = 2048  # of a file of the kept corpus


def fuzz(parser: str, arguments: list[str]) -> None:
    """Run libFuzzer in this process; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["irtd_datasets"], enable_loader_override=False):
        from parsers import read
    from parsers import PARSERS

    PARSERS[parser].seeds()  # what they import is not counted as found
    # libFuzzer starts itself again for each file that it merges, by the first word, in a shell.
    command = shlex.join([sys.executable, __file__, "--inside", parser, "--"])
    atheris.Setup([command, *arguments], lambda data: read(parser, data))
    atheris.Fuzz()


def run(parser: str, seconds: int, corpus: Path, seed: int) -> tuple[int, int, list[str]]:
    """Fuzz one parser in a process of its own: readings, files of the corpus, and what was found."""
    from parsers import PARSERS

    folder = corpus / parser
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(PARSERS[parser].seeds()):
        (folder / f"seed-{number}").write_bytes(data)
    for file in _kept(parser):
        shutil.copy(file, folder)
    done = _libfuzzer(
        parser, f"-max_total_time={seconds}", f"-seed={seed or 1}", f"-artifact_prefix={folder}-", str(folder)
    )
    counts = re.findall(r"^#(\d+)\t", done.stderr, re.MULTILINE)
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    found = [] if done.returncode == 0 else [done.stderr[-3000:]]
    return int((executed or counts or ["0"])[-1]), len(list(folder.iterdir())), found


def _libfuzzer(parser: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    limits = [
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-max_len={LONGEST}",
        "-print_final_stats=1",
    ]
    return subprocess.run(
        [sys.executable, __file__, "--inside", parser, "--", *limits, *arguments],
        check=False,
        text=True,
        errors="replace",
        capture_output=True,
    )


def keep(parser: str, corpus: Path, most: int) -> int:
    """Put the smallest files that reach something new into the corpus of the tests."""
    from parsers import CORPUS

    with tempfile.TemporaryDirectory() as merged:
        _libfuzzer(parser, "-merge=1", merged, str(corpus / parser))
        files = sorted(Path(merged).iterdir(), key=lambda file: (file.stat().st_size, file.name))
        chosen = [file for file in files if file.stat().st_size <= _KEPT_BYTES]
        step = max(1, len(chosen) // most)  # small and larger ones
        target = CORPUS / parser
        target.mkdir(parents=True, exist_ok=True)
        for file in chosen[::step][:most]:
            shutil.copy(file, target / file.name[:12])
    return len(_kept(parser))


def _kept(parser: str) -> list[Path]:
    from parsers import CORPUS

    return sorted((CORPUS / parser).glob("*"))


def main() -> None:
    """Fuzz the parsers in turn and tell."""
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[4:])
        return
    from parsers import PARSERS

    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--parser", action="append", choices=sorted(PARSERS), help="all binary ones by default"
    )
    options.add_argument("--all", action="store_true", help="those of texts, too")
    options.add_argument("--seconds", type=int, default=600, help="for each")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--corpus", type=Path, help="folder to go on from; a temporary one by default")
    options.add_argument("--keep", type=int, default=0, help="files to put into the corpus of the tests")
    chosen = options.parse_args()
    names = chosen.parser or [name for name, parser in PARSERS.items() if parser.binary or chosen.all]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = (chosen.corpus or Path(folder)).resolve()
        for name in names:
            begun = time.perf_counter()
            readings, files, found = run(name, chosen.seconds, corpus, chosen.seed)
            failed += len(found)
            kept = keep(name, corpus, chosen.keep) if chosen.keep else len(_kept(name))
            seconds = time.perf_counter() - begun
            print(f"{name}: {readings:,} readings in {seconds:.0f} s, {files} files reach something new, {kept} kept, "
                  f"{len(found)} findings", flush=True)  # fmt: skip
            for text in found:
                print(text)
    sys.exit(failed > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests" / "fuzzing"))
    os.environ |= {"HF_HUB_OFFLINE": "1"}
    main()
