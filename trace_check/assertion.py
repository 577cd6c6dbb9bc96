"""One line for a test of one's own: the traces it has left in a directory must hold."""

from __future__ import annotations

from pathlib import Path

from trace_check.replay import replay
from trace_check.report import as_text
from trace_check.verdict import Result, Verdict


def assert_holds(directory: Path | str) -> Result:
    """The judged run, for a test to ask more of it.

    Raises AssertionError, with the report as text, at a violation and when the trace is incomplete; BadInput when there
    is nothing to judge.
    """
    # pytest: the failure is shown where it was called.
    __tracebackhide__ = True
    result = replay(directory)
    if result.verdict is not Verdict.HOLDS:
        raise AssertionError(as_text(result))
    return result
