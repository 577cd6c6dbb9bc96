"""One rule for the whole suite: whatever the implementation has traced in a test is a behaviour of the specification.

When a test and all its fixtures have ended, the traces that it left in its `tmp_path` are judged, cluster by cluster.
They must hold; a voter that the test never started is all that may be missing. Tests that make wrong traces on purpose
are left out: those of whole modules by name, single ones by the mark `wrong_traces`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trace_check import replay_all
from trace_check.report import as_text
from trace_check.verdict import BadInput, Verdict

MADE_UP = ("test_trace_", "test_spec_", "test_broken_", "test_confusion")
NEVER_STARTED = "no trace of "
JUDGED = "judged"


@pytest.fixture(autouse=True)
def traces_are_judged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up before all other fixtures, so that it judges when whatever they have started is at an end."""
    wrong = request.node.path.name.startswith(MADE_UP) or request.node.get_closest_marker("wrong_traces")
    if wrong or "tmp_path" not in request.fixturenames:
        yield
        return
    directory: Path = request.getfixturevalue("tmp_path")
    yield
    judge_all(directory)


def judge_all(directory: Path) -> None:
    """Nodes may each have had a directory of their own. Raises AssertionError with the report of what does not hold."""
    files = [path for path in directory.rglob("*.ndjson*") if path.stat().st_size]
    if not files:
        return
    together = directory / JUDGED
    together.mkdir()
    judged: list[bytes] = []
    for path in sorted(files, key=lambda path: -path.stat().st_size):
        content = path.read_bytes()
        # Copies of a data directory, made while its node still wrote or later, say nothing more.
        if not any(longer.startswith(content) for longer in judged):
            (together / f"{len(judged)}-{path.name}").symlink_to(path)
            judged.append(content)
    for cluster, result in replay_all(together).items():
        assert not isinstance(result, BadInput), f"{cluster}: {result}"
        missing = [what for what in result.missing if not what.startswith(NEVER_STARTED)]
        assert result.verdict is not Verdict.VIOLATION, as_text(result)
        assert not missing, as_text(result)
