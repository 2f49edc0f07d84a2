"""The application that commands register with, and how its errors are shown."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Annotated, NoReturn

import typer

from irtd_datasets.display import one_line, terminal
from irtd_datasets.errors import IrtdDatasetsError, UnknownNameError, system_remedy
from irtd_datasets.version import __version__

__all__ = ["app", "main", "run", "say"]

_WITHOUT_PANDAS = frozenset({"info", "stats", "subset", "split", "merge", "dedup"})
"""Commands that only pyarrow works for, which is to spend no time on looking for pandas."""
_LESS_MEMORY = "Close other programs, or use fewer workers (`--workers 1`); what is finished is kept."
_CHECK_SYSTEM = "The operating system refused this; check the path, its permissions and the free space."

app = typer.Typer(
    name="irtd",
    help="IR-TD, MMRS-1M and RS-GPT4V as Hugging Face datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def say(text: str, *, err: bool = False) -> None:
    """Print a text on standard output or standard error, with nothing in it that a terminal obeys."""
    typer.echo(terminal(text), err=err)


def run() -> None:
    """Entry point: a user's mistake is a message, not a traceback.

    Exit codes: 0 done, 1 the input or the output has a problem, 2 wrong usage, 130 interrupted.
    """
    try:
        app(standalone_mode=True)
    except IrtdDatasetsError as error:
        error.where = one_line(error.where)
        say(f"irtd: {error}", err=True)
        sys.exit(2 if isinstance(error, UnknownNameError) else 1)
    except BrokenPipeError:
        # The reader of our output has gone, as in `irtd list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError:
        typer.echo(f"irtd: the memory does not suffice\n{_LESS_MEMORY}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = system_remedy(error, _CHECK_SYSTEM)
        typer.echo(f"irtd: {where}{error.strerror or error}\n{remedy}", err=True)
        sys.exit(1)


def main() -> NoReturn:
    """The command of a shell: `run`, and the end of the process.

    A stream of `datasets` that was not read to its end leaves reads behind in Arrow's threads. An interpreter that
    shuts down meanwhile hangs or aborts (apache/arrow#45214), after all is done and printed. So where `datasets` was
    used, the process ends at once: what is registered for its end is run, and no thread is waited for.
    """
    code: object = 0
    if sys.argv[1:2] == ["build"] and "--help" not in sys.argv:
        from irtd_datasets.writing.workers import prepare_process

        prepare_process()
    if sys.argv[1:2] and sys.argv[1] in _WITHOUT_PANDAS:
        from irtd_datasets.arrow import leave_pandas_out

        leave_pandas_out(for_good=True)
    try:
        run()
    except SystemExit as ended:
        code = ended.code
    if "datasets" not in sys.modules or not (code is None or isinstance(code, int)):
        sys.exit(code)  # type: ignore[arg-type]
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter calls, too
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)
