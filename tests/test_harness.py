"""The short form of the programs that kill and damage; `benchmarks` has the long one."""

import re

import pytest
from processes import ROOT, run


def last_line(program, *options):
    """The sums that a program prints at its end."""
    done = run([str(ROOT / "benchmarks" / program), *options], deadline=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {name: int(count) for name, count in re.findall(r"'([^']+)': (\d+)", done.stdout.splitlines()[-1])}


@pytest.mark.timeout(600)
def test_kills_leave_nothing_behind():
    """Commands that are killed, some with another command after them, make in the end what they make undisturbed."""
    pytest.importorskip("moto.server")
    jobs = ("build", "card")
    counts = last_line("kills.py", "--kills", "6", *(word for job in jobs for word in ("--job", job)))
    assert counts["kills"] == 6
    assert counts["another command"] == 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", ["0"])
def test_no_damage_is_silent(seed):
    """Every kind of file that is read is damaged once: nothing is silent, slow or a traceback."""
    assert last_line("mutants.py", "--mutants", "18", "--seed", seed)["mutants"] == 18
