"""An independent checker for traces of HA coordination: read, merge, judge, report.

`replay(directory)` judges a run on the state graphs that TLC made from the specification. It shares no code with the
implementation, only the format on docs/trace-format.md.
"""

from trace_check.replay import replay
from trace_check.verdict import (
    BadInput,
    Counts,
    Coverage,
    Failover,
    Promise,
    Refused,
    Result,
    Verdict,
    Violation,
    Where,
)

__all__ = [
    "BadInput",
    "Counts",
    "Coverage",
    "Failover",
    "Promise",
    "Refused",
    "Result",
    "Verdict",
    "Violation",
    "Where",
    "replay",
]
