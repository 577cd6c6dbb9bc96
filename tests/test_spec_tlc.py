"""spec/tlc.py check: that it finds what the table of models says, and above all that it notices when it does not."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trace_check import replay

SPEC = Path(__file__).resolve().parent.parent / "spec"
TABLE: dict[str, dict[str, Any]] = json.loads((SPEC / "models" / "models.json").read_text())


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SPEC))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SPEC))


TLC, CHECK = load("tlc"), load("check")


def reason_to_skip() -> str:
    if not shutil.which("java"):
        return "TLC needs Java, and there is none"
    jar = os.environ.get("TLA2TOOLS_JAR") or Path(TLC.CACHED_JAR).expanduser()
    return "" if Path(jar).is_file() else "no tla2tools.jar: set TLA2TOOLS_JAR, or run `make check` once"


with_tlc = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SPEC / "tlc.py", *arguments], env=os.environ | environment, capture_output=True, text=True
    )


def table_with(path: Path, name: str, **changes: Any) -> Path:
    """A table of one model, taken from the real one and changed."""
    path.write_text(json.dumps({name: TABLE[name] | changes}))
    return path


@with_tlc
def test_the_quick_models_are_as_expected_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = sorted(SPEC.rglob("*"))
    done = run("check", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout
    quick = [name for name, model in TABLE.items() if model["size"] == "quick"]
    rows = [line.split() for line in done.stdout.splitlines()[1:-2]]
    assert [row[0] for row in rows] == quick
    assert {row[-1] for row in rows} == {"ok"}
    assert f"{len(quick)} of {len(quick)} models" in done.stdout
    assert f"each action of {', '.join(sorted(covered()))} is taken" in done.stdout
    assert not list(tmp_path.iterdir())
    assert sorted(SPEC.rglob("*")) == before


def covered() -> set[str]:
    return {model["covers"] for model in TABLE.values() if "covers" in model}


def test_the_actions_of_each_module_are_covered_by_a_quick_model() -> None:
    assert covered() == {path.stem for path in SPEC.glob("*.tla") if CHECK.actions(path)}
    assert {model["size"] for model in TABLE.values() if "covers" in model} == {"quick"}


DEAD = """---- MODULE Dead ----
EXTENDS Naturals
VARIABLE x
Init == x = 0
Turn(n) == x' = (x + n) % 3
Repaired(n) == x > 2 /\\ x' = n
Mended(n) == x > 1 /\\ x' = n
Repair(n) == Repaired(n) \\/ Mended(n)
Rest == UNCHANGED x
Next == \\/ \\E n \\in 1..2 : Turn(n)
        \\/ \\E n \\in 1..2 : Repair(n)
        \\/ Rest
