"""Lines that are read fast (shapes.py) are read as the slow path reads them, or refused as it refuses them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from hacoord.sim import Faults, Simulation
from trace_check import BadInput
from trace_check.decode import KEPT, Decoder, Texts
from trace_check.parts import Part
from trace_check.read import sources_in
from trace_check.schema import ANSWERS, CLIENT_EVENTS, EVENTS, NODE_EVENTS, OPTIONAL, REFERENCES, VERSION, Kind
from trace_check.shapes import CLIENT_LINES, NODE_LINES, TEXT

IDENTITY = {"v": VERSION, "cluster": "c", "node": "n1", "inc": "1-0000000a"}
PREFIX = json.dumps(IDENTITY, separators=(",", ":"))[:-1].encode() + b","


def outcome(data: bytes, *, client: bool, allow_gaps: bool = False, fast: bool = True) -> tuple[str, bool]:
    """What comes of a chunk that should begin with event 1, and whether it took the slow path."""
    decoder = Decoder({**IDENTITY, "event": ""}, Texts(client=client), client=client, allow_gaps=allow_gaps)
    slow: list[int] = []
    line_by_line = decoder._line_by_line

    def counted(part: Part, data: bytes, seq: int) -> Any:
        slow.append(seq)
        return line_by_line(part, data, seq)

    decoder._line_by_line = counted  # type: ignore[method-assign]
    part = Part(Path("x.ndjson"), b"", 1, 0)
    try:
        (events, times), gap = (decoder.lines if fast else counted)(part, data, 1)
    except BadInput as error:
        return f"refused: {error}", bool(slow)
    # As text, since True == 1 and 1.0 == 1.
    own = [sorted(e.items()) for e in events]
    return repr((own, [int(ts.removeprefix(b'"ts":')) for ts in times], gap)), bool(slow)


def same(data: bytes, *, client: bool, allow_gaps: bool = False) -> str:
    """Hold the fast path against the slow one."""
    expected, _ = outcome(data, client=client, allow_gaps=allow_gaps, fast=False)
    found, slow = outcome(data, client=client, allow_gaps=allow_gaps)
    assert found == expected, data
    if currently_in_test_context():
        event("refused" if expected.startswith("refused") else "slow" if slow else "fast")
    return found


# --- values ----------------------------------------------------------------------------------------------------------

STRINGS = ['"n2"', '""', '"\\u0041\\n\\""', '"\\ud800"', '"k\u00e9y"', '"read"', '"voter"', '"0123456789abcdef"']
NUMBERS = ["0", "7", "-7", "999999999999999999", "9223372036854775807", "9223372036854775808", "1" * 5000]
ODD = [
    *["01", "-0", "--7", "1.0", "1e3", "NaN", "-Infinity", "true", "false", "null", "{}", "[]", " 5", "5 ", ""],
    *['"a\\x"', '"a\nb"', '"a\tb"', '"a', 'a"', '"\\u00g0"', '"\\"', "[", "]", "0123456789abcdef", '"5,5"', "'a'"],
    *['"0123456789ABCDEF"', '"0123456789abcde"', '"0123456789abcdef0"', '"king"', '"a"," b":1,"b":"c"', "7,7", "[7"],
]
DIGEST = '"0123456789abcdef"'
AROUND = [
    *[
        "%s",
        "[%s]",
        "[%s,%s]",
        '["a",%s]',
        '["a","b",%s]',
        '["a",%s,5]',
        '[%s,"b",5]',
        '["a","b",5,%s]',
        '[["a","b",%s]]',
    ],
    *['[["a","b",5],%s]', '[["a","b",5]%s', "[[%s,2,1]]", "[[1,%s,1]]", "[[1,2,%s]]", "[[1,2,1],[3,%s,2]]", "[[%s,1]]"],
    *[
        "[[1,%s]]",
        "[[1,2],[3,%s]]",
        '[["a",%s,"b"]]',
        '[[%s,"voter","b"]]',
        '[["a","voter",%s]]',
        '[["a","learner",""],%s]',
    ],
]
AROUND += [text.replace("#", DIGEST) for text in ("[%s,2,#]", "[1,%s,#]", "[1,2,%s]", "[%s,2,#,4]", "[1,2,#,%s]")]
VALUES = sorted({text.replace("%s", atom) for text in AROUND for atom in [*STRINGS, *NUMBERS, *ODD]})


@pytest.mark.parametrize("kind", TEXT, ids=lambda kind: kind[0])
def test_text_of_a_value_is_a_value_of_its_type(kind: Kind) -> None:
    matches = re.compile(TEXT[kind].encode()).fullmatch
    matched = [text for text in VALUES if matches(text.encode())]
    for text in matched:
        assert kind[1]([json.loads(text)]), text
        assert "\n" not in text
    refused = [text for text in VALUES if _decoded(text) is not None and not kind[1]([_decoded(text)])]
    assert matched
    assert refused


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


# --- lines -----------------------------------------------------------------------------------------------------------


def _good(kind: Kind) -> list[str]:
    return [text for text in VALUES if re.fullmatch(TEXT[kind], text)]


GOOD = {kind: _good(kind) for kind in TEXT}


@st.composite
def lines(draw: st.DrawFn, seq: int, client: bool) -> bytes:
    """A line that may be wrong in one place or another, or nowhere."""
    stranger = draw(st.integers(0, 19)) == 0
    name = draw(st.sampled_from(sorted(CLIENT_EVENTS if client != stranger else NODE_EVENTS)))
    kinds = {**EVENTS[name], **OPTIONAL.get(name, {}), "after": REFERENCES}
    skipped = {field for field in kinds if field not in EVENTS[name] and draw(st.booleans())}
    if name == "Ok":
        skipped |= set(draw(st.sampled_from([*ANSWERS, *ANSWERS, ()])))
    wrong = draw(st.integers(0, 9))
    fields = [("seq", str(seq)), ("ts", draw(st.sampled_from(["5", "-5", "1" * 18]))), ("event", f'"{name}"')]
    fields.append(("term", "0" if name in CLIENT_EVENTS else draw(st.sampled_from(["0", "3"]))))
    for field, kind in kinds.items():
        if field not in skipped:
            fields.append((field, draw(st.sampled_from(GOOD[kind]))))
    at = draw(st.integers(0, len(fields) - 1))
    match wrong:
        case 0:
            fields[at] = fields[at][0], draw(st.sampled_from(VALUES))
        case 1:
            fields.append(draw(st.sampled_from(fields)))
        case 2:
            fields.insert(at, ("colour", draw(st.sampled_from(VALUES))))
        case 3:
            del fields[at]
        case 4:
            fields[at], fields[-1] = fields[-1], fields[at]
    text = ",".join(f'"{field}":{value}' for field, value in fields)
    if draw(st.integers(0, 19)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.sampled_from([" ", "\\", '"', "}", "{", ",", "\n", "\t", "]", "\x7f"])) + text[cut:]
    return PREFIX + text.encode() + b"}"


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 2), st.booleans(), st.booleans())
def test_any_line_is_read_as_the_slow_path_reads_it(
    data: st.DataObject, count: int, client: bool, allow_gaps: bool
) -> None:
    made = [data.draw(lines(seq + (data.draw(st.integers(0, 9)) == 0), client)) for seq in range(1, count + 1)]
    same(b"\n".join(made) + b"\n", client=client, allow_gaps=allow_gaps)


# --- right traces, changed -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with crashes, reads and writes, of which all lines are as hacoord writes them."""
    directory = tmp_path_factory.mktemp("simulated")
    simulation = Simulation(directory, 3, seed=5, faults=Faults(crash_every=4.0))
    simulation.run(lambda: simulation.now > 20.0)
    simulation.cluster.close()
    return directory


