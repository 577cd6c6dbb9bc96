"""The page of `trace-check report`: what it says, that no trace puts markup in it, and what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import subprocess
import zlib
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from chromium import EXECUTABLE, Chromium
from handmade import Story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hacoord.sim import Faults, Simulation
from trace_check.cli import main
from trace_check.graphs import Graphs
from trace_check.pictures import label, layout
from trace_check.read import sources_in
from trace_check.replay import DEFAULT_GRAPHS, replay
from trace_check.timeline import Timeline

SPEC_TRACES = Path(__file__).parent.parent / "spec" / "traces"
HOSTILE = '</script><script>window.pwned=1</script><img src="http://127.0.0.1:9/" onerror="pwned=1"> & @@DATA@@ \ud800'


def story() -> Story:
    """Two leaderships, a crash, a client."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.invoke("client", "w1")
    story.replicate("n1", "n2", "n3")
    story.ok("client", "w1", story.ack("n1", 2, 2), 2)
    story.lead("n2", "n3", term=2)
    story.start("n1")
    story.invoke("client", "w2")
    story.tell("client", "Unknown", term=0, op="w2", error="gone")
    return story


def report(directory: Path, code: int, *options: str) -> str:
    """The page about a directory; `code` is what the command must end with."""
    page = directory.parent / f"{directory.name}.html"
    assert main(["report", str(directory), "-o", str(page), *options]) == code
    assert [p.name for p in page.parent.iterdir() if p.name.startswith(".")] == []
    return page.read_text()


def data(page: str) -> dict[str, Any]:
    """What the script would unpack."""
    block = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', page)
    assert block is not None
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(block[1])))
    return found


def renamed(value: Any, names: dict[str, str]) -> Any:
    """A JSON value with other strings in it."""
    match value:
        case str():
            return names.get(value, value)
        case list():
            return [renamed(v, names) for v in value]
        case dict():
            return {k: renamed(v, names) for k, v in value.items()}
        case _:
            return value


def hostile(directory: Path) -> Path:
    """The story, with every free string in it an attack."""
    directory.mkdir()
    names = {name: f"{name}{HOSTILE}" for name in ("n1", "n2", "n3", "client", "handmade", "w1", "w2", "gone")}
    for number, lines in enumerate(story().files.values()):
        text = "".join(json.dumps(renamed({**line, "note": HOSTILE}, names)) + "\n" for line in lines)
        (directory / f"{number}.ndjson").write_text(text)
    return directory


# --- without a browser -----------------------------------------------------------------------------------------------


def test_a_run_that_holds(tmp_path: Path) -> None:
    page = report(story().save(tmp_path / "run"), 0)
    assert re.search(r'<h1 class="HOLDS"><span>HOLDS</span> \d+ events of 3 nodes', page)
    assert "<b>2</b> leaders" in page
    assert "<td>term 1</td><td>n1</td><td>term 2</td><td>n2</td>" in page
    assert "<td>Fencing</td><td>1</td><td>Fencing</td><td>73</td><td>164</td>" in page
    held = data(page)
    assert [[epoch, term, node] for epoch, term, node, _ in held["epochs"]] == [[1, "1", "n1"], [2, "2", "n2"]]
    assert held["where"] is None
    assert all(track["judged"] == len(track["kinds"]) for track in held["tracks"])


def test_the_page_holds_every_event_as_it_was_written(tmp_path: Path) -> None:
    told = story()
    told.tell("n1", "Transfer", to="FOLLOWER", seen=[1, {"deep": None}])
    held = data(report(told.save(tmp_path / "run"), 0))
    shared = ("v", "cluster", "node", "inc", "seq", "ts", "event", "term", "after")
    for track in held["tracks"]:
        time = int(held["began"])
        heard = iter(zip(track["heard"][::2], track["heard"][1::2], strict=True))
        lines = told.files[track["node"], track["inc"]]
        for at, (line, own) in enumerate(zip(lines, track["own"].splitlines(), strict=True)):
            time += track["times"][at]
            assert line["event"] == held["kinds"][track["kinds"][at]]
            assert str(line["term"]) == held["terms"][track["terms"][at]]
            assert line["ts"] == time
            assert json.loads(own) == {k: v for k, v in line.items() if k not in shared}
            after = [[next(heard)] for _ in range(track["counts"][at])]
            assert line.get("after", []) == [
                [held["tracks"][t]["node"], held["tracks"][t]["inc"], seq] for ((t, seq),) in after
            ]


