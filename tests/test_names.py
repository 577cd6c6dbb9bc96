"""One thing, one name: actions of the specification, what the implementation records, events of the trace."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from trace_check import Counts, Coverage, Edge, Failover, Promise, Result, Violation, Where
from trace_check.schema import CLIENT_EVENTS, NODE_EVENTS

ROOT = Path(__file__).parent.parent
VIEWS = ("Ballot", "Fencing", "Frontend")

# Steps that have no event of their own: what a winner's claim and the log's commitments are to Fencing, and the crash
# that nobody lives to record. Every other action is an event of the same name.
DERIVED = {"Claim": "Win", "CommitEpoch": "Commit", "Write": "Commit", "Crash": "Start"}
# Evidence that is no step of a view.
EVIDENCE_ONLY = {"Store", "Image", "Install", "ReadStart", "Confirm", "ReadServe"}


def spec_actions() -> dict[str, set[str]]:
    """The names in each view's Next, which is a flat disjunction."""
    actions = {}
    for view in VIEWS:
        text = (ROOT / "spec" / f"{view}.tla").read_text()
        following = text[re.search(r"^Next ==", text, re.M).end() :]  # type: ignore[union-attr]
        disjuncts = re.match(r"(?:\s*\\/[^\n]*\n)+", following)[0]  # type: ignore[index]
        actions[view] = set(re.findall(r"(\w+)(?:\([\w, ]*\))?\s*$", disjuncts, re.M))
    return actions


def page_table() -> dict[str, set[str]]:
    """Event to the steps it takes, `View: Action`, from the table in docs/trace-format.md."""
    page = (ROOT / "docs" / "trace-format.md").read_text()
    table = {}
    for row in re.findall(r"^\| `(\w+)` \|.*\|.*\|(.*)\|$", page, re.M):
        name, steps = row
        table[name] = {
            f"{view}: {action}"
            for view, part in re.findall(r"(Ballot|Fencing|Frontend)\b([^;]*)", steps)
            for action in re.findall(r"`(\w+)(?:\([^`]*\))?`", part)
        }
    return {name: steps for name, steps in table.items() if name in NODE_EVENTS}


def recorded() -> set[str]:
    """The events that the implementation records as a node."""
    package = ROOT / "impl" / "hacoord"
    sources = [*(package / "raft").glob("*.py"), *(package / "ha").glob("*.py")]
    return set(re.findall(r'\.record\(\s*"(\w+)"', "\n".join(path.read_text() for path in sources)))


def test_the_implementation_records_the_events_that_the_page_describes_and_the_checker_knows() -> None:
    assert recorded() == set(NODE_EVENTS) == set(page_table())


def test_clients_record_the_events_that_the_checker_knows() -> None:
    for module in ("client.py", "sim/cluster.py"):
        source = (ROOT / "impl" / "hacoord" / module).read_text()
        said = set(re.findall(r'(?:_say|record)\(\s*"(\w+)"', source))
        assert {"Invoke", "Ok", "Unknown"} <= said <= set(CLIENT_EVENTS)


def test_every_action_is_an_event_of_the_same_name_or_derived_from_one() -> None:
    actions = set().union(*spec_actions().values())
    assert {a for a in actions if a not in NODE_EVENTS} == set(DERIVED)
    assert set(NODE_EVENTS) - actions == EVIDENCE_ONLY | set(DERIVED.values()) - actions


def test_the_page_says_of_every_action_which_event_takes_it() -> None:
    said = set().union(*page_table().values())
    wanted = {f"{view}: {action}" for view, actions in spec_actions().items() for action in actions}
    assert wanted - said == {"Frontend: Crash"}
    assert said <= wanted


def test_an_event_that_is_a_function_bears_its_name() -> None:
    package = ROOT / "impl" / "hacoord"
    modules = (*(f"raft/{part}.py" for part in ("core", "turn", "elections", "replication", "reads")), "ha/frontend.py")
    functions = set(re.findall(r"def (\w+)\(", "".join((package / module).read_text() for module in modules)))
    assert {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in NODE_EVENTS} <= functions


def test_the_page_about_the_library_names_every_field_of_a_result() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    rows = {name: set(re.findall(r"`(\w+)`", rest)) for name, rest in re.findall(r"^\| `(\w+)`(.*)$", page, re.M)}
    for kind in (Result, Counts, Promise, Violation, Where, Coverage, Edge, Failover):
        assert {field.name for field in fields(kind)} <= rows[kind.__name__], kind
