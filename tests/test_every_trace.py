"""The rule of conftest.py, by which the traces of every test are judged, refuses what does not hold."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest
from conftest import JUDGED, judge_all

from hacoord.sim import Simulation

pytestmark = pytest.mark.wrong_traces


def test_a_wrong_line_or_a_file_that_others_cite_and_is_not_there_fails(tmp_path: Path) -> None:
    """A right run whose nodes had a directory each holds; with a Store less, or a file less that others cite, not."""
    traces = tmp_path / "n0"
    simulation = Simulation(traces, 3, seed=3)
    simulation.run(lambda: simulation.now > 5)
    simulation.cluster.close()
    for number, path in enumerate(sorted(traces.glob("n*.ndjson")), 1):
        (tmp_path / f"n{number}").mkdir()
        path.rename(tmp_path / f"n{number}" / path.name)
    judge_all(tmp_path)
    rmtree(tmp_path / JUDGED)
    victim = next((tmp_path / "n1").iterdir())
    text = victim.read_text()
    victim.write_text(text.replace('"event":"Store"', '"event":"Lose"', 1))
    with pytest.raises(AssertionError, match="VIOLATION"):
        judge_all(tmp_path)
    rmtree(tmp_path / JUDGED)
    victim.unlink()
    with pytest.raises(AssertionError, match="INCOMPLETE"):
        judge_all(tmp_path)
