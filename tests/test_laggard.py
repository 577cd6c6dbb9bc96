"""The small version of `make laggard`: who was away for some thousand entries comes back while the writing goes on."""

from __future__ import annotations

from pathlib import Path

from laggard import Plan, play

from hacoord.config import Election, Images
from trace_check import assert_holds


def test_a_laggard_comes_back_through_an_image_while_writes_go_on(tmp_path: Path) -> None:
    election = Election(timeout=1.0, heartbeat=0.1)
    found = play(tmp_path, Plan(10_000, 8_000, election, Images(every=4_000, keep=1_000)), print)
    assert found.parts > 1
    assert found.behind >= 10_000
    # No election was near: every follower waits at least this long for a word of its leader.
    assert max(clock for clock, _ in found.gaps.values()) < election.timeout
    assert_holds(tmp_path / "trace")
