"""Runs the command line several times in one process: ``python driver.py`` with a JSON list of cases on its input.

A case is ``{"arguments": [..], "token": ..}``; the output is a JSON list of ``[exit code, output, errors]``.
"""

import contextlib
import io
import json
import os
import sys


def main():
    from irtd_datasets.cli.app import run as irtd

    answers = []
    for case in json.load(sys.stdin):
        os.environ["HF_TOKEN"] = case.get("token") or ""
        out, errors, code = io.StringIO(), io.StringIO(), 0
        sys.argv = ["irtd", *case["arguments"]]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                irtd()
            except SystemExit as ended:
                code = ended.code or 0
        answers.append([code, out.getvalue(), errors.getvalue()])
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