def test_a_violation_is_named_first_and_marked(tmp_path: Path) -> None:
    told = story()
    told.tell("n1", "Activate", epoch=3)
    directory = told.save(tmp_path / "run")
    page = report(directory, 1)
    violation = replay(directory).violation
    assert violation is not None
    assert violation.where is not None
    head = re.search("<h1.*?</h1>", page, re.S)
    assert head is not None
    where = f"{violation.where.file}:{violation.where.line}"
    for part in (violation.rule, violation.expected, violation.actual, where):
        assert part in unescape(head[0])
    held = data(page)
    track, seq = held["where"]
    assert (held["tracks"][track]["node"], held["tracks"][track]["inc"], seq) == (
        violation.where.node, violation.where.inc, violation.where.seq,
    )
    assert held["refused"]["view"] == "Frontend"
    assert "Legal there" in page


@pytest.mark.parametrize("name", sorted(p.name for p in (SPEC_TRACES / "broken").iterdir()))
def test_every_wrong_protocol_gets_its_page(tmp_path: Path, name: str) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(SPEC_TRACES / "broken" / name), "-o", str(page)]) == 1
    held = data(page.read_text())
    track, seq = held["where"]
    assert seq <= len(held["tracks"][track]["kinds"])


def test_an_incomplete_trace_is_drawn_with_its_holes(tmp_path: Path) -> None:
    directory = story().save(tmp_path / "run")
    for gone in directory.glob("n2.*"):
        gone.unlink()
    page = report(directory, 3)
    assert "<h2>Missing</h2>" in page
    held = data(page)
    assert ["n2", "1-00000001"] in held["strangers"]
    assert len(held["order"]) == sum(len(track["kinds"]) for track in held["tracks"])


def test_a_circle_is_drawn_too(tmp_path: Path) -> None:
    told = Story("n1", "n2", "n3")
    told.campaign("n1")["after"] = [told.ref(told.tell("n2", "Transfer", to="FOLLOWER"))]
    told.files["n2", told.person("n2").incs[-1]][-1]["after"] = [["n1", told.person("n1").incs[-1], 2]]
    page = report(told.save(tmp_path / "run"), 1)
    assert "VIOLATION" in page
    assert "<dt>Circle</dt>" in page
    assert len(data(page)["order"]) == 5


def test_what_cannot_be_read_after_a_violation_is_left_out(tmp_path: Path) -> None:
    told = Story("n1", "n2", "n3")
    told.tell("n1", "Activate", epoch=1)
    directory = told.save(tmp_path / "run")
    with next(directory.glob("n3.*")).open("a") as file:
        # More than a chunk, so that the checker does not come to it.
        file.write(" " * 70_000 + "nonsense\n")
    page = report(directory, 1)
    assert "Not drawn, as the rest of the file cannot be read" in page
    assert len(data(page)["order"]) == 4