def test_what_hacoord_writes_is_read_fast(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_self: Decoder, part: Part, data: bytes, seq: int) -> None:
        lines = data[:-1].split(b"\n")
        texts = [b"{" + line[line.index(b'"event"') :] for line in lines]
        pytest.fail(f"{next(t for t in texts if not (NODE_LINES.fullmatch(t) or CLIENT_LINES.fullmatch(t)))!r}")

    monkeypatch.setattr(Decoder, "_line_by_line", slow)
    seen: set[str] = set()
    for source in sources_in(simulated):
        while chunk := source.reader.read():
            seen |= {e["event"] for e in chunk.lines.events}
        source.reader.close()
    assert {"Start", "Grant", "Win", "Append", "Store", "Commit", "Ack", "ReadServe", "Invoke", "Ok"} <= seen


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_are_read_as_the_slow_path_reads_them(simulated: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(simulated.glob("*.ndjson"))))
    text = path.read_bytes()
    chunk = text[: text.index(b"\n", min(1500, len(text) - 1)) + 1]
    own = {k: v for k, v in json.loads(chunk[: chunk.index(b"\n")]).items() if k in IDENTITY}
    chunk = chunk.replace(json.dumps(own, separators=(",", ":"))[:-1].encode() + b",", PREFIX)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(chunk) - 2))
        piece = data.draw(
            st.sampled_from([b"", b"0", b"1", b"-", b'"', b",", b"\n", b"]", b"}", b"{", b" ", b"\\", b"\xc3", PREFIX])
            | st.binary(max_size=2)
        )
        chunk = chunk[:at] + piece + chunk[at + data.draw(st.integers(0, 1)) : -1] + b"\n"
    same(chunk, client="client" in path.name)


