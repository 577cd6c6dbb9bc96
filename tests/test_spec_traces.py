"""The specification's own behaviours, as traces: the checker accepts the right ones and refuses the wrong ones.

They were exported from TLC by spec/traces.py and are committed; nothing here needs TLC, but for one test that exports
some of them again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from handmade import Story

from trace_check import Result, Verdict, replay
from trace_check.schema import NODE_EVENTS

SPEC = Path(__file__).resolve().parent.parent / "spec"
TRACES = SPEC / "traces"
MODELS: dict[str, dict[str, Any]] = json.loads((SPEC / "models" / "models.json").read_text())
INDEX: dict[str, dict[str, dict[str, Any]]] = json.loads((TRACES / "manifest.json").read_text())
GOOD = sorted(INDEX["good"])
BROKEN = sorted(INDEX["broken"])


def events(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(directory.glob("*.ndjson")) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("name", GOOD)
def test_a_behaviour_of_the_protocol_is_accepted(name: str) -> None:
    result = replay(TRACES / "good" / name)
    assert result.violation is None
    assert result.verdict is Verdict.HOLDS, result.missing


@pytest.mark.parametrize("name", BROKEN)
def test_the_counterexample_of_a_wrong_protocol_is_refused(name: str) -> None:
    result = replay(TRACES / "broken" / name)
    assert result.verdict is Verdict.VIOLATION, f"{name} is accepted: {result.missing}"
    assert result.violation
    assert result.violation.rule == INDEX["broken"][name]["refused_by"]


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_refused_in_whatever_order_the_checker_reads_it(name: str) -> None:
    for seed in range(8):
        assert replay(TRACES / "broken" / name, pick=Random(seed).randrange).verdict is Verdict.VIOLATION


def test_every_wrong_protocol_of_the_table_has_its_trace() -> None:
    family = ("HACoordination", "Membership")
    wrong = {n: m for n, m in MODELS.items() if "violates" in m and Path(m["module"]).name.startswith(family)}
    assert set(BROKEN) == set(wrong)
    for name, model in wrong.items():
        entry = INDEX["broken"][name]
        assert (entry["violates"], entry["length"]) == (model["violates"], model["length"]), f"{name}: make spec-traces"


def test_nothing_lies_about_that_is_not_in_the_manifest() -> None:
    assert sorted(d.name for d in (TRACES / "good").iterdir()) == GOOD
    assert sorted(d.name for d in (TRACES / "broken").iterdir()) == BROKEN
    assert sum(file.stat().st_size for file in TRACES.rglob("*.ndjson")) < 1_000_000


def test_the_right_behaviours_are_not_trivial() -> None:
    seen = Counter(event["event"] for name in GOOD for event in events(TRACES / "good" / name))
    # Reads are not in HACoordination, but in Reads.tla.
    assert set(seen) == set(NODE_EVENTS) - {"ReadStart", "Confirm", "ReadServe"}
    results: list[Result] = [replay(TRACES / "good" / name) for name in GOOD]
    assert len(results) >= 24
    assert sum(result.counts.leaders >= 2 and result.counts.epochs >= 2 for result in results) >= 10
    assert sum(result.counts.incarnations > result.counts.nodes for result in results) >= 10
    assert {result.counts.nodes for result in results} >= {1, 2, 3, 5}


def test_a_new_disk_is_named_as_such_even_if_its_counter_begins_again(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    again = story.start("n2")
    again |= {"inc": "1-ffffffff", "disk": "another", "term": 0, "vote": None}
    again |= {"last": 0, "last_term": 0, "digest": "0" * 16}
    story.files["n2", "1-ffffffff"] = story.files.pop(("n2", "2-00000002"))
    violation = story.judge(tmp_path).violation
    assert violation
    assert violation.rule == "SameDisk"


def no_tlc() -> str:
    """Why TLC cannot be run here, or nothing."""
    jar = os.environ.get("TLA2TOOLS_JAR") or Path("~/.cache/tla2tools/tla2tools.jar").expanduser()
    return "" if shutil.which("java") and Path(jar).is_file() else "needs Java and TLC"


@pytest.mark.skipif(bool(no_tlc()), reason=no_tlc())
def test_an_export_can_be_repeated(tmp_path: Path) -> None:
    some = [BROKEN[0], GOOD[0]]
    done = subprocess.run(
        [sys.executable, SPEC / "traces.py", "--out", str(tmp_path), *some], capture_output=True, text=True
    )
    if "needs TLC 1.8.0" in done.stderr:
        pytest.skip("needs TLC 1.8.0")
    assert done.returncode == 0, done.stderr
    for kind, name in (("broken", BROKEN[0]), ("good", GOOD[0])):
        assert events(tmp_path / kind / name) == events(TRACES / kind / name)