def test_events_missing_in_a_file(tmp_path: Path) -> None:
    told = story()
    del told.files["n1", told.person("n1").incs[0]][4]
    directory = told.save(tmp_path / "run")
    assert main(["report", str(directory), "-o", str(tmp_path / "x.html")]) == 2
    assert not (tmp_path / "x.html").exists()
    assert '<h1 class="INCOMPLETE">' in report(directory, 3, "--allow-gaps")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_is_judged_can_be_drawn(tmp_path: Path, seed: int) -> None:
    """Lines lost or swapped, numbers beyond all bounds: the verdict is that of replay, and every event is there."""
    rng = random.Random(seed)
    told = story()
    lines = told.files[rng.choice(sorted(told.files))]
    if rng.random() < 0.5:
        line = rng.choice(lines)
        values = [0, 10**40, -(10**40), [["n1", "1-00000001", 10**30]], [[1, 10**30, 1]]]
        line[rng.choice(sorted(line))] = rng.choice(values)
    else:
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
        del lines[rng.randrange(len(lines))]
        for seq, line in enumerate(lines, 1):
            line["seq"] = seq
    directory = told.save(tmp_path / str(seed))
    code = main(["replay", str(directory)])
    assert main(["report", str(directory), "-o", str(directory / "x.html")]) == code
    if code != 2:
        held = data((directory / "x.html").read_text())
        assert len(held["order"]) == sum(len(lines) for lines in told.files.values())


def test_a_page_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = story().save(tmp_path / "run")
    assert main(["report", str(directory), "-o", str(tmp_path / "nowhere" / "x.html")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert main(["report", str(directory), "-o", str(tmp_path)]) == 2
    assert "give another file with -o" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_page_goes_where_a_link_leads_and_into_a_pipe(tmp_path: Path) -> None:
    directory, pipe, link = story().save(tmp_path / "run"), tmp_path / "pipe", tmp_path / "link"
    link.symlink_to(tmp_path / "x.html")
    assert main(["report", str(directory), "-o", str(link)]) == 0
    assert link.is_symlink()
    assert (tmp_path / "x.html").read_text().startswith("<!DOCTYPE html>")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["report", str(directory), "-o", str(pipe)]) == 0
        if not pipe.is_fifo():
            reader.kill()
        assert reader.communicate()[0] == (tmp_path / "x.html").read_text()


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    page = report(hostile(tmp_path / "run"), 0)
    assert len(re.findall("<script", page)) == 2
    assert "<img" not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;") >= 3
    assert HOSTILE in data(page)["tracks"][0]["node"]
    assert "@@SCRIPT@@" not in page


def test_the_page_allows_itself_its_own_script_and_nothing_else(tmp_path: Path) -> None:
    page = report(story().save(tmp_path / "run"), 0)
    script = re.search("<script>(.*?)</script>", page, re.S)
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="(.*?)"', page)
    assert script is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script[1])
    # The only address is the name of a namespace.
    assert set(re.findall(r"\w+://[^\"'\s]*", page.replace(str(tmp_path), ""))) == {"http://www.w3.org/2000/svg"}


# --- the order -------------------------------------------------------------------------------------------------------


def assert_order(directory: Path) -> None:
    """Every event comes after its predecessor, what it heard, and the end of the node's previous incarnation."""
    timeline = Timeline(sources_in(directory))
    counts = [0] * len(timeline.tracks)
    for number in timeline.order():
        track = timeline.tracks[number]
        at = counts[number]
        counts[number] += 1
        begin = 2 * sum(track.counts[:at])
        for i in range(begin, begin + 2 * track.counts[at], 2):
            assert counts[track.heard[i]] >= track.heard[i + 1]
        if at == 0 and track.previous is not None:
            assert counts[track.previous.number] == len(track.previous.kinds)
    assert counts == [len(track.kinds) for track in timeline.tracks]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_respects_happens_before_whatever_the_clocks_say(tmp_path: Path, seed: int) -> None:
    simulation = Simulation(tmp_path, 3, seed=seed, faults=Faults(crash_every=1.0), writes_per_turn=1, write_every=0.2)
    simulation.run(lambda: simulation.now > 8)
    simulation.cluster.close()
    assert_order(tmp_path)
    chance = random.Random(seed)
    for path in tmp_path.glob("*.ndjson"):
        skew = chance.choice([-1, 1]) * 10 ** chance.randrange(6, 19)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["ts"] = chance.choice([1, -1]) * line["ts"] + skew
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert_order(tmp_path)