Spec == Init /\\ [][Next]_x
====
"""


@pytest.mark.parametrize("name", sorted(p.stem for p in SPEC.glob("*.tla") if "THEOREM" in p.read_text()))
def test_every_theorem_has_models_that_check_all_of_it(name: str) -> None:
    """That a module refines a view F is checked as ImplementsF."""

    def text(module: str) -> str:
        return re.sub(r"\(\*.*?\*\)", "", (SPEC / f"{module}.tla").read_text(), flags=re.DOTALL)

    extended = re.search(r"^EXTENDS.*(Membership|Accepted)", text(name), re.MULTILINE)
    inv = re.search(r"^Inv ==(.*?)\n *\n", text(extended[1] if extended else name), re.MULTILINE | re.DOTALL)
    checked: dict[str, set[str]] = {}
    for model in TABLE.values():
        if "states" in model and Path(model["module"]).stem.removeprefix("MC") == name:
            config = (SPEC / model["config"]).read_text()
            if behaviours := re.search(r"^SPECIFICATION (\w+)$", config, re.MULTILINE):
                checked.setdefault(behaviours[1], set()).update(re.findall(r"^  (\w+)$", config, re.MULTILINE))
    theorems = re.findall(r"^THEOREM (\w+) => (.*?)(?:\n *\n|\n=)", text(name), re.MULTILINE | re.DOTALL)
    assert theorems
    for behaviours, claim in theorems:
        views = {f"Implements{view}" for view in re.findall(r"(\w+)Of\(", claim)}
        claimed = views or set(re.findall(r"\w+", re.sub(r"\bInv\b", inv[1] if inv else "", claim)))
        assert claimed - checked[behaviours] == set()


@with_tlc
def test_an_action_that_is_never_taken_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Dead.tla").write_text(DEAD)
    (tmp_path / "Dead.cfg").write_text("SPECIFICATION Spec\n")
    model = {"module": str(tmp_path / "Dead.tla"), "config": str(tmp_path / "Dead.cfg"), "size": "quick", "states": 3}
    (tmp_path / "table.json").write_text(json.dumps({"Dead": model | {"covers": "Dead"}}))
    done = run("check", "--table", tmp_path / "table.json")
    assert done.returncode == 1
    assert "1 of 1 models as expected" in done.stdout
    assert [line for line in done.stdout.splitlines() if "never taken" in line] == [
        "FAILED: Dead: Repaired is never taken in Dead"
    ]
    (tmp_path / "Dead.tla").write_text(DEAD.replace("x > 2", "x > 0"))
    done = run("check", "--table", tmp_path / "table.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "each action of Dead is taken")


@with_tlc
def test_a_wrong_protocol_of_five_nodes_is_found_by_random_behaviours(tmp_path: Path) -> None:
    done = run("check", "--table", table_with(tmp_path / "table.json", "HACoordinationAnyLogDeep"), "--size", "deep")
    if "needs TLC 1.8.0" in done.stdout:
        pytest.skip("needs TLC 1.8.0")
    assert done.returncode == 0, done.stdout
    assert "LeaderCompleteness violated  ok, seed 1, " in done.stdout


@with_tlc
@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("HACoordinationAnyLogDeep", {"violates": "LogMatching"}, "FAILED: LeaderCompleteness violated"),
        (
            "HACoordinationAnyLogDeep",
            {"module": "models/MCHACoordinationDeep.tla", "config": "models/HACoordination_5n5t8e4w_deep.cfg"},
            "FAILED: no violation found",
        ),
    ],
)
def test_random_behaviours_that_find_something_else_are_noticed(
    tmp_path: Path, name: str, changes: dict[str, Any], found: str
) -> None:
    table = table_with(tmp_path / "table.json", name, behaviours=20, **changes)
    done = run("check", "--table", table, "--size", "deep", "--keep", tmp_path / "kept")
    if "needs TLC 1.8.0" in done.stdout:
        pytest.skip("needs TLC 1.8.0")
    assert done.returncode == 1
    assert found in done.stdout
    if "violated" in found:
        violation = replay(tmp_path / "kept" / name).violation
        assert violation
        assert violation.rule == "UpToDate"


def distribute(model: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SPEC / "distributed.py", model], capture_output=True, text=True)


@with_tlc
def test_two_workers_on_loopback_find_the_same_states() -> None:
    done = distribute("Ballot3")
    if "use the release 1.7.4" in done.stderr:
        assert done.returncode == 2
        pytest.skip("needs TLC 1.7.4")
    assert "38 states  ok" in done.stdout, done.stdout
    assert "of 2 workers took part to the end" in done.stdout


@pytest.mark.parametrize("model", ["HACoordinationLeader_2n3t", "HACoordination_5n5t8e4w_deep"])
def test_what_workers_would_not_check_is_not_given_to_them(model: str) -> None:
    done = distribute(model)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


@with_tlc
def test_a_wrong_state_count_is_noticed(tmp_path: Path) -> None:
    done = run("check", "--table", table_with(tmp_path / "table.json", "Fencing", states=74))
    assert done.returncode == 1
    assert "FAILED: 73 states" in done.stdout


@with_tlc
def test_a_violation_nobody_expects_is_noticed_and_shown(tmp_path: Path) -> None:
    table = table_with(tmp_path / "table.json", "FrontendStepDown", violates="", states=13)
    done = run("check", "--table", table)
    assert done.returncode == 1
    assert "FAILED: LeaderOnlyEnds violated, 7 states" in done.stdout
    assert "LeaderOnlyEnds is violated" in done.stdout
    steps = [line.split()[1].partition("(")[0] for line in done.stdout.splitlines() if line[:6].strip().isdigit()]
    assert steps == ["Init", "Start", "Win", "CommitEpoch", "Activate", "Lose", "Transfer"]
    assert "@!@!@" not in done.stdout


@with_tlc
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"violates": "RecordsInOrder"}, "FAILED: NoSplitBrain violated, 7 states"),
        ({"length": 6}, "FAILED: NoSplitBrain violated, 7 states"),
        ({"module": "Fencing.tla", "config": "models/Fencing.cfg"}, "FAILED: no violation found"),
    ],
)
def test_a_wrong_protocol_must_go_wrong_as_recorded(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    done = run("check", "--table", table_with(tmp_path / "table.json", "FencingUnfencedWrite", **changes))
    assert done.returncode == 1
    assert found in done.stdout


@with_tlc
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("HACoordinationHalf", "ElectionQuorum"),
        ("AcceptedWithoutVoteOnce", "VoteOnce"),
        ("ImagesWithoutInstallCited", "InstallCited"),
    ],
)
def test_a_violation_that_nobody_expects_is_kept_as_a_trace(tmp_path: Path, name: str, rule: str) -> None:
    table = table_with(tmp_path / "table.json", name, length=6, size="quick")
    done = run("check", "--table", table, "--keep", tmp_path)
    assert done.returncode == 1
    if "needs TLC 1.8.0" in done.stdout:
        pytest.skip("needs TLC 1.8.0")
    assert f"trace-check report {tmp_path / name}" in done.stdout
    violation = replay(tmp_path / name).violation
    assert violation
    assert violation.rule == rule


@with_tlc
def test_an_error_in_a_model_fails_and_is_shown(tmp_path: Path) -> None:
    done = run("check", "--table", table_with(tmp_path / "table.json", "Fencing", config="models/Ballot3.cfg"))
    assert done.returncode == 1
    assert "FAILED: TLC stopped" in done.stdout
    assert "AtMostOneWinner" in done.stdout
    assert "is taken" not in done.stdout
    assert "never taken" not in done.stdout


@with_tlc
def test_graphs_are_reproduced_byte_for_byte(tmp_path: Path) -> None:
    done = run("graphs", "Fencing", "Frontend", "--out", tmp_path)
    if done.returncode == 2 and "no parameters" in done.stderr:
        pytest.skip("this TLC writes no parameters into graphs")
    assert done.returncode == 0, done.stderr
    committed = json.loads((SPEC / "graphs" / "manifest.json").read_text())
    made = json.loads((tmp_path / "manifest.json").read_text())
    if made["tlc"] != committed["tlc"]:
        pytest.skip(f"the graphs were made by {committed['tlc']}, this is {made['tlc']}")
    for name in ["Fencing", "Frontend"]:
        assert (tmp_path / f"{name}.dot").read_bytes() == (SPEC / "graphs" / f"{name}.dot").read_bytes()
        assert made["graphs"][name] == committed["graphs"][name]


def test_what_cannot_be_done_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    tables = [tmp_path / name for name in ("no.json", "fields.json", "list.json")]
    for table, text in zip(tables, ["{", '{"X": {"modul": "Ballot.tla"}}', "[]"], strict=True):
        table.write_text(text)
    for done in [
        run("check", TLA2TOOLS_JAR=str(tmp_path / "absent.jar")),
        run("check", PATH="", JAVA_HOME=""),
        run("check", "Nonsense"),
        *(run("check", "--table", table) for table in [tmp_path / "absent", *tables]),
    ]:
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
    assert run("check", "--jobs", "0").stderr.endswith("argument --jobs: invalid number value: '0'\n")


def test_the_download_is_verified_and_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, target = tmp_path / "release.jar", tmp_path / "cache" / "tla2tools.jar"
    release.write_bytes(b"not the release")
    monkeypatch.setattr(TLC, "RELEASE", release.as_uri())
    with pytest.raises(TLC.Unusable, match="SHA-256"):
        TLC.download(target)
    assert not target.parent.exists()
    monkeypatch.setattr(TLC, "RELEASE_SHA256", hashlib.sha256(release.read_bytes()).hexdigest())
    TLC.download(target)
    assert [path.name for path in target.parent.iterdir()] == ["tla2tools.jar"]
    assert target.read_bytes() == release.read_bytes()


def test_without_jar_and_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TLA2TOOLS_JAR", raising=False)
    monkeypatch.setattr(TLC, "CACHED_JAR", str(tmp_path / "cache" / "tla2tools.jar"))
    monkeypatch.setattr(TLC, "RELEASE", (tmp_path / "absent.jar").as_uri())
    with pytest.raises(TLC.Unusable, match=r"set TLA2TOOLS_JAR, or put tla2tools\.jar at"):
        TLC.find_jar()


def message(code: int, severity: int, *lines: str) -> list[str]:
    return [f"@!@!@STARTMSG {code}:{severity} @!@!@", *lines, f"@!@!@ENDMSG {code} @!@!@"]


def test_a_behaviour_is_read_with_its_actions_and_values() -> None:
    output = message(2110, 1, "Invariant Safe is violated.") + message(2121, 1, "The behavior up to this point is:")
    output += message(2217, 4, "1: <Initial predicate>", "/\\ x = 0", "/\\ f = ( n1 :> 1 @@", "  n2 :> 2 )", "")
    output += message(2217, 4, "2: <Grant(n1,n2) line 75, col 16 to line 79, col 35 of module B>", "/\\ x = 1", "")
    result = TLC.read_output([line + "\n" for line in output], "model", raw=False)
    assert (result.violated, result.errors, result.complete) == ("Safe", [], False)
    assert [state.action for state in result.behaviour] == ["Init", "Grant(n1,n2)"]
    assert result.behaviour[0].values == {"x": "0", "f": "( n1 :> 1 @@ n2 :> 2 )"}


@pytest.mark.parametrize(
    ("code", "text", "violated", "length"),
    [
        (2107, "Invariant Safe is violated by the initial state:\n/\\ x = 0\n/\\ y = 1", "Safe", 1),
        (2112, "Action property Stays is violated.", "Stays", 0),
        (2116, "Temporal properties were violated.", "Temporal properties", 0),
        (2114, "Deadlock reached.", "Deadlock", 0),
    ],
)
def test_each_kind_of_violation_is_recognized(code: int, text: str, violated: str, length: int) -> None:
    result = TLC.read_output(message(code, 1, *text.splitlines()), "model", raw=False)
    assert (result.violated, len(result.behaviour)) == (violated, length)


def test_any_other_error_is_kept() -> None:
    result = TLC.read_output([*message(2262, 0, "TLC2"), *message(1000, 1, "Out of memory")], "model", raw=False)
    assert (result.violated, result.errors) == ("", ["Out of memory"])
