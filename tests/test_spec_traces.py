"""The specification's own behaviours, as traces: the checker accepts the right ones and refuses the wrong ones.

Each guard of Accepted.tla has the counterexample of the model without it, and the checker refuses that by this guard.
They were exported from TLC by spec/traces.py and are committed; nothing here needs TLC, but for one test that exports
some of them again.
"""

from __future__ import annotations

import json
import os
import re
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
# Guards and views.
MISSING = sorted(INDEX["accepted"])
WITHOUT = re.compile("(Accepted|Images)Without")


def events_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def events(directory: Path) -> list[dict[str, Any]]:
    return [event for file in sorted(directory.glob("*.ndjson")) for event in events_of(file)]


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


@pytest.mark.parametrize("guard", MISSING)
def test_what_is_wrong_for_want_of_one_guard_is_refused_by_it(guard: str, tmp_path: Path) -> None:
    directory = TRACES / "accepted" / guard
    result = replay(directory)
    assert result.violation, f"the checker does not ask what {guard} of Accepted.tla asks: {result.missing}"
    assert result.violation.rule == INDEX["accepted"][guard]["refused_by"]
    # There is one order to read it in: the one in which it was written. What lies before the refused line holds.
    lines = sorted((event["ts"], file.name) for file in directory.glob("*.ndjson") for event in events_of(file))
    refused = result.violation.where
    assert refused
    assert lines[result.counts.events - 1][1] == Path(refused.file).name
    for file in directory.glob("*.ndjson"):
        kept = [name for _, name in lines[: result.counts.events - 1]].count(file.name)
        if kept:
            (tmp_path / file.name).write_text("".join(file.read_text().splitlines(keepends=True)[:kept]))
    assert replay(tmp_path).verdict is Verdict.HOLDS


@pytest.mark.parametrize("guard", MISSING)
def test_its_verdict_does_not_depend_on_the_order_in_which_files_are_read(guard: str) -> None:
    directory = TRACES / "accepted" / guard
    found = {replay(directory, pick=Random(seed).randrange).violation for seed in range(4)}
    assert found == {replay(directory).violation}


def test_the_checker_is_held_against_every_guard_of_accepted() -> None:
    without = {WITHOUT.sub("", name): model for name, model in MODELS.items() if WITHOUT.match(name)}
    assert set(MISSING) == set(without)
    for guard, model in without.items():
        found = INDEX["accepted"][guard]
        assert (found["violates"], found["length"]) == (model["violates"], model["length"]), "run make spec-traces"
    # Fencing: traces.py says why.
    assert {guard for guard in MISSING if INDEX["accepted"][guard]["refused_by"] != guard} <= {"Fencing"}


def test_every_wrong_protocol_of_the_table_has_its_trace() -> None:
    family = ("HACoordination", "Membership", "Snapshot")
    wrong = {n: m for n, m in MODELS.items() if "length" in m and Path(m["module"]).name.startswith(family)}
    # Its fault is in who is sent what, which is no matter of safety and which the checker does not ask (decision 11).
    del wrong["MembershipLearnerAhead"]
    assert set(BROKEN) == set(wrong)
    for name, model in wrong.items():
        entry = INDEX["broken"][name]
        assert (entry["violates"], entry["length"]) == (model["violates"], model["length"]), f"{name}: make spec-traces"


def test_nothing_lies_about_that_is_not_in_the_manifest() -> None:
    assert sorted(d.name for d in (TRACES / "good").iterdir()) == GOOD
    assert sorted(d.name for d in (TRACES / "broken").iterdir()) == BROKEN
    assert sorted(d.name for d in (TRACES / "accepted").iterdir()) == MISSING
    assert sum(file.stat().st_size for file in TRACES.rglob("*.ndjson")) < 1_000_000


def test_the_right_behaviours_are_not_trivial() -> None:
    seen = Counter(event["event"] for name in GOOD for event in events(TRACES / "good" / name))
    # Reads are in no protocol, but in Reads.tla.
    assert set(seen) == set(NODE_EVENTS) - {"ReadStart", "Confirm", "ReadServe"}
    images = [event for name in GOOD for event in events(TRACES / "good" / name) if "image" in event]
    assert Counter(event["event"] for event in images).keys() == {"Install", "Start"}
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
    some = [BROKEN[0], GOOD[0], "AcceptedWithoutVoteOnce"]
    done = subprocess.run(
        [sys.executable, SPEC / "traces.py", "--out", str(tmp_path), *some], capture_output=True, text=True
    )
    if "needs TLC 1.8.0" in done.stderr:
        pytest.skip("needs TLC 1.8.0")
    assert done.returncode == 0, done.stderr
    for kind, name in (("broken", BROKEN[0]), ("good", GOOD[0]), ("accepted", "VoteOnce")):
        assert events(tmp_path / kind / name) == events(TRACES / kind / name)
