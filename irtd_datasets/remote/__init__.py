"""How any server is asked: which failures pass, how long to wait, when to give up. Protocols belong to their users."""

from irtd_datasets.remote.answers import asked_wait, error_code, error_header, error_status, passes
from irtd_datasets.remote.retry import LONGEST_WAIT, Retry

__all__ = [
    "LONGEST_WAIT",
    "Retry",
    "asked_wait",
    "error_code",
    "error_header",
    "error_status",
    "passes",
]
