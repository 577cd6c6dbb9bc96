"""A slice of `make confusion`: right runs hold, doctored ones do not, and every kind of change occurs."""

from __future__ import annotations

from pathlib import Path

import confusion
from doctor import KINDS


def test_good_traces_hold_and_doctored_ones_do_not(tmp_path: Path) -> None:
    """Each seed's good trace is doctored in three ways that have not occurred yet, or in one that has."""
    pending = dict.fromkeys(KINDS)
    matrix = confusion.Matrix()
    for seed in range(120):
        matrix.add(confusion.good(seed, tmp_path))
        for _ in range(3):
            if outcome := confusion.doctor(seed, tmp_path, list(pending or KINDS)):
                matrix.add(outcome)
                pending.pop(outcome.kind, None)
    assert not matrix.unexpected, "\n".join(matrix.lines())
    assert not pending, f"never occurred: {', '.join(pending)}"


def test_the_same_seed_gives_the_same_traces(tmp_path: Path) -> None:
    once, again = tmp_path / "once", tmp_path / "again"
    for seed in range(4):
        for directory in (once, again):
            confusion.one(seed, KINDS, directory)
    made = {path.relative_to(once): path.read_bytes() for path in once.rglob("*.ndjson")}
    assert made == {path.relative_to(again): path.read_bytes() for path in again.rglob("*.ndjson")}
    assert made
