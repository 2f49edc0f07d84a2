"""How any server is asked: by which threads, for which ranges, how long to wait, when to give up.

Protocols belong to their users.
"""

from irtd_datasets.remote.answers import asked_wait, error_code, error_header, error_status, passes
from irtd_datasets.remote.crew import Crew, crew
from irtd_datasets.remote.line import Line, Transfer, line_to
from irtd_datasets.remote.ranges import joined
from irtd_datasets.remote.retry import LONGEST_WAIT, Retry

__all__ = [
    "LONGEST_WAIT",
    "Crew",
    "Line",
    "Retry",
    "Transfer",
    "asked_wait",
    "crew",
    "error_code",
    "error_header",
    "error_status",
    "joined",
    "line_to",
    "passes",
]
