"""Accepted.tla: its guards are those of the trace format, and for each there is a model that fails without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "spec" / "models"
MODULE = (ROOT / "spec" / "Accepted.tla").read_text()
# What adds to Accepted, each with guards of its own.
ADDED = {name: (ROOT / "spec" / f"{name}.tla").read_text() for name in ("Images", "Reads")}
PAGE = (ROOT / "docs" / "trace-format.md").read_text()
TABLE: dict[str, dict[str, Any]] = json.loads((MODELS / "models.json").read_text())

EVENTS_OF_CLIENTS = {"Invoke", "Ok", "Fail", "Unknown"}
# Crash is inferred by the checker from the end of a file; not a line, but a step of Frontend. Recall is in a Start.
SILENT = {"Crash", "Recall"}


def section(title: str, module: str = MODULE) -> str:
    """What stands between a title and the next rule."""
    found = re.search(rf"^\(\* {re.escape(title)}(.*?)^(?:-----|=====)", module, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def definitions(text: str) -> list[str]:
    return re.findall(r"^(\w+)(?:\(.*?\))? ==", text, re.MULTILINE)


def rows(page: str, heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


def outside() -> list[str]:
    """The list in the module's head: `Guards outside of this module:`, then `Name - reason` up to an empty line."""
    block = re.search(r"Guards outside of this module: *\*\)\n(.*?)^\(\* +\*\)", MODULE, re.MULTILINE | re.DOTALL)
    assert block
    return re.findall(r"^\(\*   (\w+) - \w", block[1], re.MULTILINE)


GUARDS = definitions(section("The guards."))


def test_the_guards_are_those_of_the_trace_format() -> None:
    page = rows(PAGE, "What the checker holds against it")
    assert len(page) == len(set(page)) > 20
    assert not set(GUARDS) & set(outside())
    assert sorted(GUARDS + outside()) == sorted(page)


@pytest.mark.parametrize("name", ADDED)
def test_guards_of_what_is_added_are_outside_and_each_has_a_model_without_it_that_fails(name: str) -> None:
    module = ADDED[name]
    guards = definitions(section("The guards.", module))
    assert guards
    assert set(guards) <= set(outside())
    assert all(f"{guard} - in {name}.tla" in MODULE for guard in guards)
    properties = definitions(section("What holds in every state.", module))
    right = [model for model in TABLE if re.match(rf"{name}(?!Without)", model)]
    assert all(set(properties) <= set((MODELS / f"{model}.cfg").read_text().split()) for model in right)
    assert {path.stem for path in MODELS.glob(f"{name}*.cfg")} == {n for n in TABLE if n.startswith(name)}
    for guard in guards:
        assert re.search(rf"\b{guard}\(", section("The events.", module)), f"{guard} is defined and never asked"
        without = (MODELS / f"{name}Without{guard}.cfg").read_text()
        assert {k for k, v in overrides(without).items() if re.fullmatch(r"Any\d", v)} == {guard}
        assert TABLE[f"{name}Without{guard}"]["violates"] in properties


def test_every_guard_is_asked_by_an_event() -> None:
    events = section("The events.")
    for guard in GUARDS:
        assert re.search(rf"\b{guard}\(", events), f"{guard} is defined and never asked"


def test_the_events_are_those_of_the_trace_format() -> None:
    following = MODULE[MODULE.index("\nNext ==") : MODULE.index("\nSpec ==")]
    for name, module in ADDED.items():
        following += module[module.index(f"\n{name}Next ==") : module.index(f"\n{name}Spec ==")]
    events = set(re.findall(r"\\/ (?:\\E .*? : )?(\w+)", following)) - {"Next"}
    assert events - SILENT - EVENTS_OF_CLIENTS == set(rows(PAGE, "Events of nodes"))
    assert events & EVENTS_OF_CLIENTS == {"Ok"}


def overrides(config: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) <- (\w+)$", config, re.MULTILINE))


# Conclusions: what refuses in their place, in every model, are the other guards.
CONCLUSIONS = {"LeaderCompleteness"}


@pytest.mark.parametrize("guard", [guard for guard in GUARDS if guard not in CONCLUSIONS])
def test_every_guard_has_a_model_without_it_that_fails(guard: str) -> None:
    name = f"AcceptedWithout{guard}"
    config = (MODELS / f"{name}.cfg").read_text()
    removed = {k for k, v in overrides(config).items() if re.fullmatch(r"Any\d", v)}
    assert guard in removed
    assert removed - {guard} <= {"InBallot", "InFencing"}, "nothing but views may be missing besides"
    assert TABLE[name]["violates"] in config.partition("INVARIANT")[2].split()
    assert TABLE[name]["length"] > 1


PROPERTIES = set(definitions(section("What holds in every state."))) - {"Inv"}
RIGHT = [name for name in TABLE if name.startswith("Accepted") and "Without" not in name]


@pytest.mark.parametrize("name", RIGHT)
def test_right_models_take_no_guard_away_but_the_conclusions(name: str) -> None:
    replaced = overrides((MODELS / f"{name}.cfg").read_text())
    assert {guard for guard in GUARDS if guard in replaced} <= CONCLUSIONS | {"CommitAgrees"}
    assert replaced.get("CommitAgrees", "CountedAgree") == "CountedAgree"


def test_right_models_check_every_property() -> None:
    checked = set[str]()
    for name in RIGHT:
        checked |= set((MODELS / f"{name}.cfg").read_text().partition("INVARIANTS")[2].split()) & PROPERTIES
    assert checked == PROPERTIES
    assert len(PROPERTIES) == 9


def test_every_model_is_in_the_table_and_has_its_file() -> None:
    files = {path.stem for path in MODELS.glob("Accepted*.cfg")}
    assert files == {name for name in TABLE if name.startswith("Accepted")}