# --- texts decoded once ----------------------------------------------------------------------------------------------


def test_a_text_is_decoded_once_whichever_lines_say_it() -> None:
    texts = Texts(client=False)
    lose, stay = b'"event":"Lose","term":1}', b'"event":"Lose","term":2}'
    first = texts.events([lose, stay, lose])
    again = texts.events([stay])
    assert first is not None
    assert again is not None
    assert [e["term"] for e in first] == [1, 2, 1]
    assert first[0] is first[2]
    assert again[0] is first[1]


def test_what_a_client_says_is_refused_of_a_node(tmp_path: Path) -> None:
    said = b'"event":"Invoke","term":0,"op":"w"}\n'
    node = PREFIX.replace(b"n1", b"n2")
    start = {"term": 0, "vote": None, "last": 0, "last_term": 0, "digest": "0" * 16, "disk": "d", "voters": ["n2"]}
    begin = b'"seq":1,"ts":5,"event":"Start",' + json.dumps(start, separators=(",", ":")).encode()[1:] + b"\n"
    (tmp_path / "client.ndjson").write_bytes(PREFIX + b'"seq":1,"ts":5,' + said)
    (tmp_path / "node.ndjson").write_bytes(node + begin + node + b'"seq":2,"ts":6,' + said)
    client, other = sources_in(tmp_path)
    assert client.load()
    assert other.load()
    with pytest.raises(BadInput, match=r"node\.ndjson:2: Invoke in a file of a node"):
        other.load()
    client.reader.close()
    other.reader.close()


def test_texts_are_forgotten_in_time() -> None:
    texts = Texts(client=False)
    for term in range(3 * KEPT // 100):
        assert texts.events([b'"event":"Transfer","term":%d,"to":"%s"}' % (term, b"x" * 100)]) is not None
        assert len(texts._known) * 100 < 2 * KEPT


# --- what somebody might try -----------------------------------------------------------------------------------------


def _invoke(seq: int, op: str = "w") -> bytes:
    return b'"seq":%d,"ts":5,"event":"Invoke","term":0,"op":"%s"' % (seq, op.encode())


@pytest.mark.parametrize(
    "data",
    [
        # One event over two lines, and two in one: as many events as lines.
        PREFIX + _invoke(1, "x")[:-1] + b"\n" + PREFIX + b'y"}\n' + PREFIX + _invoke(2) + b"},{" + _invoke(3) + b"}\n",
        PREFIX + _invoke(1) + b"},\n{" + _invoke(2) + b"}\n",
        PREFIX + _invoke(1) + b"}\n,{" + _invoke(2) + b"}\n",
        PREFIX + _invoke(1) + b"\n,{" + _invoke(2) + b"}\n" + PREFIX + b"}\n",
        PREFIX + _invoke(1) + b"}\n\n",
        PREFIX + _invoke(1) + b',"op":"v"}\n',
        PREFIX + _invoke(1) + b',"v":2}\n',
        PREFIX + _invoke(1) + b',"node":"n2"}\n',
        PREFIX + _invoke(1) + b"} \n",
        PREFIX + PREFIX[1:] + _invoke(1) + b"}\n",
        b" " + PREFIX + _invoke(1) + b"}\n",
        PREFIX + _invoke(1) + b',"key":"\xff"}\n',
        PREFIX + _invoke(1) + b',"key":"\xed\xa0\x80"}\n',
        PREFIX + _invoke(1) + b',"at":["m",9223372036854775808]}\n',
    ],
)
def test_lines_run_together(data: bytes) -> None:
    same(data, client=True)


@pytest.mark.parametrize("piece", [b"a", b"\\\\", b'\\"', b"\\u0041", b"[", b'["n","i",1],', b'"', b"},{"])
def test_no_line_takes_longer_than_its_length_warrants(piece: bytes) -> None:
    for line in (PREFIX + _invoke(1)[:-1], PREFIX + _invoke(1) + b',"after":['):
        begun = time.process_time()
        outcome(line + piece * (1_000_000 // len(piece)) + b"\n", client=True)
        assert time.process_time() - begun < 2.0
