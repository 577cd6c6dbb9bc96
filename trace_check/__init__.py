"""An independent checker for traces of HA coordination: read, merge, judge, report.

`replay(directory)` judges a run on the state graphs that TLC made from the specification, `assert_holds(directory)` is
the same for tests. It shares no code with the implementation, only the format on docs/trace-format.md.
"""

from trace_check.assertion import assert_holds
from trace_check.explaining.explain import Explanation, explain
from trace_check.explaining.shrink import Shrunk, shrink
from trace_check.replay import replay, replay_all
from trace_check.verdict import (
    BadInput,
    Counts,
    Coverage,
    Edge,
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
    "Edge",
    "Explanation",
    "Failover",
    "Promise",
    "Refused",
    "Result",
    "Shrunk",
    "Verdict",
    "Violation",
    "Where",
    "assert_holds",
    "explain",
    "replay",
    "replay_all",
    "shrink",
]