def test_what_no_evidence_orders_lies_by_the_clocks(tmp_path: Path) -> None:
    told = Story("n1", "n2", "n3")
    for node in ("n3", "n1", "n2"):
        told.tell(node, "Transfer", to="FOLLOWER")
    timeline = Timeline(sources_in(told.save(tmp_path)))
    assert list(timeline.order()) == [0, 1, 2, 2, 0, 1]


def test_a_start_comes_after_the_vote_and_the_entries_it_shows(tmp_path: Path) -> None:
    told = Story("n1", "n2", "n3")
    told.elect("n1", "n2")
    # n3 had voted and stored, and crashed before it wrote that down.
    n3 = told.person("n3")
    n3.term, n3.vote, n3.log, n3.durable = 1, "n1", [1], 1
    told.start("n3")["ts"] = -5
    directory = told.save(tmp_path / "run")
    timeline = Timeline(sources_in(directory))
    shown = {timeline.tracks[t].source.event(seq)["event"] for _, (t, seq) in timeline.silent}
    assert shown == {"Campaign", "Append"}
    order = list(timeline.order())
    assert order.index(3) > max(i for i, number in enumerate(order) if number == 0)


# --- the pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Ballot1", "Ballot2", "Ballot3", "Fencing", "Frontend"])
def test_each_state_has_a_place_of_its_own_and_words(name: str) -> None:
    graph = Graphs(DEFAULT_GRAPHS).load(name)
    places = layout(graph)
    assert len(set(places)) == len(graph.states)
    assert places == layout(Graphs(DEFAULT_GRAPHS).load(name))
    assert places[graph.initial][0] == 0
    words = [tuple(label(state)[0]) for state in graph.states]
    assert len(set(words)) == len(words)


@given(st.text())
def test_a_state_of_an_unknown_view_has_no_words(text: str) -> None:
    lines, tones = label(text)
    assert all(isinstance(line, str) for line in lines + tones)


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if EXECUTABLE is None:
        pytest.skip("no chromium on the PATH; what the page says and how it escapes is tested above without one")
    with Chromium() as browser:
        yield browser


def shown(browser: Chromium, directory: Path, code: int) -> dict[str, Any]:
    """Open the page about a directory; what it says of itself."""
    report(directory, code)
    browser.requests.clear()
    page = directory.parent / f"{directory.name}.html"
    said = browser.open(page)
    assert browser.errors == []
    assert browser.requests == [page.resolve().as_uri()]
    return said


def test_a_browser_draws_a_violation_and_goes_there(browser: Chromium, tmp_path: Path) -> None:
    told = story()
    told.tell("n1", "Activate", epoch=3)
    directory = told.save(tmp_path / "run")
    shown(browser, directory, 1)
    detail = browser.evaluate("document.getElementById('detail').textContent")
    assert "refused: this is the violation" in detail
    where = replay(directory).violation
    assert where is not None
    assert where.where is not None
    assert f"{where.where.file}:{where.where.line}" in detail
    # In sight, and its past is what it happens after: n2 heard of n1, never the other way round in this incarnation.
    x, width = browser.evaluate(
        "(() => { const { run, diagram } = traceCheck; "
        "return [diagram.x(diagram.choice.position[run.offending]), diagram.width]; })()"
    )
    assert 104 <= x <= width + 104
    nodes = browser.evaluate(
        "[...traceCheck.run.kind.keys()].filter((r) => traceCheck.diagram.past[r]).map(traceCheck.run.node)"
    )
    assert set(nodes) == {"n1", "n2", "n3"}
    assert browser.evaluate("document.querySelector('#Frontend svg').dataset.here").startswith("fenced = FALSE")
    assert "Refused" in browser.evaluate("document.querySelector('#Frontend figcaption').textContent")


