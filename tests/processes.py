"""Runs the command line and small programs in processes of their own."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 120
"""Seconds after which a process counts as hanging; nothing here takes a tenth of it."""


def environment(**changes):
    """The environment of a process that can import the library from the checkout."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **changes}
    return {name: value for name, value in found.items() if value is not None}


def irtd(*arguments, cwd=None, env=None, **options):
    """Run the command line; returns the finished process with its output as text."""
    return run(["-m", "irtd_datasets", *map(str, arguments)], cwd=cwd, env=env, **options)


def python(code, *arguments, cwd=None, env=None, **options):
    """Run a program given as text."""
    return run(["-c", code, *map(str, arguments)], cwd=cwd, env=env, **options)


def run(arguments, *, cwd=None, env=None, deadline=DEADLINE, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=deadline,
        check=False,
        **options,
    )


def irtd_here(*arguments):
    """The command line in this process, which saves a start; what it does not catch is raised here.

    Returns:
        What `irtd` returns: exit code, output and errors.
    """
    from irtd_datasets.cli.app import run

    out, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["irtd", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            run()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def told(process, code, *words):
    """The error text of a process that ended with ``code`` for a user's mistake: a message, and no traceback."""
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr + process.stdout, process.stderr
    for word in words:
        assert word in process.stderr, process.stderr
    return process.stderr
