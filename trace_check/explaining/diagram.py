"""A piece of a trace as a space-time diagram in plain text: a column per node, a row per event, arrows by reference.

    n1               n2               n3
    1-0094e5b4       1-23258bf5       1-59eeac0b
    2 Campaign t1    |                |
    2--------------->2 Grant n1 t1    |
    3 Win t1 <-------2                |

Numbers are lines of the node's file. An arrow begins at the event it names; one that was heard of and is not shown is
replaced by the last event before it that is.
"""

from __future__ import annotations

from collections.abc import Collection

from trace_check.explaining.piece import Key, Piece, Places, age, causal_order, cites, key
from trace_check.schema import Event

LEGEND = "numbers: lines of a node's file, all parts in one; t2: term 2; 3@1: the log ends at 3, of term 1; e1: epoch 1"
NARROWEST = 16


def label(event: Event) -> str:
    """An event in a few characters."""
    term = f"t{event['term']}"
    end = f"{event['last']}@{event['last_term']}" if "last_term" in event else ""
    match event["event"]:
        case "Start":
            return f"Start {term} {end} vote {event['vote'] or '-'}"
        case "Campaign":
            return f"Campaign {term} {end}"
        case "Grant":
            return f"Grant {event['candidate']} {term} {end}"
        case "Append":
            epoch = f" e{event['epoch']}" if "epoch" in event else ""
            return f"Append {_span(event['first'], event['last'])} {term}{epoch}"
        case "Store":
            return f"Store {end} {term}"
        case "Commit":
            runs = " ".join(f"{_span(first, last)}@{of}" for first, last, of in event["runs"])
            return f"Commit {runs} {term}"
        case "Activate":
            return f"Activate {term} e{event['epoch']}"
        case "Ack":
            return f"Ack {_span(event['first'], event['last'])} {term}"
        case "Transfer":
            return f"Transfer {event['to']}"
        case "Exit":
            return f"Exit {event['code']}"
        case "Ok":
            of = f"@{event['entry_term']}" if "entry_term" in event else ""
            return f"Ok {event['op']} {event['index']}{of}"
        case "Invoke" | "Fail" | "Unknown" as name:
            return f"{name} {event['op']}"
        case name:
            return f"{name} {term}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"


def draw(piece: Piece, refused: Collection[Key] = (), *, last: int = 12, cited: Collection[Key] = ()) -> list[str]:
    """The lines of the diagram: of each node the last events, and of the others those in `cited`."""
    order = causal_order(piece)
    shown = _chosen(order, last, {*refused, *cited})
    nodes = sorted({e["node"] for e in shown}, key=lambda n: (n not in {e["node"] for e in order if not _client(e)}, n))
    places = Places(_as_piece(shown))
    current = {e["node"]: e["inc"] for e in reversed(shown)}
    texts = [f"{e['seq'] if e['seq'] > 0 else '+'} {label(e)}" for e in shown]
    width = max(NARROWEST, *(len(n) + 2 for n in nodes), *(len(t) + 3 for t in texts))
    lines = ["".join(n.ljust(width) for n in names).rstrip() for names in (nodes, [current[n] for n in nodes])]
    for event, text in zip(shown, texts, strict=True):
        node = event["node"]
        column = nodes.index(node)
        if current[node] != event["inc"]:
            lines.append(_row(nodes, width, column, event["inc"], {}))
            current[node] = event["inc"]
        tails: dict[int, str] = {}
        for reference in (*map(tuple, event.get("after", ())), *cites(event)):
            origin = places.newest(reference)
            if origin is not None and origin[0] != node:
                # Of two events of one node, the newer implies the older.
                at = nodes.index(origin[0])
                tails[at] = max(tails.get(at, ""), _tail(origin), key=_age_of_tail)
        mark = "  <== refused" if key(event) in refused else ""
        lines.append(_row(nodes, width, column, text, tails) + mark)
    left_out = len(order) - len(shown)
    return lines + ([f"({left_out:,} events before these are not shown)"] if left_out else [])


def _client(event: Event) -> bool:
    return event["event"] in ("Invoke", "Ok", "Fail", "Unknown")


def _chosen(order: list[Event], last: int, always: Collection[Key]) -> list[Event]:
    count: dict[str, int] = {}
    chosen: list[Event] = []
    for event in reversed(order):
        count[event["node"]] = count.get(event["node"], 0) + 1
        if count[event["node"]] <= last or key(event) in always:
            chosen.append(event)
    return chosen[::-1]


def _as_piece(events: list[Event]) -> Piece:
    piece: Piece = {}
    for event in events:
        piece.setdefault((event["node"], event["inc"]), []).append(event)
    return dict(sorted(piece.items(), key=lambda item: (item[0][0], age(item[0]))))


def _tail(origin: Key) -> str:
    return str(origin[2]) if origin[2] > 0 else "+"


def _age_of_tail(tail: str) -> int:
    return int(tail) if tail.isdigit() else -1


def _row(nodes: list[str], width: int, column: int, text: str, tails: dict[int, str]) -> str:
    row = list(("|" + " " * (width - 1)) * len(nodes))
    start = column * width
    end = start + len(text)
    if left := [at for at in tails if at < column]:
        row[min(left) * width : start] = ["-"] * (start - min(left) * width - 1) + [">"]
    if right := [at for at in tails if at > column]:
        stop = max(right) * width
        row[end : stop] = [" ", "<", *["-"] * (stop - end - 2)]
    row[start:end] = list(text)
    for at, tail in tails.items():
        row[at * width : at * width + len(tail)] = list(tail)
    return "".join(row).rstrip()