def test_a_browser_takes_clicks_and_keys(browser: Chromium, tmp_path: Path) -> None:
    shown(browser, story().save(tmp_path / "run"), 0)
    x, y = browser.evaluate(
        "(() => { const { run, diagram } = traceCheck;"
        "const box = document.getElementById('diagram').getBoundingClientRect();"
        "const rank = [...run.kind.keys()].find((r) => run.kindName(r) === 'Win');"
        "return [box.left + diagram.x(diagram.choice.position[rank]),"
        "box.top + diagram.choice.lanes[diagram.choice.laneOf[run.track[rank]]].middle]; })()"
    )
    browser.click(x, y)
    heading = "document.querySelector('#detail h3')?.textContent ?? ''"
    assert browser.evaluate(heading).startswith("Win: event 3 of n1")
    browser.evaluate("document.getElementById('diagram').focus()")
    browser.press("n")
    assert browser.evaluate(heading).startswith("Append: event 4 of n1")
    browser.press("p")
    browser.press("p")
    assert browser.evaluate(heading).startswith("Campaign: event 2 of n1")
    before = browser.evaluate("traceCheck.diagram.scale")
    browser.press("+")
    assert browser.evaluate("traceCheck.diagram.scale") > before
    browser.press("0")
    browser.press("Escape")
    assert browser.evaluate(heading) == ""
    total = browser.evaluate("traceCheck.diagram.choice.shown.length")
    browser.evaluate("document.getElementById('quiet').click()")
    kinds = browser.evaluate("[...traceCheck.diagram.choice.shown].map((r) => traceCheck.run.kindName(r))")
    assert 0 < len(kinds) < total
    assert "Store" not in kinds
    browser.evaluate("(() => { const t = document.getElementById('term'); t.selectedIndex = 2;"
                     "t.dispatchEvent(new Event('change')); })()")
    terms = browser.evaluate(
        "(({ run, diagram }) => [...diagram.choice.shown].map((r) => run.data.terms[run.term[r]]))(traceCheck)"
    )
    assert set(terms) <= {"2", "0"}
    assert "2" in terms


def test_a_browser_draws_what_is_incomplete(browser: Chromium, tmp_path: Path) -> None:
    directory = story().save(tmp_path / "run")
    for gone in directory.glob("n2.*"):
        gone.unlink()
    shown(browser, directory, 3)
    lost = browser.evaluate("traceCheck.run.named[0][0]")
    browser.evaluate(f"traceCheck.go({lost})")
    assert "of n2 1-00000001 (in no file)" in browser.evaluate("document.getElementById('detail').textContent")


def test_a_browser_takes_hostile_strings_for_text(browser: Chromium, tmp_path: Path) -> None:
    shown(browser, hostile(tmp_path / "run"), 0)
    browser.evaluate("[...traceCheck.run.kind.keys()].forEach((rank) => traceCheck.go(rank))")
    assert browser.evaluate("typeof window.pwned") == "undefined"
    assert browser.evaluate("[document.scripts.length, document.images.length]") == [2, 0]
    assert "</script><script>" in browser.evaluate("document.getElementById('nodes').textContent")
    assert browser.errors == []


def test_a_browser_draws_many_events(browser: Chromium, tmp_path: Path) -> None:
    told = story()
    for _ in range(1_200):
        told.replicate("n2", "n3")
    directory = told.save(tmp_path / "run")
    said = shown(browser, directory, 0)
    assert said["events"] > 4_000
    # From afar a lane is coloured over its whole width: here its crowd of common events, a pixel above its lower edge.
    assert browser.evaluate("traceCheck.diagram.scale") < 0.5
    colours = browser.evaluate("""(() => {
        const canvas = document.getElementById('diagram'), lane = traceCheck.diagram.choice.lanes[1];
        const y = (lane.top + lane.height - 4) * devicePixelRatio, x = canvas.width / 2;
        const pixels = canvas.getContext('2d').getImageData(x, y, 200, 1).data;
        return [...new Set(Array.from({ length: 200 }, (_, i) => pixels.slice(4 * i, 4 * i + 3).join()))];
    })()""")
    assert colours == ["59,111,182"]
    assert "Store" in browser.evaluate("(() => { traceCheck.go(traceCheck.run.total - 2); "
                                       "return document.getElementById('detail').textContent; })()")
