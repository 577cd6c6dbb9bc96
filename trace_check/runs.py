"""What a store of runs has, as a table, and how two of its runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trace_check.store import Row, Store
from trace_check.verdict import NUMBERS, BadInput, Edge

_HEAD = ("run", "when", "verdict", "events", "a second", "terms", "epochs", "failovers", "longest", "edges taken")
_RIGHT = {"run", "events", "a second", "terms", "epochs", "failovers", "longest"}


def listed(runs: Sequence[Row]) -> str:
    """One line for each run."""
    rows = [(*_cells(run), run["directory"]) for run in runs]
    if not rows:
        return "no runs yet"
    head = (*_HEAD, "directory")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(_line(head, row, widths) for row in (head, *rows))


def _line(head: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        for name, cell, width in zip(head, row, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(run: Row) -> tuple[str, ...]:
    failovers = [f["seconds"] for f in run["failovers"]]
    return (
        str(run["id"]),
        run["at"],
        _verdict(run),
        _number(run["events"]),
        _number(_rate(run)),
        _number(run["terms"]),
        _number(run["epochs"]),
        _number(len(failovers)),
        f"{max(failovers):.3f} s" if failovers else "",
        ", ".join(f"{view['graph']} {view['taken']}/{view['edges']}" for view in run["coverage"]),
    )


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _verdict(run: Row) -> str:
    return f"{run['verdict']} of {run['rule']}" if run["rule"] else str(run["verdict"])


def _rate(run: Row) -> int:
    return round(run["events"] / run["seconds"]) if run["seconds"] else 0


def compared(store: Store, first: int, second: int) -> str:
    """How two runs differ. Raises BadInput when there is no such run."""
    runs = {run["id"]: run for run in store.runs()}
    for number in (first, second):
        if number not in runs:
            has = f"1 to {max(runs)}" if runs else "none"
            raise BadInput(f"{store.path}: no run {number}; it has {has}: `trace-check runs --db {store.path}`")
    a, b = runs[first], runs[second]
    rows = [("", f"run {first}", f"run {second}"), *_differences(a, b)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_relation(a, b)]
    lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += _edges(store, first, second)
    return "\n".join(lines)


def _relation(a: Row, b: Row) -> str:
    if a["cluster"] != b["cluster"]:
        return f"Two clusters: {a['cluster']} and {b['cluster']}."
    if a["directory"] != b["directory"]:
        return f"One cluster, {a['cluster']}, from two directories."
    if (a["files"], a["events"]) == (b["files"], b["events"]):
        return f"The same traces of cluster {a['cluster']}, judged twice."
    return f"The same directory of cluster {a['cluster']}, judged twice; in between, or in the judging, it has changed."


def _differences(a: Row, b: Row) -> Iterator[tuple[str, str, str]]:
    pairs = [(name, str(a[name]), str(b[name])) for name in ("at", "directory", "cluster")]
    pairs.append(("verdict", _verdict(a), _verdict(b)))
    pairs += [(name.replace("_", " "), _number(a[name]), _number(b[name])) for name in NUMBERS]
    pairs.append(("events a second", _number(_rate(a)), _number(_rate(b))))
    pairs.append(("failovers", _failovers(a), _failovers(b)))
    coverage = [{v["graph"]: f"{v['taken']} of {v['edges']}" for v in run["coverage"]} for run in (a, b)]
    for graph in coverage[0] | coverage[1]:
        pairs.append((f"edges of {graph}", coverage[0].get(graph, ""), coverage[1].get(graph, "")))
    yield from (pair for pair in pairs if pair[1] != pair[2])


def _failovers(run: Row) -> str:
    seconds = sorted(f["seconds"] for f in run["failovers"])
    if not seconds:
        return "none"
    return f"{len(seconds)}, median {seconds[len(seconds) // 2]:.3f} s, longest {seconds[-1]:.3f} s"


def _edges(store: Store, first: int, second: int) -> Iterator[str]:
    walked = store.walked(first), store.walked(second)
    none: set[Edge] = set()
    for number, own, others in ((first, *walked), (second, *walked[::-1])):
        for (graph, sha256), edges in sorted(own.items()):
            only = sorted(edges - others.get((graph, sha256), none))
            if only:
                yield f"Taken in run {number} only, of {graph}:"
                yield from (f"  {edge.action} where {edge.state}" for edge in only)
